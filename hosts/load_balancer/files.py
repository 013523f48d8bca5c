"""Files in memory that haproxy.cfg names, and that the agent keeps as the parameters are."""

from hosts.base.parameters import FOLDER as MEMORY

FOLDER = MEMORY / "edge"
CERTIFICATE = FOLDER / "certificate.pem"
"""Key and certificates of what clients see."""
APP_SERVERS = FOLDER / "app-servers.pem"
"""The certificates of the authorities that sign the application servers'."""
CHALLENGE_MAP = FOLDER / "challenge.map"
"""With ACME: the thumbprint of the account's key."""

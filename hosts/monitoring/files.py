"""Where things are on the monitoring machine that several of its files name."""

from hosts.base.parameters import FOLDER

HERE = "/opt/site/hosts/monitoring"
RULES = f"{HERE}/rules/*.yml"
PAGE = f"{HERE}/page"
"""What Prometheus serves below ``/user/``."""
WEBHOOK = FOLDER / "webhook"
"""In memory: the URL that alerts are sent to. Who knows it may send there, too."""

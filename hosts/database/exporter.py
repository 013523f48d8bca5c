"""Prometheus' exporter for mysqld: its account, from the stack's parameters, and its start."""

import pwd
from collections.abc import Mapping
from pathlib import Path

from hosts.base import parameters, services
from hosts.base.metrics import start_exporter
from hosts.database.certificate import AUTHORITY

UNIT = "prometheus-mysqld-exporter.service"
USER = "prometheus"
FILE = parameters.FOLDER / "mysqld-exporter.cnf"


def credentials(password: str, authority: Path) -> str:
    """As the exporter reads them. It connects as everyone does: by TCP, over TLS."""
    # In these quotes the exporter takes everything as it stands, and there is no way to have one.
    return (
        "[client]\nhost = 127.0.0.1\nport = 3306\nuser = monitor\n"
        f"password = `{password}`\nssl-ca = {authority}\n"
    )


def keep(passwords: Mapping[str, str], file: Path = FILE, authority: Path = AUTHORITY) -> None:
    """Has it run with the password that is valid. Raises `ServiceError` and `OSError`."""
    wanted = credentials(passwords["monitor"], file.with_name("mysqld-exporter-ca.pem"))
    trusted = authority.read_text()
    try:
        owner = pwd.getpwnam(USER).pw_uid
    except KeyError:
        message = f"there is no user {USER}: the package of the exporter is not installed"
        raise services.ServiceError(message) from None
    copied = file.with_name("mysqld-exporter-ca.pem")
    known = file.exists() and file.read_text() == wanted
    if known and copied.exists() and copied.read_text() == trusted:
        start_exporter(UNIT)
        return
    # mysqld's own copy is for mysqld's eyes.
    parameters.write(trusted, copied, 0o444)
    parameters.write(wanted, file, owner=owner)
    services.systemctl("restart", UNIT)

"""The application's secrets: fetched at the machine's start, and anew when they have changed.

The application reads them from files at each connection that it makes. So a file never holds what
does not work: a new password goes into it once the database takes it, and the certificates of the
authorities to trust are there before the database presents one of a new authority's.
"""

import logging
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pymysql

from hosts.app_server.gunicorn_conf import FOLDER
from hosts.base import parameters
from hosts.base.facts import MachineFacts

if TYPE_CHECKING:
    from types_boto3_ssm import SSMClient

log = logging.getLogger("secrets")

EVERY = 30.0
"""Seconds between two looks at the parameters."""
PASSWORD, AUTHORITY = "database-password", "database-ca.pem"
"""The files, beside other secrets in /run/site and for the application in its own folder."""
PARAMETERS = {
    PASSWORD: "database/application-password",
    AUTHORITY: "database/certificate-authority-certificate",
}
ACCESS_DENIED = 1045

Accepts = Callable[[str], bool]


def fetch(client: "SSMClient", facts: MachineFacts) -> None:
    """Writes both as the parameters have them. Raises `ParameterError`."""
    names = {facts.parameter(parameter): file for file, parameter in PARAMETERS.items()}
    parameters.fetch(client, names)


def refresh(
    client: "SSMClient",
    facts: MachineFacts,
    accepts: Accepts | None = None,
    folder: Path = parameters.FOLDER,
    to: Path = FOLDER,
) -> list[str]:
    """Brings the files up to date; which have changed. Raises `ParameterError` or `OSError`."""
    accepts = accepts or (lambda password: accepted(password, folder / AUTHORITY))
    wanted = {
        file: parameters.value(client, facts.parameter(parameter))
        for file, parameter in PARAMETERS.items()
    }
    changed: list[str] = []
    for file in (AUTHORITY, PASSWORD):
        if (folder / file).read_text() == wanted[file]:
            continue
        if file == PASSWORD and not accepts(wanted[file]):
            log.info("the database does not take the new password yet")
            continue
        parameters.write(wanted[file], folder / file)
        changed.append(file)
    hand_over(folder, to)
    return changed


def hand_over(
    folder: Path = parameters.FOLDER, to: Path = FOLDER, files: Iterable[str] = PARAMETERS
) -> None:
    """Gives the application, if it runs, what has changed: readable by its user alone."""
    if not to.exists():
        return
    owner = to.stat().st_uid
    for file in files:
        text = (folder / file).read_text()
        if not (to / file).exists() or (to / file).read_text() != text:
            parameters.write(text, to / file, owner=owner)


def accepted(password: str, authority: Path) -> bool:
    """Whether the database takes a password; not, if it cannot be asked."""
    try:
        pymysql.connect(
            host="127.0.0.1",
            port=3306,
            user="application",
            password=password,
            connect_timeout=2,
            read_timeout=3,
            ssl=ssl.create_default_context(cafile=str(authority)),
        ).close()
    except (pymysql.err.MySQLError, OSError) as error:
        if not error.args or error.args[0] != ACCESS_DENIED:
            log.info("the database cannot be asked: %s", error)
        return False
    return True

"""Who may do what in the database: an account per purpose, each with the least it needs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from hosts.database.mysql import Session


@dataclass(frozen=True)
class Purpose:
    """An account, and what it is granted (`{schema}` is the application's)."""

    user: str
    host: str
    requires: str
    grants: tuple[str, ...]


PURPOSES = (
    Purpose(
        "application",
        "%",
        "SSL",
        (
            "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, TRIGGER,"
            " CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EXECUTE, LOCK TABLES,"
            " CREATE TEMPORARY TABLES ON {schema}.*",
        ),
    ),
    # BACKUP_ADMIN is what the donor of a CLONE asks for. CONNECTION_ADMIN keeps a replica connected
    # while a primary that is about to hand over shuts its clients out.
    Purpose(
        "replication",
        "%",
        "SSL",
        ("REPLICATION SLAVE, BACKUP_ADMIN, CONNECTION_ADMIN ON *.*",),
    ),
    Purpose(
        "monitor",
        "%",
        "SSL WITH MAX_USER_CONNECTIONS 5",
        ("PROCESS, REPLICATION CLIENT ON *.*", "SELECT ON performance_schema.*"),
    ),
)


def ensure(session: Session, schema: str, passwords: Mapping[str, str]) -> None:
    """Makes the schema and the accounts that are missing, and grants what each needs.

    To be run on the primary: it is replicated. `passwords` has one for each purpose's user.
    """
    found = session.rows("SELECT 1 FROM information_schema.schemata WHERE schema_name=%s", schema)
    if not found:
        session.run(f"CREATE DATABASE {_quoted(schema)} CHARACTER SET utf8mb4")
    for purpose in PURPOSES:
        _ensure(session, purpose, schema, passwords[purpose.user])


def _ensure(session: Session, purpose: Purpose, schema: str, password: str) -> None:
    who = (purpose.user, purpose.host)
    grants = [grant.format(schema=_pattern(schema)) for grant in purpose.grants]
    # An account says which grants it was given, so that nothing is written where nothing changed.
    digest = hashlib.sha256("\n".join(grants).encode()).hexdigest()[:16]
    rows = session.rows(
        "SELECT ATTRIBUTE->>'$.grants' FROM information_schema.user_attributes"
        " WHERE user = %s AND host = %s",
        *who,
    )
    if rows and rows[0][0] == digest:
        return
    if not rows:
        session.run(
            f"CREATE USER %s@%s IDENTIFIED WITH caching_sha2_password BY %s"
            f" REQUIRE {purpose.requires}",
            *who,
            password,
        )
    for grant in grants:
        session.run(f"GRANT {grant.replace('%', '%%')} TO %s@%s", *who)
    session.run("ALTER USER %s@%s ATTRIBUTE %s", *who, json.dumps({"grants": digest}))


def change_password(session: Session, user: str, password: str) -> None:
    """Gives an account a new password; the old one stays valid until the next change."""
    (host,) = (purpose.host for purpose in PURPOSES if purpose.user == user)
    session.run("ALTER USER %s@%s IDENTIFIED BY %s RETAIN CURRENT PASSWORD", user, host, password)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _pattern(schema: str) -> str:
    """In a grant on a schema _ and % stand for anything, unless escaped."""
    return _quoted(schema.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%"))

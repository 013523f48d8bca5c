"""Who may do what in the database: an account per purpose, each with the least it needs."""

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
    # BACKUP_ADMIN is what the donor of a CLONE asks for.
    Purpose("replication", "%", "SSL", ("REPLICATION SLAVE, BACKUP_ADMIN ON *.*",)),
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
        password = passwords[purpose.user]
        who = (purpose.user, purpose.host)
        if not session.rows("SELECT 1 FROM mysql.user WHERE user=%s AND host=%s", *who):
            session.run(
                f"CREATE USER %s@%s IDENTIFIED WITH caching_sha2_password BY %s"
                f" REQUIRE {purpose.requires}",
                *who,
                password,
            )
        for grant in purpose.grants:
            text = grant.format(schema=_pattern(schema)).replace("%", "%%")
            session.run(f"GRANT {text} TO %s@%s", *who)


def change_password(session: Session, user: str, password: str) -> None:
    """Gives an account a new password; the old one stays valid until the next change."""
    (host,) = (purpose.host for purpose in PURPOSES if purpose.user == user)
    session.run("ALTER USER %s@%s IDENTIFIED BY %s RETAIN CURRENT PASSWORD", user, host, password)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _pattern(schema: str) -> str:
    """In a grant on a schema _ and % stand for anything, unless escaped."""
    return _quoted(schema.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%"))

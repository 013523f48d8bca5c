"""What a database holds, in a form that is the same for the same content on any server."""

from hosts.database.backup.catalog import Table
from hosts.database.mysql import Session

SYSTEM = ("mysql", "sys", "information_schema", "performance_schema")
_KINDS = {
    "views": ("views", "table_schema"),
    "routines": ("routines", "routine_schema"),
    "triggers": ("triggers", "trigger_schema"),
    "events": ("events", "event_schema"),
}


def schemas(session: Session) -> list[str]:
    """Every schema that is not MySQL's own."""
    listed = session.rows("SELECT schema_name FROM information_schema.schemata ORDER BY 1")
    return [str(name) for (name,) in listed if name not in SYSTEM]


def tables(session: Session) -> list[tuple[str, str]]:
    """Schema and name of every table that is not MySQL's own."""
    listed = session.rows(
        "SELECT table_schema, table_name FROM information_schema.tables"
        " WHERE table_type = 'BASE TABLE' AND table_schema NOT IN %s ORDER BY 1, 2",
        SYSTEM,
    )
    return [(str(schema), str(name)) for schema, name in listed]


def data_size(session: Session) -> int:
    """Bytes that tables and indexes take, about."""
    (size,) = session.row(
        "SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables"
        " WHERE table_schema NOT IN %s",
        SYSTEM,
    )
    return int(size)


def objects(session: Session) -> dict[str, int]:
    """How many of each kind of thing that is no table, by schema."""
    found: dict[str, int] = {}
    for kind, (table, column) in _KINDS.items():
        for schema, count in session.rows(
            f"SELECT {column}, COUNT(*) FROM information_schema.{table}"  # noqa: S608 our own words
            f" WHERE {column} NOT IN %s GROUP BY 1 ORDER BY 1",
            SYSTEM,
        ):
            found[f"{schema}: {kind}"] = int(count)
    return found


def table(session: Session, schema: str, name: str) -> Table:
    """The rows of a table, whatever their order: how many, and a checksum of their texts.

    Of texts, since those are what a dump holds: CHECKSUM TABLE takes the bytes of a FLOAT, which
    a dump does not keep. Generated columns follow from the others. (MySQL 9.6 has no MD5 any more.)
    """
    columns = session.rows(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s"
        " AND table_name = %s AND generation_expression = '' ORDER BY ordinal_position",
        schema,
        name,
    )
    texts = ", ".join(f"IFNULL(SHA2({quoted(str(column))}, 224), '-')" for (column,) in columns)
    row = f"SHA2(CONCAT_WS(',', {texts}), 224)"
    # Two halves: a bit operation takes 64 bits, and rows that are there twice must not vanish.
    halves = [f"CAST(CONV(SUBSTR({row}, {at}, 16), 16, 10) AS UNSIGNED)" for at in (1, 17)]
    count, xor, total = session.row(
        f"SELECT COUNT(*), COALESCE(BIT_XOR({halves[0]}), 0),"  # noqa: S608 quoted
        f" COALESCE(SUM({halves[1]} MOD 4294967291), 0) FROM {quoted(schema)}.{quoted(name)}"
    )
    return Table(int(count), f"{int(xor):016x}-{int(total):x}")


def quoted(name: str) -> str:
    """A name in a statement without values."""
    return "`" + name.replace("`", "``") + "`"

"""SQL statements of more than a line, one in each file, loaded by name."""

from functools import cache
from importlib.resources import files

from sqlalchemy import TextClause, text


@cache
def statement(name: str, **parts: str) -> TextClause:
    """The statement in `<name>.sql`, with its `:parameters`.

    Args:
        parts: SQL for the `$parts` of the statement, never from users.
    """
    sql = files(__package__).joinpath(f"{name}.sql").read_text("utf-8")
    for part, value in parts.items():
        sql = sql.replace(f"${part}", value)
    return text(sql)

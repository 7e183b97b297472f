"""SQL statements of more than a line, one in each file, loaded by name."""

from functools import cache
from importlib.resources import files

from sqlalchemy import TextClause, text


@cache
def statement(name: str) -> TextClause:
    """The statement in `<name>.sql`, with its `:parameters`."""
    return text(files(__package__).joinpath(f"{name}.sql").read_text("utf-8"))

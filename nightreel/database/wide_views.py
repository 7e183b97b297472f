"""A view for each prompt set with a row for each video and a column for each prompt: `reporting.wide_moderation`.

An upgrade makes them, and takes away those of sets that are not asked any more. Only the owner of the tables may.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

_log = logging.getLogger(__name__)

WIDE = "wide_"
"""What their names begin with."""
_LONGEST_NAME = 63  # of Postgres
# The columns beside those of the prompts, and what they say.
_COLUMNS = {
    "video_id": "number of the video, one for each version of an object",
    "uri": "where the video is stored",
    "flagged_prompts": "names of the prompts that flag the video",
    "unknown_prompts": "names of the prompts that are unknown or failed",
    "restricted": "the video has a verdict in the lane restricted that is not a no",
    "console_url": "page of the video in the console",
    "thumbnail_url": "contact sheet, served by the console",
}
_PROMPTS = """
    SELECT DISTINCT prompt.set_name, prompt.name, prompt.id, asked.place
    FROM nightreel.current_recipes AS current
    JOIN nightreel.recipe_prompts AS asked ON asked.recipe_id = current.recipe_id
    JOIN nightreel.prompts AS prompt ON prompt.id = asked.prompt_id AND prompt.set_name = current.set_name
    ORDER BY prompt.set_name, asked.place, prompt.name
"""
_WIDE = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'reporting'::regnamespace AND relkind = 'v' AND starts_with(relname, :prefix)
"""


def state_wide_views(connection: Connection) -> None:
    """Make the views of all prompt sets that are asked now. A view that others depend on keeps its old columns."""
    sets: dict[str, dict[str, int]] = {}
    for row in connection.execute(text(_PROMPTS)):
        sets.setdefault(row.set_name, {})[row.name] = row.id
    wanted = {wide_view(name): prompts for name, prompts in sets.items()}
    for view in wide_views(connection):
        if view not in wanted:
            _try(connection, view, [f"DROP VIEW reporting.{_quoted(view)}"])
    for view, prompts in wanted.items():
        _state(connection, view, prompts)


def wide_view(set_name: str) -> str:
    """The name of the view of a prompt set."""
    return f"{WIDE}{set_name}"[:_LONGEST_NAME]


def wide_views(connection: Connection) -> list[str]:
    """The names of these views, in their order."""
    return sorted(connection.execute(text(_WIDE), {"prefix": WIDE}).scalars())


def _state(connection: Connection, view: str, prompts: dict[str, int]) -> None:
    columns = {name if name not in _COLUMNS else f"{name}_": id for name, id in prompts.items()}
    name = f"reporting.{_quoted(view)}"
    make = f"VIEW {name} AS {_select(columns)}"
    comments = {column: f"answer of the prompt {column}" for column in columns} | _COLUMNS
    said = [f"COMMENT ON COLUMN {name}.{_quoted(column)} IS {_literal(words)}" for column, words in comments.items()]
    said.append(f"COMMENT ON VIEW {name} IS {_literal('One row for each current video, one column for each prompt.')}")
    exists = connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar() is not None
    # Without new columns in between, which Postgres refuses, a view stays in place with its grants.
    if not exists or not _try(connection, view, [f"CREATE OR REPLACE {make}", *said], quiet=True):
        _try(connection, view, [f"DROP VIEW IF EXISTS {name}", f"CREATE {make}", *said])


def _select(columns: dict[str, int]) -> str:
    """The query. Texts of restricted videos are empty for those who may not see them, as in the other views."""
    answers = "".join(
        f", max(answer) FILTER (WHERE prompt_id = {id}) AS {_quoted(column)}" for column, id in columns.items()
    )
    ids = ", ".join(map(str, columns.values()))
    # Names are quoted, and numbers are those of rows.
    return (
        f"SELECT video.video_id, video.uri, {', '.join(f'said.{_quoted(column)}' for column in columns)}, "  # noqa: S608 - names are quoted
        "said.flagged_prompts, said.unknown_prompts, video.restricted, video.console_url, video.thumbnail_url "
        "FROM reporting.videos AS video CROSS JOIN LATERAL ("
        "SELECT array_agg(prompt ORDER BY prompt) FILTER (WHERE flagged) AS flagged_prompts, "
        f"array_agg(prompt ORDER BY prompt) FILTER (WHERE state <> 'answered') AS unknown_prompts{answers} "
        f"FROM reporting.video_answers AS answer WHERE answer.video_id = video.video_id AND prompt_id IN ({ids})"
        ") AS said"
    )


def _try(connection: Connection, view: str, statements: list[str], *, quiet: bool = False) -> bool:
    """Run the statements, all or none. Returns whether they ran."""
    try:
        with connection.begin_nested():
            for statement in statements:
                connection.exec_driver_sql(statement.replace("%", "%%"))
    except DBAPIError as error:
        if not quiet:
            _log.warning("the view reporting.%s stays as it was: %s", view, str(error.orig).splitlines()[0])
        return False
    return True


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"

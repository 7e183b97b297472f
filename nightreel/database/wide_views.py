"""A view for each prompt set with a row for each video and a column for each prompt: `reporting.wide_moderation`.

A prompt of kind object has a column for each of its fields as well, named `<prompt>_<field>`.

An upgrade makes them, and takes away those of sets that are not asked any more. Only the owner of the tables may.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from nightreel.domain import Field, FieldType, Question

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
    SELECT DISTINCT prompt.set_name, prompt.name, prompt.id, asked.place, question.definition
    FROM nightreel.current_recipes AS current
    JOIN nightreel.recipe_prompts AS asked ON asked.recipe_id = current.recipe_id
    JOIN nightreel.prompts AS prompt ON prompt.id = asked.prompt_id AND prompt.set_name = current.set_name
    JOIN nightreel.questions AS question ON question.id = prompt.question_id
    ORDER BY prompt.set_name, asked.place, prompt.name
"""
_WIDE = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'reporting'::regnamespace AND relkind = 'v' AND starts_with(relname, :prefix)
"""


class WideView(NamedTuple):
    """What Postgres is told of a view: `make` follows CREATE or CREATE OR REPLACE, `said` are its comments."""

    make: str
    said: list[str]


def wanted_wide_views(connection: Connection) -> dict[str, WideView]:
    """The views of all prompt sets that are asked now, by name."""
    sets: dict[str, dict[str, _Asked]] = {}
    for row in connection.execute(text(_PROMPTS)):
        fields = Question.from_json(row.definition).fields
        sets.setdefault(row.set_name, {})[row.name] = _Asked(row.id, fields)
    return {wide_view(name): _wanted(wide_view(name), prompts) for name, prompts in sets.items()}


def state_wide_views(connection: Connection, wanted: Mapping[str, WideView]) -> None:
    """Make these views, and no others. A view that others depend on keeps its old columns."""
    for view in wide_views(connection):
        if view not in wanted:
            _try(connection, view, [f"DROP VIEW reporting.{_quoted(view)}"])
    for view, statements in wanted.items():
        _state(connection, view, statements)


def wide_view(set_name: str) -> str:
    """The name of the view of a prompt set."""
    return f"{WIDE}{set_name}"[:_LONGEST_NAME]


def wide_views(connection: Connection) -> list[str]:
    """The names of these views, in their order."""
    return sorted(connection.execute(text(_WIDE), {"prefix": WIDE}).scalars())


class _Asked(NamedTuple):
    """A prompt that is asked now: its id, and the fields of its objects."""

    id: int
    fields: tuple[Field, ...]


class _Column(NamedTuple):
    """An expression over the rows of one video in reporting.video_answers, and what it says."""

    value: str
    said: str


def _columns(prompts: dict[str, _Asked]) -> dict[str, _Column]:
    """The columns of prompts, and of the fields of their objects, by name."""
    columns: dict[str, _Column] = {}
    for name, asked in prompts.items():
        columns[_free(name, columns)] = _Column(_of_prompt("answer", asked.id), f"answer of the prompt {name}")
    for name, asked in prompts.items():
        for field in asked.fields:
            value = _of_prompt(_value_of(field), asked.id)
            columns[_free(f"{name}_{field.name}", columns)] = _Column(value, f"{field.name} of the prompt {name}")
    return columns


def _of_prompt(value: str, prompt_id: int) -> str:
    return f"(array_agg({value}) FILTER (WHERE prompt_id = {prompt_id}))[1]"


def _free(name: str, taken: Container[str]) -> str:
    """A name that no other column has, as long as Postgres allows."""
    free, more = name[:_LONGEST_NAME], 0
    while free in taken or free in _COLUMNS:
        more += 1
        end = "_" * more if more < 3 else f"_{more}"
        free = f"{name[: _LONGEST_NAME - len(end)]}{end}"
    return free


def _value_of(field: Field) -> str:
    """The value of a field. A value of another type, of an earlier question, is null. A list is a text."""
    value = f"value -> {_literal(field.name)}"
    as_text = f"value ->> {_literal(field.name)}"
    if field.max_items:
        items = f"jsonb_array_elements_text(CASE jsonb_typeof({value}) WHEN 'array' THEN {value} ELSE '[]' END)"
        return f"(SELECT string_agg(item, ', ') FROM {items} AS item)"  # noqa: S608 - names are quoted
    match field.type:
        case FieldType.INTEGER | FieldType.NUMBER:
            return f"CASE jsonb_typeof({value}) WHEN 'number' THEN ({as_text})::float8 END"
        case FieldType.BOOLEAN:
            return f"CASE jsonb_typeof({value}) WHEN 'boolean' THEN ({as_text})::boolean END"
    return as_text


def _wanted(view: str, prompts: dict[str, _Asked]) -> WideView:
    columns = _columns(prompts)
    name = f"reporting.{_quoted(view)}"
    comments = {column: one.said for column, one in columns.items()} | _COLUMNS
    said = [f"COMMENT ON COLUMN {name}.{_quoted(column)} IS {_literal(words)}" for column, words in comments.items()]
    said.append(f"COMMENT ON VIEW {name} IS {_literal('One row for each current video, one column for each prompt.')}")
    return WideView(f"VIEW {name} AS {_select(columns, [asked.id for asked in prompts.values()])}", said)


def _state(connection: Connection, view: str, wanted: WideView) -> None:
    name = f"reporting.{_quoted(view)}"
    exists = connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar() is not None
    # Without new columns in between, which Postgres refuses, a view stays in place with its grants.
    if not exists or not _try(connection, view, [f"CREATE OR REPLACE {wanted.make}", *wanted.said], quiet=True):
        _try(connection, view, [f"DROP VIEW IF EXISTS {name}", f"CREATE {wanted.make}", *wanted.said])


def _select(columns: dict[str, _Column], prompt_ids: Sequence[int]) -> str:
    """The query. Texts of restricted videos are empty for those who may not see them, as in the other views."""
    answers = "".join(f", {one.value} AS {_quoted(column)}" for column, one in columns.items())
    ids = ", ".join(map(str, prompt_ids))
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

"""The words of each segment, for search. Whoever changes which answers are on show indexes their videos again.

sql/views/15_search_words.sql makes the terms. `nightreel.search` reads the documents.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, select, text, update

from nightreel.database import schema
from nightreel.database.statements import statement
from nightreel.errors import SettingsError
from nightreel.suggestions import refusal

_index = schema.search_index


def index_videos(connection: Connection, video_ids: Collection[int]) -> None:
    """Make the documents of these videos from their answers on show. Repeating it changes nothing.

    Call it last in a transaction: until that ends, others who index one of these videos wait. So each sees what the
    one before it wrote.
    """
    ordered = sorted(set(video_ids))
    if not ordered:
        return
    connection.execute(
        text(
            "SELECT pg_advisory_xact_lock(hashtextextended('nightreel document ' || id, 0)) "
            "FROM unnest(CAST(:video_ids AS bigint[])) AS id"
        ),
        {"video_ids": ordered},
    )
    connection.execute(statement("index_documents"), {"video_ids": ordered})


def set_languages(connection: Connection, languages: Sequence[str]) -> bool:
    """Choose the languages whose forms of words are found. Returns whether they changed: all is to be indexed again.

    Args:
        languages: such as "english" and "german"; empty: words are found only as they are written.

    Raises:
        SettingsError: this Postgres has no dictionary for one of them.
    """
    if list(languages) == connection.execute(select(_index.c.languages)).scalar_one():
        return False
    rows = connection.execute(
        text("SELECT dictname FROM pg_ts_dict WHERE dictnamespace = 'pg_catalog'::regnamespace AND dictname ~ '_stem$'")
    )
    known = sorted(name.removesuffix("_stem") for name in rows.scalars())
    for language in languages:
        if language not in known:
            problem = f"NIGHTREEL_SEARCH_LANGUAGES: {language!r} is no language of this Postgres"
            raise SettingsError(refusal(problem, language, known))
    connection.execute(update(_index).values(languages=list(languages), indexed_up_to=0))
    return True


def is_indexed(connection: Connection) -> bool:
    """Whether all videos are indexed."""
    return connection.execute(select(_index.c.indexed_up_to)).scalar_one() is None


def lock_index(connection: Connection) -> int | None:
    """The id of the last video that is indexed, locked until the transaction ends; None if all are."""
    return connection.execute(select(_index.c.indexed_up_to).with_for_update()).scalar()


def record_index(connection: Connection, indexed_up_to: int | None) -> None:
    connection.execute(update(_index).values(indexed_up_to=indexed_up_to))

"""The work of a planned backfill: the listing compared with Postgres, and the measured costs of earlier work.

The listing goes into a file, page by page, and from there into temporary tables, so that it fills neither this
process's memory nor the database.
`stages.backfill_costs` does the arithmetic.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TextIO

from sqlalchemy import Connection, text

from nightreel.database.backfills import KeyRange
from nightreel.database.connection import Database
from nightreel.database.recipes import Recipe
from nightreel.database.statements import statement
from nightreel.domain import Prompt, StoredObject
from nightreel.errors import TransientError
from nightreel.host_errors import host_error
from nightreel.private import private_directory
from nightreel.reasons import Reason

ASSUMED_BYTES_PER_S = 250_000.0
"""Assumed bytes of a second of video if none was measured: 2 Mbit/s, the same as in claims."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The work of a listing, in total.

    Args:
        admitted: objects that the filter admits as videos. done, failed: admitted videos that ended before.
        videos: the remaining, wanted ones. copies: wanted videos with the bytes of another video.
        guessed: wanted videos whose duration is guessed from their size.
        segments, answers: of the wanted videos. answered: existing answers. to_ask: missing answers.
        cached_segments, to_look: segments with missing answers, in the feature cache and not in it.
        fetch_bytes: size of the videos that must be fetched.
    """

    admitted: int
    videos: int
    done: int
    failed: int
    copies: int
    guessed: int
    segments: int
    answers: int
    answered: int
    to_ask: int
    cached_segments: int
    to_look: int
    fetch_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Seconds by stage of a model's newest runs, and the work done in them; sizes of videos and features.

    Args:
        decoded, encoded: segments. answers: answers given. `recipe_`: of runs under the same recipe.
    """

    decode_runs: int
    decoded: int
    decode_s: float
    vision_runs: int
    encoded: int
    vision_s: float
    language_runs: int
    answers: int
    language_s: float
    recipe_runs: int
    recipe_answers: int
    recipe_language_s: float
    load_runs: int
    load_s: float
    video_bytes: float
    video_s: float
    videos: int
    feature_bytes: float
    features: int

    @property
    def bytes_per_s(self) -> float:
        return self.video_bytes / self.video_s if self.video_s else ASSUMED_BYTES_PER_S


class ListingTable:
    """A listing in a file, which each transaction that needs it copies into a temporary table of its own.

    A temporary table that outlives its transaction would be lost behind a connection pooler, and a transaction that is
    open during the listing would hold back every vacuum.
    """

    def __init__(self, database: Database, pages: TextIO) -> None:
        self._database, self._pages = database, pages

    def add(self, items: Sequence[StoredObject]) -> None:
        """Add the admitted objects of a page.

        Raises:
            TransientError: `disk_full`, `disk_failed`.
        """
        columns = {
            "uris": [item.uri for item in items],
            "etags": [item.etag for item in items],
            "sizes": [item.size_bytes for item in items],
        }
        with _writing():
            self._pages.write(json.dumps(columns) + "\n")

    @contextmanager
    def transaction(self, *, keep: bool) -> Iterator[Connection]:
        """A transaction that sees the listing. `keep` False: it is rolled back."""
        with self._database.begin() as connection:
            connection.execute(
                text(
                    'CREATE TEMPORARY TABLE plan_listed (uri text COLLATE "C", etag text, size_bytes bigint)'
                    " ON COMMIT DROP"
                )
            )
            insert = text(
                "INSERT INTO plan_listed SELECT * FROM unnest(CAST(:uris AS text[]), CAST(:etags AS text[]),"
                " CAST(:sizes AS bigint[]))"
            )
            with _writing():
                self._pages.flush()
            self._pages.seek(0)
            for page in self._pages:
                connection.execute(insert, json.loads(page))
            connection.execute(text("ANALYZE plan_listed"))
            yield connection
            if not keep:
                connection.rollback()


@contextmanager
def listing_table(database: Database, directory: Path) -> Iterator[ListingTable]:
    """A table for a listing, whose file is in `directory` until the end of the block."""
    with _writing():
        private_directory(directory)
        file = TemporaryFile("w+", encoding="utf-8", dir=directory)  # noqa: SIM115 - closed below
    with file:
        yield ListingTable(database, file)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = "cannot write the listing to NIGHTREEL_WORK_DIR"
        way_out = "free disk space, or set NIGHTREEL_WORK_DIR to a larger disk"
        raise host_error(error, doing=what, way_out=way_out) or TransientError(
            Reason.DISK_FAILED, f"{what}: {error}: set another directory"
        ) from error


def measured_work(connection: Connection, recipe: Recipe) -> Measured:
    ids = {"recipe_id": recipe.id, "model_id": recipe.model_id, "plan": str(recipe.plan)}
    stages = connection.execute(statement("unit_costs"), ids).mappings().one()
    sizes = connection.execute(statement("size_measures"), ids).mappings().one()
    return Measured(**stages, **sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookShare:
    """How often a prompt's first answers led to a second look, or would have: `hits` of `answers`."""

    prompt: Prompt
    answers: int
    hits: int


def second_look_shares(connection: Connection, recipe: Recipe) -> list[LookShare]:
    """The shares of all prompts of a recipe that have a second look, from the answers of its model."""
    looks = [(prompt, prompt.policy.look_again) for prompt in recipe.prompts.prompts]
    wanted = [(prompt, look) for prompt, look in looks if look is not None]
    rows = connection.execute(
        statement("second_look_shares"),
        {
            "question_ids": [recipe.question_ids[prompt.question.hash] for prompt, _ in wanted],
            "from_ps": [look.from_p for _, look in wanted],
            "model_id": recipe.model_id,
        },
    )
    return [
        LookShare(prompt=prompt, answers=row.answers, hits=row.hits)
        for (prompt, _), row in zip(wanted, rows, strict=True)
    ]


def wanted_work(
    connection: Connection, recipe: Recipe, *, bytes_per_s: float, shard_videos: int
) -> tuple[Totals, list[KeyRange]]:
    """The wanted work of the listing under a recipe, and its shards. Call it in `ListingTable.transaction`."""
    connection.execute(
        statement("plan_wanted"),
        {
            "recipe_id": recipe.id,
            "model_id": recipe.model_id,
            "plan": str(recipe.plan),
            "plan_hash": recipe.plan.hash,
            "window_s": recipe.plan.window_s,
            "question_ids": recipe.segment_question_ids,
            "bytes_per_s": bytes_per_s,
        },
    )
    questions = len(recipe.segment_question_ids)
    totals = connection.execute(statement("plan_totals"), {"questions": questions}).mappings().one()
    shards = connection.execute(statement("plan_shards"), {"shard_videos": shard_videos}).mappings()
    return Totals(**totals), [KeyRange(**shard) for shard in shards]


def first_wanted(connection: Connection, *, limit: int) -> tuple[str, ...]:
    """The first keys of the wanted work. Call it after `wanted_work`, in its transaction."""
    wanted = "SELECT uri FROM plan_wanted WHERE status IN ('none', 'pending', 'claimed') ORDER BY uri LIMIT :limit"
    return tuple(connection.execute(text(wanted), {"limit": limit}).scalars())

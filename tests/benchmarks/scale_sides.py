"""The measurements of bench_scale on one database: listing pages, claims and writing chunks, as in the stages."""

from __future__ import annotations

import hashlib
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from benchmarks.scale_rows import CAPTION, PROBE, SOURCE, Objects, new_objects, register
from sqlalchemy import Connection, text

from nightreel.database.answers import answers_given, write_answers
from nightreel.database.claims import (
    ClaimsInOrder,
    Selection,
    claim,
    lock_own,
    release_claims,
    remaining,
    take_contents,
)
from nightreel.database.closing import Closing, close_claims
from nightreel.database.connection import Database
from nightreel.database.discovery import ListingFilter, discover_page
from nightreel.database.features import known_features, record_features
from nightreel.database.policies import policies_in_force
from nightreel.database.results import known_videos, record_content, record_probe
from nightreel.database.statements import statement
from nightreel.domain import (
    Answer,
    Claim,
    EncodedSegment,
    FeatureRef,
    Outcome,
    OutcomeState,
    PromptKind,
    Question,
    Segment,
    SegmentAnswers,
    StoredObject,
)
from nightreel.metrics.backlog import MOST_COUNTED
from nightreel.stages.judge import judge_answers, show_videos

PAGE, CHUNK, SHARD, FEW = 1000, 16, 1000, 50
EVERYTHING = Selection(f"{SOURCE}/")
INCOMING = Selection(f"{SOURCE}/incoming/")
NOTHING = Selection(f"{SOURCE}/nothing/")
_CHANGED = 5000  # keys by day reserved for changes


@dataclass
class Side:
    """One database and its measurements: milliseconds by name, one list a round."""

    database: Database
    known: int
    rounds: dict[str, list[list[float]]] = field(default_factory=dict)
    wal_bytes: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.objects = Objects(self.known)
        self.recipe = register(self.database)
        last = self.objects.half - 1
        self.shard = Selection(
            f"{SOURCE}/", after_uri=self.objects.by_day(last - SHARD).uri, up_to_uri=self.objects.by_day(last).uri
        )
        self._run_id = 1
        self._random = random.Random(self.known)
        self._round = 0

    def take_round(self, calls: int) -> None:
        """Measure everything again, `calls` times each. The first round fills the caches and does not count."""
        self._round += 1
        self._pages(calls)
        self._claims(calls)
        if self._round == 1:
            self.rounds.clear()
            self.wal_bytes.clear()

    def medians(self, name: str) -> list[float]:
        """The median of each round."""
        return [statistics.median(values) for values in self.rounds[name]]

    def table_bytes(self) -> dict[str, tuple[int, float, float]]:
        """For each table: rows, bytes a row in the table, bytes a row in its indexes."""
        with self.database.begin() as connection:
            rows = connection.execute(
                text(
                    "SELECT relname, reltuples::bigint, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class"
                    " WHERE relnamespace = 'nightreel'::regnamespace AND relkind = 'r' AND reltuples > 1000"
                )
            )
            return {name: (count, table / count, indexes / count) for name, count, table, indexes in rows}

    # -- pages ----------------------------------------------------------------------------------------------------

    def _pages(self, calls: int) -> None:
        objects, stay = self.objects, self.objects.done_by_day - _CHANGED
        starts = [self._random.randrange(stay - PAGE) for _ in range(calls)]
        by_day = [[objects.by_day(start + n) for n in range(PAGE)] for start in starts]
        starts = [self._random.randrange(objects.half - PAGE) for _ in range(calls)]
        by_name = [[objects.by_name(start + n) for n in range(PAGE)] for start in starts]
        self._note("a page, keys by day", [self.page(page, known=PAGE) for page in by_day])
        self._note("a page, unordered names", [self.page(page, known=PAGE) for page in by_name])

        few = [page[FEW:] + new_objects(f"{self._round:03}/{n}", FEW) for n, page in enumerate(by_day)]
        self._note("a page, 50 of 1,000 new", [self.page(page, known=PAGE - FEW) for page in few])
        changed, first = [], objects.done_by_day - (self._round - 1) * calls * FEW
        for n, page in enumerate(by_day):
            some = range(first - (n + 1) * FEW, first - n * FEW)
            changed.append(page[FEW:] + [objects.by_day(number, version="changed") for number in some])
        self._note("a page, 50 of 1,000 changed", [self.page(page, known=PAGE - FEW) for page in changed])

        new = [new_objects(f"{self._round:03}/new-{n}", PAGE) for n in range(calls)]
        with self._wal_of("a video discovered", calls * PAGE):
            self._note("a page, all new", [self.page(page, known=0) for page in new])

    def page(self, page: list[StoredObject], *, known: int) -> float:
        """Milliseconds that discovery takes for a page; checks that `known` objects are known."""
        with self._timed() as took, self.database.begin() as connection:
            found = discover_page(
                connection, page, admit=ListingFilter(), recipe_id=self.recipe.id, run_id=self._run_id
            )
        assert found.known == known, found
        return took[0]

    # -- claims ---------------------------------------------------------------------------------------------------

    def _claims(self, calls: int) -> None:
        with self._wal_of("a video from claim to done", calls * CHUNK):
            chunks = [self.claim(EVERYTHING) for _ in range(calls)]
            writes = [self._write(claims) for _, claims in chunks]
        self._note("a claim, first in key order", [took for took, _ in chunks])
        self._note("writing a chunk of 16", writes)
        self._note("a claim of a shard", [self.claim(self.shard)[0] for _ in range(calls)])
        self._note("a claim with a backlog in other prefixes", [self.claim(INCOMING)[0] for _ in range(calls)])
        self._note("a claim with nothing left", [self.claim(NOTHING, expected=0)[0] for _ in range(calls)])
        with self.database.begin() as connection:
            release_claims(connection, run_id=self._run_id)
        self._note("remaining work of a shard", [self._remaining(self.shard) for _ in range(calls)])
        self._note("waiting work, for the metrics", [self._queue() for _ in range(3)])

    def claim_next(self, claims: ClaimsInOrder) -> tuple[float, list[Claim]]:
        """Milliseconds of a run's next claim, and the claimed videos."""
        with self._timed() as took, self.database.begin() as connection:
            claimed = claims.next(connection)
        assert len(claimed) == CHUNK, len(claimed)
        return took[0], claimed

    def claim(self, selection: Selection, *, expected: int = CHUNK) -> tuple[float, list[Claim]]:
        """Milliseconds of a claim, and the claimed videos."""
        with self._timed() as took, self.database.begin() as connection:
            claims = claim(
                connection,
                recipe=self.recipe,
                run_id=self._run_id,
                selection=selection,
                chunk_segments=CHUNK,
                lease_s=3600,
            )
        assert len(claims) == expected, len(claims)
        return took[0], claims

    def close(self, claims: Sequence[Claim]) -> None:
        """Mark the claims as done in one statement, for thousands of claims."""
        with self.database.begin() as connection:
            connection.execute(
                text(
                    "UPDATE nightreel.analyses SET status = 'done', segments = 1, lease_expires_at = NULL,"
                    " updated_at = now() WHERE id = ANY (:ids)"
                ),
                {"ids": [item.analysis_id for item in claims]},
            )

    def _remaining(self, selection: Selection) -> float:
        with self._timed() as took, self.database.begin() as connection:
            left = remaining(connection, recipe=self.recipe, run_id=self._run_id, selection=selection)
        assert left.pending == SHARD, left
        return took[0]

    def _queue(self) -> float:
        with self._timed() as took, self.database.begin() as connection:
            connection.execute(statement("queue"), {"most": MOST_COUNTED}).all()
        return took[0]

    # -- a chunk --------------------------------------------------------------------------------------------------

    def _write(self, claims: Sequence[Claim]) -> float:
        """Write all rows of a chunk between its claim and its end: content, probe, features, answers, verdicts."""
        with self._timed() as took:
            for item in claims:
                with self.database.begin() as connection:
                    known_videos(connection, [item.video.id])
                    content = hashlib.sha256(item.video.uri.encode()).hexdigest()
                    record_content(connection, item.video.id, content)
                    assert take_contents(connection, {item.analysis_id: content})
                with self.database.begin() as connection:
                    record_probe(connection, item.video.id, json.loads(PROBE), duration_s=24.0, expected_s=24.0)
            segments = [_segment(item) for item in claims]
            keys = [segment.feature.key for segment in segments]
            with self.database.begin() as connection:
                known_features(connection, keys)
            with self.database.begin() as connection:
                record_features(connection, segments, recipe=self.recipe, evictions={})
            answered = [SegmentAnswers(segment=segment, answers=self._answers()) for segment in segments]
            with self.database.begin() as connection:
                own = lock_own(connection, run_id=self._run_id, analysis_ids=[item.analysis_id for item in claims])
                written = write_answers(connection, answered, video_ids=own, recipe=self.recipe, run_id=self._run_id)
                given = answers_given(connection, sorted(own.values()), self.recipe, errors=True)
                policies = policies_in_force(connection, self.recipe.prompt_ids.values(), lock=True)
                judge_answers(connection, given, self.recipe, policies)
                done = [Outcome(analysis_id=item.analysis_id, state=OutcomeState.DONE, segments=1) for item in claims]
                closings = [Closing(outcome=outcome, attempt=1, wait_s=0) for outcome in done]
                close_claims(connection, closings, max_attempts=3)
                show_videos(connection, self.recipe, policies, video_ids=own.values(), ended=own.values())
        assert written == len(claims) * len(self._answers()), written
        return took[0]

    def _answers(self) -> tuple[Answer, ...]:
        return tuple(_answer(prompt.question) for prompt in self.recipe.prompts.prompts if not prompt.policy.when)

    # -- private --------------------------------------------------------------------------------------------------

    def _note(self, name: str, calls: Sequence[float]) -> None:
        self.rounds.setdefault(name, []).append(list(calls))

    @contextmanager
    def _timed(self) -> Iterator[list[float]]:
        took: list[float] = []
        started = time.perf_counter()
        yield took
        took.append((time.perf_counter() - started) * 1000)

    @contextmanager
    def _wal_of(self, name: str, videos: int) -> Iterator[None]:
        with self.database.begin() as connection:
            before = _wal_position(connection)
        yield
        with self.database.begin() as connection:
            self.wal_bytes.setdefault(name, []).append((_wal_position(connection) - before) / videos)


def _wal_position(connection: Connection) -> int:
    return int(connection.execute(text("SELECT pg_current_wal_insert_lsn() - '0/0'")).scalar_one())


def _segment(item: Claim) -> EncodedSegment:
    key = hashlib.sha256(f"features of {item.video.uri}".encode()).hexdigest()
    place = f"s3://cache/features/{key[:2]}/{key}"
    return EncodedSegment(
        analysis_id=item.analysis_id,
        video_id=item.video.id,
        segment=Segment(0, 0.0, 24.0),
        feature=FeatureRef(key=key, uri=f"{place}.parquet", size_bytes=14_700_000, sha256=key[::-1]),
        pts_s=tuple(n * 3.1 for n in range(8)),
        damaged_frames=0,
        covered_s=24.0,
        decoder="decord",
        decoder_version="0.6.0",
        thumbnail_uri=f"{place}.jpg",
    )


def _answer(question: Question) -> Answer:
    """An answer as long as a real one."""
    answer = partial(Answer, question_hash=question.hash, prompt_tokens=1120, generated_tokens=24)
    match question.kind:
        case PromptKind.CAPTION:
            return answer(text=CAPTION)
        case PromptKind.NUMBER:
            return answer(text="2")
        case PromptKind.YES_NO:
            return answer(scores={"yes": 0.0269, "no": 0.9731}, mass=0.9812)
        case PromptKind.TAGS:
            each = dict.fromkeys(question.choices, 0.1)
            return answer(scores=each, mass=dict.fromkeys(each, 0.97))
    scores = {"indoors": 0.01, "outdoors": 0.97, "studio": 0.02}
    return answer(scores=scores, mass=0.9623)

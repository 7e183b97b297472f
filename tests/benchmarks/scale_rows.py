"""Databases of any size: Postgres generates the rows, and this module generates the same objects as a listing does.

Half of the objects have keys by day and camera: a page of the listing is contiguous in the tables. Half have unordered
names: a page is scattered over all nights. Nine tenths are done, and a hundredth of these failed; the newest tenth is
pending. A tenth of the videos have a segment, its features, its answers, and the verdicts on them.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from sqlalchemy.engine import make_url

from nightreel.database.connection import Database
from nightreel.database.current_recipes import make_current
from nightreel.database.migrations import upgrade
from nightreel.database.recipes import Recipe, register_recipe
from nightreel.domain import SamplingPlan, StoredObject
from nightreel.prompts.loading import load_prompt_sets

SOURCE = "s3://bucket"
SETS = ("tagging_2026", "moderation_2026")
_FIRST_NIGHT = datetime(2026, 11, 1, tzinfo=UTC)
_NIGHTS = 20

# Row i: even rows by day, odd rows by name. `step` is coprime with the number of names, so i // 2 * step takes every
# remainder once, in an order unrelated to i.
_VIDEOS = """
INSERT INTO nightreel.videos
    (uri, etag, size_bytes, modified_at, content_sha256, duration_s, probe, discovered_at, run_id)
SELECT CASE WHEN i % 2 = 0
            THEN 's3://bucket/by-day/' || to_char(night, 'YYYY/MM/DD')
                 || '/cam-' || lpad((i / 2000)::text, 5, '0') || '/' || lpad((i / 2 % 1000)::text, 6, '0') || '.mp4'
            ELSE 's3://bucket/by-name/' || lpad(to_hex(i / 2 * {step} % {half}), 8, '0')
                 || '-5d0c-4b7e-9d5a-6f1c2b3a4d5e.mp4'
       END,
       md5(i::text), 5000000 + i % 1000000, night + make_interval(secs => i % 86400),
       CASE WHEN i < {done} THEN encode(sha256(i::text::bytea), 'hex') END,
       CASE WHEN i < {done} THEN 20 + i % 10 END,
       CASE WHEN i < {done} THEN {probe}::jsonb END,
       night + interval '1 day', 1
FROM generate_series(0::bigint, {known} - 1) AS i,
     LATERAL (SELECT timestamptz '2026-11-01 00:00Z' + (i * {nights} / {known}) * interval '1 day' AS night) AS at
"""
_ANALYSES = """
INSERT INTO nightreel.analyses
    (video_id, recipe_id, uri, status, attempts, run_id, content_sha256, segments, reason, created_at, updated_at,
     modified_at)
SELECT id, 1, uri,
       CASE WHEN content_sha256 IS NULL THEN 'pending' WHEN id % 100 = 0 THEN 'failed' ELSE 'done' END,
       CASE WHEN content_sha256 IS NULL THEN 0 ELSE 1 END,
       CASE WHEN content_sha256 IS NOT NULL THEN 1 END,
       content_sha256,
       CASE WHEN content_sha256 IS NOT NULL AND id % 100 <> 0 THEN 1 END,
       CASE WHEN content_sha256 IS NOT NULL AND id % 100 = 0
            THEN (ARRAY['no_frames', 'damaged', 'not_a_video', 'limit_pixels'])[1 + id / 100 % 4] END,
       discovered_at, discovered_at, modified_at
FROM nightreel.videos ORDER BY id
"""
_SEGMENTS = """
INSERT INTO nightreel.segments (video_id, plan_hash, index, start_s, end_s)
SELECT id, '{plan_hash}', 0, 0, duration_s FROM nightreel.videos WHERE id <= {known} / 10 ORDER BY id
"""
_FEATURES = """
INSERT INTO nightreel.features (key, uri, size_bytes, sha256, pts_s, damaged_frames, decoder, decoder_version,
                                thumbnail_uri, content_sha256, plan, model_id, covered_s)
SELECT key, 's3://cache/features/' || left(key, 2) || '/' || key || '.parquet', 14700000,
       encode(sha256(key::bytea), 'hex'), ARRAY[0.5, 3.1, 5.7, 8.2, 10.8, 13.4, 15.9, 18.5], 0, 'decord', '0.6.0',
       's3://cache/features/' || left(key, 2) || '/' || key || '.jpg', content_sha256, 'uniform:8', 1, duration_s
FROM nightreel.videos, LATERAL (SELECT encode(sha256((id || 'features')::bytea), 'hex') AS key) AS made
WHERE id <= {known} / 10 ORDER BY id
"""
_ANSWERS = """
INSERT INTO nightreel.answers (segment_id, question_id, model_id, state, text, p, scores, mass, prompt_tokens,
                               generated_tokens, feature_key, run_id)
SELECT segment.id, question.id, 1, 'measured',
       CASE question.kind WHEN 'caption' THEN {caption} WHEN 'number' THEN '2' END,
       CASE question.kind WHEN 'yes_no' THEN 0.0269 WHEN 'choice' THEN 0.97 WHEN 'tags' THEN 0.9 END,
       CASE question.kind WHEN 'yes_no' THEN '{{"yes": 0.0269, "no": 0.9731}}'::jsonb
                          WHEN 'choice' THEN '{{"indoors": 0.01, "outdoors": 0.97, "studio": 0.02}}'
                          WHEN 'tags' THEN '{{"sports": 0.9, "news": 0.1, "music": 0.1, "animals": 0.2, "nature": 0.8,
                                             "food": 0.1, "travel": 0.3, "gaming": 0.1}}' END,
       CASE question.kind WHEN 'tags' THEN '{{"sports": 0.98, "news": 0.97, "music": 0.97, "animals": 0.98,
                                              "nature": 0.98, "food": 0.97, "travel": 0.97, "gaming": 0.97}}'::jsonb
                          WHEN 'yes_no' THEN '0.9812' WHEN 'choice' THEN '0.9623' END,
       1120, CASE question.kind WHEN 'caption' THEN 24 ELSE 1 END,
       encode(sha256((segment.video_id || 'features')::bytea), 'hex'), 1
FROM nightreel.segments AS segment
CROSS JOIN (SELECT * FROM nightreel.questions WHERE kind <> 'text') AS question
ORDER BY segment.id, question.id
"""
_SAID = """
       'answered',
       CASE question.kind WHEN 'yes_no' THEN 'no' WHEN 'number' THEN '2' WHEN 'choice' THEN 'outdoors'
                          WHEN 'tags' THEN 'sports, nature' END,
       CASE question.kind WHEN 'yes_no' THEN 'false'::jsonb WHEN 'number' THEN '2' WHEN 'choice' THEN '"outdoors"'
                          WHEN 'tags' THEN '["sports", "nature"]' END,
       CASE question.kind WHEN 'tags' THEN '{{"sports": "yes", "nature": "yes"}}'::jsonb END, false, false"""
_VERDICTS = f"""
INSERT INTO nightreel.verdicts (answer_id, prompt_id, policy_id, state, text, value, labels, flagged, needs_review,
                                shown)
SELECT answer.id, prompt.id, prompt.policy_id, {_SAID}, true
FROM nightreel.answers AS answer
JOIN nightreel.prompts AS prompt USING (question_id)
JOIN nightreel.questions AS question ON question.id = answer.question_id
ORDER BY answer.id, prompt.id
"""
_VIDEO_VERDICTS = f"""
INSERT INTO nightreel.video_verdicts (video_id, prompt_id, policy_id, state, text, value, labels, flagged, needs_review,
                                      max_p, segments, unknown, errors, covered_s, expected_s)
SELECT segment.video_id, prompt.id, prompt.policy_id, {_SAID},
       CASE question.kind WHEN 'yes_no' THEN 0.0269 END, 1, 0, 0, segment.end_s, segment.end_s
FROM nightreel.segments AS segment
CROSS JOIN nightreel.prompts AS prompt
JOIN nightreel.questions AS question ON question.id = prompt.question_id
WHERE question.kind <> 'text'
ORDER BY segment.video_id, prompt.id
"""
CAPTION = "A man in a red jacket walks across a parking lot, stops beside a white van and looks at his phone."
PROBE = """{"container": "mov", "codec": "h264", "profile": "High", "pixel_format": "yuv420p", "width": 1920,
"height": 1080, "rotation": 0, "pixel_aspect": 1.0, "duration_s": 24.0, "frame_count": 720, "fps": 30.0,
"variable_fps": false, "time_base": "1/15360", "start_s": 0.0, "edited": false, "discarded_frames": 0,
"damaged_packets": 0, "missing_pts": 0, "truncated": false, "expected_frames": 720, "hdr": null, "size_bytes": 5242880,
"streams": 2, "stream_index": 0, "decoder": "decord", "decoder_reason": "h264 in mov, every frame timed",
"keyframes": 12}"""
_TABLES = (("videos", _VIDEOS), ("analyses", _ANALYSES), ("segments", _SEGMENTS), ("features", _FEATURES),
           ("answers", _ANSWERS), ("verdicts", _VERDICTS), ("video_verdicts", _VIDEO_VERDICTS))  # fmt: skip


@dataclass(frozen=True)
class Objects:
    """The listed objects of `known` videos, a multiple of 10,000."""

    known: int

    @property
    def half(self) -> int:
        return self.known // 2

    @property
    def done_by_day(self) -> int:
        """Number of done keys by day: the first ones. The rest is pending."""
        return self.half * 9 // 10

    @property
    def step(self) -> int:
        return next(step for step in range(self.half * 618 // 1000, self.half) if math.gcd(step, self.half) == 1)

    def by_day(self, number: int, *, version: str = "") -> StoredObject:
        """Object `number` by day. Key order is row order."""
        row = 2 * number
        night = _FIRST_NIGHT + timedelta(days=row * _NIGHTS // self.known)
        name = f"by-day/{night:%Y/%m/%d}/cam-{number // 1000:05}/{number % 1000:06}.mp4"
        return _stored(name, f"{row}{version}", night + timedelta(seconds=row % 86400))

    def by_name(self, number: int) -> StoredObject:
        """Object `number` by name, in key order. Rows of neighbouring keys are far apart."""
        row = 2 * (number * pow(self.step, -1, self.half) % self.half) + 1
        night = _FIRST_NIGHT + timedelta(days=row * _NIGHTS // self.known)
        return _stored(f"by-name/{number:08x}-5d0c-4b7e-9d5a-6f1c2b3a4d5e.mp4", str(row), night)


def new_objects(name: str, count: int) -> list[StoredObject]:
    """Objects that are new to a database, unless it has had this `name` before."""
    return [_stored(f"incoming/{name}/{number:06}.mp4", f"{name}{number}", _FIRST_NIGHT) for number in range(count)]


def register(database: Database) -> Recipe:
    """The recipe of all rows: shipped prompts and a model that does not exist. It is the current one."""
    with database.begin() as connection:
        recipe = register_recipe(
            connection,
            model_hash="a" * 64,
            model_spec={"name": "none", "revision": "1"},
            plan=SamplingPlan.parse("uniform:8"),
            prompts=load_prompt_sets(SETS),
        )
        make_current(connection, recipe.id, source=SOURCE, set_names=SETS, made_by="benchmark", instead=True)
        return recipe


def connect(url: str) -> psycopg.Connection:
    """Connect to the database of one of our URLs; each statement is its own transaction."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True)


def fill(url: str, known: int) -> None:
    """Migrate an empty database and fill it. Indexes are created after the rows; foreign keys are not checked."""
    objects, database = Objects(known), Database(url)
    upgrade(database.engine)
    recipe = register(database)
    database.close()
    values = {
        "known": known,
        "half": objects.half,
        "done": known * 9 // 10,
        "step": objects.step,
        "nights": _NIGHTS,
        "probe": _literal(PROBE),
        "caption": f"{_literal(CAPTION)}::text",
        "plan_hash": recipe.plan.hash,
    }
    with connect(url) as connection:
        for setting in (
            "session_replication_role = replica",
            "synchronous_commit = off",
            "maintenance_work_mem = '1GB'",
        ):
            connection.execute(f"SET {setting}")
        connection.execute(
            "INSERT INTO nightreel.runs (source, recipe_id, status, options, settings, environment)"
            " VALUES (%s, 1, 'running', '{}', '{}', '{}')",
            [SOURCE],
        )
        for table, rows in _TABLES:
            started = time.perf_counter()
            with _without_indexes(connection, table):
                connection.execute(rows.format(**values))
            print(f"{known:,} videos: {table} after {time.perf_counter() - started:.0f} s", flush=True)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


@contextmanager
def _without_indexes(connection: psycopg.Connection, table: str) -> Iterator[None]:
    """Drop all indexes and unique constraints except the primary key, and create them again afterwards."""
    name = f"nightreel.{table}"
    unique = _rows(
        connection,
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'u'",
        name,
    )
    indexes = _rows(
        connection,
        "SELECT relname, pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE indrelid = %s::regclass AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)",
        name,
    )
    for constraint, _ in unique:
        connection.execute(f"ALTER TABLE {name} DROP CONSTRAINT {constraint}")
    for index, _ in indexes:
        connection.execute(f"DROP INDEX nightreel.{index}")
    yield
    for constraint, definition in unique:
        connection.execute(f"ALTER TABLE {name} ADD CONSTRAINT {constraint} {definition}")
    for _, definition in indexes:
        connection.execute(definition)


def _rows(connection: psycopg.Connection, query: str, name: str) -> Sequence[tuple[str, str]]:
    return connection.execute(query, [name]).fetchall()


def _stored(name: str, version: str, modified_at: datetime) -> StoredObject:
    etag = hashlib.md5(version.encode(), usedforsecurity=False).hexdigest()
    return StoredObject(uri=f"{SOURCE}/{name}", etag=etag, size_bytes=5_000_000, modified_at=modified_at)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

"""A change of policy over a million stored answers: preview, apply, and finding flags. `make bench-judge`.

A real Postgres has 100,000 segments of 33,334 videos, and answers to ten yes/no questions about each. One threshold
moves so that 1 % of all verdicts change; then coverage changes, which touches every "no". What a user would do
otherwise is ask the model again: 1,000,000 answers at the demo model's speed. The goals are seconds, not a ratio.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.harness import Report, Row
from benchmarks.sql_rows import analyze
from sqlalchemy import text

from nightreel.database.connection import Database
from nightreel.database.current_recipes import make_current
from nightreel.database.policies import apply_policy
from nightreel.database.recipes import Recipe, register_recipe
from nightreel.database.runs import RunRegistration
from nightreel.domain import Band, Prompt, PromptKind, PromptSet, SamplingPlan
from nightreel.settings import load_settings
from nightreel.stages.database import open_database
from nightreel.stages.preview import preview
from nightreel.stages.rejudge import apply_changes
from nightreel.stages.show import show_current

_VIDEOS, _SEGMENTS, _PROMPTS = 33_334, 100_000, 10
_NAMES = [f"q{number}" for number in range(_PROMPTS)]
_SOURCE = "s3://bucket"
PROMPTS = PromptSet(
    "bench",
    tuple(
        Prompt.of(name=name, set_name="bench", kind=PromptKind.YES_NO, text=f"Is it {name}?", flags=("yes",))
        for name in _NAMES
    ),
)

_ROWS = """
INSERT INTO nightreel.videos (uri, etag, size_bytes, modified_at, duration_s, expected_s, run_id)
SELECT 's3://bucket/' || number || '.mp4', '1', 1000, now(), 90, 90, :run
FROM generate_series(1, :videos) AS number;

INSERT INTO nightreel.analyses (video_id, recipe_id, status, run_id, segments, uri, covered_s)
SELECT id, :recipe, 'done', :run, 3, uri, 90 FROM nightreel.videos;

INSERT INTO nightreel.segments (video_id, plan_hash, index, start_s, end_s)
SELECT video.id, :plan, part, part * 30, part * 30 + 30
FROM nightreel.videos AS video, generate_series(0, 2) AS part
ORDER BY video.id LIMIT :segments;

INSERT INTO nightreel.features (key, uri, size_bytes, sha256, pts_s, damaged_frames, decoder, decoder_version,
                                covered_s)
SELECT 'f' || id, NULL, 1, '', '{0,4,8,12,16,20,24,28}', 0, 'pyav', '1', 30 FROM nightreel.segments;

INSERT INTO nightreel.answers (segment_id, question_id, model_id, state, p, scores, mass, prompt_tokens,
                               generated_tokens, feature_key, run_id)
SELECT segment.id, asked.question_id, :model, 'measured', drawn.p,
       jsonb_build_object('yes', drawn.p, 'no', 1 - drawn.p), '0.98', 100, 0, 'f' || segment.id, :run
FROM nightreel.segments AS segment
JOIN nightreel.recipe_prompts AS asked ON asked.recipe_id = :recipe
CROSS JOIN LATERAL (SELECT abs(hashint8(segment.id * 31 + asked.question_id)) / 2147483648.0 AS p) AS drawn;
"""


def main(rounds: int = 3) -> None:
    report = Report("judge", versions=("sqlalchemy", "psycopg"))
    with tempfile.TemporaryDirectory() as directory:
        os.environ["NIGHTREEL_WORK_DIR"] = f"{directory}/work"
        with open_database(load_settings()) as database:
            recipe = _fill(database)
            _add_rows(report, database, recipe, rounds)
    report.finish()


def _add_rows(report: Report, database: Database, recipe: Recipe, rounds: int) -> None:
    first = PROMPTS.prompts[0]
    report.add(
        Row.of_seconds("judge 1,000,000 answers for the first time", _seconds(lambda: apply_changes(database)), None)
    )
    shown_s = _seconds(lambda: show_current(database))
    report.add(Row.of_seconds("choose what is on show, and roll up 33,334 videos", shown_s, None))
    # 1 % of the verdicts are a tenth of one prompt's.
    bands = [Band(0.5, 0.5), Band(0.4, 0.4)]
    previews, applies = [], []
    for number in range(rounds):
        moved = replace(first, policy=replace(first.policy, band=bands[(number + 1) % 2]))
        previews.append(_seconds(lambda moved=moved: preview(database, PromptSet("bench", (moved,)))))
        _apply(database, recipe, moved)
        applies.append(_seconds(lambda: apply_changes(database)))
    report.add(
        Row.of_seconds("preview: one threshold moves, 1 % of verdicts change", sorted(previews)[rounds // 2], 3.0)
    )
    report.add(Row.of_seconds("apply the same", sorted(applies)[rounds // 2], 60.0))
    for prompt in PROMPTS.prompts:
        _apply(database, recipe, replace(prompt, policy=replace(prompt.policy, coverage=0.5)))
    before = _peak_mib()
    all_s = _seconds(lambda: apply_changes(database))
    note = f"peak memory {before:.0f} -> {_peak_mib():.0f} MiB"
    report.add(Row.of_seconds("apply a change of coverage to all prompts", all_s, None, note))
    query = (
        "SELECT uri, start_s, p FROM reporting.answers WHERE prompt_id = :prompt AND flagged "
        "ORDER BY answer_id DESC LIMIT 100"
    )
    analyze()
    with database.begin() as connection:
        parameters = {"prompt": recipe.prompt_ids[first.name]}
        flags_s = min(_seconds(lambda: connection.execute(text(query), parameters).all()) for _ in range(5))
    report.add(Row.of_seconds("the 100 newest flags of a prompt", flags_s, 0.02))


def _fill(database: Database) -> Recipe:
    with database.begin() as connection:
        recipe = register_recipe(
            connection,
            model_hash="a" * 64,
            model_spec={"name": "bench", "revision": "1"},
            plan=SamplingPlan.parse("uniform:8"),
            prompts=PROMPTS,
        )
        make_current(connection, recipe.id, source=_SOURCE, set_names=["bench"], made_by="bench", instead=True)
    values: dict[str, Any] = {"source": _SOURCE, "recipe_id": recipe.id, "options": {}, "settings": {}}
    with RunRegistration(database, lease_s=60, environment={}, **values) as run, database.begin() as connection:
        parameters = {
            "run": run.id,
            "recipe": recipe.id,
            "model": recipe.model_id,
            "plan": recipe.plan.hash,
            "videos": _VIDEOS,
            "segments": _SEGMENTS,
        }
        for statement in _ROWS.split(";\n"):
            if statement.strip():
                connection.execute(
                    text(statement), {key: parameters[key] for key in parameters if f":{key}" in statement}
                )
        # As after an upgrade: the policies in force have judged nothing yet.
        connection.execute(text("UPDATE nightreel.policies SET applied_at = NULL"))
        connection.execute(text("UPDATE nightreel.current_recipes SET shown_up_to = 0"))
        run.finish("completed", counts={}, timings={}, error=None)
    analyze()
    return recipe


def _apply(database: Database, recipe: Recipe, prompt: Prompt) -> None:
    with database.begin() as connection:
        apply_policy(connection, recipe.prompt_ids[prompt.name], prompt.policy, made_by="bench")


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()

"""Is the whole pipeline correct? The demo model knows its clips, so wrong frames, times, caches or positions show.

Later tests break one part each on purpose and require wrong answers: this proves that the first tests detect errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fixtures.pipeline import Pipeline
from PIL import Image

import nightreel.cache.features
from nightreel.database import reports
from nightreel.database.current_recipes import make_current
from nightreel.demo.clips import Clip, draw_clip, write_clip
from nightreel.demo.grading import Grade, grade_answers, share_right
from nightreel.demo.scenes import draw_scene
from nightreel.domain import SamplingPlan
from nightreel.media.sandbox import DecoderPool
from nightreel.models.inprocess import prefix
from nightreel.models.inprocess.local import LocalModel
from nightreel.prompts.loading import load_prompt_sets
from nightreel.stages.show import show_current
from nightreel.stages.sort import start_queues

SETS = ("demo", "demo_moderation")
LEAST = 0.98
BROKEN = 0.9
"""At most this share of the answers is right if a part of the pipeline is broken."""

SHORT = {f"short-{seed}.mp4": draw_clip(f"test {seed}") for seed in range(16)}
LONG = {"long.mp4": Clip.of(*((draw_scene(f"test long {number}"), length_s) for number, length_s in
                              enumerate((30.0, 30.0, 10.0))))}  # fmt: skip
QUICK = {"quick.mp4": Clip.of(*((draw_scene(f"test quick {number}"), 2.0) for number in range(16)))}
"""A new scene every two seconds: with an error of one second, half of the frames show another scene."""

Run = Callable[..., list[Grade]]


@pytest.fixture
def run(make_pipeline, tmp_path) -> Run:
    """`run(clips, plan=...)`: write clips, analyse them, grade the answers in Postgres."""
    pipelines: list[Pipeline] = []

    def run(clips: dict[str, Clip], *, window_s: int = 30, plan: str = "uniform:8") -> list[Grade]:
        directory = tmp_path / "videos"
        directory.mkdir(exist_ok=True)
        for name, clip in clips.items():
            if not (directory / name).exists():
                write_clip(directory / name, clip)
        if not pipelines:
            pipelines.append(
                make_pipeline(
                    directory,
                    NIGHTREEL_MODEL="demo",
                    NIGHTREEL_PROMPTS=",".join(SETS),
                    NIGHTREEL_WINDOW_S=str(window_s),
                )
            )
        summary = pipelines[0].analyze(plan=plan)
        assert summary.videos.get("done") == len(clips), summary.headline
        with pipelines[0].database.begin() as connection:
            source = {"source": summary.source, "set_names": SETS, "made_by": "test"}
            make_current(connection, summary.recipe_id, **source, instead=True)
        show_current(pipelines[0].database)
        with pipelines[0].database.begin() as connection:
            rows = reports.answers(connection, run_id=summary.run_id, limit=100_000)
        return grade_answers(rows, clips, load_prompt_sets(SETS).prompts)

    return run


def test_the_answers_in_postgres_are_right_for_every_clip_and_every_scene(run):
    grades = run(SHORT | LONG)
    assert len({(grade.clip, grade.start_s) for grade in grades}) == len(SHORT) + 3
    assert share_right(grades) >= LEAST, [grade for grade in grades if not grade.right]
    nothing = [grade for grade in grades if grade.of_nothing]
    assert len(nothing) > 60
    assert share_right(nothing) >= LEAST
    flagged = {(one.clip, one.start_s) for one in grades if one.prompt.name == "warning" and one.said == "yes"}
    explained = {(one.clip, one.start_s) for one in grades if one.prompt.name == "why"}
    assert flagged == explained, "the follow-up is asked only after a warning"
    assert 2 <= len(flagged) < 12


def test_answers_belong_to_their_own_two_seconds(run):
    grades = run(QUICK, window_s=2)
    assert len({grade.start_s for grade in grades}) == 16
    assert share_right(grades) >= LEAST, [grade for grade in grades if not grade.right]


def test_frames_one_second_late_make_answers_wrong(run, monkeypatch):
    import nightreel.media.sandbox as sandbox

    on_time = sandbox.timestamps
    monkeypatch.setattr(
        sandbox, "timestamps", lambda *given, **options: [moment + 1 for moment in on_time(*given, **options)]
    )
    assert share_right(run(QUICK, window_s=2)) < BROKEN


def test_swapped_red_and_blue_make_answers_wrong(run, monkeypatch):
    decode = DecoderPool.decode

    def swapped(pool, path: Path, **given):
        batch = decode(pool, path, **given)
        return replace(batch, frames_thwc=batch.frames_thwc[..., ::-1])

    monkeypatch.setattr(DecoderPool, "decode", swapped)
    assert share_right(run(QUICK, window_s=2)) < BROKEN


def test_features_of_another_clip_make_answers_wrong(run, monkeypatch):
    ask = LocalModel.ask

    def confused(model, features, questions, **given):
        return ask(model, [*features[1:], features[0]], questions, **given)

    monkeypatch.setattr(LocalModel, "ask", confused)
    assert share_right(run(QUICK, window_s=2)) < BROKEN


def test_lost_positions_make_answers_wrong(run, monkeypatch):
    monkeypatch.setattr(prefix, "as_position_ids", lambda _: None)
    assert share_right(run(QUICK, window_s=2)) < BROKEN


def test_features_of_another_plan_make_answers_wrong(run, monkeypatch):
    from nightreel.stages import recall

    assert share_right(run(QUICK, window_s=2, plan="uniform:1")) < BROKEN, "one frame shows no motion"

    def careless(*, plan: SamplingPlan, **given) -> str:
        return nightreel.cache.features.feature_key(plan=SamplingPlan.parse("uniform:1"), **given)

    monkeypatch.setattr(recall, "feature_key", careless)
    assert share_right(run(QUICK, window_s=2, plan="uniform:8")) < BROKEN


def test_the_demo_prints_answers_beside_the_truth_and_writes_a_contact_sheet(make_pipeline):
    pipeline = make_pipeline("", NIGHTREEL_MODEL="demo", NIGHTREEL_PLAN="uniform:8")
    start_queues(pipeline.database)
    said, _ = pipeline.start("demo").communicate(timeout=200)
    assert "correct: 13 of 13 captions" in said, said
    assert "30-60 s  a red square, a red triangle and a blue triangle move up on a black background." in said
    assert "flagged: a red triangle, the warning sign" in said
    assert "no_index" in said
    assert "10 done, 1 reused, 1 failed" in said
    assert "three scripted reviewers: 7 cases, 10 decisions, 1 disagreement, 1 undone; three cases wait for you" in said
    assert re.search(r"demo_moderation/warning\s+10\s+10\s+7\s+0 \(0-2\)\s+30 % \(20-50\)\s+100 % \(59-100\)", said)
    assert "expected calibration error: 0.000" in said
    with Image.open(pipeline.work_dir / "demo" / "contact-sheet.png") as poster:
        assert poster.width > 900

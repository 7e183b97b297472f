"""A "no" about what was not seen is unknown, and a video with some bad segments is partly done. Real files, cut or hit.

The prompts' thresholds force the answers of the model: `never` is always "no", `always` is always "yes".
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fixtures.clips import cut_file, encode_numbers, zero_payload
from fixtures.pipeline import Pipeline
from typer.testing import CliRunner

from nightreel.cli.app import app

PROMPTS = """
name: forced
prompts:
  - {name: never, kind: yes_no, text: "Is there a weapon?", threshold: 1.0, flag: "yes"}
  - {name: always, kind: yes_no, text: "Is there a picture?", threshold: 0.0, flag: "yes"}
  - {name: none_of, kind: tags, text: "What is there?", choices: [weapon, blood], threshold: 1.0}
  - {name: caption, kind: caption, text: "Describe the video.", max_new_tokens: 8}
"""
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10")
CUT = {
    "cut.mp4": (*X264, "-movflags", "+faststart"),
    "cut.mov": (*X264, "-movflags", "+faststart"),
    "cut.avi": ("-c:v", "mpeg4", "-q:v", "4", "-g", "10"),
    "cut_mjpeg.avi": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    return tmp_path / "videos"


@pytest.fixture
def forced(make_pipeline, videos: Path, tmp_path: Path) -> Pipeline:
    prompts = tmp_path / "forced.yaml"
    prompts.write_text(PROMPTS)
    return make_pipeline(videos, NIGHTREEL_PROMPTS=str(prompts), NIGHTREEL_PLAN="uniform:8")


def rolled_up(pipeline: Pipeline, prompt: str) -> dict[str, object]:
    rows = pipeline.rows(f"SELECT * FROM reporting.video_answers WHERE prompt = '{prompt}'")
    return {row.uri.rsplit("/", 1)[1]: row for row in rows}


def invoke(*arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
    return done.stdout


def test_a_no_about_a_file_that_is_cut_off_is_unknown_and_a_yes_stands(forced, videos):
    for name, options in CUT.items():
        encode_numbers(videos / name, range(62), *options, fps="10")
        cut_file(videos / name, 0.2)
    encode_numbers(videos / "whole.mp4", range(62), *CUT["cut.mp4"], fps="10")
    summary = forced.analyze()
    assert summary.videos == {"done": len(CUT) + 1}
    assert summary.little_seen == len(CUT)
    assert summary.coverage.startswith("saw ")
    never, always, none_of = (rolled_up(forced, name) for name in ("never", "always", "none_of"))
    for name in CUT:
        assert never[name].expected_s == pytest.approx(6.2, abs=0.15), name
        assert 0 < never[name].covered_s < 2, name
        for row in (never[name], none_of[name]):
            assert (row.answer, row.state) == (None, "unknown"), name
            assert row.reason == f"saw {int(row.covered_s * 10 + 1e-6) / 10:g} of {row.expected_s:.1f} s", name
        assert (never[name].needs_review, never[name].flagged) == (True, False), name
        assert (always[name].answer, always[name].state, always[name].flagged) == ("yes", "answered", True), name
    assert (never["whole.mp4"].answer, never["whole.mp4"].needs_review) == ("no", False)
    assert (none_of["whole.mp4"].answer, never["whole.mp4"].covered_s) == ("", never["whole.mp4"].expected_s)
    segments = forced.rows("SELECT * FROM reporting.answers WHERE prompt = 'never' AND uri NOT LIKE '%whole.mp4'")
    assert {(row.state, row.answer, row.value, row.needs_review) for row in segments} == {("unknown", None, None, True)}
    assert {row.reason for row in segments} == {never[name].reason for name in CUT}
    lines = invoke("answers", "cut.mp4", "--prompt", "never").splitlines()
    assert f"unknown: {never['cut.mp4'].reason}" in lines[1]
    review = json.loads(invoke("answers", "--review", "--prompt", "never", "--json"))
    assert {row["uri"].rsplit("/", 1)[1] for row in review} == set(CUT)


def test_the_next_run_judges_by_another_least_coverage_and_asks_nothing(forced, videos, monkeypatch):
    encode_numbers(videos / "cut.mp4", range(60), *CUT["cut.mp4"], fps="10")
    cut_file(videos / "cut.mp4", 0.6)
    forced.analyze()
    stored = forced.rows("SELECT * FROM nightreel.answers ORDER BY id")

    def shown(least: str | None) -> tuple[str | None, str]:
        if least is None:
            monkeypatch.delenv("NIGHTREEL_MIN_COVERAGE", raising=False)
        else:
            monkeypatch.setenv("NIGHTREEL_MIN_COVERAGE", least)
        summary = forced.analyze()
        assert (summary.work, summary.answers) == ({}, {}), "nothing is fetched, decoded or asked"
        (row,) = json.loads(invoke("answers", "--prompt", "never", "--json"))
        rolled = rolled_up(forced, "never")["cut.mp4"]
        assert (rolled.answer, rolled.state) == (row["answer"], row["state"])
        assert rolled_up(forced, "always")["cut.mp4"].answer == "yes"
        return rolled.answer, rolled.state

    assert shown(None) == (None, "unknown")
    assert shown("0.3") == ("no", "answered")
    assert shown(None) == (None, "unknown"), "the default is 0.8"
    assert shown("0.9") == (None, "unknown")
    assert forced.rows("SELECT * FROM nightreel.answers ORDER BY id") == stored


def test_a_video_with_one_damaged_segment_is_partly_done(make_pipeline, forced, videos):
    encode_numbers(videos / "camera.ts", range(1200), *X264, fps="10", width=320, height=192)
    zero_payload(videos / "camera.ts", 0.26, 0.49)
    encode_numbers(videos / "whole.mp4", range(20), *X264, fps="10")
    summary = forced.analyze()
    assert summary.is_green
    assert summary.videos == {"partly_done": 1, "done": 1}
    assert summary.partly_done == {"damaged": 1}
    assert summary.headline.startswith("1 done, 1 partly done, 0 reused, 0 failed")
    video = next(row for row in forced.rows("SELECT * FROM reporting.videos") if row.uri.endswith("camera.ts"))
    assert (video.status, video.reason, video.segments, video.failed_segments) == ("partly_done", "damaged", 4, 1)
    assert (video.covered_s, video.expected_s) == (pytest.approx(90, abs=2), pytest.approx(120, abs=0.5))
    assert video.coverage == pytest.approx(0.75, abs=0.02)
    (failed,) = forced.rows("SELECT * FROM reporting.failed_segments")
    assert (failed.segment, failed.start_s, failed.reason) == (1, 30, "damaged")
    assert "frames good" in failed.detail or "decodes" in failed.detail
    (failure,) = forced.rows("SELECT * FROM reporting.failures")
    assert failure.detail.startswith("1 of 4 segments (30-60 s): ")
    never, always = rolled_up(forced, "never")["camera.ts"], rolled_up(forced, "always")["camera.ts"]
    assert (never.answer, never.state, never.needs_review) == (None, "unknown", True)
    assert never.reason.startswith("saw ")
    assert (always.answer, always.flagged) == ("yes", True)
    segments = forced.rows("SELECT * FROM reporting.answers WHERE prompt = 'never' AND uri LIKE '%camera.ts'")
    assert [(row.segment, row.answer) for row in segments] == [(0, "no"), (2, "no"), (3, "no")]
    assert all(row.video_needs_review for row in segments), "too little of the video was seen"
    shown = invoke("failures")
    assert "partly_done" in shown
    assert "saw " in shown
    assert "of the video" in invoke("answers", "--review", "--prompt", "never")

    before = forced.rows("SELECT * FROM nightreel.answers ORDER BY id")
    assert forced.analyze().headline.startswith("nothing new")
    assert "1 video queued" in invoke("retry", "--reason", "damaged")
    again = forced.analyze()
    assert again.videos == {"partly_done": 1}
    assert again.work["decoded_segments"] == 1
    assert forced.rows("SELECT * FROM nightreel.answers ORDER BY id") == before
    assert len(forced.rows("SELECT * FROM reporting.failed_segments")) == 1


def test_one_bad_frame_of_eight_is_allowed_and_two_make_a_no_unknown(forced, videos):
    one_s = 1 / 30
    for name, moments_s in {
        "one.ts": [13.125],
        "two.ts": [13.125, 20.625],
        "three.ts": [1.875, 13.125, 20.625],
    }.items():
        encode_numbers(videos / name, range(300), *X264, fps="10", width=320, height=192)
        for moment_s in moments_s:
            zero_payload(videos / name, (moment_s - 0.3) * one_s, (moment_s + 0.3) * one_s)
    assert forced.analyze().videos == {"done": 2, "failed": 1}
    assert forced.statuses()["three.ts"] == ("failed", "damaged")
    rows = forced.rows("SELECT * FROM reporting.answers WHERE prompt = 'never' ORDER BY uri")
    assert [(row.damaged_frames, row.answer, row.reason, row.needs_review) for row in rows] == [
        (1, "no", None, False),
        (2, None, f"saw {int(rows[1].covered_s * 10) / 10:g} of 30 s", True),
    ]
    assert [row.covered_s for row in rows] == [pytest.approx(26.25, abs=0.1), pytest.approx(22.5, abs=0.2)]
    assert {name: row.answer for name, row in rolled_up(forced, "never").items()} == {"one.ts": "no", "two.ts": None}
    assert {row.answer for row in rolled_up(forced, "always").values()} == {"yes"}


def test_copies_and_new_prompts_keep_the_coverage_of_cached_segments(forced, videos, tmp_path):
    encode_numbers(videos / "cut.mp4", range(60), *CUT["cut.mp4"], fps="10")
    cut_file(videos / "cut.mp4", 0.2)
    forced.analyze()
    shutil.copy(videos / "cut.mp4", videos / "copy.mp4")
    assert forced.analyze().videos == {"reused": 1}
    more = tmp_path / "more.yaml"
    more.write_text(
        'name: more\nprompts:\n  - {name: fire, kind: yes_no, text: "Fire?", threshold: 1.0, flag: "yes"}\n'
    )
    assert forced.analyze(prompts=(str(more),)).work == {"cached_segments": 1}
    never, fire = rolled_up(forced, "never"), rolled_up(forced, "fire")
    assert never["copy.mp4"].reason == never["cut.mp4"].reason == fire["cut.mp4"].reason == fire["copy.mp4"].reason
    assert {row.state for row in (*never.values(), *fire.values())} == {"unknown"}


def test_the_question_of_one_video_has_the_same_rule(forced, videos):
    encode_numbers(videos / "cut.mp4", range(60), *CUT["cut.mp4"], fps="10")
    whole = json.loads(invoke("ask", str(videos / "cut.mp4"), "Is there a weapon?", "--kind", "yes_no", "--json"))
    cut_file(videos / "cut.mp4", 0.2)
    cut = json.loads(invoke("ask", str(videos / "cut.mp4"), "Is there a weapon?", "--kind", "yes_no", "--json"))
    assert whole[0]["covered_s"] == whole[0]["expected_s"] == 6.0
    assert cut[0]["expected_s"] == pytest.approx(6.0, abs=0.1)
    if cut[0]["answer"] != "yes":
        assert cut[0]["reason"].startswith("saw ")

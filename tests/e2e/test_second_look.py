"""A warning sign of two seconds in half a minute: a second look finds it, says when, and costs nothing twice."""

from __future__ import annotations

import shutil

import pytest

from nightreel.demo.clips import Clip, write_clip
from nightreel.demo.scenes import draw_scene
from nightreel.domain import VideoEnd

FILE = """
name: signs
prompts:
  - {{name: caption, kind: caption, text: "Describe what happens in this video."}}
  - name: warning
    kind: yes_no
    text: "Is a warning sign shown?"
    flag: "yes"
    doubt: 0.1
    {look}
  - {{name: why, kind: text, text: "Explain why a warning is shown.", when: {{warning: "yes"}}, max_new_tokens: 48}}
"""
LOOK = 'look_again: {{from: {}, plan: "fps:2:16", window_s: {}}}'


def scenes(warning: bool):
    drawn = (draw_scene(f"look {seed}") for seed in range(1000))
    return (scene for scene in drawn if scene.things and any(thing.is_warning for thing in scene.things) is warning)


@pytest.fixture
def policy(make_pipeline, tmp_path):
    """`policy(look)`: the prompt file with this key; the pipeline is its attribute."""
    videos = tmp_path / "videos"
    videos.mkdir()
    calm, sign = scenes(False), scenes(True)
    before, after, other = next(calm), next(calm), next(calm)
    write_clip(videos / "sign.mp4", Clip.of((before, 13.0), (next(sign), 2.0), (after, 15.0)))
    write_clip(videos / "calm.mp4", Clip.of((other, 30.0)))
    path = tmp_path / "signs.yaml"

    def write(look: str = "") -> str:
        path.write_text(FILE.format(look=look))
        return str(path)

    write.videos = videos
    write.pipeline = make_pipeline(
        videos, NIGHTREEL_MODEL="demo", NIGHTREEL_PROMPTS=write(), NIGHTREEL_PLAN="uniform:8"
    )
    return write


def answers(policy, name: str = "sign.mp4"):
    rows = policy.pipeline.rows("SELECT * FROM reporting.answers WHERE prompt = 'warning' ORDER BY uri, start_s")
    return [row for row in rows if row.uri.endswith(name)]


def test_a_second_look_finds_what_the_first_one_missed_and_says_when(policy):
    pipeline = policy.pipeline
    pipeline.analyze()
    assert {row.answer for row in answers(policy, "")} == {"no"}, "one frame of eight is not enough for the demo model"

    policy(LOOK.format(0.0, 5))
    first = pipeline.analyze()
    (sign,), (calm,) = answers(policy, "sign.mp4"), answers(policy, "calm.mp4")
    assert (sign.answer, sign.flagged, sign.start_s, sign.end_s, sign.look) == ("yes", True, 10.0, 15.0, "fps:2:16/5")
    assert (calm.answer, calm.start_s, calm.end_s) == ("no", 0.0, 30.0)
    assert [(one["start_s"], one["end_s"]) for one in sign.windows] == [(s, s + 5.0) for s in range(0, 30, 5)]
    assert sign.p == max(one["measured"]["scores"]["yes"] for one in sign.windows)
    assert all(10 <= moment < 15 for moment in sign.frame_times_s), "the frames of the window with the sign"
    assert len(sign.frame_times_s) == 10
    assert first.videos == {VideoEnd.DONE: 2, VideoEnd.CONTINUES: 1}, "one goes on: its follow-up became due"
    assert (first.work["decoded_segments"], first.work["second_look_windows"]) == (12, 12)
    assert first.answers.total() == 3, "two verdicts after second looks, and a follow-up"
    rows = pipeline.rows("SELECT * FROM reporting.video_answers WHERE prompt = 'warning' AND flagged")
    assert [(row.uri[-8:], row.first_flagged_s, row.missing) for row in rows] == [("sign.mp4", 10.0, 0)]
    assert pipeline.value("SELECT count(*) FROM reporting.answers WHERE prompt = 'why' AND due") == 1
    assert pipeline.analyze().work == {}, "nothing is done twice"

    shutil.copy(policy.videos / "sign.mp4", policy.videos / "copy.mp4")
    again = pipeline.analyze()
    assert again.work == {"fetched": 1}, "the same bytes under another key cost nothing"
    (copy,) = answers(policy, "copy.mp4")
    assert (copy.answer, copy.start_s, copy.look, copy.windows) == ("yes", 10.0, sign.look, sign.windows)

    policy(LOOK.format(0.9, 5))
    assert pipeline.analyze().work == {}
    assert {(row.answer, row.look, row.end_s) for row in answers(policy, "")} == {("no", None, 30.0)}
    policy(LOOK.format(0.0, 5))
    assert pipeline.analyze().work == {}, "stored second looks count again"
    assert [row.answer for row in answers(policy, "")] == ["no", "yes", "yes"]

    policy(LOOK.format(0.0, 10))
    other = pipeline.analyze()
    assert other.work["second_look_windows"] == 6, "another look is another measurement, once for each content"
    assert {row.look for row in answers(policy, "")} == {"fps:2:16/10"}
    assert pipeline.value("SELECT count(*) FROM reporting.answers_all WHERE look = 'fps:2:16/5'") == 3


def test_windows_that_do_not_fit_into_a_chunk_go_into_the_next_one(policy, monkeypatch):
    policy(LOOK.format(0.0, 5))
    monkeypatch.setenv("NIGHTREEL_CHUNK_SEGMENTS", "2")
    done = policy.pipeline.analyze()
    assert done.work["second_look_windows"] == 12
    assert done.videos[VideoEnd.DONE] == 2
    assert [row.answer for row in answers(policy, "")] == ["no", "yes"]

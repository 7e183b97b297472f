"""The views that analysts read: flags, tags, timeline, segments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fixtures.judged import under, yes_no
from fixtures.work import PROMPTS, Work, stored
from fixtures.work_answers import analyse, answered, window
from sqlalchemy import RowMapping, text

from nightreel.domain import Answer, Prompt, PromptKind, PromptSet

CAPTION, VIOLENCE, WHY = PROMPTS.prompts
SCENE = Prompt.of(name="scene", kind=PromptKind.CHOICE, text="Where?", choices=("indoors", "outdoors"), set_name="test")
ASKED = PromptSet(PROMPTS.name, (CAPTION, under(VIOLENCE, severity=3, min_mass=0.01), WHY, SCENE))


def rows(work: Work, view: str, where: str = "true", order: str = "1") -> list[dict[str, Any]]:
    with work.database.begin() as connection:
        found = connection.execute(text(f"SELECT * FROM reporting.{view} WHERE {where} ORDER BY {order}")).mappings()
        return [_named(row) for row in found]


def _named(row: RowMapping) -> dict[str, Any]:
    return dict(row) | ({"uri": row["uri"].rsplit("/", 1)[1]} if "uri" in row else {})


@pytest.fixture
def work(open_work) -> Work:
    """Videos of five segments, with the probabilities of violence in each; None: it could not be judged."""
    work = open_work(prompts=ASKED)
    violence = {
        "clean": (0.01, 0.02, 0.01, 0.01, 0.01),
        "twice": (0.9, 0.97, 0.01, 0.99, 0.01),
        "unsure": (0.01, None, 0.01, 0.01, 0.01),
        "worse": (0.01, None, 0.99, 0.01, 0.01),
    }
    work.discover(*(stored(f"{name}.mp4") for name in violence))
    for claim in work.claim(segments=100):
        name = claim.video.uri.rsplit("/", 1)[1].removesuffix(".mp4")
        segments = []
        for index, p in enumerate(violence[name]):
            measured = yes_no(VIOLENCE.question, p) if p else replace(yes_no(VIOLENCE.question, 0.5), mass=0.001)
            scene = Answer(question_hash=SCENE.question.hash, scores={"indoors": 0.98, "outdoors": 0.02}, mass=0.9)
            segments.append(answered(claim, window(index), measured, scene))
        analyse(work, claim, *segments, expected_s=150.0)
    return work


def test_flags_have_merged_ranges_the_worst_p_and_what_could_not_be_judged(work):
    found = {row["uri"]: row for row in rows(work, "flags")}
    assert found.keys() == {"twice.mp4", "unsure.mp4", "worse.mp4"}
    twice = found["twice.mp4"]
    assert (twice["found"], twice["severity"], twice["prompt"]) == ("flagged", 3, "violence")
    assert twice["ranges"] == [[0, 60], [90, 120]]
    assert (twice["first_s"], twice["segments"], twice["segments_in_all"]) == (0.0, 3, 5)
    assert twice["worst_p"] == pytest.approx(0.99)
    unsure = found["unsure.mp4"]
    assert (unsure["found"], unsure["ranges"], unsure["segments"]) == ("unknown", [[30, 60]], 1)
    worse = found["worse.mp4"]
    assert (worse["found"], worse["ranges"], worse["first_s"]) == ("flagged", [[60, 90]], 60.0), "a yes beats unknown"


def test_every_video_has_its_tags_and_choices(work):
    assert [(row["uri"], row["prompt"], row["tag"]) for row in rows(work, "tags", order="uri")] == [
        (f"{name}.mp4", "scene", "indoors") for name in ("clean", "twice", "unsure", "worse")
    ]


def test_the_timeline_of_a_video_is_in_the_order_of_time(work):
    found = rows(work, "timeline", where="uri LIKE '%twice.mp4' AND prompt = 'violence'", order="start_s")
    assert [(row["start_s"], row["answer"], row["flagged"]) for row in found] == [
        (0.0, "yes", True),
        (30.0, "yes", True),
        (60.0, "no", False),
        (90.0, "yes", True),
        (120.0, "no", False),
    ]


def test_a_segment_names_its_frames(work):
    found = rows(work, "segments", where="uri LIKE '%twice.mp4'", order="segment")
    assert [(row["segment"], row["start_s"], row["frame_times_s"]) for row in found] == [
        (index, index * 30.0, [0.0]) for index in range(5)
    ]
    assert all(row["covered_s"] == row["expected_s"] == 30.0 for row in found)

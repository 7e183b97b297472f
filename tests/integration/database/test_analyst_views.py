"""The views that analysts read, and the questions of docs/analysts.md, which these answer."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from fixtures.work import Work
from sqlalchemy import RowMapping, text
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.database.current_recipes import make_current

PAGE = (Path(__file__).parents[3] / "docs" / "analysts.md").read_text(encoding="utf-8")
QUESTIONS = {
    heading: (re.findall(r"```sql\n(.*?)```", rest, re.DOTALL), re.findall(r"```sh\n(.*?)```", rest, re.DOTALL))
    for heading, rest in re.findall(r"(?m)^## (.*?\?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL)
}
ROWS = {
    "What was flagged last night, under a prefix?": 2,
    "At which second?": 1,
    "Which frames did the model see, and how sure was it?": 3,
    "What could not be judged?": 1,
    "What changed between two models?": 0,
    "How many of each tag?": 1,
    "Which captions have a word?": 1,
    "What was never asked of which videos?": 4,
    "Why was it flagged?": 3,
    "What did people say of it?": 0,
}


def rows(work: Work, view: str, where: str = "true", order: str = "1") -> list[dict[str, Any]]:
    with work.database.begin() as connection:
        found = connection.execute(text(f"SELECT * FROM reporting.{view} WHERE {where} ORDER BY {order}")).mappings()
        return [_named(row) for row in found]


def _named(row: RowMapping) -> dict[str, Any]:
    return dict(row) | ({"uri": row["uri"].rsplit("/", 1)[1]} if "uri" in row else {})


@pytest.fixture
def work(judged_videos) -> Work:
    return judged_videos


def test_flags_have_merged_ranges_the_worst_p_and_what_could_not_be_judged(work):
    found = {row["uri"]: row for row in rows(work, "flags")}
    assert found.keys() == {"clip-3.mp4", "unsure.mp4", "worse.mp4"}
    twice = found["clip-3.mp4"]
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
        (f"{name}.mp4", "scene", "indoors") for name in ("clean", "clip-3", "unsure", "worse")
    ]


def test_the_timeline_of_a_video_is_in_the_order_of_time(work):
    found = rows(work, "timeline", where="uri LIKE '%clip-3.mp4' AND prompt = 'violence'", order="start_s")
    assert [(row["start_s"], row["answer"], row["flagged"]) for row in found] == [
        (0.0, "yes", True),
        (30.0, "yes", True),
        (60.0, "no", False),
        (90.0, "yes", True),
        (120.0, "no", False),
    ]


def test_a_segment_names_its_frames(work):
    found = rows(work, "segments", where="uri LIKE '%clip-3.mp4'", order="segment")
    assert [(row["segment"], row["start_s"], row["frame_times_s"]) for row in found] == [
        (index, index * 30.0, [0.0]) for index in range(5)
    ]
    assert all(row["covered_s"] == row["expected_s"] == 30.0 for row in found)


def test_coverage_counts_what_was_asked_of_how_many(work):
    (violence,) = rows(work, "coverage", where="prompt = 'violence'")
    assert violence["prefix"] == "s3://bucket/2026/11/"
    counted = ("videos", "answered", "unknown", "errors", "not_asked")
    assert [violence[name] for name in counted] == [5, 3, 1, 0, 1]
    assert {row["uri"] for row in rows(work, "not_asked", where="prompt = 'violence'")} == {"waiting.mp4"}


def test_of_sources_within_each_other_the_inner_one_counts(work):
    with work.database.begin() as connection:
        make_current(
            connection, work.recipe.id, source="s3://bucket/2026", set_names={"test"}, made_by="night", instead=True
        )
    assert sum(row["videos"] for row in rows(work, "coverage", where="prompt = 'violence'")) == 5


def test_the_page_has_ten_questions():
    assert QUESTIONS.keys() == ROWS.keys()
    assert all((len(statements), len(commands)) == (1, 2) for statements, commands in QUESTIONS.values())


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_of_the_page_is_answered_in_sql_and_by_a_command(work, question, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (statement,), (command, _) = QUESTIONS[question]
    with work.database.begin() as connection:
        found = connection.exec_driver_sql(statement.replace("%", "%%")).all()
    assert len(found) == ROWS[question], found
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert done.exit_code == 0, (done.output, done.exception)

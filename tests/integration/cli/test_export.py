"""`nightreel export`: any view, in three forms, with filters, and without videos that only some people may see."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from fixtures.judged import under, yes_no
from fixtures.work import PROMPTS, Work, stored
from fixtures.work_answers import analyse, answered, window
from sqlalchemy import text
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.database import view_rows
from nightreel.domain import Answer, PromptSet
from nightreel.errors import SettingsError

CAPTION, VIOLENCE, WHY = PROMPTS.prompts
SAID = '=HYPERLINK("http://mallory")\n"quoted", and 日本語 \u202e'


@pytest.fixture
def work(open_work, monkeypatch, database_url) -> Work:
    """Three videos of two segments: a violent one, one that could not be judged, and a clean one."""
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", database_url)
    restricted = PromptSet(PROMPTS.name, (CAPTION, under(VIOLENCE, lane="restricted", min_mass=0.01), WHY))
    work = open_work(prompts=restricted)
    work.discover(*(stored(f"{name}.mp4") for name in ("clean", "unsure", "violent")))
    for claim in work.claim():
        p = {"clean": 0.01, "violent": 0.99}.get(claim.video.uri.rsplit("/", 1)[1].removesuffix(".mp4"))
        measured = yes_no(VIOLENCE.question, p) if p else replace(yes_no(VIOLENCE.question, 0.5), mass=0.001)
        said = Answer(question_hash=CAPTION.question.hash, text=SAID, generated_tokens=3)
        analyse(work, claim, *(answered(claim, window(index), said, measured) for index in (0, 1)), expected_s=60.0)
    return work


def export(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["export", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def names(of_csv: str) -> set[str]:
    return {row["uri"].rsplit("/", 1)[1] for row in csv.DictReader(io.StringIO(of_csv))}


def test_a_cell_is_no_formula_and_every_other_character_survives(work):
    (row,) = csv.DictReader(io.StringIO(export("answers", "--filter", "prompt=caption", "--filter", "segment=0")))
    assert row["answer"] == f"'{SAID}"
    assert float(row["start_s"]) == 0.0
    (line,) = export("answers", "--format", "jsonl", "--filter", "prompt=caption", "--filter", "segment=1").splitlines()
    assert json.loads(line)["answer"] == SAID, "JSON has no formulas"


def test_all_forms_have_the_same_rows(work, tmp_path):
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        export("answers", "--restricted", "--to", str(tmp_path / name), "--columns", "uri,segment,prompt,p,flagged")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == rows
    expected = [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
    assert list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_bytes().decode(), newline=""))) == expected


def test_videos_with_a_restricted_verdict_are_left_out_unless_it_is_a_no(work):
    for view in ("answers", "videos", "video_answers"):
        assert names(export(view)) == {"clean.mp4"}, view
        assert names(export(view, "--restricted")) == {"clean.mp4", "unsure.mp4", "violent.mp4"}, view


def test_filters_have_the_type_of_their_column(work):
    flagged = export("answers", "--restricted", "--filter", "flagged=true", "--filter", "p>=0.9")
    assert names(flagged) == {"violent.mp4"}
    assert names(export("videos", "--under", "s3://bucket/cl")) == {"clean.mp4"}
    assert names(export("videos", "--filter", "uri='; DROP TABLE nightreel.videos; --")) == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("answer",), "'answer' is no view: did you mean 'answers'?"),
        (("answers", "--filter", "promt=caption"), "'promt' is no column: did you mean 'prompt'?"),
        (("answers", "--filter", "prompt"), "expected COLUMN"),
        (("answers", "--filter", "p>=many"), "invalid input syntax for type double precision"),
        (("answers", "--filter", "scores=1"), "cannot be compared"),
        (("answers", "--columns", "uri,answr"), "'answr' is no column: did you mean 'answer'?"),
        (("memory", "--under", "s3://"), "has no keys of videos"),
    ],
)
def test_a_wrong_word_is_refused_with_the_right_one(work, arguments, message):
    with pytest.raises(SettingsError) as refused:
        export(*arguments)
    assert message in str(refused.value)


def test_every_view_can_be_exported_in_every_form(work, tmp_path):
    with work.database.begin() as connection:
        views = connection.execute(
            text("SELECT relname FROM pg_class WHERE relnamespace = 'reporting'::regnamespace AND relkind = 'v'")
        ).scalars()
        found = list(views)
    for view in found:
        for form in ("csv", "jsonl", "parquet"):
            export(view, "--restricted", "--to", str(tmp_path / f"{view}.{form}"))
            assert (tmp_path / f"{view}.{form}").exists()


def test_an_export_that_fails_leaves_the_old_file_and_nothing_else(work, tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text("old")
    with pytest.raises(SettingsError):
        export("answers", "--filter", "p>=many", "--to", str(path))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_rows_come_in_batches(work, monkeypatch):
    monkeypatch.setattr(view_rows, "_BATCH", 5)
    with work.database.begin() as connection:
        columns = view_rows.view_columns(connection, "answers")
        batches = list(view_rows.read_rows(connection, "answers", columns, restricted=True))
    assert [len(batch) for batch in batches] == [5, 5, 2]

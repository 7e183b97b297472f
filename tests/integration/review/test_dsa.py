"""Confirmed labels as statements of reasons: from the policy's codes, without a person and without a video."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.domain.cases import Ruling
from nightreel.review.bulk import BulkFilter, decide_bulk, preview_bulk
from nightreel.review.deciding import NewRuling, decide


def set_codes(desk, codes: object) -> None:
    """Give all policies these DSA codes, as an operator who changes them in a file does."""
    with desk.work.database.begin() as connection:
        connection.execute(
            text("UPDATE nightreel.policies SET definition = jsonb_set(definition, '{codes}', CAST(:codes AS jsonb))"),
            {"codes": json.dumps({"dsa": codes})},
        )


def statements(desk) -> list:
    return list(desk.rows("SELECT * FROM reporting.dsa ORDER BY decision_id"))


def test_a_confirmed_label_is_a_statement_and_others_are_none(desk):
    set_codes(desk, ["STATEMENT_CATEGORY_VIOLENCE", "STATEMENT_CATEGORY_SELF_HARM"])
    for name in ("a", "b", "c"):
        desk.analyse(name, violence=0.9)
    case = desk.take("ann")
    (finding,) = case.findings
    ruling = NewRuling(prompt_id=finding.prompt_id, ruling=Ruling.CONFIRM, note="Mr Smith hits Mr Jones")
    desk.call(decide, "ann", case.case_id, version=case.version, rulings=[ruling])
    desk.judge("ann", "reject")
    undone = desk.judge("ann", "confirm")
    desk.undo("ann", undone)
    (row,) = statements(desk)
    assert (row.category, row.category_addition) == ("STATEMENT_CATEGORY_VIOLENCE", ["STATEMENT_CATEGORY_SELF_HARM"])
    assert (row.automated_detection, row.automated_decision) == ("Yes", "AUTOMATED_DECISION_NOT_AUTOMATED")
    assert (row.content_type, row.source_type) == (["CONTENT_TYPE_VIDEO"], "SOURCE_VOLUNTARY")
    assert (row.decision_ground, row.incompatible_content_ground) == (
        "DECISION_GROUND_INCOMPATIBLE_CONTENT",
        "test/violence",
    )
    assert row.puid == f"nightreel-{row.decision_id}"
    assert (str(row.content_date), row.decision_visibility, row.territorial_scope) == ("2026-01-01", None, None)
    assert row.incompatible_content_explanation
    said = json.dumps(dict(row._mapping), default=str)
    assert not [word for word in ("Smith", "s3://", "ann", desk["ann"].pseudonym, case.content) if word in said]


@pytest.mark.parametrize(
    ("codes", "category"),
    [
        pytest.param({"": "STATEMENT_CATEGORY_VIOLENCE"}, "STATEMENT_CATEGORY_VIOLENCE", id="of a tag"),
        pytest.param({"": ["STATEMENT_CATEGORY_VIOLENCE"]}, "STATEMENT_CATEGORY_VIOLENCE", id="a list of a tag"),
        pytest.param([], None, id="none"),
    ],
)
def test_the_category_comes_from_the_code_of_the_label(desk, codes, category):
    set_codes(desk, codes)
    desk.analyse("a", violence=0.9)
    desk.judge("ann", "confirm")
    (row,) = statements(desk)
    assert row.category == category


def test_a_decision_in_bulk_is_partially_automated(desk):
    desk.analyse("a", violence=0.9)
    hit = BulkFilter(queue="general")
    with desk.console.begin() as connection:
        preview = preview_bulk(connection, desk["lea"], hit)
        decide_bulk(connection, desk["lea"], hit, ruling=Ruling.CONFIRM, note="", digest=preview.digest)
    (row,) = statements(desk)
    assert row.automated_decision == "AUTOMATED_DECISION_PARTIALLY"


def test_they_are_exported(desk, database_url, monkeypatch, tmp_path):
    desk.analyse("a", violence=0.9)
    desk.judge("ann", "confirm")
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", database_url)
    said = CliRunner().invoke(app, ["export", "dsa", "--to", str(tmp_path / "dsa.jsonl")])
    assert said.exit_code == 0, said.output
    (line,) = (tmp_path / "dsa.jsonl").read_text().splitlines()
    assert json.loads(line)["automated_detection"] == "Yes"

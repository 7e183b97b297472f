"""Hostile texts stay text on the pages of review, of leads and of the operator."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from fixtures.hostile_texts import HOSTILE, Page
from fixtures.work_reviewed import twice
from fixtures.work_signed_in_desk import Reviewing
from sqlalchemy import text

from nightreel.database.requests import add_request
from nightreel.domain.requests import RetryFailures
from nightreel.review.deciding import NewRuling, decide
from nightreel.stages.requests import carry_out_requests

ALL = "\n".join(HOSTILE).replace("\x1b", "")
NOTE = ALL[:4000]


def decided(reviewing: Reviewing, who: str, ruling: str) -> int:
    desk = reviewing.desk
    case = desk.take(who)
    rulings = [
        NewRuling(prompt_id=one.prompt_id, tag=one.tag, ruling=ruling, note=NOTE)
        for one in case.findings
        if one.to_decide
    ]
    with desk.console.begin() as connection:
        decide(connection, desk[who], case.case_id, version=case.version, rulings=rulings)
    return case.case_id


@pytest.fixture
def hostile(reviewing: Reviewing) -> Reviewing:
    """A case that waits for a lead, one that is open, a failure, a run and a request, all of hostile texts."""
    reviewing.desk.bring(twice(min_severity=1))
    reviewing.flagged(3)
    decided(reviewing, "ann", "confirm")
    decided(reviewing, "bob", "reject")
    with reviewing.desk.console.begin() as connection:
        add_request(connection, reviewing.people["lea"], RetryFailures(reason=ALL[:500]))
    carry_out_requests(reviewing.desk.work.database)
    statements = {
        "UPDATE nightreel.answers SET text = :all WHERE text = 'a street'": {},
        "UPDATE nightreel.videos SET uri = 's3://bucket/' || id || :all": {},
        "UPDATE nightreel.prompts SET name = name || :all, set_name = set_name || :all": {},
        "UPDATE nightreel.policies SET definition = jsonb_set(definition, '{text}', to_jsonb(CAST(:all AS text)))": {},
        "UPDATE nightreel.findings SET reason = :all": {},
        "UPDATE nightreel.users SET pseudonym = pseudonym || :all, name = name || :all": {},
        "UPDATE nightreel.requests SET outcome = :all": {},
        "UPDATE nightreel.analyses SET status = 'failed', reason = :all, detail = :all WHERE id IN (1, 2)": {},
        "INSERT INTO nightreel.preferences (user_id, chosen) SELECT id, jsonb_build_object('notes', jsonb_build_array("
        "CAST(:all AS text))) FROM nightreel.users": {},
        "INSERT INTO nightreel.runs (source, recipe_id, status, options, settings, environment, counts, name, error, "
        "finished_at, flow_run_id) SELECT :all, min(id), 'completed', '{}', '{}', '{}', jsonb_build_object('headline', "
        "CAST(:all AS text), 'red', CAST(:all AS text), 'reasons', jsonb_build_object(CAST(:all AS text), 1), "
        "'timings', jsonb_build_object(CAST(:all AS text), 1)), 'night ' || :all, :all, now(), :all "
        "FROM nightreel.recipes": {},
    }
    with reviewing.owner.begin() as connection:
        for statement, more in statements.items():
            connection.execute(text(statement), {"all": ALL} | more)
    return reviewing


def test_hostile_texts_stay_text_on_the_pages_of_review_of_leads_and_of_operators(hostile: Reviewing):
    cases = [row.id for row in hostile.desk.rows("SELECT id FROM nightreel.cases ORDER BY id")]
    paths = ["/review", "/review/preferences", "/lead", "/lead/disagreements", "/operator", "/operator/coverage"]
    paths += ["/review/queues/general/ahead", f"/review?done={quote('general')}"]
    paths += [path for case in cases for path in (f"/cases/{case}", f"/cases/{case}/history")]
    paths += [f"/lead/prompts/{prompt}?threshold=0.95&doubt=0" for prompt in (2, 3, 4)]
    shown = 0
    with hostile.client("lea") as client:
        client.submit("/review/queues/general/take")
        for path in paths:
            reply = client.get(path)
            assert reply.status_code == 200, (path, reply.text[:2000])
            page = Page(reply.text)
            assert page.wrong == [], path
            shown += "<ScRiPt>" in "".join(page.said)
    assert shown >= 8, "pages show these texts"

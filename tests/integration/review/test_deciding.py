"""Decisions: rows that nobody changes. Second reviews are blind, disagreements escalate, appeals reopen."""

from __future__ import annotations

import psycopg
import pytest
from fixtures.judged import under
from fixtures.work_reviewed import CAPTION, VIOLENCE, twice
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from nightreel.database.policies import apply_policy
from nightreel.domain import Band
from nightreel.domain.cases import Ruling
from nightreel.domain.queues import Queue, Queues
from nightreel.errors import PermanentError, SettingsError
from nightreel.review.deciding import LONGEST_NOTE, NewRuling, appeal, decide
from nightreel.review.history import read_history
from nightreel.review.refusals import ConflictError, NotAllowedError, NotFoundError
from nightreel.review.showing import show_case
from nightreel.stages.rejudge import apply_changes


def reader_sees(desk, columns: str = "ruling, stage, stands") -> list[tuple]:
    return [tuple(row) for row in desk.rows(f"SELECT {columns} FROM reporting.decisions ORDER BY decision_id")]


def test_a_decision_keeps_what_was_on_show(desk):
    desk.analyse("a", violence=0.9)
    case = desk.take("ann")
    (finding,) = case.findings
    ruling = NewRuling(prompt_id=finding.prompt_id, ruling=Ruling.REJECT, start_s=3.5, end_s=9, note="a film set")
    desk.call(decide, "ann", case.case_id, version=case.version, rulings=[ruling])
    (row,) = desk.rows("SELECT * FROM nightreel.decisions")
    assert (row.ruling, row.stage, row.start_s, row.end_s, row.note) == ("reject", "first", 3.5, 9, "a film set")
    assert row.seconds_spent > 0
    assert row.settles
    assert row.shown["answer_ids"] == finding.answer_ids
    assert row.shown["model_ids"] == finding.model_ids
    assert row.shown["policy_id"] == finding.policy_id
    assert row.shown["p"] == pytest.approx(0.9)
    (seen,) = desk.rows("SELECT reviewer, note, seconds_spent FROM reporting.decisions")
    assert seen.reviewer == desk["ann"].pseudonym != "ann"


CHANGES = [
    "UPDATE nightreel.decisions SET ruling = 'reject'",
    "UPDATE nightreel.decisions SET note = '' WHERE false",
    "DELETE FROM nightreel.decisions",
    "TRUNCATE nightreel.decisions",
    "TRUNCATE nightreel.cases CASCADE",
    "DELETE FROM nightreel.cases",
    "DELETE FROM nightreel.users",
    "UPDATE nightreel.case_events SET user_id = NULL",
    "DELETE FROM nightreel.case_events",
    "TRUNCATE nightreel.case_events CASCADE",
    "INSERT INTO nightreel.decisions OVERRIDING SYSTEM VALUE SELECT * FROM nightreel.decisions "
    "ON CONFLICT (id) DO UPDATE SET ruling = 'reject'",
    "MERGE INTO nightreel.decisions AS old USING nightreel.users AS one ON true WHEN MATCHED THEN DELETE",
    "WITH gone AS (DELETE FROM nightreel.decisions RETURNING id) SELECT * FROM gone",
]


def test_nobody_changes_or_deletes_a_decision_or_an_event(desk, owner_url, database_url, console_url):
    desk.analyse("a", violence=0.9)
    desk.judge("ann")
    before = desk.rows("SELECT * FROM nightreel.decisions"), desk.rows("SELECT * FROM nightreel.case_events")
    for url in (owner_url, database_url, console_url):
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            for statement in CHANGES:
                with pytest.raises(psycopg.Error) as refused:
                    connection.execute(statement)
                # "23503": a foreign key refuses the owner and the worker, who may delete cases and people
                refers = statement in ("DELETE FROM nightreel.cases", "DELETE FROM nightreel.users")
                assert refused.value.sqlstate in ("42501", *(["23503"] if refers else [])), statement
    assert before == (desk.rows("SELECT * FROM nightreel.decisions"), desk.rows("SELECT * FROM nightreel.case_events"))


def test_the_console_cannot_write_the_state_of_a_case(desk):
    desk.analyse("a", violence=0.9)
    for statement in ("UPDATE nightreel.cases SET state = 'closed'", "UPDATE nightreel.cases SET severity = 0"):
        with pytest.raises((PermanentError, DBAPIError)), desk.console.begin() as connection:
            connection.execute(text(statement))
    assert list(desk.states().values()) == ["open"]


def test_each_label_needs_a_decision(desk):
    desk.bring(Queues((Queue(name="general"),)))
    desk.analyse("a", violence=0.9, weapons=0.9)
    case = desk.take("ann")
    both = [NewRuling(prompt_id=one.prompt_id, ruling=Ruling.CONFIRM) for one in case.findings]
    for rulings, said in (
        ([], "each label needs a decision"),
        (both[:1], "violence: each label needs a decision"),
        ([*both, both[0]], "decided twice"),
        ([*both, NewRuling(prompt_id=desk.work.recipe.prompt_ids[CAPTION.name], ruling=Ruling.REJECT)], "not a label"),
    ):
        with pytest.raises(SettingsError, match=said):
            desk.call(decide, "ann", case.case_id, version=case.version, rulings=rulings)
    assert desk.rows("SELECT * FROM nightreel.decisions") == []
    assert desk.decide("ann", case, "confirm", violence="reject").decisions == 2
    assert sorted(reader_sees(desk, "prompt, ruling")) == [("violence", "reject"), ("weapons", "confirm")]


def test_a_case_that_changed_since_it_was_opened_is_not_decided(desk):
    desk.analyse("a", violence=0.9)
    case = desk.take("ann")
    with desk.work.database.begin() as connection:
        apply_policy(
            connection, desk.work.recipe.prompt_ids["violence"], under(VIOLENCE, severity=3).policy, made_by="lea"
        )
    apply_changes(desk.work.database)
    with pytest.raises(ConflictError, match="has changed since"):
        desk.decide("ann", case)
    again = desk.take("ann")
    assert (again.case_id, again.findings[0].severity) == (case.case_id, 3)
    assert desk.decide("ann", again).state == "closed"


def test_undo_is_another_row(desk):
    desk.analyse("a", violence=0.9)
    done = desk.judge("ann")
    assert desk.states() == {"general/a": "closed"}
    desk.undo("ann", done)
    assert desk.states() == {"general/a": "open"}
    rows = desk.rows("SELECT id, ruling, undoes FROM nightreel.decisions ORDER BY id")
    assert [(row.ruling, row.undoes) for row in rows] == [("confirm", None), (None, rows[0].id)]
    assert desk.rows("SELECT decision FROM reporting.flags")[0].decision is None
    assert desk.rows("SELECT undone_at, stands FROM reporting.decisions")[0].stands is False
    with pytest.raises(ConflictError, match="undone already"):
        desk.undo("ann", done)
    desk.judge("bob", "reject")
    assert desk.rows("SELECT decision FROM reporting.flags")[0].decision == "reject"


def test_a_person_undoes_their_own_and_a_lead_all(desk):
    desk.analyse("a", violence=0.9)
    done = desk.judge("ann")
    with pytest.raises(NotAllowedError):
        desk.undo("bob", done)
    assert desk.undo("lea", done).decisions == 1


def test_a_decision_on_which_another_rests_is_not_undone(desk):
    desk.bring(twice(share=1))
    desk.analyse("a", violence=0.9)
    first = desk.judge("ann")
    second = desk.judge("bob")
    with pytest.raises(ConflictError, match="a later decision rests"):
        desk.undo("ann", first)
    desk.undo("bob", second)
    assert desk.states() == {"general/a": "second"}
    desk.undo("ann", first)
    assert desk.states() == {"general/a": "open"}


def test_a_second_review_is_blind_and_by_somebody_else(desk):
    desk.bring(twice(share=1))
    desk.analyse("a", violence=0.9)
    assert desk.judge("ann", "reject").state == "second"
    assert desk.take("ann") is None, "not by the same person"
    assert reader_sees(desk) == [], "the view does not tell"
    assert desk.rows("SELECT decision FROM reporting.flags")[0].decision is None
    case = desk.take("bob")
    assert case.findings[0].to_decide
    said = [(entry.what, entry.label) for entry in desk.call(read_history, "bob", case.case_id)]
    assert ("decided", None) in said
    assert all(what != "reject" for what, _ in said)
    assert desk.decide("bob", case, "reject").state == "closed"
    assert reader_sees(desk) == [("reject", "first", False), ("reject", "second", True)]
    assert "reject" in [entry.what for entry in desk.call(read_history, "bob", case.case_id)]


def test_no_second_review_without_a_rule(desk):
    desk.bring(twice(min_severity=3, categories=("weapons",)))
    desk.analyse("a", violence=0.9)
    assert desk.judge("ann").state == "closed"


def test_a_disagreement_escalates_to_a_lead_who_decides(desk):
    desk.bring(twice(share=1))
    desk.analyse("a", violence=0.9)
    desk.judge("ann", "confirm")
    assert desk.judge("bob", "reject").state == "escalated"
    assert desk.take("cleo") is None
    case = desk.take("lea")
    with pytest.raises(SettingsError, match="a lead decides here"):
        desk.decide("lea", case, "escalate")
    assert desk.decide("lea", case, "confirm").state == "closed"
    assert desk.rows("SELECT decision FROM reporting.flags")[0].decision == "confirm"


def test_a_person_escalates(desk):
    desk.analyse("a", violence=0.9)
    assert desk.judge("ann", "escalate").state == "escalated"
    assert desk.rows("SELECT decision FROM reporting.flags")[0].decision is None
    assert desk.judge("lea", "reject").state == "closed"


def test_a_lead_does_not_decide_what_they_escalated(desk):
    desk.analyse("a", violence=0.9)
    desk.judge("lea", "escalate")
    assert desk.take("lea") is None
    assert desk.judge("leo").state == "closed"


@pytest.mark.parametrize(("ruling", "outcome"), [("confirm", "upheld"), ("reject", "overturned")])
def test_an_appeal_reopens_a_case_for_another_lead(desk, ruling, outcome):
    desk.analyse("a", violence=0.9)
    case = desk.take("lea")
    with pytest.raises(ConflictError, match="only a closed case"):
        desk.call(appeal, "ann", case.case_id, reason="it is a play")
    desk.decide("lea", case)
    with pytest.raises(SettingsError, match="needs a reason"):
        desk.call(appeal, "ann", case.case_id, reason="  ")
    desk.call(appeal, "ann", case.case_id, reason="it is a play")
    assert desk.states() == {"general/a": "appealed"}
    assert desk.rows("SELECT decision FROM reporting.flags")[0].decision == "confirm", (
        "it stands until it is overturned"
    )
    assert desk.take("bob") is None
    assert desk.take("lea") is None, "who decided before does not decide about the appeal"
    done = desk.judge("leo", ruling)
    assert done.state == "closed"
    entries = desk.call(read_history, "ann", case.case_id)
    assert [entry.detail["outcome"] for entry in entries if "outcome" in entry.detail] == [outcome]
    assert [entry.detail["reason"] for entry in entries if entry.what == "appealed"] == ["it is a play"]
    assert desk.rows("SELECT decision FROM reporting.flags")[0].decision == ruling
    desk.undo("leo", done)
    assert desk.states() == {"general/a": "appealed"}


def test_an_appeal_about_a_label_that_is_not_found_any_more_can_be_decided(desk):
    desk.analyse("a", violence=0.9)
    desk.judge("ann")
    case_id = desk.rows("SELECT case_id FROM reporting.cases")[0].case_id
    desk.call(appeal, "ann", case_id, reason="it is a play")
    with desk.work.database.begin() as connection:
        prompt_id = desk.work.recipe.prompt_ids["violence"]
        apply_policy(connection, prompt_id, under(VIOLENCE, band=Band(0.95, 0.95)).policy, made_by="lea")
    apply_changes(desk.work.database)
    case = desk.take("lea")
    assert [(one.prompt, one.to_decide, one.found) for one in case.findings] == [("violence", True, "flagged")]
    assert desk.decide("lea", case, "reject").state == "closed"


def test_a_person_who_decided_in_another_queue_may_be_the_second_one(desk):
    desk.bring(twice(share=1))
    desk.analyse("a", violence=0.9, weapons=0.9)
    desk.judge("ann", queue="urgent")
    desk.judge("bob")
    assert desk.judge("ann").state == "closed"


def test_the_history_tells_all_with_pseudonyms(desk):
    desk.analyse("a", violence=0.9)
    done = desk.judge("ann")
    desk.undo("ann", done)
    case_id = desk.rows("SELECT case_id FROM reporting.cases")[0].case_id
    entries = desk.call(read_history, "bob", case_id)
    assert [entry.what for entry in entries] == ["opened", "taken", "decided", "confirm", "undone", "undo"]
    assert {entry.who for entry in entries} == {None, desk["ann"].pseudonym}
    assert {entry.who for entry in desk.call(read_history, "ada", case_id)} == {None, "ann"}
    with pytest.raises(NotFoundError):
        desk.call(read_history, "vera", case_id)


HOSTILE = [
    "'; DROP TABLE nightreel.decisions; --",
    "<script>alert(1)</script>",
    "\x1b[2J\x1b[31mred",
    "nul\0byte and \ud800 half a pair",
    "\u202egnp.exe",
    "%s %(x)s {y} :case_id",
    "a" * LONGEST_NOTE,
]


def test_a_hostile_note_is_only_text(desk):
    desk.analyse("a", violence=0.9)
    for note in HOSTILE:
        case = desk.take("ann")
        rulings = [NewRuling(prompt_id=case.findings[0].prompt_id, ruling=Ruling.CONFIRM, note=note)]
        done = desk.call(decide, "ann", case.case_id, version=case.version, rulings=rulings)
        kept = note.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
        assert reader_sees(desk, "note")[-1] == (kept,)
        assert kept in [entry.note for entry in desk.call(read_history, "ann", case.case_id)]
        desk.undo("ann", done)
    desk.judge("ann")
    desk.call(appeal, "ann", case.case_id, reason=HOSTILE[3])


def test_wrong_values_are_refused():
    for start_s, end_s in ((5, 3), (-1, 2), (float("nan"), 2), (1, None), (0, float("inf"))):
        with pytest.raises(SettingsError, match="expected a first and a last second"):
            NewRuling(prompt_id=1, ruling=Ruling.CONFIRM, start_s=start_s, end_s=end_s)
    with pytest.raises(SettingsError, match="at most"):
        NewRuling(prompt_id=1, ruling=Ruling.CONFIRM, note="a" * (LONGEST_NOTE + 1))


def test_the_note_of_a_restricted_video_is_hidden_from_analysts(desk):
    desk.analyse("a", gore=0.9)
    case = desk.take("leo", "restricted")
    rulings = [NewRuling(prompt_id=case.findings[0].prompt_id, ruling=Ruling.CONFIRM, note="what I saw")]
    desk.call(decide, "leo", case.case_id, version=case.version, rulings=rulings)
    with desk.console.begin() as connection:
        assert connection.execute(text("SELECT note FROM reporting.decisions")).scalar() is None
        connection.execute(text("SELECT set_config('nightreel.restricted', 'on', true)"))
        assert connection.execute(text("SELECT note FROM reporting.decisions")).scalar() == "what I saw"


def test_showing_a_case_of_another_queue_or_none_is_refused_alike(desk):
    with pytest.raises(NotFoundError, match="there is no case 7"):
        desk.call(show_case, "ann", 7)

"""Bulk decisions: what the preview showed is what is decided, and one batch undoes it."""

from __future__ import annotations

import pytest
from fixtures.work_reviewed import twice

from nightreel.domain.cases import Ruling
from nightreel.errors import SettingsError
from nightreel.review.bulk import BulkFilter, decide_bulk, preview_bulk
from nightreel.review.desk import release
from nightreel.review.refusals import ConflictError, NotAllowedError, NotFoundError
from nightreel.review.undoing import undo

EVERYTHING = BulkFilter(queue="general")


def bulk(desk, who: str, wanted: BulkFilter, ruling: Ruling = Ruling.REJECT, digest: str | None = None):
    digest = digest or desk.call(preview_bulk, who, wanted).digest
    return desk.call(decide_bulk, who, wanted, ruling=ruling, note="all the same show", digest=digest)


def test_a_bulk_decision_hits_what_was_previewed_and_is_undone_at_once(desk):
    for number, p in enumerate((0.6, 0.7, 0.8, 0.9)):
        desk.analyse(f"show/{number}", violence=p)
    desk.analyse("other", violence=0.7)
    wanted = BulkFilter(queue="general", category="violence", max_p=0.85, under="s3://bucket/show/")
    found = desk.call(preview_bulk, "lea", wanted)
    assert (found.cases, found.videos, found.labels) == (3, 3, {"violence": 3})
    assert found.examples == [f"s3://bucket/show/{number}.mp4" for number in range(3)]
    assert set(desk.states().values()) == {"open"}, "a preview changes nothing"
    done = bulk(desk, "lea", wanted, digest=found.digest)
    assert (done.cases, done.decisions) == (3, 3)
    states = desk.states()
    assert [name for name, state in states.items() if state == "open"] == ["general/3", "general/other"]
    rows = desk.rows("SELECT ruling, note, seconds_spent, batch_id FROM reporting.decisions")
    assert {tuple(row) for row in rows} == {("reject", "all the same show", None, str(done.batch_id))}
    undone = desk.call(undo, "lea", done.batch_id)
    assert (undone.decisions, undone.cases, undone.kept) == (3, 3, 0)
    assert set(desk.states().values()) == {"open"}


def test_only_leads_decide_in_bulk(desk):
    desk.analyse("a", violence=0.9)
    for operation in (preview_bulk, lambda *given: decide_bulk(*given, ruling=Ruling.REJECT, note="", digest="")):
        with pytest.raises(NotAllowedError, match="needs a lead"):
            desk.call(operation, "ann", EVERYTHING)


def test_what_has_changed_since_the_preview_is_not_decided(desk):
    desk.analyse("a", violence=0.9)
    digest = desk.call(preview_bulk, "lea", EVERYTHING).digest
    desk.analyse("b", violence=0.9)
    with pytest.raises(ConflictError, match="preview it again"):
        bulk(desk, "lea", EVERYTHING, digest=digest)
    assert desk.rows("SELECT * FROM nightreel.decisions") == []


def test_a_bulk_decision_leaves_alone_what_others_work_on_or_may_not_be_seen(desk):
    desk.bring(twice(share=1))
    desk.analyse("taken", violence=0.9)
    case = desk.take("ann")
    desk.analyse("second", violence=0.9)
    desk.judge("bob")
    desk.analyse("secret", violence=0.9, gore=0.9)
    with pytest.raises(NotFoundError, match="hits nothing"):
        bulk(desk, "lea", EVERYTHING, digest="x")
    desk.call(release, "ann", case.case_id)
    assert bulk(desk, "lea", EVERYTHING).cases == 1
    assert desk.states() == {
        "general/taken": "second",
        "general/second": "second",
        "general/secret": "open",
        "restricted/secret": "open",
    }
    assert desk.call(preview_bulk, "leo", EVERYTHING).cases == 1, "who may see it"


def test_undoing_a_batch_keeps_what_later_decisions_rest_on(desk):
    desk.bring(twice(share=1))
    desk.analyse("a", violence=0.9)
    desk.analyse("b", violence=0.9)
    done = bulk(desk, "lea", EVERYTHING)
    desk.judge("ann", "reject")
    undone = desk.call(undo, "lea", done.batch_id)
    assert (undone.decisions, undone.kept) == (1, 1)
    assert sorted(desk.states().values()) == ["closed", "open"]


def test_a_bulk_note_has_a_limit(desk):
    desk.analyse("a", violence=0.9)
    digest = desk.call(preview_bulk, "lea", EVERYTHING).digest
    with pytest.raises(SettingsError, match="at most"):
        desk.call(decide_bulk, "lea", EVERYTHING, ruling=Ruling.REJECT, note="a" * 4001, digest=digest)

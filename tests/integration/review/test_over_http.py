"""Review over HTTP and with the client: the whole way of a case."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from fixtures.work_rest import Rest

from nightreel.client import Client, ServiceError
from nightreel.database.queues import bring_into_force
from nightreel.database.tokens import add_token
from nightreel.database.users import add_user
from nightreel.domain.queues import Queue, Queues
from nightreel.domain.tokens import Scope
from nightreel.domain.users import Role
from nightreel.review.golden import add_golden_item
from nightreel.stages.audit import AuditWish, draw_audits
from nightreel.stages.sort import sort_videos


def client_of(rest: Rest, name: str, role: Role) -> Client:
    with rest.owner.begin() as connection:
        add_user(connection, name, role=role)
        token = add_token(connection, name, scopes=[Scope.READ, Scope.REVIEW], lifetime=timedelta(days=1))
    return Client(rest.url, token)


def test_a_case_from_the_queue_to_the_view(rest: Rest):
    with client_of(rest, "bob", Role.REVIEWER) as bob, client_of(rest, "lea", Role.LEAD) as lea:
        (general,) = (one for one in bob.review.queues() if one["name"] == "general")
        assert general["open"] == 4, "three of open videos, and one of a restricted one"
        case = bob.review.take_next("general")
        assert case["mine"]
        assert 14 * 60 < case["seconds_left"] <= 15 * 60
        assert bob.review.take_next("general")["case_id"] == case["case_id"]
        other = lea.review.take_next("general")
        assert other["case_id"] != case["case_id"]
        assert bob.review.extend(case["case_id"])["seconds_left"] > 14 * 60
        with pytest.raises(ServiceError) as refused:
            lea.review.decide(case, "reject")
        assert refused.value.status == 409
        done = bob.review.decide(case, "confirm", note="<b>fight</b>")
        seen = bob.views_seen(
            filters=[f"case_id={case['case_id']}"], columns=["what", "reviewer", "blurred"]
        ).to_pylist()
        assert {row["what"] for row in seen} == {"case"}
        assert len({row["reviewer"] for row in seen}) == 1, "lea saw another case"
        assert seen[0]["blurred"] is None
        # severity 3 needs a second person
        assert (done["state"], done["decisions"]) == ("second", 1)
        assert bob.decisions().num_rows == 0
        again = lea.review.take(case["case_id"])
        assert lea.review.decide(again, "unsure", but={"violence": "confirm"})["state"] == "closed"
        decided = bob.decisions(columns=["ruling", "stage", "note", "stands"]).to_pylist()
        assert [(row["ruling"], row["stage"], row["stands"]) for row in decided] == [
            ("confirm", "first", False),
            ("confirm", "second", True),
        ]
        assert decided[0]["note"] == "<b>fight</b>"
        flags = bob.flags(filters=["decision=confirm"]).to_pylist()
        assert [row["video_id"] for row in flags] == [case["videos"][0][0]]
        assert bob.cases(filters=["state=closed"]).num_rows == 1
        assert "confirm" in [entry["what"] for entry in bob.review.history(case["case_id"])]


def test_hold_skip_release_assign_appeal_and_undo(rest: Rest):
    with client_of(rest, "bob", Role.REVIEWER) as bob, client_of(rest, "lea", Role.LEAD) as lea:
        first = bob.review.take_next("general")["case_id"]
        until = datetime.now(UTC) + timedelta(hours=1)
        assert bob.review.hold(first, until)["hold_until"] is not None
        second = bob.review.take_next("general")["case_id"]
        bob.review.skip(second)
        third = bob.review.take_next("general")["case_id"]
        assert len({first, second, third}) == 3
        assert not bob.review.release(third)["mine"]
        assert lea.review.assign(third, "bob")["assigned_to"] is not None
        assert lea.review.assign(third, None)["assigned_to"] is None
        with pytest.raises(ServiceError) as unknown:
            lea.review.assign(third, "nobody")
        assert unknown.value.status == 404
        done = bob.review.decide(bob.review.take(third), "escalate")
        assert done["state"] == "escalated"
        assert bob.review.undo(done["batch_id"])["decisions"] == 1
        with pytest.raises(ServiceError) as early:
            bob.review.appeal(third, "why not")
        assert early.value.status == 409
        assert bob.review.case(third)["state"] == "open"


def test_decisions_in_bulk(rest: Rest):
    with client_of(rest, "lea", Role.LEAD) as lea:
        wanted = {"category": "violence", "found": "unknown"}
        found = lea.review.preview_bulk("general", **wanted)
        assert (found["cases"], list(found["labels"])) == (1, ["violence"])
        done = lea.review.decide_bulk("general", "reject", digest=found["digest"], note="dark", **wanted)
        assert done["decisions"] == 1
        with pytest.raises(ServiceError) as nothing:
            lea.review.decide_bulk("general", "reject", digest=found["digest"], **wanted)
        assert nothing.value.status == 404
        assert lea.review.undo(done["batch_id"]) == {"decisions": 1, "cases": 1, "kept": 0}


def test_a_body_is_checked_and_limited(rest: Rest):
    headers = {"Authorization": f"Bearer {rest.token('review')}"}
    url = f"{rest.url}/cases/{rest.case_id('clip-3')}/decisions"
    for body, status, said in (
        (b"", 422, "version"),
        (b"[]", 422, "body"),
        (b"{", 422, "Invalid JSON"),
        (b'{"version": 1, "rulings": [], "more": 1}', 422, "rulings"),
        (b'{"version": 1, "rulings": [{"prompt_id": 1, "ruling": "maybe"}]}', 422, "ruling"),
        (
            b'{"version": 1, "rulings": [{"prompt_id": 1, "ruling": "confirm", "start_s": 5, "end_s": 1}]}',
            400,
            "second",
        ),
        (b" " * ((1 << 20) + 1), 413, "bytes"),
    ):
        reply = rest.http.post(url, content=body, headers=headers)
        assert (reply.status_code, said in reply.json()["detail"]) == (status, True), (body[:60], reply.text)


def test_a_lead_reads_what_audits_say(rest: Rest):
    wish = AuditWish(sample=10, made_by="lea", prompt="violence")
    ((_, audit_id),) = draw_audits(rest.owner, wish)
    with client_of(rest, "bob", Role.REVIEWER) as bob, client_of(rest, "lea", Role.LEAD) as lea:
        for ask in (
            bob.audit.misses,
            bob.audit.agreement,
            bob.audit.reviewers,
            lambda: bob.audit.calibration(audit_id),
        ):
            with pytest.raises(ServiceError) as refused:
                ask()
            assert refused.value.status == 403
        (audit,) = lea.audit.misses()
        assert (audit["audit_id"], audit["prompt"], audit["misses"]) == (audit_id, "violence", None)
        assert lea.audit.calibration(audit_id) == {"bins": [], "error": None}
        while case := bob.review.take_next("general"):
            bob.review.decide(case, "reject")
        while case := lea.review.take_next("general"):
            lea.review.decide(case, "reject")
        (audit,) = lea.audit.misses()
        assert audit["judged"] > 0
        assert audit["misses"]["prevalence"]["value"] == 0
        assert lea.audit.calibration(audit_id)["bins"]
        assert {one["prompt"] for one in lea.audit.agreement()} == {"violence"}
        assert lea.audit.reviewers() == []
        assert lea.rows("audit_decisions").num_rows == audit["judged"]
        with pytest.raises(ServiceError) as unknown:
            lea.audit.calibration(999)
        assert unknown.value.status == 404


def test_a_golden_item_comes_over_http(rest: Rest):
    rest.execute("UPDATE nightreel.videos SET content_sha256 = lpad(to_hex(id), 64, '0')")
    with rest.owner.begin() as connection:
        bring_into_force(connection, Queues((Queue(name="general", golden_share=1.0),)), made_by="lea")
        add_golden_item(connection, rest.video_ids["clean"], {"violence": False}, made_by="lea")
    sort_videos(rest.owner)
    with client_of(rest, "bob", Role.REVIEWER) as bob, client_of(rest, "lea", Role.LEAD) as lea:
        case = bob.review.take_next("general")
        assert case["videos"][0][0] == rest.video_ids["clean"]
        assert [one["found"] for one in case["findings"]] == ["unknown"]
        assert case["content"] == f"{rest.video_ids['clean']:064x}"
        assert bob.review.decide(case, "reject")["state"] == "closed"
        (found,) = lea.audit.reviewers()
        assert (found["judged"], found["correct"]) == (1, 1)
        assert bob.decisions().num_rows == 0

"""The REST service: every route asks for a token, its scope, and leaves out videos that only some people may see."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta

import httpx
from fixtures.work_rest import SECRET, Rest
from sqlalchemy import text

from nightreel.api.app import create_app
from nightreel.api.rows import VIEWS
from nightreel.database.users import change_user
from nightreel.domain.tokens import Scope
from nightreel.domain.users import Role
from nightreel.stages.export import Format


@dataclass(frozen=True)
class Case:
    """A request that a route serves, and the scope that it needs. `{video}`: the number of a video."""

    scope: Scope
    path: str
    query: dict = field(default_factory=dict)
    method: str = "GET"


CASES: dict[str, Case] = {
    "/api/v1/views": Case(Scope.READ, "views"),
    **{f"/api/v1/{path}": Case(Scope.READ, path, {"limit": 1000}) for path in VIEWS},
    "/api/v1/wide_{prompt_set}": Case(Scope.READ, "wide_test", {"limit": 1000}),
    "/api/v1/videos/{video_id}": Case(Scope.READ, "videos/{video}"),
    "/api/v1/search": Case(Scope.READ, "search", {"q": "street OR bicycle OR secret", "limit": 200}),
    "/api/v1/exports/{view}": Case(Scope.EXPORT, "exports/answers", {"format": "jsonl"}),
    "/api/v1/videos/{video_id}/thumbnail": Case(Scope.MEDIA, "videos/{video}/thumbnail"),
    "/api/v1/videos/{video_id}/segments/{segment}/frames/{frame}.jpg": Case(
        Scope.MEDIA, "videos/{video}/segments/0/frames/0.jpg"
    ),
    "/api/v1/ask": Case(Scope.ASK, "ask", method="POST"),
    "/api/v1/queues": Case(Scope.REVIEW, "queues"),
    "/api/v1/queues/{queue}/take": Case(Scope.REVIEW, "queues/general/take", method="POST"),
    "/api/v1/cases/{case_id}": Case(Scope.REVIEW, "cases/{case}"),
    "/api/v1/cases/{case_id}/history": Case(Scope.REVIEW, "cases/{case}/history"),
    **{
        f"/api/v1/cases/{{case_id}}/{what}": Case(Scope.REVIEW, f"cases/{{case}}/{what}", method="POST")
        for what in ("take", "extend", "release", "skip", "hold", "assign", "decisions", "appeal")
    },
    "/api/v1/decisions/{batch_id}/undo": Case(
        Scope.REVIEW, "decisions/00000000-0000-0000-0000-000000000000/undo", method="POST"
    ),
    "/api/v1/audit": Case(Scope.REVIEW, "audit"),
    "/api/v1/audit/agreement": Case(Scope.REVIEW, "audit/agreement"),
    "/api/v1/audit/reviewers": Case(Scope.REVIEW, "audit/reviewers"),
    "/api/v1/audit/{audit_id}/calibration": Case(Scope.REVIEW, "audit/1/calibration"),
    "/api/v1/bulk/preview": Case(Scope.REVIEW, "bulk/preview", method="POST"),
    "/api/v1/bulk": Case(Scope.REVIEW, "bulk", method="POST"),
    "/api/v1/golden": Case(Scope.ADMIN, "golden"),
    **{
        f"/api/v1/requests/{path}": Case(Scope.ADMIN, f"requests/{path}", method="POST")
        for path in ("erasures/preview", "erasures", "holds", "golden")
    },
    "/api/v1/requests/holds/{hold_id}/end": Case(Scope.ADMIN, "requests/holds/1/end", method="POST"),
    "/api/v1/requests/golden/{golden_id}/end": Case(Scope.ADMIN, "requests/golden/1/end", method="POST"),
    "/api/v1/requests/thresholds/preview": Case(Scope.REVIEW, "requests/thresholds/preview", method="POST"),
    "/api/v1/requests/thresholds": Case(Scope.REVIEW, "requests/thresholds", method="POST"),
    "/api/v1/requests/{request_id}": Case(Scope.REVIEW, "requests/1"),
}
OF_A_VIDEO = {route: case for route, case in CASES.items() if "{video}" in case.path}
BODIES = {
    "hold": {"until": "2099-01-01T00:00:00Z"},
    "assign": {"to": None},
    "decisions": {"version": 1, "rulings": [{"prompt_id": 1, "ruling": "confirm"}]},
    "appeal": {"reason": "it is a play"},
}
OF_A_CASE = {route: case for route, case in CASES.items() if "{case}" in case.path}
WITHOUT_VIDEOS = ("coverage", "runs", "memory", "backfills", "policies", "recipes", "audits", "reviewer_accuracy")
OF_DECISIONS = ("audit_decisions", "agreement")
WITH_VIDEOS = [path for path in VIEWS if path not in (*WITHOUT_VIDEOS, *OF_DECISIONS)]


def call(
    rest: Rest, case: Case, authorization: str | None, *, video: str = "clean", of: str = "clip-3", **headers: str
) -> httpx.Response:
    """Args: video: for a route of a video. of: for a route of a case, its video."""
    given = {"Authorization": authorization} if authorization is not None else {}
    path = case.path.format(video=rest.video_ids[video], case=rest.case_id(of))
    return rest.http.request(case.method, f"{rest.url}/{path}", params=case.query, headers=given | headers)


def names(reply: httpx.Response) -> set[str]:
    """The videos whose keys are anywhere in a reply."""
    return set(re.findall(r"2026/11/([\w-]+)\.mp4", reply.text))


def test_every_route_has_a_case():
    routes = {}
    for one in create_app(None).routes:
        for route in [one] if hasattr(one, "path") else one.original_router.routes:
            routes.setdefault(route.path, set()).update(route.methods)
    assert routes.pop("/api/v1/openapi.json") == {"GET", "HEAD"}, "it says nothing about videos"
    assert routes == {route: {case.method} for route, case in CASES.items()}, "add a case for the new route"


def test_no_route_answers_without_a_token_that_counts(rest: Rest):
    every = list(Scope)
    expired, revoked = rest.token(*every, lifetime=timedelta(seconds=-1)), rest.token(*every)
    rest.execute("UPDATE nightreel.tokens SET revoked_at = now() WHERE id = (SELECT max(id) FROM nightreel.tokens)")
    tried = {
        "none": None,
        "empty": "",
        "basic": "Basic bm9ib2R5Om5vdGhpbmc=",
        "no token": "Bearer nr_short",
        "of nobody": f"Bearer nr_{'a' * 43}",
        "injection": "Bearer nr_' OR true --",
        "its hash": f"Bearer {rest.token(*every)[:-1]}",
        "expired": f"Bearer {expired}",
        "revoked": f"Bearer {revoked}",
    }
    for route, case in CASES.items():
        for name, authorization in tried.items():
            reply = call(rest, case, authorization)
            assert reply.status_code == 401, (route, name, reply.text)
            assert reply.headers["WWW-Authenticate"].startswith("Bearer"), (route, name)
            assert reply.headers["Content-Type"] == "application/problem+json", (route, name)
            assert names(reply) == set(), (route, name)


def test_every_route_needs_its_scope_and_no_other(rest: Rest):
    tokens = {scope: rest.token(scope) for scope in Scope}
    for route, case in CASES.items():
        for scope, token in tokens.items():
            reply = call(rest, case, f"Bearer {token}")
            assert (reply.status_code == 403) == (scope is not case.scope), (route, scope, reply.text)
            if scope is not case.scope:
                assert 'error="insufficient_scope"' in reply.headers["WWW-Authenticate"]
                assert names(reply) == set()
            assert reply.status_code < 500, (route, scope, reply.text)


def test_rows_of_restricted_videos_need_the_scope(rest: Rest):
    without, with_it = rest.token("read", "export"), rest.token("read", "export", "restricted")
    for path in (*WITH_VIDEOS, "wide_{prompt_set}"):
        reply = call(rest, CASES[f"/api/v1/{path}"], f"Bearer {without}")
        assert "bloody" not in names(reply), path
        assert SECRET not in reply.text, path
    for path in (
        "videos",
        "wide_{prompt_set}",
        "answers",
        "flags",
        "timeline",
        "verdicts",
        "segments",
        "tags",
        "answers_all",
    ):
        reply = call(rest, CASES[f"/api/v1/{path}"], f"Bearer {with_it}")
        assert "bloody" in names(reply), path
    for path in (*VIEWS, "wide_test"):
        for form in Format:
            case = Case(Scope.EXPORT, f"exports/{path}", {"format": form})
            reply = call(rest, case, f"Bearer {without}")
            assert reply.status_code == 200, (path, form, reply.text)
            assert b"bloody" not in reply.content, (path, form)
            assert SECRET.encode() not in reply.content, (path, form)
    assert "bloody" not in names(call(rest, CASES["/api/v1/search"], f"Bearer {without}"))
    assert "bloody" in names(call(rest, CASES["/api/v1/search"], f"Bearer {with_it}"))
    everything = call(rest, Case(Scope.EXPORT, "exports/answers"), f"Bearer {with_it}").text
    assert everything.count(SECRET) == 10, "`answer` and `value` of five segments"


def test_a_filter_or_a_cursor_does_not_open_restricted_videos(rest: Rest):
    token, allowed = rest.token("read"), rest.token("read", "restricted")
    for conditions in (
        ["restricted=true"],
        ["uri>="],
        ["answer=a secret caption"],
        [f"video_id={rest.video_ids['bloody']}"],
    ):
        reply = rest.get("answers", token=token, params={"filter": conditions, "limit": 1000})
        assert "bloody" not in names(reply), conditions
    after = rest.get("answers", token=allowed, params={"limit": 1}).json()["next"]
    assert "bloody" not in names(rest.get("answers", token=token, params={"limit": 1000, "after": after}))


def test_a_restricted_video_is_as_if_it_did_not_exist(rest: Rest):
    token = rest.token("read", "media")
    for route, case in OF_A_VIDEO.items():
        reply = call(rest, case, f"Bearer {token}", video="bloody")
        assert reply.status_code == 404, route
        gone = rest.http.get(
            f"{rest.url}/{case.path.format(video=99999)}", headers={"Authorization": f"Bearer {token}"}
        )
        ours = str(rest.video_ids["bloody"])
        assert reply.json()["detail"].replace(ours, "N") == gone.json()["detail"].replace("99999", "N")


def test_a_case_of_a_restricted_video_is_as_if_it_did_not_exist(rest: Rest):
    token, ours = rest.token("review"), str(rest.case_id("bloody"))
    for route, case in OF_A_CASE.items():
        body = BODIES.get(route.rsplit("/", 1)[1])
        replies = [
            rest.http.request(
                case.method,
                f"{rest.url}/{case.path.format(case=number)}",
                json=body,
                headers={"Authorization": f"Bearer {token}"},
            )
            for number in (ours, 99999)
        ]
        assert [reply.status_code for reply in replies] == [404, 404], (route, replies[0].text)
        details = [reply.json()["detail"] for reply in replies]
        assert details[0].replace(ours, "N") == details[1].replace("99999", "N")
    assert call(
        rest, OF_A_CASE["/api/v1/cases/{case_id}"], f"Bearer {rest.token('review', 'restricted')}", of="bloody"
    ).is_success


def test_the_scope_restricted_shows_no_case_to_a_person_who_may_not_see_it(rest: Rest):
    with rest.owner.begin() as connection:
        change_user(connection, "ann", restricted=False)
    reply = call(
        rest, OF_A_CASE["/api/v1/cases/{case_id}"], f"Bearer {rest.token('review', 'restricted')}", of="bloody"
    )
    assert reply.status_code == 404


def test_a_token_with_the_scope_review_does_what_the_role_of_its_user_allows(rest: Rest):
    token = rest.token("review")
    for role, expected in ((Role.VIEWER, 404), (Role.REVIEWER, 200)):
        with rest.owner.begin() as connection:
            change_user(connection, "ann", role=role)
        assert call(rest, CASES["/api/v1/queues/{queue}/take"], f"Bearer {token}").status_code == expected
    body = {"queue": "general"}
    reply = rest.http.post(f"{rest.url}/bulk/preview", json=body, headers={"Authorization": f"Bearer {token}"})
    assert reply.status_code == 403, "leads decide in bulk"
    with rest.owner.begin() as connection:
        change_user(connection, "ann", disabled=True)
    assert call(rest, CASES["/api/v1/queues"], f"Bearer {token}").status_code == 401


def test_another_host_name_is_refused_and_no_other_origin_may_call(rest: Rest):
    token = rest.token("read")
    case = CASES["/api/v1/videos"]
    assert call(rest, case, f"Bearer {token}", Host="mallory.example").status_code == 400
    reply = call(rest, case, f"Bearer {token}", Origin="https://mallory.example")
    assert not [name for name in reply.headers if name.startswith("access-control")]


def test_a_token_is_stored_as_a_hash_and_its_use_is_noted(rest: Rest):
    token = rest.token("read")
    assert rest.get("views", token=token).status_code == 200
    with rest.owner.begin() as connection:
        rows = connection.execute(text("SELECT tokens::text, last_used_at FROM nightreel.tokens")).all()
    assert [row.last_used_at is not None for row in rows] == [True]
    assert token[len("nr_") + 4 :] not in rows[0][0]

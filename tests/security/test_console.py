"""The console: every route asks for a session, its role, and the token of forms; what all replies carry."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx
import pytest
from fixtures.work_rest import SECRET
from fixtures.work_signed_in import PEOPLE, Client, Console, served_console

from nightreel.console.app import create_pages
from nightreel.domain.users import Role

SAME = {"Sec-Fetch-Site": "same-origin"}
NOBODY = None


@dataclass(frozen=True)
class Case:
    """A request that a route serves, and the role that it needs; None: nobody need be signed in."""

    role: Role | None
    path: str
    form: dict = field(default_factory=lambda: {"x": "1"})


GETS: dict[str, Case] = {
    "/": Case(Role.VIEWER, "/"),
    "/sign-in": Case(NOBODY, "/sign-in"),
    "/sign-in/link": Case(NOBODY, "/sign-in/link?secret=x"),
    "/export": Case(Role.VIEWER, "/export?q=street"),
    "/videos/{video_id}": Case(Role.VIEWER, "/videos/{video}"),
    "/videos/{video_id}/moment": Case(Role.VIEWER, "/videos/{video}/moment?t=40"),
    "/videos/{video_id}/media": Case(Role.VIEWER, "/videos/{video}/media"),
    "/videos/{video_id}/preview": Case(Role.VIEWER, "/videos/{video}/preview?t=40"),
    "/videos/{video_id}/preview/{key}.webm": Case(Role.VIEWER, "/videos/{video}/preview/" + "0" * 64 + ".webm"),
    "/videos/{video_id}/captions.vtt": Case(Role.VIEWER, "/videos/{video}/captions.vtt"),
    "/videos/{video_id}/flags.vtt": Case(Role.VIEWER, "/videos/{video}/flags.vtt"),
    "/videos/{video_id}/thumbnail": Case(Role.VIEWER, "/videos/{video}/thumbnail"),
    "/videos/{video_id}/segments/{segment}/frames/{frame}.jpg": Case(
        Role.VIEWER, "/videos/{video}/segments/0/frames/0.jpg"
    ),
    "/review": Case(Role.REVIEWER, "/review"),
    "/review/preferences": Case(Role.REVIEWER, "/review/preferences"),
    "/review/queues/{queue}/ahead": Case(Role.REVIEWER, "/review/queues/general/ahead"),
    "/cases/{case_id}": Case(Role.REVIEWER, "/cases/{case}"),
    "/cases/{case_id}/history": Case(Role.REVIEWER, "/cases/{case}/history"),
    "/lead": Case(Role.LEAD, "/lead"),
    "/lead/disagreements": Case(Role.LEAD, "/lead/disagreements"),
    "/lead/prompts/{prompt_id}": Case(Role.LEAD, "/lead/prompts/2?threshold=0.8"),
    "/lead/prompts/{prompt_id}/preview": Case(Role.LEAD, "/lead/prompts/2/preview?threshold=0.8"),
    "/operator": Case(Role.LEAD, "/operator"),
    "/operator/coverage": Case(Role.LEAD, "/operator/coverage"),
    "/account": Case(Role.VIEWER, "/account"),
    "/account/password": Case(Role.VIEWER, "/account/password"),
}
POSTS: dict[str, Case] = {
    "/sign-in": Case(NOBODY, "/sign-in"),
    "/sign-in/link": Case(NOBODY, "/sign-in/link"),
    "/sign-out": Case(Role.VIEWER, "/sign-out"),
    "/videos/{video_id}/revealed": Case(Role.VIEWER, "/videos/{video}/revealed"),
    "/searches": Case(Role.VIEWER, "/searches", {"name": "vans", "query": "q=van"}),
    "/searches/{search_id}/delete": Case(Role.VIEWER, "/searches/1/delete"),
    "/review/preferences": Case(Role.REVIEWER, "/review/preferences"),
    "/review/undo": Case(Role.REVIEWER, "/review/undo"),
    "/review/queues/{queue}/take": Case(Role.REVIEWER, "/review/queues/general/take"),
    "/cases/{case_id}/take": Case(Role.REVIEWER, "/cases/{case}/take"),
    "/cases/{case_id}/extend": Case(Role.REVIEWER, "/cases/{case}/extend"),
    "/cases/{case_id}/release": Case(Role.REVIEWER, "/cases/{case}/release"),
    "/cases/{case_id}/skip": Case(Role.REVIEWER, "/cases/{case}/skip"),
    "/cases/{case_id}/hold": Case(Role.REVIEWER, "/cases/{case}/hold"),
    "/cases/{case_id}/assign": Case(Role.REVIEWER, "/cases/{case}/assign"),
    "/cases/{case_id}/unblurred": Case(Role.REVIEWER, "/cases/{case}/unblurred"),
    "/cases/{case_id}/decide": Case(Role.REVIEWER, "/cases/{case}/decide"),
    "/cases/{case_id}/appeal": Case(Role.REVIEWER, "/cases/{case}/appeal"),
    "/lead/prompts/{prompt_id}/threshold": Case(Role.LEAD, "/lead/prompts/2/threshold"),
    "/operator/retry": Case(Role.LEAD, "/operator/retry"),
    "/operator/backfills": Case(Role.LEAD, "/operator/backfills"),
    "/account/preferences": Case(Role.VIEWER, "/account/preferences"),
    "/account/sessions/end": Case(Role.VIEWER, "/account/sessions/end"),
    "/account/password": Case(Role.VIEWER, "/account/password"),
}


def path_of(console: Console, case: Case, of: str = "clip-3") -> str:
    return case.path.format(video=console.video_ids[of], case=console.case_id(of))


def routes() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in create_pages(None).routes:
        for route in [one] if hasattr(one, "path") else one.original_router.routes:
            found.setdefault(route.path, set()).update(getattr(route, "methods", None) or {"GET"})
    return found


def test_every_route_has_a_case():
    known = routes()
    assert known.pop("/static") == {"GET"}, "files of the package"
    expected = {path: {"GET"} for path in GETS}
    for path in POSTS:
        expected.setdefault(path, set()).add("POST")
    assert known == expected, "add a case for the new route"


def test_a_stranger_gets_nothing_but_the_page_to_sign_in(console: Console):
    with console.client() as stranger:
        for route, case in GETS.items():
            reply = stranger.get(path_of(console, case))
            if case.role is not None:
                assert reply.status_code == 303, route
                assert reply.headers["Location"].startswith("/sign-in"), route
                assert reply.text == "", route
        for route, case in POSTS.items():
            reply = stranger.post(path_of(console, case), data=case.form, headers=SAME)
            assert reply.status_code == (403 if case.role is None else 303), route
        for cookie in ("x", "a" * 43, "' OR true --", "%00"):
            reply = stranger.get("/", headers={"Cookie": f"nightreel={cookie}"})
            assert reply.status_code in (303, 400), cookie


@pytest.mark.parametrize("name", PEOPLE)
def test_every_route_serves_its_role_and_those_above(console: Console, name: str):
    order = list(Role)
    for method, cases in (("GET", GETS), ("POST", POSTS)):
        for route, case in cases.items():
            with console.client(name) as client:
                path = path_of(console, case)
                reply = client.get(path) if method == "GET" else client.submit(path, **case.form)
            refused = case.role is not None and order.index(PEOPLE[name][0]) < order.index(case.role)
            assert (reply.status_code == 403) == (refused or (method == "POST" and case.role is NOBODY)), (
                method,
                route,
            )
            assert reply.status_code < 500, (method, route, reply.text)


def test_a_form_without_the_token_of_its_session_changes_nothing(console: Console):
    with console.client("ada") as client, console.client("ada") as other:
        for route, case in POSTS.items():
            path = path_of(console, case)
            tokens = {"none": {}, "empty": {"csrf_token": ""}, "made up": {"csrf_token": "0" * 64}}
            for name, token in tokens.items():
                reply = client.post(path, data=case.form | token, headers=SAME)
                assert reply.status_code == 403, (route, name)
            if case.role is not None:
                from_other = token_of(other)
                assert client.post(path, data=case.form | from_other, headers=SAME).status_code == 403, route


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
    ids=str,
)
def test_a_request_of_another_site_changes_nothing_even_with_the_token(console: Console, headers):
    with console.client("ada") as client:
        token = token_of(client)
        for route, case in POSTS.items():
            reply = client.post(path_of(console, case), data=case.form | token, headers=headers)
            assert reply.status_code == 403, route
            assert "another site" in reply.text


def test_every_reply_says_how_a_browser_must_treat_it(console: Console):
    with console.client("ada") as client:
        for path in (*(path_of(console, case) for case in GETS.values()), "/static/console.css", "/nothing"):
            headers = client.get(path).headers
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy, path
            assert "frame-ancestors 'none'" in policy, path
            assert "unsafe" not in policy, path
            assert headers["X-Content-Type-Options"] == "nosniff", path
            assert headers["Cache-Control"] == "no-store", path
            assert headers["Referrer-Policy"] == "same-origin", path


def test_restricted_videos_are_on_show_in_their_lane_alone(console: Console):
    of_a_video = [case for case in GETS.values() if "{video}" in case.path]
    found = ("/?lane=restricted&q=secret", "/?lane=restricted", "/export?lane=restricted&q=secret", "/?verdict=flagged")
    with console.client("ada") as without, console.client("cleo") as cleo:
        for case in of_a_video:
            path = path_of(console, case, "bloody")
            in_lane = f"{path}{'&' if '?' in path else '?'}lane=restricted"
            for reply in (without.get(path), without.get(in_lane)):
                assert reply.status_code == 404, path
                assert SECRET not in reply.text
                assert "bloody" not in reply.text
            reply = cleo.get(path)
            assert SECRET not in reply.text, path
            assert "<img" not in reply.text
        for path in found:
            assert SECRET not in without.get(path).text, path
            assert "bloody" not in without.get(path).text, path
        for path in ("/", "/?q=secret", "/?verdict=flagged", "/export"):
            assert "bloody" not in cleo.get(path).text, path
        video = console.video_ids["bloody"]
        assert SECRET in cleo.get("/?lane=restricted&q=secret").text.replace("<mark>", "").replace("</mark>", "")
        assert f"/videos/{video}/thumbnail" not in cleo.get("/?lane=restricted").text
        shown = cleo.get(f"/videos/{video}?lane=restricted").text
        assert SECRET in shown
        assert "hidden-picture" in shown or "<img" not in shown, "pictures are blurred"


def test_a_session_that_was_ended_counts_no_longer(console: Console):
    with console.client("ann") as client:
        assert client.get("/").status_code == 200
        console.execute("UPDATE nightreel.sessions SET revoked_at = now()")
        assert client.get("/").status_code == 303
    with console.client("ann") as client:
        console.execute("UPDATE nightreel.users SET disabled_at = now() WHERE name = 'ann'")
        assert client.get("/").status_code == 303


def test_another_name_of_this_host_is_refused(console: Console):
    with console.client("ann") as client:
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_a_token_of_the_rest_service_is_no_session_and_a_session_is_no_token(console: Console):
    token = console.token("read")
    with console.client() as client:
        assert client.get("/", headers={"Authorization": f"Bearer {token}"}).status_code == 303
        assert client.get("/api/v1/views", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    with console.client("ada") as client:
        assert client.get("/api/v1/views").status_code == 401


def token_of(client: Client) -> dict[str, str]:
    page = client.get("/account").text
    return {"csrf_token": page.split('name="csrf_token" value="')[1][:64]}


def test_bodies_have_limits(console: Console):
    with console.client("ann") as client:
        form = {"Content-Type": "application/x-www-form-urlencoded", **SAME}
        large = client.post("/account/preferences", content=b"a=" + b"x" * (1 << 20), headers=form)
        assert large.status_code == 413
        assert client.post("/account/preferences", json={}, headers=SAME).status_code == 415
        many = client.post("/account/preferences", content=b"&".join([b"a=1"] * 3001), headers=form)
        assert many.status_code == 422


def test_it_listens_on_no_other_address_without_tls_or_a_proxy(tmp_path):
    from nightreel.console.server import check_address
    from nightreel.errors import SettingsError
    from nightreel.settings import Settings

    def settings(**more) -> Settings:
        return Settings(_env_file=None, work_dir=tmp_path, **more)

    for host in ("0.0.0.0", "::", "10.0.0.1"):  # noqa: S104
        with pytest.raises(SettingsError, match="unencrypted"):
            check_address(settings(console_host=host))
        check_address(settings(console_host=host, console_proxies="10.0.0.2"))
    check_address(settings())
    with pytest.raises(SettingsError, match="anybody could send it"):
        check_address(settings(console_user_header="X-Forwarded-User"))
    with pytest.raises(SettingsError, match="neither"):
        check_address(settings(console_tls_key=tmp_path / "key"))
    with pytest.raises(SettingsError, match="no file"):
        check_address(settings(console_tls_key=tmp_path / "key", console_tls_certificate=tmp_path / "certificate"))


def test_a_stranger_who_asks_for_a_part_is_sent_to_sign_in(console: Console):
    reply = httpx.get(f"{console.url}/account", headers={"HX-Request": "true"})
    assert reply.status_code == 200
    assert reply.headers["HX-Redirect"].startswith("/sign-in")
    assert reply.text == ""


@pytest.mark.parametrize("proxies", ["127.0.0.1", "10.0.0.7"])
def test_a_header_names_the_person_only_if_a_known_proxy_sends_it(console: Console, console_url, proxies: str):
    settings = console.settings.model_copy(
        update={"console_proxies": (proxies,), "console_user_header": "X-Forwarded-User"}
    )
    named = {"X-Forwarded-User": "ann"}
    with served_console(console_url, settings) as url, Client(base_url=url) as client:
        reply = client.get("/sign-in?next=/account", headers=named)
        if proxies != "127.0.0.1":
            assert (reply.status_code, reply.cookies.get("nightreel")) == (200, None)
            return
        assert (reply.status_code, reply.headers["Location"]) == (303, "/account")
        assert "ann" in client.get("/account", headers=named).text
        for other in ({}, {"X-Forwarded-User": "lea"}, {"X-Forwarded-User": ""}):
            assert client.get("/account", headers=other).status_code == 303, other
        assert client.get("/account", headers=[*named.items(), ("X-Forwarded-User", "lea")]).status_code == 303
        assert client.get("/sign-in", headers={"X-Forwarded-User": "nobody"}).status_code == 403

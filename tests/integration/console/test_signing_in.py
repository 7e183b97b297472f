"""Sign in and out, passwords, sessions, languages and time zones."""

from __future__ import annotations

import pytest
from fixtures.work_signed_in import Console

from nightreel.accounts.passwords import hash_password
from nightreel.database.passwords import set_password

PASSWORD = "a horse in the rain 7"


@pytest.fixture
def with_password(console: Console) -> Console:
    with console.owner.begin() as connection:
        set_password(connection, console.people["ann"], hash_password(PASSWORD), temporary=False)
        set_password(connection, console.people["vera"], hash_password(PASSWORD), temporary=True)
    return console


def test_a_person_signs_in_and_gets_to_the_page_that_was_asked_for(with_password: Console):
    with with_password.client() as client:
        asked = client.get("/account?x=1")
        page = asked.headers["Location"]
        assert page == "/sign-in?next=%2Faccount%3Fx%3D1"
        done = client.submit("/sign-in", page=page, name="ann", password=PASSWORD, next="/account?x=1")
        assert (done.status_code, done.headers["Location"]) == (303, "/account?x=1")
        cookie = next(one for one in done.headers.get_list("set-cookie") if one.startswith("nightreel="))
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "ann" in client.get("/account").text


def test_the_cookie_is_for_tls_alone_where_the_browser_speaks_it(with_password: Console):
    # serving() believes a proxy on loopback, as uvicorn does by default
    with with_password.client(headers={"X-Forwarded-Proto": "https"}) as client:
        page = client.get("/sign-in")
        cookie = page.headers["set-cookie"]
        assert cookie.startswith("__Host-nightreel-forms=")
        assert "Secure" in cookie
        assert page.headers["Strict-Transport-Security"]


def test_a_wrong_password_and_an_unknown_name_look_the_same(with_password: Console):
    with with_password.client() as client:
        replies = [
            client.submit("/sign-in", page="/sign-in", name=name, password="wrong wrong wrong")
            for name in ("ann", "nobody", "<script>")
        ]
    assert [reply.status_code for reply in replies] == [401] * 3
    assert all("the name or the password is wrong" in reply.text for reply in replies)
    assert "<script>" not in replies[2].text.replace('<script src="/static', "")


def test_many_attempts_wait(with_password: Console):
    with with_password.client() as client:
        replies = [client.submit("/sign-in", page="/sign-in", name="ann", password="wrong") for _ in range(6)]
        right = client.submit("/sign-in", page="/sign-in", name="ann", password=PASSWORD)
    assert replies[-1].status_code in (401, 429)
    assert right.status_code == 429
    assert int(right.headers["Retry-After"]) >= 1


def test_a_password_that_another_person_made_must_be_changed_first(with_password: Console):
    with with_password.client() as client:
        done = client.submit("/sign-in", page="/sign-in", name="vera", password=PASSWORD, next="/")
        assert done.headers["Location"] == "/account/password"
        assert client.get("/").headers["Location"] == "/account/password"
        new = "another horse in the sun"
        page = "/account/password"
        wrong = client.submit(page, page=page, current="x", new=new, again=new)
        differ = client.submit(page, page=page, current=PASSWORD, new=new, again="x")
        short = client.submit(page, page=page, current=PASSWORD, new="short", again="short")
        assert [one.status_code for one in (wrong, differ, short)] == [422] * 3
        assert client.submit(page, page=page, current=PASSWORD, new=new, again=new).status_code == 303
        assert client.get("/").status_code == 200


def test_who_finds_a_browser_signed_in_cannot_guess_its_password(with_password: Console):
    page = "/account/password"
    with with_password.client("ann") as client:
        for _ in range(6):
            client.submit(page, page=page, current="a guess", new="x", again="x")
        right = client.submit(page, page=page, current=PASSWORD, new="another horse 9 9", again="another horse 9 9")
    assert right.status_code == 429


def test_signing_out_ends_the_session(console: Console):
    with console.client("ann") as client, console.client("ann") as copy:
        copy.cookies = client.cookies
        assert client.submit("/sign-out").headers["Location"] == "/sign-in"
        assert copy.get("/").status_code == 303


def test_a_person_ends_sessions_elsewhere_and_none_of_others(console: Console):
    with console.client("ann") as here, console.client("ann") as there, console.client("lea") as lea:
        of_lea = lea.get("/account").text
        here.submit("/account/sessions/end")
        assert there.get("/").status_code == 303
        assert here.get("/").status_code == 200
        for number in range(1, 20):
            here.submit("/account/sessions/end", session=str(number)) if here.get("/").status_code == 200 else None
        assert lea.get("/account").status_code == 200
        assert of_lea


def test_languages_and_time_zones_are_those_of_the_person(console: Console):
    console.execute("UPDATE nightreel.sessions SET created_at = '2026-11-27 20:30+00'")
    with console.client("ann") as client:
        console.execute("UPDATE nightreel.sessions SET created_at = '2026-11-27 20:30+00'")
        assert '<html lang="en">' in client.get("/account").text
        chinese = client.get("/account", headers={"Accept-Language": "zh-CN,zh;q=0.9"}).text
        assert '<html lang="zh">' in chinese
        assert "修改密码" in chinese
        assert client.submit("/account/preferences", language="zh", time_zone="Asia/Shanghai").status_code == 303
        page = client.get("/account").text
        assert '<html lang="zh">' in page
        assert "2026-11-28 04:30" in page
        for wrong in ({"language": "xx"}, {"time_zone": "Moon/Crater"}, {"time_zone": "../../etc/passwd"}):
            assert client.submit("/account/preferences", **wrong).status_code == 422
        assert client.submit("/account/preferences").status_code == 303
        assert '<html lang="en">' in client.get("/account").text


def test_an_unknown_page_is_a_page_that_says_so(console: Console):
    with console.client("ann") as client:
        reply = client.get("/nothing-<b>")
    assert reply.status_code == 404
    assert "Not Found" in reply.text

"""A hundred strings that are programs, statements, formulas or escapes stay text, wherever they come from."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from fixtures.hostile_texts import HOSTILE, Page
from fixtures.work_searched import Library
from fixtures.work_signed_in import Console, add_people, served_console

from nightreel.database.current_recipes import make_current
from nightreel.database.queues import bring_into_force
from nightreel.database.sessions import add_session
from nightreel.review.queue_file import shipped_queues


def test_there_are_a_hundred_different_strings():
    assert len(set(HOSTILE)) == 100


@pytest.fixture
def hostile(library: Library, console_url: str, rest_settings) -> Iterator[Console]:
    """A console over videos whose keys and captions are hostile."""
    people = add_people(library.work.database)
    with library.work.database.begin() as connection:
        bring_into_force(connection, shipped_queues(), made_by="test")
        make_current(
            connection, library.work.recipe.id, source="s3://bucket", set_names={"test"}, made_by="night", instead=True
        )
    library.add(
        {f"{number}-{quote(text, safe='')}": {"caption": text, "why": text} for number, text in enumerate(HOSTILE)}
    )
    with served_console(console_url, rest_settings) as url:
        yield Console(url, library.work.database, rest_settings, {}, people)


def test_hostile_texts_stay_text_on_every_page(hostile: Console):
    # keys as storage lists them are quoted or not: the worst is a key that is the string itself
    with hostile.owner.begin() as connection:
        from sqlalchemy import text

        for number, one in enumerate(HOSTILE):
            connection.execute(
                text("UPDATE nightreel.videos SET uri = :uri WHERE uri LIKE :old"),
                {"uri": f"s3://bucket/{number}-{one}", "old": f"s3://bucket/{number}-%"},
            )
        connection.execute(text("UPDATE nightreel.prompts SET name = name || :one"), {"one": HOSTILE[0]})
        connection.execute(text("UPDATE nightreel.users SET pseudonym = pseudonym || :one"), {"one": HOSTILE[2]})
        ids = list(connection.execute(text("SELECT id FROM nightreel.videos")).scalars())
    agent = '<img src=x onerror="hit=1">'
    with hostile.owner.begin() as connection:
        add_session(connection, hostile.people["ann"], address=HOSTILE[3], agent=agent)
    with hostile.client("ann") as client:
        for name in (HOSTILE[0], HOSTILE[5]):
            assert client.submit("/searches", name=name, query="q=x", shared="true").status_code == 303
        paths = [
            "/",
            "/?view=table",
            "/account",
            f"/?q={quote(HOSTILE[0])}&prompt={quote(HOSTILE[4])}&under={quote(HOSTILE[6])}",
        ]
        paths += [f"/videos/{number}" for number in ids]
        said = ""
        for path in paths:
            reply = client.get(path)
            assert reply.status_code == 200, (path, reply.text[:500])
            page = Page(reply.text)
            assert page.wrong == [], path
            said += "".join(page.said)
        for one in HOSTILE:
            shown = one.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
            assert shown in said, "it is on show, as text"
        captions = client.get(f"/videos/{ids[0]}/captions.vtt").text
        assert "<" not in captions
        exported = client.get("/export?format=csv").text
        assert not any(line.split(",")[1].startswith("=") for line in exported.splitlines()[1:] if "," in line)


def test_nothing_hostile_runs_in_a_browser(hostile: Console, browser):
    with hostile.page(browser, "ann") as page:
        dialogs = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        for path in ("/", "/?view=table", "/videos/1", "/videos/50", f"/?q={quote(HOSTILE[0])}"):
            page.goto(path)
            assert page.evaluate("window.hit === undefined"), path
        assert dialogs == []

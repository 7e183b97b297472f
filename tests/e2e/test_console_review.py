"""Review in Debian's Chromium, by keyboard alone."""

from __future__ import annotations

import io
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fixtures.axe import violations
from fixtures.work_reviewed import GENERAL, RESTRICTED, URGENT, twice
from PIL import Image
from sqlalchemy import text

from nightreel.domain.queues import Queue, Queues
from nightreel.storage import open_storage

if TYPE_CHECKING:
    from fixtures.work_signed_in_desk import Reviewing
    from playwright.sync_api import Page

SIZE = {"width": 1280, "height": 800}
HOSTILE = "<img src=x onerror=alert(1)>{{7*7}}'\"><script>alert(2)</script>\x1b[31m\u202e"


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def shown(page: Page) -> int:
    """The number of the case on show."""
    return int(page.url.rsplit("/", 1)[-1])


def ready(page: Page) -> None:
    """Wait until the page listens to keys: its scripts ran, and a case that htmx put into it has its first label."""
    page.wait_for_load_state()
    page.locator(".current, body:not(:has([data-label]))").first.wait_for(state="attached")


def take_this(page: Page) -> None:
    """Take the case on show by its key."""
    page.locator("[data-key=t]").wait_for()
    ready(page)
    press(page, "t")
    page.get_by_role("button", name="Decide").wait_for()
    ready(page)


def take(page: Page, queue: str = "general") -> int:
    """Take the next case of a queue by its key."""
    page.goto("/review")
    key = page.get_by_role("button", name=f"Take next {queue}").get_attribute("data-key")
    assert key, "the queue has a key"
    press(page, key)
    page.wait_for_url("**/cases/*")
    ready(page)
    return shown(page)


def decide(page: Page, *keys: str) -> None:
    """Rule by these keys, decide, and wait for what comes next."""
    before = page.url
    press(page, *keys, "Enter")
    page.wait_for_url(lambda url: url != before)
    ready(page)


def shot(page: Page, name: str) -> None:
    """A picture to look at, where one is wanted."""
    if directory := os.environ.get("TEST_SCREENSHOTS"):
        page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)


def test_ten_cases_are_reviewed_by_keyboard_alone(reviewing: Reviewing, browser):
    reviewing.flagged(10)
    with reviewing.page(browser, "ann", viewport=SIZE) as page:
        page.goto("/review")
        shot(page, "review")
        seen = [take(page)]
        for index in range(10):
            assert page.evaluate("document.querySelector('.current legend').textContent") == "violence"
            if index == 0:
                shot(page, "review-case")
            decide(page, "n" if index % 3 == 0 else "y")
            if index < 9:
                seen.append(shown(page))
        assert page.url.endswith("/review?done=general")
        assert page.get_by_text("nothing to decide in the queue general for ann").is_visible()
    assert len(set(seen)) == 10
    views = reviewing.desk.rows("SELECT case_id FROM nightreel.views_seen WHERE what = 'case' ORDER BY id")
    assert [row.case_id for row in views] == seen, "the log says what the person saw"
    assert Counter(reviewing.desk.states().values()) == {"closed": 10}
    rulings = Counter(row.ruling for row in reviewing.desk.rows("SELECT ruling FROM reporting.decisions"))
    assert rulings == {"reject": 4, "confirm": 6}


def test_pictures_are_blurred_and_grey_until_asked_for_and_notes_and_keys_are_a_key_away(reviewing: Reviewing, browser):
    reviewing.flagged(1)
    with reviewing.page(browser, "ann", viewport=SIZE) as page:
        page.goto("/review/preferences")
        page.get_by_label("1", exact=True).fill("a toy")
        page.get_by_label("2", exact=True).fill(HOSTILE[:40])
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/review")
        take(page)
        case = page.locator("#case")
        assert case.get_attribute("class") == "case blurred grey"
        assert page.locator("video").count() == 0, "no moving picture"
        press(page, "g", "b")
        page.locator("#case:not(.blurred)").wait_for()
        assert case.get_attribute("class") == "case"
        press(page, "b")
        assert case.get_attribute("class") == "case blurred"
        press(page, "1", "2", "m", "!")
        note = page.get_by_label("Note")
        assert note.input_value() == f"a toy\n{HOSTILE[:40]}!"
        press(page, "Escape", "?")
        assert page.get_by_role("dialog").is_visible()
        press(page, "y")
        assert not page.get_by_label("confirm").is_checked(), "the sheet has the keyboard"
        press(page, "Escape", "y")
        assert page.get_by_label("confirm").is_checked()
        page.goto("/review/preferences")
        page.get_by_label("blurred").uncheck()
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/review")
        page.goto("/cases/1")
        assert case.get_attribute("class") == "case grey", "the person's own preference counts"


def test_the_log_of_views_has_pictures_when_they_are_on_show_and_as_they_are(reviewing: Reviewing, browser):
    reviewing.flagged(2)
    store_sheets(reviewing)
    with reviewing.page(browser, "ann", viewport=SIZE) as page:
        with page.expect_response("**/review/queues/general/ahead"):
            first = take(page)
        page.wait_for_load_state("networkidle")  # the sheets of the next case are there
        assert looks(reviewing) == [(first, "v00", True)], "the next case is not on show yet"
        assert sent(reviewing) == {"v00", "v01"}
        press(page, "b")
        page.locator("#case:not(.blurred)").wait_for()
        assert looks(reviewing) == [(first, "v00", True), (first, "v00", False)]
        press(page, "b")
        page.locator("#case.blurred").wait_for()
        decide(page, "y")
        second = shown(page)
        assert page.locator("#case img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    assert looks(reviewing)[2:] == [(second, "v01", True)], (
        "it has a row now, though the browser had the picture before"
    )


def test_pictures_stay_blurred_if_the_log_of_views_cannot_be_written(reviewing: Reviewing, browser):
    reviewing.flagged(1)
    store_sheets(reviewing)
    with reviewing.page(browser, "ann", viewport=SIZE) as page:
        with page.expect_response("**/review/queues/general/ahead"):
            take(page)
        page.route("**/unblurred", lambda route: route.fulfill(status=503))
        press(page, "b")
        page.get_by_text("The console did not answer").wait_for()
        page.unroute("**/unblurred")
        with reviewing.owner.begin() as connection:
            connection.execute(text("UPDATE nightreel.sessions SET revoked_at = now()"))
        page.evaluate("document.getElementById('notices').textContent = ''")
        press(page, "b")
        page.get_by_text("The console did not answer").wait_for()
        assert page.locator("#case.blurred").count() == 1
    assert [blurred for *_, blurred in looks(reviewing)] == [True]


def store_sheets(reviewing: Reviewing) -> None:
    """Store a contact sheet of each video."""
    picture = io.BytesIO()
    Image.new("RGB", (64, 32)).save(picture, "JPEG")
    cache = open_storage(reviewing.settings.cache_prefix, reviewing.settings)
    cache.publish("aa/sheet.jpg", picture.getvalue())
    with reviewing.owner.begin() as connection:
        uri = f"{cache.url}/aa/sheet.jpg"
        connection.execute(text("UPDATE nightreel.features SET thumbnail_uri = :uri"), {"uri": uri})


def looks(reviewing: Reviewing) -> list[tuple[int, str, bool]]:
    """The contact sheets that were on show: case, video, and whether it was blurred."""
    rows = reviewing.desk.rows(
        "SELECT case_id, uri, blurred FROM reporting.views_seen WHERE what = 'contact_sheet' ORDER BY view_id"
    )
    return [(row.case_id, Path(row.uri).stem, row.blurred) for row in rows]


def sent(reviewing: Reviewing) -> set[str]:
    """The videos of which a browser got a contact sheet."""
    rows = reviewing.desk.rows("SELECT DISTINCT uri FROM reporting.views_seen WHERE what = 'sheet_sent'")
    return {Path(row.uri).stem for row in rows}


def test_two_people_at_the_same_time_never_have_one_case(reviewing: Reviewing, browser):
    reviewing.flagged(6)
    with reviewing.page(browser, "ann") as first, reviewing.page(browser, "bob") as second:
        seen = [take(first), take(second)]
        for page in (first, second, second, first):
            decide(page, "y")
            seen.append(shown(page))
        assert len(set(seen)) == 6
        first.goto(f"/cases/{shown(second)}")
        assert first.get_by_role("button", name="Decide").count() == 0
        first.get_by_role("button", name="Take this case").click()
        first.get_by_text("somebody else has case").wait_for()


def test_a_decision_after_the_lock_ended_is_refused_and_the_page_says_so(reviewing: Reviewing, browser):
    reviewing.flagged(1)
    reviewing.desk.bring(Queues((RESTRICTED, URGENT, Queue(name="general", lock_minutes=2 / 60))))
    with reviewing.page(browser, "ann") as page:
        take(page)
        page.get_by_text("the time ran out: take the case again").first.wait_for()
        press(page, "y", "Enter")
        page.get_by_role("alert").wait_for()
        assert "Take it again" in page.get_by_role("alert").inner_text()
        assert reviewing.desk.rows("SELECT FROM nightreel.decisions") == []
        reviewing.desk.bring(Queues((RESTRICTED, URGENT, GENERAL)))
        take_this(page)
        decide(page, "y")
    assert reviewing.desk.states() == {"general/v00": "closed"}


def test_undo_brings_the_case_back_to_the_person(reviewing: Reviewing, browser):
    reviewing.flagged(2)
    with reviewing.page(browser, "ann") as page:
        case = take(page)
        decide(page, "y")
        assert shown(page) != case
        press(page, "z")
        page.wait_for_url(f"**/cases/{case}")
        ready(page)
        assert page.get_by_role("button", name="Decide").is_visible()
        decide(page, "n")
    rows = reviewing.desk.rows("SELECT ruling, stands FROM reporting.decisions ORDER BY decision_id")
    assert [(row.ruling, row.stands) for row in rows] == [("confirm", False), ("reject", True)]


def test_a_second_person_does_not_see_what_the_first_one_said_and_a_lead_sees_both(reviewing: Reviewing, browser):
    reviewing.desk.bring(twice(min_severity=1))
    reviewing.flagged(1)
    with reviewing.page(browser, "ann") as page:
        case = take(page)
        press(page, "m")
        page.keyboard.type(HOSTILE.replace("\x1b", "").replace("\u202e", ""))
        press(page, "Escape")
        decide(page, "y")
        page.goto("/review")
        assert page.get_by_role("button", name="Take next general").is_visible()
    ann = reviewing.desk["ann"].pseudonym
    with reviewing.page(browser, "bob") as page:
        assert take(page) == case
        page.get_by_text("History and copies").click()
        page.get_by_role("cell", name="opened").wait_for()
        assert "onerror" not in page.content()
        assert page.get_by_role("cell", name="confirm").count() == 0
        decide(page, "n")
    with reviewing.page(browser, "lea", viewport=SIZE) as page:
        page.goto("/lead")
        page.get_by_role("link", name="1 case waits for a lead").click()
        page.locator(".sides .card").first.wait_for()
        sides = page.locator(".sides .card").all_inner_texts()
        assert [text.split(" ")[0] for text in sides] == ["confirm", "reject"]
        assert ann in sides[0]
        assert "<script>alert(2)</script>" in sides[0], "a note is text"
        shot(page, "lead-disagreements")
        assert violations(page) == []
        page.get_by_role("link", name=f"Case {case}").click()
        take_this(page)
        assert page.get_by_label("escalate").count() == 0, "a lead decides"
        assert page.get_by_role("cell", name=ann).is_visible()
        shot(page, "review-case-lead")
        assert violations(page) == []
        decide(page, "y")
    assert reviewing.desk.states() == {"general/v00": "closed"}


def test_a_case_is_held_kept_for_somebody_skipped_and_appealed(reviewing: Reviewing, browser):
    reviewing.flagged(2)
    with reviewing.page(browser, "ann") as page:
        first = take(page)
        page.get_by_role("button", name="Hold").click()
        page.wait_for_url("**/review")
        second = take(page)
        assert second != first
        press(page, "a")
        page.keyboard.type("bob")
        press(page, "Enter")
        page.wait_for_url("**/review")
    with reviewing.page(browser, "bob") as page:
        assert take(page) == second
        press(page, "s")
        page.wait_for_url("**/review")
        page.goto(f"/cases/{first}")
        take_this(page)
        decide(page, "y")
        page.goto(f"/cases/{first}")
        page.get_by_label("Appeal, because").fill("it is a play")
        page.get_by_role("button", name="Reopen").click()
        page.get_by_text("appealed").first.wait_for()
    assert sorted(reviewing.desk.states().values()) == ["appealed", "open"]


@pytest.mark.parametrize("rest_settings", [{"review_break_after": 2}], indirect=True)
def test_a_break_is_suggested_after_severe_cases_and_a_person_may_go_on(reviewing: Reviewing, browser):
    for number in range(3):
        reviewing.desk.analyse(f"w{number}", weapons=0.9)  # severity 4
    with reviewing.page(browser, "ann", viewport=SIZE) as page:
        take(page, "urgent")
        decide(page, "y")
        decide(page, "y")
        assert page.get_by_role("heading", name="Time for a break").is_visible()
        assert page.get_by_text("You judged 2 severe cases without a break.").is_visible()
        shot(page, "review-break")
        assert violations(page) == []
        page.get_by_role("button", name="Go on urgent").click()
        page.wait_for_url("**/cases/*")
        decide(page, "n")
        assert page.get_by_text("nothing to decide").is_visible()


def test_axe_finds_nothing_wrong_with_the_pages_of_review(reviewing: Reviewing, browser):
    reviewing.flagged(2)
    for scheme in ("light", "dark"):
        with reviewing.page(browser, "lea", viewport=SIZE, color_scheme=scheme) as page:
            for path in ("/review", "/review/preferences", "/lead", "/lead/disagreements", "/operator"):
                page.goto(path)
                assert violations(page) == [], (path, scheme)
            take(page)
            page.get_by_text("History and copies").click()
            page.get_by_role("cell", name="opened").wait_for()
            assert violations(page) == [], scheme
            press(page, "?")
            assert violations(page) == [], scheme

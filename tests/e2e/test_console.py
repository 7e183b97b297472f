"""The console in Debian's Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.work_signed_in import Console

from nightreel.accounts.passwords import hash_password
from nightreel.database.passwords import set_password

AXE = Path(__file__).parents[1] / "data" / "axe" / "axe-4.14.1.min.js"
PAGES = {
    "/": "ada",
    "/?q=street": "ada",
    "/?verdict=flagged&view=table": "ada",
    "/videos/2": "ada",
    "/account": "ada",
    "/account/password": "ada",
    "/sign-in": None,
    "/nothing": None,
}
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}
PASSWORD = "a horse in the rain 7"


def violations(page) -> list[str]:
    """What axe-core finds wrong with a page. It runs outside of the policy of the page."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("rules => axe.run(document, rules)", RULES)["violations"]
    return [f"{one['id']}: {[node['html'][:200] for node in one['nodes']]}" for one in found]


def test_a_person_signs_in_and_out(console: Console, browser):
    with console.owner.begin() as connection:
        set_password(connection, console.people["ann"], hash_password(PASSWORD), temporary=False)
    with console.page(browser, timezone_id="Asia/Shanghai") as page:
        page.goto("/account")
        page.get_by_label("Name").fill("ann")
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url("**/account")
        assert page.get_by_label("Time zone").input_value() == "Asia/Shanghai", "the browser said it"
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/sign-in")
        page.goto("/account")
        assert "/sign-in" in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong_with_any_page(console: Console, browser, scheme: str):
    for path, name in PAGES.items():
        with console.page(browser, name, color_scheme=scheme) as page:
            page.goto(path)
            assert violations(page) == [], path

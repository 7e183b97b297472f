"""The pages of leads and of the operator in Debian's Chromium."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fixtures.axe import violations
from sqlalchemy import text

from nightreel.stages.requests import carry_out_requests

if TYPE_CHECKING:
    from fixtures.work_signed_in_desk import Reviewing
    from playwright.sync_api import Page

SIZE = {"width": 1280, "height": 800}


def shot(page: Page, name: str) -> None:
    """A picture to look at, where one is wanted."""
    if directory := os.environ.get("TEST_SCREENSHOTS"):
        page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)


def slide(page: Page, label: str, value: float) -> None:
    """Move a slider, and wait for what the server makes of it."""
    page.wait_for_load_state()
    page.get_by_role("slider", name=label).fill(str(value))
    page.get_by_role("heading", name=f"{label} {value:.2f}").wait_for()


def test_a_slider_previews_a_threshold_and_a_worker_applies_it(reviewing: Reviewing, browser):
    for number, p in enumerate((0.2, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 0.97)):
        reviewing.desk.analyse(f"v{number:02}", violence=p)
    for ruling in ("reject", "confirm", "confirm", "confirm"):
        reviewing.desk.judge("ann", ruling)
    with reviewing.page(browser, "lea", viewport=SIZE) as page:
        page.goto("/lead")
        shot(page, "lead")
        page.get_by_role("link", name="test / violence").click()
        page.get_by_text("This is in force.").wait_for()
        assert page.get_by_text("4 labels that people judged").is_visible()
        slide(page, "Threshold", 0.8)
        assert page.locator("[data-lost]").get_attribute("data-lost") == "3"
        assert page.locator("[data-gained]").get_attribute("data-gained") == "0"
        slide(page, "Threshold", 0.4)
        assert page.locator("[data-gained]").get_attribute("data-gained") == "1"
        assert page.get_by_role("link", name="v01.mp4").is_visible(), "an example near the limit"
        slide(page, "Threshold", 0.7)
        shot(page, "lead-prompt")
        assert violations(page) == []
        page.get_by_role("button", name="Apply this threshold").click()
        page.get_by_text("waits for a worker").wait_for()
        carry_out_requests(reviewing.desk.work.database)
        page.reload()
        page.get_by_text("This is in force.").wait_for()
        assert page.get_by_text("in force; the stored answers are judged again").is_visible()
    flagged = reviewing.desk.rows("SELECT FROM reporting.flags WHERE prompt = 'violence' AND found = 'flagged'")
    assert len(flagged) == 4


def test_an_example_of_a_restricted_video_is_for_those_who_may_see_it(reviewing: Reviewing):
    reviewing.desk.analyse("secret", violence=0.6, gore=0.9)
    prompt = reviewing.desk.rows("SELECT DISTINCT prompt_id FROM reporting.policies WHERE prompt = 'violence'")[0]
    for name, sees in (("lea", False), ("leo", True)):
        with reviewing.client(name) as client:
            reply = client.get(f"/lead/prompts/{prompt.prompt_id}?threshold=0.8&doubt=0")
            page = reply.text
        assert reply.status_code == 200, page
        assert 'data-lost="1"' in page, "it is counted"
        assert ("secret.mp4" in page) == sees, name


@pytest.mark.parametrize("form", [{}, {"threshold": "2"}, {"threshold": "nan", "doubt": "0", "policy": "1"}])
def test_a_threshold_that_is_none_is_refused(reviewing: Reviewing, form):
    reviewing.flagged(1)
    with reviewing.client("lea") as client:
        assert client.submit("/lead/prompts/2/threshold", **form).status_code == 422
        assert client.get("/lead/prompts/999").status_code == 404
        assert client.get("/lead/prompts/2?threshold=7").status_code == 422
    assert reviewing.desk.rows("SELECT FROM nightreel.requests") == []


COUNTS = """{"headline": "3 done, 1 failed; 4 segments, 16 answers", "videos": {"done": %d, "failed": 1},
  "reasons": {"no_index": 1}, "answers": {"answered": 14, "unknown": 2}, "listing": {"listed": 5},
  "timings": {"total": 60, "decode": 31.5, "model": 12}, "cost": {"seconds": 58.0, "dollars": 0.04}}"""


def test_the_page_of_the_operator_shows_the_last_night_and_asks_for_a_retry(reviewing: Reviewing, browser):
    reviewing.flagged(2)
    with reviewing.page(browser, "ada", viewport=SIZE) as page:
        page.goto("/operator")
        assert page.get_by_text("No night has ended yet.").is_visible()
        assert page.get_by_text("No backfill:").is_visible()
        assert page.get_by_text("No video failed.").is_visible()
        shot(page, "operator-empty")
    with reviewing.owner.begin() as connection:
        recipe = connection.execute(text("SELECT min(id) FROM nightreel.recipes")).scalar_one()
        for day, done in ((25, 2), (26, 3)):
            connection.execute(
                text(
                    "INSERT INTO nightreel.runs (source, recipe_id, status, options, settings, environment, counts, "
                    "name, finished_at, flow_run_id) VALUES ('s3://bucket', :recipe, 'completed', '{}', '{}', '{}', "
                    "CAST(:counts AS jsonb), :name, now(), 'abc')"
                ),
                {"recipe": recipe, "counts": COUNTS % done, "name": f"night 2026-11-{day}"},
            )
        connection.execute(
            text(
                "UPDATE nightreel.analyses SET status = 'failed', reason = 'no_index', detail = :detail "
                "WHERE id = (SELECT min(id) FROM nightreel.analyses)"
            ),
            {"detail": "<script>alert(1)</script>"},
        )
        backfill = connection.execute(
            text(
                "INSERT INTO nightreel.backfills (source, recipe_id, model, pool, plan) VALUES "
                "('s3://bucket/old', :recipe, 'demo', 'nightreel', '{}') RETURNING id"
            ),
            {"recipe": recipe},
        ).scalar_one()
    with reviewing.page(browser, "ada", viewport=SIZE) as page:
        page.goto("/operator")
        night = page.locator("#night").inner_text()
        for said in ("night 2026-11-26", "no_index 1", "decode, 32 s", "0.04 $", "58 s"):
            assert said in night
        changes = page.locator("#changes tbody tr").all_inner_texts()
        assert [row.split("\t") for row in changes] == [["videos done", "3", "2"]]
        assert page.get_by_role("cell", name="<script>alert(1)</script>").is_visible()
        page.locator("#coverage").get_by_text("were asked of all videos").wait_for()
        page.get_by_role("button", name="Retry no_index (1)").click()
        page.get_by_text("waits for a worker").wait_for()
        page.get_by_role("button", name="Pause").click()
        page.locator("#requests tbody tr").nth(1).wait_for()
        shot(page, "operator")
        assert violations(page) == []
        carry_out_requests(reviewing.desk.work.database)
        page.reload()
        assert page.get_by_text(f"backfill {backfill} is paused").is_visible()
        assert page.get_by_role("button", name="Resume").is_visible()
        assert page.get_by_text("No video failed.").is_visible()


def test_a_restricted_video_that_failed_is_not_named_to_others(reviewing: Reviewing):
    reviewing.desk.analyse("secret", gore=0.9)
    with reviewing.owner.begin() as connection:
        connection.execute(text("UPDATE nightreel.analyses SET status = 'failed', reason = 'no_index'"))
    for name, sees in (("lea", False), ("leo", True)):
        with reviewing.client(name) as client:
            page = client.get("/operator").text
        assert "Retry no_index (1)" in page
        assert ("secret.mp4" in page) == sees, name

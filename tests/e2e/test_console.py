"""The console in Debian's Chromium."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path

import numpy as np
import pytest
from fixtures.axe import violations
from fixtures.clips import encode_numbers, read_number
from fixtures.work_signed_in import Console
from PIL import Image

from nightreel.accounts.passwords import hash_password
from nightreel.database.passwords import set_password

PAGES = {
    "/": "ada",
    "/?q=street&min_severity=1": "ada",
    "/?verdict=flagged&view=table": "ada",
    "/?q=nowhere": "ada",
    "/videos/{video}?t=40": "ada",
    "/account": "ada",
    "/account/password": "ada",
    "/sign-in": None,
    "/sign-in/link?secret=x": None,
    "/nothing": None,
}
PASSWORD = "a horse in the rain 7"
MOST_BYTES = 150_000
SHOWN = """() => {
    const video = document.querySelector("video"), canvas = document.createElement("canvas");
    canvas.width = video.videoWidth; canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    return canvas.toDataURL("image/png").split(",")[1];
}"""


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
            page.goto(path.format(video=console.video_ids["clip-3"]))
            for details in page.locator("details:not([open]) > summary").all()[:3]:
                details.click()
            assert violations(page) == [], path


def test_the_first_page_is_light(console: Console, browser):
    with console.page(browser, "vera") as page:
        sizes = {}
        page.on("response", lambda reply: sizes.update({reply.url: len(reply.body())}))
        page.goto("/", wait_until="networkidle")
    assert sum(size for url, size in sizes.items() if "/thumbnail" not in url) <= MOST_BYTES
    assert all(url.startswith(console.url) for url in sizes), "nothing is loaded from elsewhere"


def test_words_are_found_by_keyboard_alone(console: Console, browser):
    console.execute("UPDATE nightreel.site SET console_url = NULL")
    with console.page(browser, "vera") as page:
        page.goto("/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        while page.evaluate("document.activeElement.id") != "q":
            page.keyboard.press("Tab")
        page.keyboard.type("bicycle")
        page.keyboard.press("Enter")
        page.wait_for_url("**/?q=bicycle")
        page.locator("#found mark").wait_for()
        assert page.locator("#found mark").all_text_contents() == ["bicycle"]
        page.go_back()
        page.locator("#found .moment").nth(4).wait_for()


def test_a_flag_seeks_and_the_frame_on_show_is_the_one_that_was_asked(console: Console, browser, tmp_path: Path):
    path = tmp_path / "in" / "numbers.mp4"
    path.parent.mkdir()
    encode_numbers(path, range(100), "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25")
    console.put_file("clip-3", path, frame_times_s=(0.48, 1.48, 3.48))
    video = console.video_ids["clip-3"]
    with console.page(browser, "vera") as page:
        page.goto(f"/videos/{video}")
        until(page, "document.querySelector('video').readyState >= 2")
        assert page.evaluate("document.querySelector('video').muted")
        for expected in (12, 37, 87):
            page.get_by_role("button", name="Frame after").click()
            assert number_on_show(page) == expected
        page.get_by_role("button", name="Frame before").click()
        assert number_on_show(page) == 37
        page.get_by_label("Speed").select_option("0.25")
        assert page.evaluate("document.querySelector('video').playbackRate") == 0.25
        page.get_by_text("Frames at which the model looked").click()
        page.locator("[data-frame]").first.click()
        assert number_on_show(page) == 12
        page.locator(".timeline a").last.focus()
        page.keyboard.press("Enter")
        until(page, "document.querySelector('#moment h2').textContent.startsWith('1:30')")
        assert "t=90" in page.url
        assert page.locator("track").count() == 2


@pytest.fixture
def film(console: Console, tmp_path: Path) -> int:
    """A film of 36 s in HEVC, with flags from 0 to 12 s and from 20 to 26 s. Each frame shows its number."""
    path = tmp_path / "in" / "numbers.mp4"
    path.parent.mkdir()
    encode_numbers(path, range(900), "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none")
    console.put_file("clip-3", path, frame_times_s=(0.48, 3.48, 16.0), codec="hevc", with_content=True)
    video = console.video_ids["clip-3"]
    console.execute(f"UPDATE nightreel.videos SET duration_s = 36 WHERE id = {video}")
    for number, (start, end) in enumerate([(0, 6), (6, 12), (12, 20), (20, 26), (30, 36)]):
        console.execute(
            f"UPDATE nightreel.segments SET start_s = {start}, end_s = {end} "
            f"WHERE video_id = {video} AND index = {number}"
        )
    return video


def test_a_preview_plays_where_the_browser_cannot_play_the_file(console: Console, browser, film: int):
    with console.page(browser, "vera") as page:
        page.goto(f"/videos/{film}")
        page.get_by_text("A preview of 0:00–0:14, 0:18–0:28 is being made.").wait_for()
        page.locator("video").wait_for(timeout=60_000)
        until(page, "document.querySelector('video').readyState >= 2")
        assert "it has only these parts: 0:00–0:14, 0:18–0:28" in page.locator("#player").inner_text()
        assert page.evaluate("document.querySelector('video').muted")
        assert page.evaluate("document.querySelector('video').duration") == pytest.approx(36, abs=0.1)
        for expected in (12, 87):
            page.get_by_role("button", name="Frame after").click()
            assert number_on_show(page) == expected
        page.get_by_role("button", name="Frame after").click()
        assert number_on_show(page) == 87, "the frame at 16 s is not in the preview"
        page.locator('.timeline a[data-seek="20.0"]').last.focus()
        page.keyboard.press("Enter")
        until(page, "document.querySelector('video').currentTime > 20")
        assert number_on_show(page) == 500
        assert "t=20" in page.url
        page.evaluate("document.querySelector('video').currentTime = 13.5; document.querySelector('video').play()")
        until(page, "document.querySelector('video').currentTime > 18")
        page.evaluate("document.querySelector('video').currentTime = 27.5")
        until(page, "document.querySelector('video').paused")
        assert page.evaluate("document.querySelector('video').currentTime") < 30, "after the last part it stops"
        assert violations(page) == []
        page.locator('.timeline a[data-seek="30.0"]').first.focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**t=30.0")
        page.locator("video").wait_for(timeout=60_000)
        until(page, "document.querySelector('video').readyState >= 2")
        assert number_on_show(page) == 750, "a moment outside of the preview has a preview of its own"


def test_a_file_that_the_browser_fails_to_play_gets_a_preview(console: Console, browser, film: int):
    console.execute(
        f"""UPDATE nightreel.videos SET probe = probe || '{{"codec": "h264"}}' WHERE id = {film}"""  # so says the probe
    )
    with console.page(browser, "vera") as page:
        page.goto(f"/videos/{film}?t=20.0")
        until(page, "(document.querySelector('video') || {dataset: {}}).dataset.ranges")
        until(page, "document.querySelector('video').readyState >= 2")
        assert number_on_show(page) == 500
        assert "Your browser cannot play this file (mov, h264)." in page.locator("#player").inner_text()


def until(page, expression: str) -> None:
    """Wait until this holds. Playwright's own way evaluates the text in the page, which the policy of pages refuses."""
    end = time.monotonic() + 30
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def number_on_show(page) -> int | None:
    until(page, "!document.querySelector('video').seeking")
    page.wait_for_timeout(200)  # until the picture is drawn
    return read_number(np.asarray(Image.open(io.BytesIO(base64.b64decode(page.evaluate(SHOWN)))).convert("RGB")))

"""Tables keep names whole on a terminal of 80 columns, whatever else is in them."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.text import Text

from nightreel.cli.tables import lay_out

NAME = "camera-17-2026-11-26T00-00-00-front-door-0001.mp4"
LONG = "the mdat box should end at byte 8941, the file ends at 2000: repeat the upload, or leave the file out"
ADDRESS = "postgresql+psycopg://nightreel:***@127.0.0.1:24043/nightreel?sslmode=disable"

TABLES = {
    "failures": (("video", "status", "reason", "tries", "detail"), [(NAME, "failed", "media_data_missing", 1, LONG)]),
    "answers": (
        ("video", "seconds", "prompt", "answer", "p", ""),
        [(NAME, "0-30", "violence", "no", "0.123", "review"), (NAME, "30-60", "caption", LONG, "", "")],
    ),
    "services": (("service", "state", "url", "pid", "up", "detail"), [(NAME, "running", ADDRESS, 17, "20 s", LONG)]),
    "backfills": (
        ("backfill", "status", "source", "videos", "done", "failed", "shards done", "active", "per minute", "left"),
        [(1, "running", f"s3://bucket/{NAME}", "1,000", "10", "0", "0 of 1", "1 run", "12.3", "1 h 20 min")],
    ),
    "many rows with long words": (
        ("setting", "value", "from"),
        [("NIGHTREEL_STORAGE_DOLLARS_PER_GIB_MONTH", "x" * 90, "default"), *[(NAME[:20], "1", "default")] * 20],
    ),
    "wide characters": (
        ("video", "answer"),
        [("カメラ十七番の映像.mp4", "赤い円と青い三角形が黒い背景の上を動く" * 3)],
    ),
}


def printed(columns, rows, width: int) -> str:
    console = Console(force_terminal=True, color_system=None, width=width)
    cells = [[Text(str(value)) for value in row] for row in rows]
    with console.capture() as capture:
        for part in lay_out(columns, cells, width=width):
            console.print(part, soft_wrap=isinstance(part, Text))
    return capture.get()


@pytest.mark.parametrize("width", [40, 60, 80, 132])
@pytest.mark.parametrize(("columns", "rows"), TABLES.values(), ids=TABLES)
def test_every_name_and_every_title_stays_whole(columns, rows, width):
    text = printed(columns, rows, width)
    for row in rows:
        assert str(row[0]) in text
    for title in columns:
        assert title in text
    words = " ".join(text.split())
    for row in rows:
        for value in map(str, row):
            assert all(word in words for word in value.split() if len(word) <= 20), value


@pytest.mark.parametrize(("columns", "rows"), TABLES.values(), ids=TABLES)
def test_lines_fit_the_terminal_except_for_words_that_are_longer(columns, rows):
    for line in printed(columns, rows, 80).splitlines():
        assert len(line.rstrip()) <= 80 or max(map(len, line.split())) > 40, line


def test_an_address_stays_whole_in_a_short_table():
    assert ADDRESS in printed(*TABLES["services"], 80)


def test_a_name_that_several_rows_share_is_printed_once():
    assert printed(*TABLES["answers"], 80).count(NAME) == 1


def test_a_table_that_fits_has_one_line_for_each_row():
    assert printed(("run", "state"), [(1, "done"), (2, "failed")], 80).split() == [
        "run",
        "state",
        "1",
        "done",
        "2",
        "failed",
    ]

"""sql/queries: the questions that analysts ask, each with the rows that five known videos give."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fixtures.work import Work

QUERIES = {
    path.stem: path.read_text() for path in sorted((Path(__file__).parents[3] / "sql" / "queries").glob("*.sql"))
}
FLAGGED = (("clip-3", 0.0, 0.9), ("clip-3", 30.0, 0.97), ("clip-3", 90.0, 0.99), ("worse", 60.0, 0.99))

# By the columns that are named here: the others are times, numbers of rows and policies.
EXPECTED: dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]] = {
    "01_flagged_since_yesterday": (
        ("uri", "prompt", "severity", "worst_p", "first_s"),
        [("clip-3", "violence", 3, 0.99, 0.0), ("worse", "violence", 3, 0.99, 60.0)],
    ),
    "02_flagged_seconds": (
        ("uri", "from_s", "to_s"),
        [("clip-3", "0", "60"), ("clip-3", "90", "120"), ("worse", "60", "90")],
    ),
    "03_frames_behind_flags": (
        ("uri", "start_s", "p", "frame_times_s"),
        [(uri, start_s, p, [0.0]) for uri, start_s, p in FLAGGED],
    ),
    "04_not_judged": (("uri", "prompt", "found", "ranges"), [("unsure", "violence", "unknown", [[30, 60]])]),
    "05_tags": (("prompt", "tag", "videos"), [("scene", "indoors", 4)]),
    "06_never_asked": (("uri", "prompt"), [("waiting", "violence")]),
    "07_coverage_of_days": (
        ("prompt", "videos", "answered", "unknown", "errors", "not_asked"),
        [
            ("caption", 5, 4, 0, 0, 1),
            ("scene", 5, 4, 0, 0, 1),
            ("violence", 5, 3, 1, 0, 1),
            ("why", 5, 0, 0, 0, 5),
        ],
    ),
    "08_policies_behind_flags": (("uri", "prompt"), [("clip-3", "violence"), ("worse", "violence")]),
    "09_near_the_threshold": (
        ("uri", "start_s", "p"),
        [("unsure", 30.0, 0.5), ("worse", 30.0, 0.5), ("clip-3", 0.0, 0.9)],
    ),
    "10_captions_of_flagged": (
        ("uri", "start_s", "caption"),
        [(uri, at, "a bicycle" if (uri, at) == ("clip-3", 30.0) else "a street") for uri, at, _ in FLAGGED],
    ),
    "11_one_video": (
        ("start_s", "prompt", "answer"),
        [
            (index * 30.0, prompt, answer)
            for index, (caption, violence) in enumerate(
                (("street", "yes"), ("bicycle", "yes"), ("street", "no"), ("street", "yes"), ("street", "no"))
            )
            for prompt, answer in (("caption", f"a {caption}"), ("scene", "indoors"), ("violence", violence))
        ],
    ),
    "12_share_of_flags": (
        ("prompt", "flagged", "videos", "share"),
        [
            ("violence", 2, 4, Decimal("0.500")),
            ("caption", 0, 4, Decimal("0.000")),
            ("scene", 0, 4, Decimal("0.000")),
        ],
    ),
    "13_p_of_a_prompt": (("tenth", "answers"), [(1, 14), (6, 2), (10, 4)]),
    "14_waiting": (("uri",), [("waiting",)]),
    "15_little_seen": (("uri",), []),
    "16_failures_by_reason": (("reason", "videos"), []),
    "17_copies": (("videos", "uris"), []),
    "18_disagreeing_segments": (
        ("uri", "prompt", "flagged", "segments"),
        [("clip-3", "violence", 3, 5), ("worse", "violence", 1, 5)],
    ),
    "19_restricted": (("uri",), []),
    "20_last_runs": (("name", "status"), [(None, "running")]),
}


def test_each_of_the_twenty_has_its_rows():
    assert len(QUERIES) == 20
    assert QUERIES.keys() == EXPECTED.keys()
    assert all(query.startswith("-- ") and query.splitlines()[0].endswith("?") for query in QUERIES.values())


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_answers_its_question(judged_videos, name):
    columns, expected = EXPECTED[name]
    assert _read(judged_videos, QUERIES[name], columns) == [
        pytest.approx(row) if _plain(row) else row for row in expected
    ]


def _plain(row: tuple[Any, ...]) -> bool:
    return not any(isinstance(value, list) for value in row)


def _read(work: Work, query: str, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    with work.database.begin() as connection:
        rows = connection.exec_driver_sql(query.replace("%", "%%")).mappings().all()
    return [tuple(_name(row[column]) if column == "uri" else row[column] for column in columns) for row in rows]


def _name(uri: str) -> str:
    return uri.rsplit("/", 1)[1].removesuffix(".mp4")

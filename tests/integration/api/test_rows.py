"""Rows of views over HTTP: pages, filters, ETags, and errors that say what to write instead."""

from __future__ import annotations

from fixtures.work_rest import OPEN, Rest
from sqlalchemy import text

from nightreel.api.rows import VIEWS
from nightreel.database.view_pages import KEYS
from nightreel.database.view_rows import view_names


def all_pages(rest: Rest, path: str, *scopes: str, **query) -> list[dict]:
    token, rows, after = rest.token(*(scopes or ("read",))), [], None
    while True:
        reply = rest.get(path, token=token, params=query | ({"after": after} if after else {}))
        assert reply.status_code == 200, reply.text
        page = reply.json()
        assert len(page["rows"]) <= query.get("limit", 100)
        rows += page["rows"]
        if (after := page["next"]) is None:
            return rows


def test_every_view_has_a_key_that_tells_its_rows_apart(rest: Rest):
    with rest.owner.begin() as connection:
        assert set(view_names(connection)) == {*KEYS, "wide_test"}
        for view, key in (KEYS | {"wide_test": ("video_id",)}).items():
            names = ", ".join(key)
            rows, keys, nulls = connection.execute(
                text(
                    f"SELECT count(*), count(DISTINCT ({names})), count(*) FILTER (WHERE num_nulls({names}) > 0) "
                    f"FROM reporting.{view}"
                )
            ).one()
            assert (rows, nulls) == (keys, 0), view


def test_pages_of_a_few_rows_hold_every_row_once(rest: Rest):
    for path in (*VIEWS, "wide_test"):
        check_pages(rest, path)


def check_pages(rest: Rest, path: str) -> None:
    whole = all_pages(rest, path, "read", "restricted", limit=1000)
    small = all_pages(rest, path, "read", "restricted", limit=3)
    volatile = {"seconds"} if path == "runs" else set()
    assert [{**row, **dict.fromkeys(volatile)} for row in small] == [
        {**row, **dict.fromkeys(volatile)} for row in whole
    ]
    with rest.owner.begin() as connection:
        count = connection.execute(text(f"SELECT count(*) FROM reporting.{VIEWS.get(path, path)}")).scalar()
    assert len(whole) == count


def test_filters_columns_and_prefixes_choose(rest: Rest):
    flags = all_pages(rest, "flags", filter=["found=flagged", "severity>=3"], columns="uri,worst_p")
    assert [(row["uri"].rsplit("/", 1)[1], row.keys()) for row in flags] == [
        ("clip-3.mp4", {"uri", "worst_p"}),
        ("worse.mp4", {"uri", "worst_p"}),
    ]
    assert all_pages(rest, "videos", under="s3://bucket/2027/") == []
    assert {row["uri"].rsplit("/", 1)[1].removesuffix(".mp4") for row in all_pages(rest, "videos")} == {
        *OPEN,
        "waiting",
    }


def test_the_same_page_is_not_sent_twice(rest: Rest):
    token = rest.token("read")
    first = rest.get("videos", token=token)
    again = rest.get("videos", token=token, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    rest.execute("UPDATE nightreel.videos SET gone_at = now()")
    changed = rest.get("videos", token=token, headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != first.headers["ETag"]


def test_a_page_is_the_same_while_rows_come_and_go(rest: Rest):
    first = rest.get("videos", params={"limit": 2}).json()
    rest.execute(f"UPDATE nightreel.videos SET replaced_at = now() WHERE id = {first['rows'][0]['video_id']}")
    second = rest.get("videos", params={"limit": 2, "after": first["next"]}).json()
    assert second["rows"][0]["video_id"] > first["rows"][1]["video_id"]


WRONG = [
    ("flags", {"filter": "promt=gore"}, 400, "did you mean 'prompt'?"),
    ("flags", {"filter": "prompt"}, 400, "expected COLUMN"),
    ("flags", {"filter": "severity>=many"}, 400, "invalid input syntax"),
    ("flags", {"filter": "prompt=\0"}, 400, "NUL"),
    ("flags", {"columns": "uri,answr"}, 400, "did you mean 'answer'?"),
    ("flags", {"columns": ","}, 400, "expected names"),
    ("runs", {"under": "s3://"}, 400, "has no keys of videos"),
    ("flags", {"after": "bm90aGluZw"}, 400, "expected the `next` of the page before"),
    ("flags", {"after": "ÿ"}, 400, "expected the `next` of the page before"),
    ("flags", {"limit": 0}, 422, "limit"),
    ("flags", {"limit": 100_000}, 422, "limit"),
    ("videos/0", {}, 422, "video_id"),
    ("videos/99999999", {}, 404, "no video 99999999"),
    ("nothing", {}, 404, "Not Found"),
]


def test_an_error_says_what_is_wrong(rest: Rest):
    for path, query, status, said in WRONG:
        reply = rest.get(path, params=query)
        assert (reply.status_code, reply.headers["Content-Type"]) == (status, "application/problem+json"), reply.text
        assert said in reply.json()["detail"]


def test_a_cursor_of_another_query_is_refused(rest: Rest):
    after = rest.get("videos", params={"limit": 1}).json()["next"]
    reply = rest.get("videos", params={"limit": 1, "after": after, "filter": "status=done"})
    assert (reply.status_code, "belongs to another query" in reply.json()["detail"]) == (400, True)
    assert rest.get("videos", params={"limit": 2, "after": after, "columns": "uri"}).status_code == 200


def test_one_video_has_the_row_of_its_view(rest: Rest):
    token = rest.token("read")
    (row,) = rest.get("videos", token=token, params={"filter": f"video_id={rest.video_ids['clean']}"}).json()["rows"]
    assert rest.get(f"videos/{rest.video_ids['clean']}", token=token).json() == {"video": row}


def test_a_search_finds_the_moment_and_pages(rest: Rest):
    (hit,) = rest.get("search", params={"q": "bicycles"}).json()["hits"]
    assert (hit["uri"].rsplit("/", 1)[1], hit["start_s"], hit["prompt"]) == ("clip-3.mp4", 30.0, "caption")
    (start, end) = hit["marks"][0]
    assert hit["text"][start:end] == "bicycle"
    found, after = [], None
    while after or not found:
        page = rest.get("search", params={"q": "street", "limit": 4} | ({"after": after} if after else {})).json()
        found += [(one["uri"], one["segment"]) for one in page["hits"]]
        after = page["next"]
    assert (len(found), len(set(found)), page["count"]) == (19, 19, 19)
    refused = rest.get("search", params={"q": "-"})
    assert (refused.status_code, "no word to search for" in refused.json()["detail"]) == (400, True)


def test_a_prompt_set_has_a_page_with_a_column_for_each_prompt(rest: Rest):
    rows = {row["uri"].rsplit("/", 1)[1]: row for row in all_pages(rest, "wide_test")}
    assert (rows["clip-3.mp4"]["violence"], rows["clip-3.mp4"]["flagged_prompts"]) == ("yes", ["violence"])
    assert (rows["unsure.mp4"]["violence"], rows["unsure.mp4"]["unknown_prompts"]) == (None, ["violence"])
    assert "bloody.mp4" not in rows
    (flagged, worse) = all_pages(rest, "wide_test", filter=["violence=yes"], columns="uri,scene")
    assert flagged.keys() == worse.keys() == {"uri", "scene"}
    for name in ("nowhere", "test'; --", "%00", "x" * 90):
        assert rest.get(f"wide_{name}").status_code == 404, name


def test_views_are_listed_with_their_columns(rest: Rest):
    views = rest.get("views").json()["views"]
    assert views.keys() == {*VIEWS, "wide_test"}
    assert {"name": "severity", "type": "integer"} in views["flags"]

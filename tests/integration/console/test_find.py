"""Find: words, filters, pages, saved searches, exports."""

from __future__ import annotations

import re
from html import unescape

import pytest
from fixtures.work_signed_in import Console

from nightreel.console.finding import FindForm


def found(page: str) -> list[str]:
    """The names of the videos on a page of pictures, in their order."""
    return re.findall(r"<strong>([\w-]+)\.mp4</strong>", page)


def test_the_first_page_shows_all_videos_the_newest_first(console: Console):
    with console.client("vera") as client:
        page = client.get("/").text
    assert sorted(found(page)) == ["clean", "clip-3", "unsure", "waiting", "worse"]
    assert [console.video_ids[name] for name in found(page)] == sorted(
        (console.video_ids[name] for name in found(page)), reverse=True
    )


def test_words_are_found_and_marked(console: Console):
    with console.client("vera") as client:
        page = client.get("/?q=bicycle").text
    assert found(page) == ["clip-3"]
    assert "<mark>bicycle</mark>" in page
    assert "1 moment" in page


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("verdict=flagged", {"clip-3", "worse"}),
        ("verdict=unknown", {"unsure", "worse"}),
        ("verdict=flagged&min_severity=3", {"clip-3", "worse"}),
        ("verdict=flagged&min_severity=4", set()),
        ("prompt=test/scene&verdict=outdoors", set()),
        ("prompt=violence&min_p=0.98", {"clip-3", "worse"}),
        ("since=2026-01-02", set()),
        ("since=2025-12-31&until=2026-01-02", {"clean", "clip-3", "unsure", "waiting", "worse"}),
        ("under=s3://bucket/2026/11/c", {"clean", "clip-3"}),
        ("q=street&verdict=flagged", {"clip-3", "worse"}),
        ("q=street&under=s3://bucket/2026/11/w", {"worse"}),
    ],
)
def test_filters(console: Console, query: str, names: set[str]):
    with console.client("vera") as client:
        reply = client.get(f"/?{query}")
    assert reply.status_code == 200, reply.text
    assert set(found(reply.text)) == names


@pytest.mark.parametrize(
    "query", ["min_severity=9", "like=x", "view=spiral", "q=a&after=nonsense", "unknown=1", "since=x"]
)
def test_a_wrong_address_is_a_page_that_says_what_is_wrong(console: Console, query: str):
    with console.client("vera") as client:
        reply = client.get(f"/?{query}")
    assert reply.status_code in (400, 422)
    assert 'role="alert"' in reply.text


def test_a_search_by_meaning_without_vectors_says_what_is_missing(console: Console):
    with console.client("vera") as client:
        reply = client.get("/?q=street&by=meaning")
    assert reply.status_code == 400
    assert "meaning" in reply.text


def test_pages_follow_each_other_until_all_was_seen(console: Console, monkeypatch):
    monkeypatch.setattr("nightreel.console.finding.ON_A_PAGE", 7)
    with console.client("vera") as client:
        path, seen = "/?q=street&view=table", 0
        while path:
            page = client.get(path).text
            seen += page.count("<tr>") - 1
            following = re.search(r'rel="next" href="([^"]+)"', page)
            path = unescape(following[1]) if following else None
    assert seen == 19, "of 20 segments, one says bicycle"


def test_htmx_gets_the_results_alone_and_the_address_of_them(console: Console):
    with console.client("vera") as client:
        reply = client.get("/?q=bicycle&view=grid&by=words", headers={"HX-Request": "true"})
        back = client.get("/?q=bicycle", headers={"HX-Request": "true", "HX-History-Restore-Request": "true"})
    assert "<html" not in reply.text
    assert reply.headers["HX-Push-Url"] == "/?q=bicycle"
    assert "<html" in back.text


def test_searches_are_saved_shared_replaced_and_deleted(console: Console):
    with console.client("ann") as ann, console.client("lea") as lea:
        done = ann.submit("/searches", name="bikes", query="q=bicycle&after=x&view=table", shared="true")
        assert done.headers["Location"] == "/?q=bicycle&view=table"
        ann.submit("/searches", name="mine", query="q=street")
        ann.submit("/searches", name="mine", query="q=night")
        page = ann.get("/").text
        assert 'href="/?q=bicycle&amp;view=table">bikes' in page
        assert 'href="/?q=night">mine' in page
        assert "q=street" not in page
        of_lea = lea.get("/").text
        assert ">bikes<" in of_lea
        assert ">mine<" not in of_lea
        number = int(re.findall(r"/searches/(\d+)/delete", page)[0])
        assert lea.submit(f"/searches/{number}/delete").status_code == 404
        assert ann.submit(f"/searches/{number}/delete").status_code == 303
        assert ">bikes<" not in lea.get("/").text
        assert ann.submit("/searches", name="x", query="javascript=1").status_code == 422


def test_what_is_on_show_is_exported(console: Console):
    with console.client("vera") as client:
        hits = client.get("/export?q=bicycle").text.splitlines()
        flags = client.get("/export?verdict=flagged&format=jsonl").text.splitlines()
        videos = client.get("/export?format=csv").text.splitlines()
        wrong = client.get("/export?min_severity=9")
    assert hits[0] == "video_id,uri,segment,start_s,end_s,prompt,text"
    assert len(hits) == 2
    assert len(flags) == 4
    assert len(videos) == 1 + 5
    assert wrong.status_code == 422


def test_a_query_without_defaults_comes_back_as_it_was():
    form = FindForm(q="红色 van", min_severity=2, newest=True, like=None)
    assert form.query() == "q=%E7%BA%A2%E8%89%B2+van&min_severity=2&newest=true"

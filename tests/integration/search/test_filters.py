"""Filters, pages, and what becomes of hits when answers, policies and videos change."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from fixtures.earlier_versions import downgrade_to
from fixtures.work_searched import ASKED, SCENE, TOPICS, Library, name_of
from sqlalchemy import text

from nightreel.database.connection import Database
from nightreel.database.current_recipes import make_current
from nightreel.database.migrations import upgrade
from nightreel.database.policies import apply_policy
from nightreel.domain import Band
from nightreel.errors import SettingsError
from nightreel.search import SearchQuery
from nightreel.stages.index import index_documents
from nightreel.stages.rejudge import apply_changes
from nightreel.stages.show import show_current

EARLY, LATE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def street(library: Library) -> Library:
    """Three streets: one calm and early, one violent and late, one long."""
    library.add({"2026/01/calm": {"caption": "a street"}}, modified_at=EARLY)
    library.add(
        {"2026/06/fight": {"caption": "a street", "violence": 0.9, "scene": "outdoors", "topics": {"music": 0.9}}},
        modified_at=LATE,
    )
    library.add({"2026/06/long": [{"caption": "a street"}, {"caption": "a park"}]}, modified_at=LATE)
    return library


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        pytest.param({}, {"calm", "fight", "long"}, id="none"),
        pytest.param({"prompt": "violence"}, {"calm", "fight", "long"}, id="a prompt that was asked"),
        pytest.param({"prompt": "test/violence", "verdict": "yes"}, {"fight"}, id="a verdict"),
        pytest.param({"prompt": "violence", "verdict": "no"}, {"calm", "long"}, id="the other verdict"),
        pytest.param({"prompt": "secret", "verdict": "yes"}, set(), id="a verdict of another prompt"),
        pytest.param({"verdict": "flagged"}, {"fight"}, id="any flag"),
        pytest.param({"verdict": "outdoors"}, {"fight"}, id="a choice"),
        pytest.param({"verdict": "music"}, {"fight"}, id="a tag"),
        pytest.param({"verdict": "mus"}, set(), id="a part of a tag"),
        pytest.param({"min_severity": 3}, {"fight"}, id="severity"),
        pytest.param({"min_severity": 4}, set(), id="a worse severity"),
        pytest.param({"prompt": "violence", "min_p": 0.9}, {"fight"}, id="p"),
        pytest.param({"prompt": "violence", "min_p": 0.91}, set(), id="a greater p"),
        pytest.param({"since": LATE}, {"fight", "long"}, id="since"),
        pytest.param({"until": LATE}, {"calm"}, id="until"),
        pytest.param({"under": "s3://bucket/2026/06/"}, {"fight", "long"}, id="prefix"),
        pytest.param({"under": "s3://bucket/2026/_6/"}, set(), id="a prefix is no pattern"),
        pytest.param({"min_duration_s": 60}, {"long"}, id="at least so long"),
        pytest.param({"max_duration_s": 30}, {"calm", "fight"}, id="at most so long"),
        pytest.param({"model": "tiny"}, {"calm", "fight", "long"}, id="model"),
        pytest.param({"model": "large"}, set(), id="another model"),
        pytest.param({"run_id": 999}, set(), id="another run"),
        pytest.param({"run_id": 0}, set(), id="no run"),
    ],
)
def test_filters_leave_out_what_they_say(street, filters, names):
    assert {name.rsplit("/", 1)[1] for name in street.found("street", **filters)} == names


@pytest.mark.parametrize(
    ("filters", "starts"),
    [
        pytest.param({}, [0, 30, 60, 90], id="none"),
        pytest.param({"from_s": 30}, [30, 60, 90], id="a segment that ends where the range begins is not in it"),
        pytest.param({"from_s": 29.5}, [0, 30, 60, 90], id="half a second is enough"),
        pytest.param({"to_s": 60}, [0, 30], id="a segment that begins where the range ends is not in it"),
        pytest.param({"to_s": 60.5}, [0, 30, 60], id="half a second at the end"),
        pytest.param({"from_s": 40, "to_s": 41}, [30], id="within one segment"),
        pytest.param({"from_s": 59, "to_s": 91}, [30, 60, 90], id="over several"),
        pytest.param({"from_s": 500}, [], id="after the end"),
        pytest.param({"from_s": 40, "to_s": 70, "prompt": "violence", "verdict": "yes"}, [60], id="with a verdict"),
    ],
)
def test_a_time_range_finds_the_segments_that_overlap_it(library, filters, starts):
    calm, violent = {"caption": "a van"}, {"caption": "a van", "violence": 0.9}
    library.add({"long": [calm, calm, violent, violent]})
    assert sorted(hit.start_s for hit in library.page("van", filters=filters).hits) == starts


def test_a_run_finds_its_own_answers(street):
    assert len(street.found("street", run_id=street.work.run.id)) == 3


@pytest.mark.parametrize("filters", [{"min_p": 2}, {"min_severity": 0}, {"run_id": 2**70}, {"under": "a\x00"},
                                     {"min_duration_s": float("nan")}, {"from_s": -1}, {"to_s": 0},
                                     {"from_s": 5, "to_s": 5}])  # fmt: skip
def test_a_filter_that_means_nothing_is_refused(library, filters):
    with pytest.raises(SettingsError):
        library.found("street", **filters)


@pytest.mark.parametrize("newest", [False, True])
def test_pages_have_each_hit_once_while_videos_are_added(library, newest):
    library.add({f"clip-{number:02}": [{"caption": "a van"}] * 3 for number in range(7)})
    found, after = [], None
    for number in range(100):
        page = library.page("van", limit=4, after=after, newest=newest)
        assert (page.count, page.count_is_capped) == (21, False)
        found += [(name_of(hit.uri), hit.segment) for hit in page.hits]
        library.add({f"new-{number}": {"caption": "a van and a van"}})
        after = page.next
        if after is None:
            break
    assert len(found) == len(set(found)) == 21
    assert not any(name.startswith("new") for name, _ in found)
    if newest:
        assert found == sorted(found, key=lambda one: (-int(one[0][-2:]), one[1]))


def test_a_cursor_is_checked(library):
    library.add({f"clip-{number}": {"caption": "a van"} for number in range(3)})
    after = library.page("van", limit=1).next
    for wrong in ("", "x", "é", "A" * 10_000, after[:-3], after + "AAAA", "W10", "bnVsbA", "[" * 190):
        with pytest.raises(SettingsError, match="is no cursor"):
            library.page("van", after=wrong)
    for other in ({"newest": True}, {"filters": {"prompt": "caption"}}):
        with pytest.raises(SettingsError, match="another search"):
            library.page("van", after=after, **other)
    with pytest.raises(SettingsError, match="another search"):
        library.page("vans", after=after)


def test_counts_are_capped_and_say_so(library):
    library.add({"clip": {"caption": "a van"}})
    with library.work.database.begin() as connection:
        # More segments than are counted: only the words of documents matter here.
        connection.execute(
            text(
                "INSERT INTO nightreel.segments (video_id, plan_hash, index, start_s, end_s) "
                "SELECT video_id, plan_hash, number, 0, 1 FROM nightreel.segments, generate_series(1, 10000) AS number"
            )
        )
        connection.execute(
            text(
                "INSERT INTO nightreel.documents (segment_id, video_id, terms) SELECT id, video_id, "
                "nightreel.terms('a van', 'B', '{english}') FROM nightreel.segments ON CONFLICT DO NOTHING"
            )
        )
    page = library.page("van", limit=5)
    assert (len(page.hits), page.count, page.count_is_capped) == (5, 10_000, True)
    assert page.next


def test_the_texts_of_an_overwritten_video_are_not_found(library):
    library.add({"clip": {"caption": "a van"}})
    library.add({"clip": {"caption": "a park"}}, etag="2")
    assert library.found("van") == []
    assert library.found("park") == ["clip"]


def test_a_policy_that_changes_a_tag_changes_what_is_found(library):
    library.add({"clip": {"caption": "a street", "topics": {"sports": 0.8}}})
    assert library.found("sports") == ["clip"]
    with library.work.database.begin() as connection:
        stricter = replace(TOPICS.policy, band=Band(0.9, 0.95))
        apply_policy(connection, library.work.recipe.prompt_ids["topics"], stricter, made_by="test")
    apply_changes(library.work.database)
    assert library.found("sports") == []
    assert library.found("street") == ["clip"]


def test_answers_that_are_no_longer_on_show_are_not_found(library, open_work):
    library.add({"clip": {"caption": "a street", "scene": "outdoors"}})
    fewer = replace(ASKED, prompts=tuple(prompt for prompt in ASKED.prompts if prompt is not SCENE))
    other = open_work(prompts=fewer)
    with other.database.begin() as connection:
        make_current(
            connection, other.recipe.id, source="s3://bucket", set_names={"test"}, made_by="test", instead=True
        )
    show_current(other.database)
    assert library.found("outdoors") == []
    assert library.found("street") == ["clip"]


def test_an_old_database_is_indexed_in_batches_and_once(library, owner_url, monkeypatch):
    monkeypatch.setattr("nightreel.stages.index._VIDEOS", 2)
    library.add({f"clip-{number}": {"caption": "a van"} for number in range(5)})
    owner = Database(owner_url)
    with owner.begin() as connection:
        downgrade_to(connection, "0016")
    upgrade(owner.engine)
    assert library.found("van") == []
    assert (index_documents(owner), index_documents(owner)) == (5, 0)
    owner.close()
    assert len(library.found("van")) == 5


def test_another_language_indexes_everything_again(library):
    library.add({"clip": {"caption": "Die Kinder spielten im Garten"}})
    assert library.found("Kindern") == []
    assert index_documents(library.work.database, languages=("english", "german")) == 1
    assert library.found("Kindern") == library.found("garden OR gärten") == ["clip"]
    assert index_documents(library.work.database, languages=("english", "german")) == 0
    assert index_documents(library.work.database, languages=()) == 1
    assert library.found("Kindern") == []
    assert library.found("kinder") == ["clip"]
    with pytest.raises(SettingsError, match="'germann' is no language"):
        index_documents(library.work.database, languages=("germann",))


def test_a_search_has_bounds():
    with pytest.raises(SettingsError, match="10,000 characters"):
        SearchQuery(text="a" * 10_000)
    for limit in (0, -1, 1001):
        with pytest.raises(SettingsError, match="limit="):
            SearchQuery(text="a", limit=limit)


def test_indexing_twice_changes_no_row(library):
    library.add({"clip": {"caption": "a van"}})
    before = _updated(library)
    with library.work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.search_index SET indexed_up_to = 0"))
    assert index_documents(library.work.database) == 1
    assert _updated(library) == before


def _updated(library: Library) -> list[datetime]:
    with library.work.database.begin() as connection:
        return list(connection.execute(text("SELECT updated_at FROM nightreel.documents")).scalars())

"""Search by meaning in Postgres: order, filters, pages, models, copies, and who sees what."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
from fixtures.work_vectors import MODEL, direction
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from nightreel.database.vectors import find_embedding_model, share_vectors, why_no_vectors
from nightreel.errors import SettingsError
from nightreel.search import SearchBy, SearchQuery, TextVector, search
from nightreel.services.postgres_roles import ANALYST, CONSOLE

VIDEOS = {
    "east": {"caption": "a red van"},
    "north": {"caption": "a blue bus"},
    "south": {"caption": "a red bus", "violence": 0.9},
}


@pytest.fixture
def placed(vector_library):
    vector_library.library.add(VIDEOS)
    vector_library.place({"east": direction(1), "north": direction(0, 1), "south": direction(0.6, 0.8)})
    return vector_library


def test_the_nearest_segment_comes_first(placed):
    hits = placed.page(direction(1, 0.1)).hits
    assert [hit.uri.rsplit("/", 1)[-1] for hit in hits] == ["east.mp4", "south.mp4", "north.mp4"]
    assert hits[0].rank == pytest.approx(1 / np.sqrt(1.01), abs=1e-3)
    assert (hits[0].prompt, hits[0].snippet.text, hits[0].snippet.marks) == ("caption", "a red van", ())


def test_a_segment_of_another_embedding_model_is_never_compared(placed):
    placed.place({"north": direction(1, width=4)}, model="f" * 64)
    assert placed.near(direction(1)) == ["east", "south", "north"]
    assert placed.near(direction(1, width=4), model="f" * 64) == ["north"]
    with pytest.raises(SettingsError, match="have vectors of the model test"):
        placed.page(direction(1), model="0" * 64)


def test_filters_of_words_hold_for_meaning_too(placed):
    assert placed.near(direction(1), filters={"prompt": "violence", "verdict": "yes"}) == ["south"]
    assert placed.near(direction(1), filters={"under": "s3://bucket/n"}) == ["north"]
    assert placed.near(direction(1), filters={"run_id": 10**6}) == []
    assert placed.near(direction(1), filters={"from_s": 10.0, "to_s": 20.0}) == ["east", "south", "north"]
    assert placed.near(direction(1), filters={"from_s": 1000.0}) == []


def test_like_finds_what_looks_like_a_segment_but_not_the_segment_itself(placed):
    (south,) = [hit for hit in placed.page(direction(0.6, 0.8)).hits if "south" in hit.uri]
    assert placed.near(like=(south.video_id, 0)) == ["north", "east"]
    assert placed.near(like=(south.video_id, 7)) == []
    assert placed.near(like=(10**6, 0)) == []


def test_both_orders_by_the_ranks_of_words_and_of_meaning(placed):
    hits = placed.page(direction(1), by=SearchBy.BOTH, words="bus").hits
    assert [hit.uri.rsplit("/", 1)[-1] for hit in hits] == ["north.mp4", "south.mp4", "east.mp4"]
    assert hits[0].snippet.marks == ((7, 10),)
    assert placed.near(direction(1), by=SearchBy.BOTH, words="???") == ["east", "south", "north"]


def test_pages_have_each_hit_once_and_no_segment_that_came_later(placed):
    for by in (SearchBy.MEANING, SearchBy.BOTH):
        first = placed.page(direction(1), by=by, words="bus", limit=2)
        name = f"later-{by}"
        placed.library.add({name: {"caption": "a bus"}})
        placed.place({name: direction(1)})
        second = placed.page(direction(1), by=by, words="bus", limit=2, after=first.next)
        assert len({hit.uri for hit in (*first.hits, *second.hits)}) == 3 + (by is SearchBy.BOTH)
        assert not any(name in hit.uri for hit in second.hits)
        with pytest.raises(SettingsError, match="another search"):
            placed.page(direction(1), by=by, words="van", after=first.next)


@pytest.mark.parametrize(
    "vector", [[float("nan")] * 8, [1e9] * 8, [1.0] * 7, []], ids=["nan", "too large", "another width", "empty"]
)
def test_a_vector_that_cannot_be_compared_is_refused(placed, vector):
    with pytest.raises(DBAPIError, match="expected 8 numbers"):
        placed.page(vector)


def test_newest_is_refused_by_meaning(placed):
    with pytest.raises(SettingsError, match="newest"):
        placed.page(direction(1), newest=True)


@pytest.mark.parametrize("words", ["", "  "])
def test_an_empty_description_is_refused(words):
    with pytest.raises(SettingsError, match="no text"):
        SearchQuery(text=words, by=SearchBy.MEANING)


def test_a_filter_that_keeps_few_of_many_segments_hides_none_of_them(placed):
    """More segments than are compared one by one, so the index works, and far neighbours pass the filter."""
    _multiply(placed, 12_000)
    assert len(placed.page(direction(1), filters={"under": "s3://bucket/many-1"}, limit=100).hits) == 100
    few = placed.page(direction(1), filters={"verdict": "yes"}).hits
    assert [hit.uri.rsplit("/", 1)[-1] for hit in few] == ["south.mp4"]
    assert placed.near(direction(1), limit=1) == ["east"]


def test_restricted_videos_rank_only_for_those_who_may_see_them(placed):
    placed.library.add({"hidden": {"caption": "a red van", "secret": 0.9}})
    placed.place({"hidden": direction(1)})
    with placed.database.begin() as connection:
        hidden = connection.execute(text("SELECT id FROM nightreel.videos WHERE restricted")).scalar_one()
    shown = {"restricted": True}
    assert placed.near(direction(1), filters=shown)[0] in ("hidden", "east")
    assert "hidden" not in placed.near(direction(1))
    assert placed.near(like=(hidden, 0)) == []
    assert placed.near(like=(hidden, 0), filters=shown)[0] == "east"
    for role in (ANALYST, CONSOLE):
        with placed.as_role(role) as connection:
            assert "hidden" not in placed.near(direction(1), filters=shown, connection=connection)
            assert placed.near(like=(hidden, 0), filters=shown, connection=connection) == []
    with placed.as_role(CONSOLE) as connection:
        connection.execute(text("SET LOCAL nightreel.restricted = 'on'"))
        assert "hidden" in placed.near(direction(1), filters=shown, connection=connection)


@pytest.mark.parametrize("role", [ANALYST, CONSOLE])
@pytest.mark.parametrize("statement", ["SELECT * FROM nightreel.vectors", "SELECT nightreel.index_vectors(1)"])
def test_people_read_no_vectors_and_make_no_index(placed, role, statement):
    with placed.as_role(role) as connection, pytest.raises(ProgrammingError, match="permission denied"):
        connection.execute(text(statement))


def test_videos_with_the_same_bytes_share_their_vectors(placed):
    work = placed.library.work
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.videos SET content_sha256 = 'same' WHERE uri ~ 'east|north'"))
        connection.execute(
            text(
                "DELETE FROM nightreel.vectors WHERE segment_id IN (SELECT segments.id FROM nightreel.segments"
                " JOIN nightreel.videos ON videos.id = video_id WHERE uri ~ 'north')"
            )
        )
        model_id = find_embedding_model(connection, MODEL)
        ids = connection.execute(text("SELECT id FROM nightreel.videos")).scalars().all()
        share_vectors(connection, ids, embedding_model_id=model_id)
        share_vectors(connection, ids, embedding_model_id=model_id)
    assert [round(hit.rank, 3) for hit in placed.page(direction(1)).hits] == [1.0, 1.0, 0.6]


def test_without_pgvector_search_by_meaning_says_what_to_do_and_words_work(library):
    library.add(VIDEOS)
    with library.work.database.begin() as connection:
        assert "CREATE EXTENSION vector" in why_no_vectors(connection)
        with pytest.raises(SettingsError, match="no pgvector"):
            search(
                connection,
                SearchQuery(text="van", by=SearchBy.MEANING),
                vector=TextVector(values=[1.0], model_hash=MODEL),
            )
    assert library.found("van") == ["east"]


def test_an_extension_that_was_removed_and_came_back_works_again(placed):
    with psycopg.connect(placed.admin_url.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute("DROP EXTENSION vector CASCADE")
    with placed.database.begin() as connection:
        assert "CREATE EXTENSION" in why_no_vectors(connection)
    assert placed.library.found("van") == ["east"]
    placed.install_pgvector()
    placed.place({"north": direction(1)})
    assert placed.near(direction(1)) == ["north"]


def _multiply(library, count: int) -> None:
    """Add so many segments with a vector and a document, as copies of the first, near its vector."""
    statements = """
        INSERT INTO nightreel.videos (uri, etag, size_bytes, modified_at, run_id)
        SELECT 's3://bucket/many-' || number, '1', 1, now(), (SELECT min(id) FROM nightreel.runs)
        FROM generate_series(1, :count) AS number;
        INSERT INTO nightreel.segments (video_id, plan_hash, index, start_s, end_s)
        SELECT id, 'plan', 0, 0, 1 FROM nightreel.videos WHERE uri LIKE '%many-%';
        INSERT INTO nightreel.documents (segment_id, video_id, terms)
        SELECT id, video_id, '' FROM nightreel.segments WHERE plan_hash = 'plan';
        INSERT INTO nightreel.vectors (embedding_model_id, segment_id, vector)
        SELECT 1, id, ARRAY[0.9, 0.1 + id % 97 / 1000.0, 0.1 + id % 89 / 1000.0, id % 83 / 1000.0, 0, 0, 0, 0]::real[]
        FROM nightreel.segments WHERE plan_hash = 'plan'
    """
    with library.database.begin() as connection:
        for statement in statements.split(";"):
            connection.execute(text(statement), {"count": count} if ":count" in statement else {})

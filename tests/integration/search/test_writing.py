"""Documents are right whoever writes them, and in whatever order."""

from __future__ import annotations

import threading

from fixtures.work import stored
from fixtures.work_searched import Library
from sqlalchemy import text

from nightreel.database.documents import index_videos

BUSES = text("UPDATE nightreel.answers SET text = 'a bus' WHERE text = 'a van'")
BIKES = text("UPDATE nightreel.answers SET text = 'a bike' WHERE text = 'nothing'")


def test_of_two_that_index_a_video_the_later_one_sees_what_the_first_one_wrote(library: Library):
    library.add({"clip": {"caption": "a van"}})
    database, done = library.work.database, threading.Event()
    with database.begin() as connection:
        video_id = connection.execute(text("SELECT id FROM nightreel.videos")).scalar_one()

    def other() -> None:
        with database.begin() as connection:
            connection.execute(BIKES)
            index_videos(connection, [video_id])
        done.set()

    thread = threading.Thread(target=other)
    with database.begin() as connection:
        connection.execute(BUSES)
        index_videos(connection, [video_id])
        thread.start()
        assert not done.wait(0.5), "the other one waits for the end of this transaction"
    thread.join()
    assert done.is_set()
    assert library.found("bus") == library.found("bike") == ["clip"]
    assert library.found("van") == []


def test_a_version_that_comes_back_is_found_again(library: Library):
    library.add({"clip": {"caption": "a van"}})
    library.add({"clip": {"caption": "a park"}}, etag="2")
    library.work.discover(stored("clip.mp4"))
    assert library.found("van") == ["clip"]
    assert library.found("park") == []


def test_a_transaction_that_fails_leaves_the_words_as_they_were(library: Library):
    library.add({"clip": {"caption": "a van"}})
    with library.work.database.engine.connect() as connection:
        connection.execute(BUSES)
        index_videos(connection, list(connection.execute(text("SELECT id FROM nightreel.videos")).scalars()))
        connection.rollback()
    assert library.found("van") == ["clip"]
    assert library.found("bus") == []


def test_words_are_made_again_only_for_other_texts(library: Library):
    """Words cost a hundred times what facts cost, and one more question about known videos changes facts alone."""
    library.add({"clip": {"caption": "a van"}})
    with library.work.database.begin() as connection:
        video_ids = list(connection.execute(text("SELECT id FROM nightreel.videos")).scalars())

        def indexed() -> tuple[str, bool]:
            index_videos(connection, video_ids)
            row = connection.execute(
                text("SELECT terms::text, 'v::flagged' = ANY (facts) FROM nightreel.documents")
            ).one()
            return row[0], row[1]

        connection.execute(text("UPDATE nightreel.documents SET terms = 'kept'"))
        connection.execute(text("UPDATE nightreel.verdicts SET flagged = true"))
        assert indexed() == ("'kept'", True)
        connection.execute(BUSES)
        words, _ = indexed()
        assert "'bus'" in words


def test_postgres_expects_few_facts_of_a_verdict(library: Library):
    """It expected 2,200. So it compiled the statement that indexes documents, 70 ms for each chunk, where JIT is on."""
    facts = "nightreel.facts(prompt_id, 'tags', state, text, value, flagged, severity, 0.5, 1, 1)"
    explain = f"EXPLAIN (FORMAT json) SELECT FROM (SELECT * FROM nightreel.verdicts LIMIT 10) AS ten CROSS JOIN {facts}"
    library.add({f"clip-{number}": {"caption": "a van"} for number in range(10)})
    with library.work.database.begin() as connection:
        plan = connection.execute(text(explain)).scalar_one()[0]["Plan"]
    assert plan["Plan Rows"] <= 10 * 40


def test_the_documents_of_a_segment_end_with_it(library: Library):
    library.add({"clip": {"caption": "a van"}})
    with library.work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.verdicts SET shown = false"))
        index_videos(connection, list(connection.execute(text("SELECT id FROM nightreel.videos")).scalars()))
        assert connection.execute(text("SELECT count(*) FROM nightreel.documents")).scalar_one() == 0

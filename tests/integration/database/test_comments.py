"""Every view and column says in the database what it is, and rows have links to the console."""

from __future__ import annotations

from contextlib import closing

import pytest
from fixtures.work import stored
from fixtures.work_answers import analyse, answered, window
from sqlalchemy import text

from nightreel.database.connection import Database
from nightreel.database.migrations import upgrade
from nightreel.domain import Answer

SITE = "https://nightreel.example.com"


def test_every_view_and_column_has_a_comment(database):
    query = """
        SELECT view.relname, column_.attname, coalesce(col_description(view.oid, coalesce(column_.attnum, 0)), '')
        FROM pg_class AS view
        JOIN (SELECT attrelid, attnum, attname FROM pg_attribute WHERE attnum > 0
              UNION ALL SELECT oid, NULL, NULL FROM pg_class) AS column_ ON column_.attrelid = view.oid
        WHERE view.relnamespace = 'reporting'::regnamespace AND view.relkind = 'v'
    """
    with database.begin() as connection:
        said = {(view, column): words for view, column, words in connection.execute(text(query))}
        of_views = connection.execute(
            text(
                "SELECT relname, obj_description(oid, 'pg_class') FROM pg_class "
                "WHERE relnamespace = 'reporting'::regnamespace AND relkind = 'v'"
            )
        ).all()
    assert len(said) > 250
    assert [place for place, words in said.items() if place[1] and not words] == []
    assert [view for view, words in of_views if not words] == []


@pytest.mark.parametrize("view", ["videos", "answers", "answers_all", "video_answers", "timeline", "segments"])
def test_a_row_has_a_link_to_its_page_and_its_picture(work, owner_url, view):
    work.discover(stored("a.mp4"))
    (claim,) = work.claim()
    caption = Answer(question_hash=work.recipe.prompts.prompts[0].question.hash, text="A cat.")
    analyse(work, claim, answered(claim, window(1), caption), expected_s=60.0)
    query = text(f"SELECT DISTINCT console_url, thumbnail_url FROM reporting.{view}")
    with work.database.begin() as connection:
        assert connection.execute(query).all() == [(None, None)], "without NIGHTREEL_CONSOLE_URL"
    with closing(Database(owner_url)) as owner:
        upgrade(owner.engine, console_url=SITE)
    page, picture = f"{SITE}/videos/{claim.video.id}", f"{SITE}/api/v1/videos/{claim.video.id}/thumbnail"
    of_segment = view in ("answers", "answers_all", "timeline", "segments")
    with work.database.begin() as connection:
        links = connection.execute(query).one()
    assert tuple(links) == ((f"{page}?t=30", f"{picture}?segment=1") if of_segment else (page, picture))

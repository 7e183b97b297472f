"""A view for each prompt set: a row for each video, a column for each prompt."""

from __future__ import annotations

from contextlib import closing

import pytest
from fixtures.work import PROMPTS, Work
from sqlalchemy import text

from nightreel.database.connection import Database
from nightreel.database.current_recipes import make_current
from nightreel.database.migrations import upgrade
from nightreel.domain import Prompt, PromptKind, PromptSet


@pytest.fixture
def wide(judged_videos: Work, owner_url: str):
    """The rows of the view of the set "test", by the names of their videos, after an upgrade."""

    def read() -> dict[str, dict]:
        with closing(Database(owner_url)) as owner:
            upgrade(owner.engine, only_changed=True)
        with judged_videos.database.begin() as connection:
            rows = connection.execute(text("SELECT * FROM reporting.wide_test ORDER BY uri")).mappings()
            return {row["uri"].rsplit("/", 1)[1].removesuffix(".mp4"): dict(row) for row in rows}

    return read


def change(work: Work, statement: str) -> None:
    with work.database.begin() as connection:
        connection.execute(text(statement))


def test_a_video_is_a_row_and_a_prompt_a_column(wide):
    found = wide()
    assert list(found) == ["clean", "clip-3", "unsure", "waiting", "worse"]
    flagged = found["clip-3"]
    assert (flagged["violence"], flagged["scene"], flagged["why"]) == ("yes", "indoors", None)
    assert "a bicycle" in flagged["caption"]
    assert (flagged["flagged_prompts"], flagged["unknown_prompts"]) == (["violence"], None)
    assert (found["unsure"]["violence"], found["unsure"]["unknown_prompts"]) == (None, ["violence"])
    assert found["waiting"]["violence"] is None


def test_an_upgrade_follows_the_prompts_that_are_asked(judged_videos, open_work, wide):
    assert "why" in wide()["clean"]
    uri = Prompt.of(name="uri", set_name="test", kind=PromptKind.YES_NO, text="Is an address shown?")
    other = open_work(prompts=PromptSet("test", (PROMPTS.prompts[0], uri)))
    with judged_videos.database.begin() as connection:
        make_current(connection, other.recipe.id, source="s3://bucket", set_names={"test"}, made_by="x", instead=True)
    row = wide()["clean"]
    assert "why" not in row
    assert row.keys() >= {"caption", "uri", "uri_"}, "a prompt may have the name of a column"


def test_a_set_that_is_not_asked_any_more_has_no_view(judged_videos, owner_url, wide):
    wide()
    change(judged_videos, "DELETE FROM nightreel.current_recipes")
    with closing(Database(owner_url)) as owner:
        upgrade(owner.engine)
        with owner.begin() as connection:
            assert connection.execute(text("SELECT to_regclass('reporting.wide_test')")).scalar() is None


def test_a_view_that_others_depend_on_stays(judged_videos, owner_url, wide, caplog):
    wide()
    with closing(Database(owner_url)) as owner:
        with owner.begin() as connection:
            connection.execute(text("CREATE VIEW reporting.own AS SELECT why FROM reporting.wide_test"))
        change(judged_videos, "DELETE FROM nightreel.current_recipes")
        upgrade(owner.engine)
    assert "reporting.wide_test stays as it was" in caplog.text

"""Which failed work is taken up again, when, and how often."""

from __future__ import annotations

import pytest
from fixtures.work import PROMPTS, Work, stored
from sqlalchemy import text

from nightreel.database.claims import close_claim
from nightreel.database.retries import ReopenedWork, askable_recipes, reopen_transient, reopened_work
from nightreel.domain import Outcome, OutcomeState, PromptSet

HOUR = 3600
MODEL = "a" * 64


def fail(work: Work, *names: str, reason: str = "storage_unreachable", transient: bool = True) -> None:
    """Videos that are discovered and fail as often as they may."""
    work.discover(*(stored(name) for name in names))
    with work.database.begin() as connection:
        for claim in work.claim(1000):
            outcome = Outcome(
                analysis_id=claim.analysis_id,
                state=OutcomeState.FAILED,
                reason=reason,
                detail="no answer",
                transient=transient,
            )
            close_claim(connection, outcome, attempt=3, max_attempts=3, wait_s=0)


def pass_time(work: Work, seconds: float) -> None:
    """What is written down becomes so much older."""
    with work.database.begin() as connection:
        connection.execute(
            text("UPDATE nightreel.analyses SET updated_at = updated_at - make_interval(secs => :s)"), {"s": seconds}
        )


def reopen(work: Work, *, most: int = 100, max_reopened: int = 5) -> int:
    with work.database.begin() as connection:
        recipes = askable_recipes(connection, MODEL)
        return reopen_transient(connection, recipe_ids=recipes, max_reopened=max_reopened, most=most)


def to_do(work: Work, *, most: int = 100) -> list[ReopenedWork]:
    with work.database.begin() as connection:
        return reopened_work(connection, recipe_ids=askable_recipes(connection, MODEL), most=most)


def names(work: Work) -> list[str]:
    return [claim.video.uri.removeprefix("s3://bucket/") for claim in work.claim(1000)]


def test_a_video_that_failed_an_hour_ago_is_work_again_with_all_its_attempts(work):
    fail(work, "a.mp4", "b.mp4")
    pass_time(work, HOUR - 60)
    assert (reopen(work), to_do(work)) == (0, [])
    pass_time(work, 61)
    assert reopen(work) == 2
    assert to_do(work) == [ReopenedWork(recipe_id=work.recipe.id, source="s3://bucket/", videos=2)]
    assert reopen(work) == 0
    with work.database.begin() as connection:
        rows = connection.execute(text("SELECT status, attempts, reopened, reason FROM nightreel.analyses")).all()
    assert rows == [("pending", 0, 1, None)] * 2
    assert [(claim.attempt) for claim in work.claim()] == [1, 1]
    assert to_do(work) == [], "another run has them"


def test_the_wait_doubles_each_time_and_comes_to_an_end(work):
    fail(work, "a.mp4")
    waited = []
    for hours in (1, 2, 4):
        pass_time(work, hours * HOUR - 60)
        assert reopen(work, max_reopened=3) == 0
        pass_time(work, 61)
        assert reopen(work, max_reopened=3) == 1
        waited.append(hours)
        fail(work)
    pass_time(work, 1000 * HOUR)
    assert reopen(work, max_reopened=3) == 0
    assert reopen(work, max_reopened=4) == 1


@pytest.mark.parametrize(
    ("reason", "transient"), [("attempts_exhausted", True), ("no_video_stream", False), ("limit_bytes", False)]
)
def test_what_kills_its_worker_and_what_will_fail_again_stays(work, reason, transient):
    fail(work, "a.mp4", reason=reason, transient=transient)
    pass_time(work, 100 * HOUR)
    assert reopen(work) == 0


def test_what_is_gone_or_was_overwritten_stays_and_what_waits_is_not_told_of(work):
    fail(work, "a.mp4", "b.mp4", "c.mp4")
    work.discover(stored("b.mp4", "2"))
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.videos SET gone_at = now() WHERE uri LIKE '%a.mp4'"))
    pass_time(work, HOUR)
    assert reopen(work) == 1
    assert to_do(work)[0].videos == 1
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.analyses SET not_before = now() + interval '1 minute'"))
    assert to_do(work) == []
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.analyses SET not_before = now()"))
        connection.execute(text("UPDATE nightreel.videos SET gone_at = now()"))
    assert to_do(work) == []


def test_at_most_so_many_are_taken_up_and_those_that_failed_first(work):
    fail(work, "z.mp4")
    pass_time(work, 60)
    fail(work, "y.mp4", "x.mp4")
    pass_time(work, HOUR)
    assert reopen(work, most=1) == 1
    assert names(work) == ["z.mp4"]
    assert reopen(work, most=5) == 2
    assert to_do(work, most=1)[0].videos == 1


def test_only_work_of_the_model_at_hand_is_taken_up_under_whatever_prompts(work, open_work):
    fail(work, "a.mp4")
    fewer = open_work(prompts=PromptSet("test", PROMPTS.prompts[:1]))
    fail(fewer, "a.mp4", "b.mp4")
    other = open_work(model="b" * 64)
    fail(other, "a.mp4")
    pass_time(work, HOUR)
    assert reopen(work) == 3
    assert [(item.recipe_id, item.videos) for item in to_do(work)] == [(work.recipe.id, 1), (fewer.recipe.id, 2)]


def test_a_prompt_that_this_version_words_otherwise_is_not_asked_again(work):
    fail(work, "a.mp4")
    pass_time(work, HOUR)
    with work.database.begin() as connection:
        connection.execute(
            text("UPDATE nightreel.prompts SET definition = jsonb_set(definition, '{text}', '\"Other words\"')")
        )
    assert reopen(work) == 0


def test_what_was_put_back_and_not_done_is_told_of_again(work):
    fail(work, "a.mp4")
    work.discover(stored("never failed.mp4"))
    pass_time(work, HOUR)
    reopen(work)
    assert to_do(work) == to_do(work)
    assert to_do(work)[0].videos == 1

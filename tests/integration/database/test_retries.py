"""Which failed work is reopened, when, and how often."""

from __future__ import annotations

import pytest
from fixtures.work import PROMPTS, Work, stored
from sqlalchemy import text

from nightreel.database.closing import Closing, close_claims
from nightreel.database.retries import ReopenedWork, askable_recipes, reopen_transient, reopened_work
from nightreel.domain import Outcome, OutcomeState, PromptSet

HOUR = 3600
MODEL = "a" * 64


def fail(work: Work, *names: str, reason: str = "storage_unreachable", transient: bool = True) -> None:
    """Discover videos and let them fail until their attempts are used up."""
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
            close_claims(connection, [Closing(outcome=outcome, attempt=3, wait_s=0)], max_attempts=3)


def pass_time(work: Work, seconds: float) -> None:
    """Make all analyses older by `seconds`."""
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


def test_a_video_that_failed_an_hour_ago_is_reopened_with_all_its_attempts(work):
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
    assert to_do(work) == [], "another run has claimed them"


def test_the_wait_doubles_each_time_until_the_last_retry(work):
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
def test_exhausted_and_permanent_failures_stay_failed(work, reason, transient):
    fail(work, "a.mp4", reason=reason, transient=transient)
    pass_time(work, 100 * HOUR)
    assert reopen(work) == 0


def test_gone_or_overwritten_videos_stay_failed_and_waiting_ones_are_not_reported(work):
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


def test_at_most_the_given_number_is_reopened_earliest_failures_first(work):
    fail(work, "z.mp4")
    pass_time(work, 60)
    fail(work, "y.mp4", "x.mp4")
    pass_time(work, HOUR)
    assert reopen(work, most=1) == 1
    assert names(work) == ["z.mp4"]
    assert reopen(work, most=5) == 2
    assert to_do(work, most=1)[0].videos == 1


def test_only_work_of_the_current_model_is_reopened_for_all_prompts(work, open_work):
    fail(work, "a.mp4")
    fewer = open_work(prompts=PromptSet("test", PROMPTS.prompts[:1]))
    fail(fewer, "a.mp4", "b.mp4")
    other = open_work(model="b" * 64)
    fail(other, "a.mp4")
    pass_time(work, HOUR)
    assert reopen(work) == 3
    assert [(item.recipe_id, item.videos) for item in to_do(work)] == [(work.recipe.id, 1), (fewer.recipe.id, 2)]


def test_a_prompt_that_is_now_worded_differently_is_not_asked_again(work):
    fail(work, "a.mp4")
    pass_time(work, HOUR)
    with work.database.begin() as connection:
        connection.execute(
            text("UPDATE nightreel.questions SET definition = jsonb_set(definition, '{text}', '\"Other words\"')")
        )
    assert reopen(work) == 0


def test_reopened_work_that_is_not_done_is_reported_again(work):
    fail(work, "a.mp4")
    work.discover(stored("never failed.mp4"))
    pass_time(work, HOUR)
    reopen(work)
    assert to_do(work) == to_do(work)
    assert to_do(work)[0].videos == 1

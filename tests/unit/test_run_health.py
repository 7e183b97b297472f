"""Whether a run goes on, stops or is red."""

from __future__ import annotations

from collections import Counter

import pytest

from nightreel.domain import EndedVideo, VideoEnd
from nightreel.domain.run_health import (
    INTERNAL,
    AfterError,
    Failure,
    RunFacts,
    RunLimits,
    after_chunk_error,
    fails_alone,
    health_of,
    why_make_room,
)
from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason, Scope
from nightreel.stages.tally import MOST_SHOWN, Tally

LIMITS = RunLimits(failed_share=0.5, same_failures=5)
BUG = "KeyError: 'frames'"


def ended(number: int, end: VideoEnd, reason: Reason | None = None, *, before: bool = False, detail: str = ""):
    return EndedVideo(
        analysis_id=number, uri=f"s3://b/{number}.mp4", end=end, reason=reason, detail=detail, failed_before=before
    )


def tally(*videos: EndedVideo) -> Tally:
    made = Tally()
    made.add(videos)
    return made


def videos(count: int, end: VideoEnd, reason: Reason | None = None, first: int = 0, **more) -> list[EndedVideo]:
    return [ended(number, end, reason, **more) for number in range(first, first + count)]


def red(*items: EndedVideo, limits: RunLimits = LIMITS) -> str | None:
    return health_of(tally(*items).facts(), limits).red


# -- too many of the new videos failed ------------------------------------------------------------------------------


def test_a_night_in_which_13_of_15_new_videos_failed_is_red():
    why = red(*videos(13, VideoEnd.FAILED, Reason.DAMAGED), *videos(2, VideoEnd.DONE, first=20))
    assert why
    assert why.startswith("13 of 15 new videos failed")
    assert "NIGHTREEL_MAX_FAILED_SHARE=0.5" in why


def test_a_night_in_which_2_of_15_new_videos_failed_is_green():
    assert red(*videos(2, VideoEnd.FAILED, Reason.DAMAGED), *videos(13, VideoEnd.REUSED, first=20)) is None


@pytest.mark.parametrize("end", [VideoEnd.FAILED, VideoEnd.QUARANTINED])
@pytest.mark.parametrize("count", [1, 40])
def test_a_quiet_night_in_which_only_known_bad_videos_failed_again_is_green(end, count):
    assert red(*videos(count, end, Reason.DAMAGED, before=True)) is None


def test_known_bad_videos_do_not_dilute_the_share_of_new_ones():
    repaired = videos(50, VideoEnd.DONE, before=True, first=100)
    assert red(*videos(3, VideoEnd.FAILED, Reason.DAMAGED), *repaired)


def test_a_new_video_stays_new_through_its_retries_in_the_same_run():
    tries = [ended(1, VideoEnd.RETRIED, Reason.DECODER_KILLED)]
    tries += [ended(1, VideoEnd.QUARANTINED, Reason.DECODER_KILLED, before=True)]
    assert red(*tries)
    tries[-1] = ended(1, VideoEnd.DONE, before=True)
    assert tally(*tries).facts() == RunFacts(new_succeeded=1, succeeded=1)


def test_a_run_without_ended_videos_is_green():
    waiting = [VideoEnd.RETRIED, VideoEnd.DEFERRED, VideoEnd.CONTINUES]
    assert red(*(ended(number, end) for number, end in enumerate(waiting))) is None


@pytest.mark.parametrize(("share", "is_red"), [(0.0, True), (0.09, True), (0.1, False), (1.0, False)])
def test_the_setting_is_the_largest_share_that_may_fail(share, is_red):
    mixed = [*videos(1, VideoEnd.FAILED, Reason.DAMAGED), *videos(9, VideoEnd.DONE, first=20)]
    assert bool(red(*mixed, limits=RunLimits(failed_share=share))) is is_red


# -- the same internal error ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", sorted(INTERNAL))
def test_a_run_stops_and_is_red_when_its_first_videos_fail_with_the_same_internal_error(reason):
    facts = tally(*videos(5, VideoEnd.FAILED, reason, detail=BUG)).facts()
    health = health_of(facts, LIMITS)
    assert health.stop
    assert health.red == health.stop
    assert f"the first 5 videos failed with the same error, which the videos do not cause: {reason}" in health.stop
    assert f"nightreel retry --reason {reason}" in health.stop
    assert health_of(facts, RunLimits(same_failures=6)).stop is None


def test_a_run_goes_on_when_its_videos_fail_for_reasons_of_their_own():
    for reason in (Reason.NOT_A_VIDEO, Reason.DAMAGED, Reason.ENCRYPTED, Reason.LIMIT_PIXELS):
        assert health_of(tally(*videos(50, VideoEnd.FAILED, reason)).facts(), LIMITS).stop is None


def test_a_broken_file_between_them_does_not_hide_an_internal_error():
    mixed = videos(4, VideoEnd.FAILED, Reason.INTERNAL_ERROR, detail=BUG)
    mixed += [ended(8, VideoEnd.FAILED, Reason.NOT_A_VIDEO), ended(9, VideoEnd.FAILED, Reason.INTERNAL_ERROR)]
    assert health_of(tally(*mixed).facts(), LIMITS).stop is None, "the last one has another error"
    mixed[-1] = ended(9, VideoEnd.FAILED, Reason.INTERNAL_ERROR, detail=BUG)
    assert health_of(tally(*mixed).facts(), LIMITS).stop


def test_a_run_goes_on_when_one_video_succeeded():
    facts = tally(ended(99, VideoEnd.DONE), *videos(9, VideoEnd.FAILED, Reason.INTERNAL_ERROR, detail=BUG)).facts()
    assert health_of(facts, LIMITS).stop is None


def test_internal_errors_of_several_kinds_are_not_the_same_error():
    kinds = ("KeyError: 1", "ValueError: 1", "TypeError: 1", "OSError: 1", "IndexError: 1", "KeyError: 2")
    mixed = [ended(n, VideoEnd.FAILED, Reason.INTERNAL_ERROR, detail=kind) for n, kind in enumerate(kinds)]
    assert tally(*mixed).facts().internal_failures[Failure(Reason.INTERNAL_ERROR, "KeyError")] == 2
    assert health_of(tally(*mixed).facts(), LIMITS).stop is None


def test_attempts_that_are_retried_do_not_stop_a_run():
    away = videos(50, VideoEnd.RETRIED, Reason.STORAGE_UNREACHABLE)
    assert health_of(tally(*away).facts(), LIMITS).stop is None


# -- other work, and errors that are not of one video -----------------------------------------------------------------


def test_a_run_that_makes_room_stops_and_stays_green():
    health = health_of(RunFacts(make_room="it made room for a night that is due"), LIMITS)
    assert (health.stop, health.red) == ("it made room for a night that is due", None)


def test_a_shard_makes_room_for_a_pause_for_memory_and_for_a_night():
    quiet = {"backfill_id": 3, "backfill_status": "running", "memory_is_wanted": False, "night_is_due": False}
    assert why_make_room(**quiet) is None
    assert why_make_room(**(quiet | {"backfill_status": "paused"})) == "backfill 3 is paused"
    assert "memory" in why_make_room(**(quiet | {"memory_is_wanted": True}))
    assert "night" in why_make_room(**(quiet | {"night_is_due": True}))


@pytest.mark.parametrize("reason", list(Reason))
def test_an_error_ends_the_run_exactly_if_its_reason_is_of_the_run(reason):
    for kind in (PermanentError, TransientError):
        assert fails_alone(kind(reason, "x")) is (reason.scope not in (Scope.RUN, Scope.HOST))
        assert not fails_alone(kind(reason, "x"), of_model=True)


def test_a_run_that_stops_during_a_wait_fails_no_video_and_does_not_break():
    stopped = PermanentError(Reason.RUN_CLOSED, "the wait for 300 MiB of device memory ended: it is late")
    assert after_chunk_error(stopped, videos=16) is after_chunk_error(stopped, videos=1) is AfterError.KEEP_CLAIMS


def test_an_unexpected_error_of_a_chunk_is_traced_to_one_video():
    known = TransientError(Reason.DATABASE_UNREACHABLE, "away")
    assert after_chunk_error(known, videos=16) is after_chunk_error(known, videos=1) is AfterError.END_RUN
    assert after_chunk_error(KeyError("frames"), videos=16) is AfterError.TRY_EACH_ALONE
    assert after_chunk_error(KeyError("frames"), videos=1) is AfterError.FAIL_VIDEO


def test_a_run_keeps_a_limited_number_of_failures_to_show():
    made = tally(*videos(3 * MOST_SHOWN, VideoEnd.FAILED, Reason.DAMAGED))
    assert len(made.failures) == MOST_SHOWN
    assert Counter(video.reason for video in made.failures) == {Reason.DAMAGED: MOST_SHOWN}

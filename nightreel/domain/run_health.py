"""Whether a run goes on, stops, or is red: this module alone decides it. Facts go in, the health of the run comes out.

    what happened                    asked by                          function
    an error while a video is read   stages/decode.py                  fails_alone
    an error of a whole chunk        flows/map_chunks.py               after_chunk_error
    other runs need the device       stages/shard.py                   why_make_room
    videos ended                     stages/summary.py, after each     health_of
                                     chunk and at the end

The rules, in the order in which they count:

1. An error that is not of one video ends the run: the source refuses the keys, the model cannot be used, Postgres is
   away. The run is red. Its claims are given back, and no video is charged.
2. Many videos fail with the same internal error before any video succeeds: the run stops and is red.
3. The Prefect server is gone: the run stops and is red. Its lease on device memory cannot be renewed.
4. The host cannot go on: its disk is full, say. A video that fails for it goes back to pending and is not charged. The
   run stops if several in a row do, and is red if any is left.
5. Other work needs the device, or a person paused the backfill: the run stops in good order.
6. Too many of the new videos failed: the run is red. A video is new until a run has failed on it, so a video that is
   known to be bad and is tried again counts neither way.
7. Too many videos were quarantined since the run before, because they kill runs: the run is red.

Add a new rule here, with the facts that it needs. Nothing in this module reads a setting, a clock or a database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from nightreel.errors import NightreelError
from nightreel.reasons import Reason, Scope

INTERNAL = frozenset(
    {
        Reason.INTERNAL_ERROR,
        Reason.MODEL_REFUSED,
        Reason.FILE_UNREADABLE,
        Reason.STORAGE_REFUSED,
        Reason.STORAGE_UNREACHABLE,
    }
)
"""Reasons of single videos whose cause is this program, the store or the model's server: another video fails, too."""


class Failure(NamedTuple):
    """Why a video failed. `kind` separates failures of one reason: for an internal error, the class of the error."""

    reason: Reason
    kind: str = ""

    @classmethod
    def of(cls, reason: Reason, detail: str | None) -> Failure:
        """
        >>> Failure.of(Reason.INTERNAL_ERROR, "KeyError: 'frames'")
        Failure(reason=<Reason.INTERNAL_ERROR: 'internal_error'>, kind='KeyError')
        """
        return cls(reason, (detail or "").partition(":")[0] if reason is Reason.INTERNAL_ERROR else "")

    def __str__(self) -> str:
        return f"{self.reason}: {self.kind}" if self.kind else str(self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """The limits of an operator.

    Each is a setting: `NIGHTREEL_MAX_FAILED_SHARE`, `_MAX_SAME_FAILURES`, `_MAX_QUARANTINED` and `_PREFECT_PATIENCE_S`.
    """

    failed_share: float = 0.5
    same_failures: int = 5
    quarantined: int = 0
    server_silent_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What has happened in a run so far.

    Args:
        new_succeeded, new_failed: videos that no earlier run failed on, by how they ended.
        succeeded: all videos that succeeded.
        internal_failures: number of videos that failed for a reason in `INTERNAL`.
        make_room: why other work needs the device, from `why_make_room`.
        quarantined: videos that were quarantined since the run before, because runs died of them.
        server_silent_s: seconds for which the Prefect server has not responded.
        given_back: videos that failed because of the host and are pending again.
        given_back_in_a_row: how many times that happened since a video ended in another way.
        why_given_back: the error of the last one.
    """

    new_succeeded: int = 0
    new_failed: int = 0
    succeeded: int = 0
    internal_failures: Mapping[Failure, int] = field(default_factory=dict)
    make_room: str | None = None
    quarantined: int = 0
    server_silent_s: float = 0.0
    given_back: int = 0
    given_back_in_a_row: int = 0
    why_given_back: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHealth:
    """The state of a run.

    Args:
        stop: why it claims no more videos; None: it goes on.
        red: why it is red; None: it is green.
    """

    stop: str | None = None
    red: str | None = None


class AfterError(Enum):
    """What follows the error of a whole chunk."""

    END_RUN = auto()  # every chunk would fail
    KEEP_CLAIMS = auto()  # the run is about to stop, and gives them back at its end
    TRY_EACH_ALONE = auto()  # one video may fail the others: find it
    FAIL_VIDEO = auto()  # the chunk was this video alone
    GIVE_BACK = auto()  # the chunk was this video alone, and the host is at fault


def health_of(facts: RunFacts, limits: RunLimits) -> RunHealth:
    """Whether a run goes on, and whether it is green.

    >>> health_of(RunFacts(new_succeeded=2, new_failed=13, succeeded=2), RunLimits()).red
    '13 of 15 new videos failed, NIGHTREEL_MAX_FAILED_SHARE=0.5 allows 7'
    >>> health_of(RunFacts(), RunLimits())
    RunHealth(stop=None, red=None)
    """
    broken = _same_failure(facts, limits) or _server_is_gone(facts, limits) or _host_cannot_go_on(facts, limits)
    found = (_given_back(facts), _too_many_failed(facts, limits), _too_many_quarantined(facts, limits))
    return RunHealth(stop=broken or facts.make_room, red=broken or next(filter(None, found), None))


def fails_alone(error: NightreelError, *, of_model: bool = False) -> bool:
    """Whether an error that occurred while a video was read fails this video alone. Otherwise it fails the chunk.

    Args:
        of_model: the error was raised while the model was loaded.
    """
    return not of_model and error.reason.scope not in (Scope.RUN, Scope.HOST)


def after_chunk_error(error: object, *, videos: int) -> AfterError:
    """What follows the error of a task: the stages turn errors of single videos into outcomes, and raise all others."""
    if isinstance(error, NightreelError) and error.reason is Reason.RUN_CLOSED:
        return AfterError.KEEP_CLAIMS
    of_host = isinstance(error, NightreelError) and error.reason.scope is Scope.HOST
    if isinstance(error, NightreelError) and not of_host:
        return AfterError.END_RUN
    if videos > 1:
        return AfterError.TRY_EACH_ALONE
    return AfterError.GIVE_BACK if of_host else AfterError.FAIL_VIDEO


def why_make_room(*, backfill_id: int, backfill_status: str, memory_is_wanted: bool, night_is_due: bool) -> str | None:
    """Why the run of a shard should start no more of it; None: it may go on."""
    if backfill_status != "running":
        return f"backfill {backfill_id} is {backfill_status}"
    if memory_is_wanted:
        return "it made room for a run that waits for the device's memory"
    if night_is_due:
        return "it made room for a night that is due"
    return None


def _same_failure(facts: RunFacts, limits: RunLimits) -> str | None:
    if facts.succeeded or not facts.internal_failures:
        return None
    failure, videos = max(facts.internal_failures.items(), key=lambda item: item[1])
    if videos < limits.same_failures:
        return None
    return (
        f"the first {videos} videos failed with the same error, which the videos do not cause: {failure}; correct the "
        f"cause, then run `nightreel retry --reason {failure.reason}`"
    )


def _too_many_failed(facts: RunFacts, limits: RunLimits) -> str | None:
    new = facts.new_succeeded + facts.new_failed
    if facts.new_failed <= limits.failed_share * new:
        return None
    return (
        f"{facts.new_failed} of {new} new videos failed, NIGHTREEL_MAX_FAILED_SHARE={limits.failed_share:g} allows "
        f"{int(limits.failed_share * new)}"
    )


def _too_many_quarantined(facts: RunFacts, limits: RunLimits) -> str | None:
    videos = facts.quarantined
    if videos <= limits.quarantined:
        return None
    what = "1 video that kills runs was" if videos == 1 else f"{videos} videos that kill runs were"
    return (
        f"{what} quarantined, NIGHTREEL_MAX_QUARANTINED={limits.quarantined} allows {limits.quarantined}: `nightreel "
        f"failures --reason {Reason.ATTEMPTS_EXHAUSTED}` shows what to check"
    )


def _server_is_gone(facts: RunFacts, limits: RunLimits) -> str | None:
    if facts.server_silent_s < limits.server_silent_s:
        return None
    return (
        f"the Prefect server has not responded for NIGHTREEL_PREFECT_PATIENCE_S={limits.server_silent_s:g} s: start "
        "it, then start the run again"
    )


def _host_cannot_go_on(facts: RunFacts, limits: RunLimits) -> str | None:
    if facts.given_back_in_a_row < limits.same_failures:
        return None
    return f"{facts.given_back_in_a_row} videos in a row were given back: {facts.why_given_back}"


def _given_back(facts: RunFacts) -> str | None:
    if not facts.given_back:
        return None
    videos = "1 video was" if facts.given_back == 1 else f"{facts.given_back} videos were"
    return f"{videos} given back, because this host cannot work on more: {facts.why_given_back}"

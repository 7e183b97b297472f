"""How claims end: done, failed, or back to pending. The write stage closes those of a chunk together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, text, update

from nightreel.database import schema
from nightreel.domain import Outcome, OutcomeState, VideoEnd
from nightreel.reasons import OF_HOST, Reason

_analyses = schema.analyses
_PENDING = (VideoEnd.DEFERRED, VideoEnd.GIVEN_BACK, VideoEnd.RETRIED)
_STATUS_OF = {
    VideoEnd.DONE: "done",
    VideoEnd.REUSED: "done",
    VideoEnd.PARTLY_DONE: "partly_done",
    VideoEnd.FAILED: "failed",
    VideoEnd.QUARANTINED: "quarantined",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """How a claim ends.

    Args:
        attempt: of the claim. wait_s: before the next attempt, if the video goes back to pending.
    """

    outcome: Outcome
    attempt: int
    wait_s: float


def end_of(closing: Closing, *, max_attempts: int) -> VideoEnd:
    """How a claimed video ends: after a transient failure, it is tried again until its attempts are used up."""
    outcome = closing.outcome
    match outcome.state:
        case OutcomeState.CONTINUES:
            return VideoEnd.CONTINUES
        case OutcomeState.DONE:
            return VideoEnd.DONE
        case OutcomeState.REUSED:
            return VideoEnd.REUSED
        case OutcomeState.PARTLY_DONE:
            return VideoEnd.PARTLY_DONE
        case OutcomeState.DEFERRED:
            return VideoEnd.DEFERRED
    if outcome.reason in OF_HOST:
        return VideoEnd.GIVEN_BACK
    if not outcome.transient:
        return VideoEnd.FAILED
    return VideoEnd.QUARANTINED if closing.attempt >= max_attempts else VideoEnd.RETRIED


def close_claims(connection: Connection, closings: Sequence[Closing], *, max_attempts: int) -> None:
    """Write how claimed videos ended; one statement for all that ended alike.

    A long video that advanced, and a video that is finished, did not kill this run: earlier crashes no longer count.
    """
    alike: dict[tuple[VideoEnd, Reason | None, str | None, int | None, float], list[int]] = defaultdict(list)
    for closing in closings:
        outcome, end = closing.outcome, end_of(closing, max_attempts=max_attempts)
        wait_s = closing.wait_s if end in _PENDING else 0.0
        alike[end, outcome.reason, outcome.detail, outcome.segments, wait_s].append(outcome.analysis_id)
    for (end, reason, detail, segments, wait_s), analysis_ids in alike.items():
        ended = update(_analyses).where(_analyses.c.id.in_(analysis_ids))
        if end is VideoEnd.CONTINUES:
            connection.execute(ended.where(_analyses.c.crashes > 0).values(crashes=0))
            continue
        values: dict[str, object] = {"lease_expires_at": None, "updated_at": func.now()}
        if end is not VideoEnd.GIVEN_BACK:
            values |= {"reason": reason, "detail": detail}
        if end in _PENDING:
            later = func.now() + text("make_interval(secs => :wait_s)").bindparams(wait_s=wait_s)
            values |= {"status": "pending", "not_before": later, "run_id": None}
            if end is not VideoEnd.RETRIED:
                values |= {"attempts": _analyses.c.attempts - 1}
        else:
            values |= {"status": _STATUS_OF[end], "suspect": False, "crashes": 0}
            if end in (VideoEnd.DONE, VideoEnd.REUSED, VideoEnd.PARTLY_DONE):
                values |= {"segments": segments}
            if end in (VideoEnd.DONE, VideoEnd.REUSED):
                values |= {"reused": end is VideoEnd.REUSED}
        connection.execute(ended.values(**values))

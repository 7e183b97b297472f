"""Write: answers and the ends of claims into Postgres, one transaction a chunk."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from nightreel.database.claims import close_claim, lock_own
from nightreel.database.results import answers_given, write_answers
from nightreel.domain import (
    Answer,
    AnsweredChunk,
    AnswerState,
    Claim,
    Outcome,
    OutcomeState,
    PromptSet,
    SegmentAnswers,
)
from nightreel.errors import PermanentError
from nightreel.logs import FAILURES, log_context
from nightreel.stages.video import OpenVideo
from nightreel.stages.workbench import Workbench

logger = logging.getLogger(FAILURES)

_FIRST_WAIT_S = 2.0  # after a transient failure; grows fivefold with each attempt
_DEFERRED_WAIT_S = 2.0  # until a video whose bytes are in work elsewhere is looked at again


def write_chunk(
    bench: Workbench, claims: Sequence[Claim], outcomes: Sequence[Outcome], answered: AnsweredChunk
) -> dict[str, int]:
    """Upsert a chunk's answers and close its claims. Repeating it changes nothing.

    A claim that this run lost in the meantime (its lease ran out) is left to whoever has it now.

    Returns:
        Counts: `videos.<status>`, `answers.<state>`, `segments`, `lost`.
    """
    attempts = {claim.analysis_id: claim.attempt for claim in claims}
    _note_error_answers(bench, answered.answered)
    counts: Counter[str] = Counter()
    failed: list[Outcome] = []
    with bench.timings.stage("database"), bench.database.begin() as connection:
        own = lock_own(connection, run_id=bench.run_id, analysis_ids=sorted(attempts))
        write_answers(connection, answered.answered, video_ids=own, recipe=bench.recipe, run_id=bench.run_id)
        given = answers_given(connection, sorted(own.values()), bench.recipe)
        for outcome in outcomes:
            if outcome.analysis_id not in own:
                counts["lost"] += 1
                continue
            final = _with_problems(outcome, bench.open_videos.get(outcome.analysis_id))
            final = _if_complete(final, bench.recipe.prompts, given[own[outcome.analysis_id]])
            attempt = attempts[outcome.analysis_id]
            status = close_claim(
                connection,
                final,
                attempt=attempt,
                max_attempts=bench.settings.max_attempts,
                wait_s=_wait_s(final, attempt),
            )
            counts[_counted_as(final, status)] += 1
            if final.reason and status in ("failed", "quarantined"):
                counts[f"reasons.{final.reason}"] += 1
                failed.append(final)
        written = [item for item in answered.answered if item.segment.analysis_id in own]
    for outcome in outcomes:
        if outcome.state is not OutcomeState.CONTINUES:
            bench.close_video(outcome.analysis_id)
    answers = [answer for item in written for answer in item.answers]
    counts["segments"] += len(written)
    counts.update(f"answers.{answer.state}" for answer in answers)
    bench.metrics.written(counts, answers, bench.recipe.prompts)
    _log_failures(bench.run_id, claims, failed)
    return dict(counts)


def close_failed_chunk(
    bench: Workbench, claims: Sequence[Claim], *, reason: str, detail: str, transient: bool
) -> dict[str, int]:
    """End the claims of a chunk of which a stage broke down as a whole."""
    outcomes = [
        Outcome(
            analysis_id=claim.analysis_id,
            state=OutcomeState.FAILED,
            reason=reason,
            detail=detail,
            transient=transient,
        )
        for claim in claims
    ]
    return write_chunk(bench, claims, outcomes, AnsweredChunk(answered=()))


def _log_failures(run_id: int, claims: Sequence[Claim], failed: Sequence[Outcome]) -> None:
    uris = {claim.analysis_id: claim.video.uri for claim in claims}
    for outcome in failed:
        with log_context(run=run_id, video=uris[outcome.analysis_id]):
            logger.info("failed: %s: %s", outcome.reason, outcome.detail)


def _note_error_answers(bench: Workbench, answered: Sequence[SegmentAnswers]) -> None:
    names = {prompt.hash: prompt.name for prompt in bench.recipe.prompts.prompts}
    for item in answered:
        for answer in item.answers:
            video = bench.open_videos.get(item.segment.analysis_id)
            if answer.state is AnswerState.ERROR and video is not None:
                detail = f"prompt {names[answer.prompt_hash]}: {answer.reason}"
                video.note(item.segment.segment, PermanentError("answer_error", detail))


def _with_problems(outcome: Outcome, video: OpenVideo | None) -> Outcome:
    """A video that came to its end with a bad segment has failed, whatever its other segments said."""
    if video is None or not video.problems or outcome.state not in (OutcomeState.DONE, OutcomeState.REUSED):
        return outcome
    first = video.problems[0]
    detail = first.detail
    if len(video.segments) > 1:
        segments = list(dict.fromkeys(problem.segment for problem in video.problems))
        bad = ", ".join(f"{segment.start_s:g}-{segment.end_s:g} s" for segment in segments[:10])
        more = f" and {len(segments) - 10} more" if len(segments) > 10 else ""
        detail = f"{len(segments)} of {len(video.segments)} segments ({bad}{more}): {first.detail}"
    return replace(
        outcome,
        state=OutcomeState.FAILED,
        reason=first.reason,
        detail=detail,
        transient=all(problem.transient for problem in video.problems),
    )


def _if_complete(outcome: Outcome, prompts: PromptSet, given: Mapping[int, Mapping[str, Answer]]) -> Outcome:
    """Done means that every segment has every answer that is wanted of it; anything less is still to be done."""
    if outcome.state not in (OutcomeState.DONE, OutcomeState.REUSED):
        return outcome
    assert outcome.segments is not None
    lacking = [index for index in range(outcome.segments) if prompts.missing(given.get(index, {}))]
    if not lacking:
        return outcome
    return replace(
        outcome,
        state=OutcomeState.FAILED,
        reason="incomplete",
        detail=f"{len(lacking)} of {outcome.segments} segments lack answers, the first is segment {lacking[0]}",
        transient=True,
    )


def _wait_s(outcome: Outcome, attempt: int) -> float:
    if outcome.state is OutcomeState.DEFERRED:
        return _DEFERRED_WAIT_S
    if outcome.reason == "damaged_feature":
        return 0.0
    return _FIRST_WAIT_S * 5 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret


def _counted_as(outcome: Outcome, status: str) -> str:
    if outcome.state in (OutcomeState.REUSED, OutcomeState.DEFERRED, OutcomeState.CONTINUES):
        return f"videos.{outcome.state}"
    return "videos.retried" if status == "pending" else f"videos.{status}"

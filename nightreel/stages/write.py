"""Write: store answers and end claims in Postgres, in one transaction per chunk."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nightreel.backoff import backoff_s
from nightreel.database.claims import close_claim, lock_own
from nightreel.database.connection import Database
from nightreel.database.recipes import Recipe
from nightreel.database.results import answers_given, write_answers
from nightreel.domain import (
    Answer,
    AnsweredChunk,
    AnswerState,
    ChunkCounts,
    Claim,
    EndedVideo,
    Outcome,
    OutcomeState,
    PromptSet,
    SegmentAnswers,
    VideoEnd,
)
from nightreel.errors import PermanentError
from nightreel.logs import FAILURES, log_context
from nightreel.reasons import Reason
from nightreel.stages.recorder import RunRecorder
from nightreel.stages.videos import OpenVideo, OpenVideos

logger = logging.getLogger(FAILURES)

_FIRST_WAIT_S = 3.0  # at most, after the first transient failure; grows fivefold with each attempt
_DEFERRED_WAIT_S = 2.0  # before the retry of a video whose bytes another run is analysing
_FINISHED = (OutcomeState.DONE, OutcomeState.REUSED)


@dataclass(frozen=True, kw_only=True)
class Writing:
    """The write stage and what it uses."""

    database: Database
    recipe: Recipe
    run_id: int
    max_attempts: int
    videos: OpenVideos
    recorder: RunRecorder

    def write_chunk(self, claims: Sequence[Claim], outcomes: Sequence[Outcome], answered: AnsweredChunk) -> ChunkCounts:
        """Upsert a chunk's answers and close its claims. Repeating it changes nothing.

        A claim that expired and that another run now has is left to that run.
        """
        attempts = {claim.analysis_id: claim.attempt for claim in claims}
        self._fail_videos_with_error_answers(answered.answered)
        ends: Counter[VideoEnd] = Counter()
        failed: list[Outcome] = []
        by_id, ended = {claim.analysis_id: claim for claim in claims}, list[EndedVideo]()
        with self.recorder.stage("database"), self.database.begin() as connection:
            own = lock_own(connection, run_id=self.run_id, analysis_ids=sorted(attempts))
            write_answers(connection, answered.answered, video_ids=own, recipe=self.recipe, run_id=self.run_id)
            given = answers_given(connection, sorted(own.values()), self.recipe)
            for outcome in outcomes:
                if outcome.analysis_id not in own:
                    ends[VideoEnd.LOST] += 1
                    continue
                final = _with_failures(outcome, self.videos.find(outcome.analysis_id))
                final = _if_complete(final, self.recipe.prompts, given[own[outcome.analysis_id]])
                attempt = attempts[outcome.analysis_id]
                end = close_claim(
                    connection,
                    final,
                    attempt=attempt,
                    max_attempts=self.max_attempts,
                    wait_s=_wait_s(final, attempt),
                )
                ends[end] += 1
                ended.append(EndedVideo.of(by_id[outcome.analysis_id], end, final))
                if end in (VideoEnd.FAILED, VideoEnd.QUARANTINED):
                    failed.append(final)
            written = [item for item in answered.answered if item.segment.analysis_id in own]
        for outcome in outcomes:
            if outcome.state is not OutcomeState.CONTINUES:
                self.videos.close(outcome.analysis_id)
        answers = [answer for item in written for answer in item.answers]
        counts = ChunkCounts(
            videos=ends,
            reasons=Counter(outcome.reason for outcome in failed if outcome.reason),
            segments=len(written),
            answers=Counter(answer.state for answer in answers),
            ended=tuple(ended),
        )
        self.recorder.written(counts, answers, self.recipe.prompts)
        self._log_failures(claims, failed)
        return counts

    def close_failed_chunk(
        self, claims: Sequence[Claim], *, reason: Reason, detail: str, transient: bool
    ) -> ChunkCounts:
        """End the claims of a chunk after a stage failed for the whole chunk."""
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
        return self.write_chunk(claims, outcomes, AnsweredChunk(answered=()))

    def _fail_videos_with_error_answers(self, answered: Sequence[SegmentAnswers]) -> None:
        names = {prompt.hash: prompt.name for prompt in self.recipe.prompts.prompts}
        for item in answered:
            for answer in item.answers:
                video = self.videos.find(item.segment.analysis_id)
                if answer.state is AnswerState.ERROR and video is not None:
                    detail = f"prompt {names[answer.prompt_hash]}: {answer.reason}"
                    video.fail(item.segment.segment, PermanentError(Reason.ANSWER_ERROR, detail))

    def _log_failures(self, claims: Sequence[Claim], failed: Sequence[Outcome]) -> None:
        uris = {claim.analysis_id: claim.video.uri for claim in claims}
        for outcome in failed:
            with log_context(run=self.run_id, video=uris[outcome.analysis_id]):
                logger.info("failed: %s: %s", outcome.reason, outcome.detail)


def _with_failures(outcome: Outcome, video: OpenVideo | None) -> Outcome:
    """Fail a finished video if one of its segments failed, whatever its other segments answered."""
    if video is None or not video.failures or outcome.state not in _FINISHED:
        return outcome
    first = video.failures[0]
    detail = first.detail
    if len(video.segments) > 1:
        segments = list(dict.fromkeys(failure.segment for failure in video.failures))
        bad = ", ".join(f"{segment.start_s:g}-{segment.end_s:g} s" for segment in segments[:10])
        more = f" and {len(segments) - 10} more" if len(segments) > 10 else ""
        detail = f"{len(segments)} of {len(video.segments)} segments ({bad}{more}): {first.detail}"
    return replace(
        outcome,
        state=OutcomeState.FAILED,
        reason=first.reason,
        detail=detail,
        transient=all(failure.transient for failure in video.failures),
    )


def _if_complete(outcome: Outcome, prompts: PromptSet, given: Mapping[int, Mapping[str, Answer]]) -> Outcome:
    """Fail a finished video for now if any segment lacks an answer, so that it is retried."""
    if outcome.state not in _FINISHED:
        return outcome
    assert outcome.segments is not None
    lacking = [index for index in range(outcome.segments) if prompts.missing(given.get(index, {}))]
    if not lacking:
        return outcome
    return replace(
        outcome,
        state=OutcomeState.FAILED,
        reason=Reason.INCOMPLETE,
        detail=f"{len(lacking)} of {outcome.segments} segments lack answers; the first is segment {lacking[0]}",
        transient=True,
    )


def _wait_s(outcome: Outcome, attempt: int) -> float:
    if outcome.state is OutcomeState.DEFERRED:
        return _DEFERRED_WAIT_S
    if outcome.reason is Reason.DAMAGED_FEATURE:
        return 0.0
    return backoff_s(attempt, first_s=_FIRST_WAIT_S, factor=5)

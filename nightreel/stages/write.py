"""Write: store answers and end claims in Postgres, in one transaction per chunk."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sqlalchemy import Connection

from nightreel.backoff import backoff_s
from nightreel.database.answers import answers_given, write_answers
from nightreel.database.claims import lock_own
from nightreel.database.closing import Closing, close_claims, end_of
from nightreel.database.connection import Database
from nightreel.database.coverage import SegmentFailure, record_coverage, record_failed_segments
from nightreel.database.policies import policies_in_force
from nightreel.database.recipes import Recipe
from nightreel.database.whole_answers import write_whole_answers
from nightreel.domain import (
    AnsweredChunk,
    AnswerState,
    ChunkCounts,
    Claim,
    EndedVideo,
    Outcome,
    OutcomeState,
    PromptSet,
    SegmentAnswers,
    Verdict,
    VerdictState,
    VideoEnd,
)
from nightreel.domain.deadlines import Deadline
from nightreel.errors import PermanentError, TransientError
from nightreel.logs import FAILURES, log_context
from nightreel.reasons import OF_HOST, UNUSABLE_FEATURES, Reason
from nightreel.stages.embed import Embedding
from nightreel.stages.judge import Given, Judged, judge_answers, show_videos
from nightreel.stages.recorder import RunRecorder
from nightreel.stages.videos import OpenVideo, OpenVideos
from nightreel.stages.whole_videos import lacking

logger = logging.getLogger(FAILURES)

_FIRST_WAIT_S = 3.0  # at most, after the first transient failure; grows fivefold with each attempt
_DEFERRED_WAIT_S = 2.0  # before the retry of a video whose bytes another run is analysing
_HOST_WAIT_S = 15.0  # before the retry of a video that the host could not work on
_MOST_WHOLE_ROUNDS = 3  # of one video in one run: policies may change meanwhile
_FINISHED = (OutcomeState.DONE, OutcomeState.REUSED)
_FAILED = (VideoEnd.FAILED, VideoEnd.QUARANTINED, VideoEnd.PARTLY_DONE)
_ENDED = (*_FAILED, VideoEnd.DONE, VideoEnd.REUSED)


@dataclass(frozen=True, kw_only=True)
class Writing:
    """The write stage and what it uses."""

    database: Database
    recipe: Recipe
    run_id: int
    max_attempts: int
    videos: OpenVideos
    embedding: Embedding
    recorder: RunRecorder
    deadline: Deadline = field(default_factory=Deadline)

    def write_chunk(self, claims: Sequence[Claim], outcomes: Sequence[Outcome], answered: AnsweredChunk) -> ChunkCounts:
        """Upsert a chunk's answers and close its claims. Repeating it changes nothing.

        A claim that expired and that another run now has is left to that run.
        """
        attempts = {claim.analysis_id: claim.attempt for claim in claims}
        self._fail_videos_with_error_answers(answered.answered)
        for item in answered.answered:
            video = self.videos.find(item.segment.analysis_id)
            if video is not None and any(answer.state is not AnswerState.ERROR for answer in item.answers):
                video.advanced = True
        self.embedding.prepare([item.segment for item in answered.answered])
        ends: Counter[VideoEnd] = Counter()
        closings: list[Closing] = []
        failed, innocent = list[Outcome](), list[Outcome]()
        unfinished: list[Claim] = []
        by_id, ended = {claim.analysis_id: claim for claim in claims}, list[EndedVideo]()
        closed: dict[int, Sequence[SegmentFailure]] = {}
        with self.recorder.stage("database"), self.database.begin() as connection:
            own = lock_own(connection, run_id=self.run_id, analysis_ids=sorted(attempts))
            write_answers(connection, answered.answered, video_ids=own, recipe=self.recipe, run_id=self.run_id)
            kept = [item.segment for item in answered.answered if item.segment.analysis_id in own]
            self.embedding.write(connection, kept, video_ids=own.values())
            given = answers_given(connection, sorted(own.values()), self.recipe, errors=True)
            policies = policies_in_force(connection, self.recipe.prompt_ids.values(), lock=True)
            prompts = self.recipe.under(policies)
            judged = judge_answers(connection, given, self.recipe, policies)
            whole = [item for item in answered.whole if item.analysis_id in own]
            write_whole_answers(connection, whole, recipe=self.recipe, run_id=self.run_id)
            lack_whole = self._lacking_whole(connection, outcomes, own, given, prompts)
            asked_whole = {item.analysis_id for item in whole}
            for outcome in outcomes:
                if outcome.analysis_id not in own:
                    ends[VideoEnd.LOST] += 1
                    continue
                video = self.videos.find(outcome.analysis_id)
                failures = video.failures if video else []
                final = _settled(
                    outcome,
                    failures,
                    prompts,
                    judged.get(own[outcome.analysis_id], {}),
                    may_advance=video is not None and video.advanced,
                )
                if outcome.analysis_id in lack_whole and video is not None:
                    final = _settled_whole(final, video, was_asked=outcome.analysis_id in asked_whole)
                attempt = attempts[outcome.analysis_id]
                wait_s = _innocent_wait_s(final)
                if wait_s is not None and self.videos.may_give_back(outcome.analysis_id):
                    innocent.append(final)
                    final = Outcome(analysis_id=outcome.analysis_id, state=OutcomeState.DEFERRED)
                else:
                    wait_s = _wait_s(final, attempt)
                closings.append(Closing(outcome=final, attempt=attempt, wait_s=wait_s))
                end = end_of(closings[-1], max_attempts=self.max_attempts)
                ends[end] += 1
                if end is VideoEnd.CONTINUES and outcome.state is not OutcomeState.CONTINUES:
                    unfinished.append(replace(by_id[outcome.analysis_id], first_segment=0))
                ended.append(EndedVideo.of(by_id[outcome.analysis_id], end, final))
                if end in _FAILED:
                    failed.append(final)
                if end in _ENDED:
                    closed[outcome.analysis_id] = failures if end in _FAILED else ()
            close_claims(connection, closings, max_attempts=self.max_attempts)
            record_failed_segments(connection, closed)
            seen = record_coverage(connection, list(closed), self.recipe)
            ended_ids = [own[analysis_id] for analysis_id in closed]
            show_videos(connection, self.recipe, policies, video_ids=own.values(), ended=ended_ids)
            written = [item for item in answered.answered if item.segment.analysis_id in own]
        going_on = {claim.analysis_id for claim in unfinished}
        for outcome in outcomes:
            if outcome.state is not OutcomeState.CONTINUES and outcome.analysis_id not in going_on:
                self.videos.close(outcome.analysis_id)
        coverage = max(prompt.policy.coverage for prompt in prompts.prompts)
        answers = [answer for item in written for answer in item.answers]
        seen = [video for video in seen if video.covered_s]
        counts = ChunkCounts(
            videos=ends,
            reasons=_reasons(failed, OutcomeState.FAILED),
            partly_done=_reasons(failed, OutcomeState.PARTLY_DONE),
            segments=sum(not answer.look for item in written for answer in item.answers[:1]),
            verdicts=_states(written, judged, prompts),
            ended=tuple(ended),
            covered_s=sum(video.covered_s for video in seen),
            expected_s=sum(video.expected_s or video.covered_s for video in seen),
            little_seen=sum(video.little_seen(coverage) for video in seen),
            unfinished=tuple(unfinished),
        )
        self.recorder.written(counts, answers)
        self.deadline.written(attempts, datetime.now(UTC))
        self._log_failures(claims, failed, innocent)
        return counts

    def _lacking_whole(
        self,
        connection: Connection,
        outcomes: Sequence[Outcome],
        own: Mapping[int, int],
        given: Given,
        prompts: PromptSet,
    ) -> set[int]:
        """The analyses of this chunk whose segments have all their answers, and whose whole videos do not."""
        if not prompts.of_whole_videos:
            return set()
        videos = {}
        for outcome in outcomes:
            video = self.videos.find(outcome.analysis_id)
            if outcome.state in _FINISHED and outcome.analysis_id in own and video is not None:
                videos[own[outcome.analysis_id]] = (outcome.analysis_id, video.segments)
        usable = {
            video_id: {index: answers.without_errors() for index, answers in segments.items()}
            for video_id, segments in given.items()
        }
        return {one.analysis_id for one in lacking(connection, videos, usable, self.recipe, prompts)}

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
        names = {prompt.question.hash: prompt.name for prompt in self.recipe.prompts.prompts}
        for item in answered:
            for answer in item.answers:
                video = self.videos.find(item.segment.analysis_id)
                if answer.state is AnswerState.ERROR and video is not None:
                    detail = f"prompt {names[answer.question_hash]}: {answer.reason}"
                    video.fail(item.segment.whole, PermanentError(Reason.ANSWER_ERROR, detail))

    def _log_failures(self, claims: Sequence[Claim], failed: Sequence[Outcome], innocent: Sequence[Outcome]) -> None:
        uris = {claim.analysis_id: claim.video.uri for claim in claims}
        for outcome in failed:
            with log_context(run=self.run_id, video=uris[outcome.analysis_id]):
                state = "partly done" if outcome.state is OutcomeState.PARTLY_DONE else "failed"
                logger.info("%s: %s: %s", state, outcome.reason, outcome.detail)
        for outcome in innocent:
            with log_context(run=self.run_id, video=uris[outcome.analysis_id]):
                logger.warning("tried again, and not charged: %s: %s", outcome.reason, outcome.detail)


def _settled(
    outcome: Outcome,
    failures: Sequence[SegmentFailure],
    prompts: PromptSet,
    judged: Mapping[int, Mapping[str, Verdict]],
    *,
    may_advance: bool,
) -> Outcome:
    """How a finished video ends, by its segments that lack answers and by the failures of its segments.

    It goes on if answers made second looks or follow-ups due. It fails for now if any segment may get its answers
    later, so that it is retried. It is partly done if some segments failed for good and the others have their answers.

    Args:
        may_advance: answers were written since it was last looked through for what it lacks.
    """
    if outcome.state not in _FINISHED:
        return outcome
    assert outcome.segments is not None
    each = {index: judged.get(index, {}) for index in range(outcome.segments)}
    missing = {index: found for index, verdicts in each.items() if (found := prompts.missing(verdicts))}
    lacking = [index for index, verdicts in each.items() if index in missing or prompts.to_look_again(verdicts)]
    if not lacking:
        return outcome
    failures = [failure for failure in failures if failure.segment.index in lacking]
    failed = {failure.segment.index for failure in failures}
    if not failed.issuperset(lacking):
        first_prompts = [
            one for index in missing if index not in failed for one in missing[index] if not one.policy.when
        ]
        if may_advance and not first_prompts:
            return Outcome(analysis_id=outcome.analysis_id, state=OutcomeState.CONTINUES)
        return replace(
            outcome,
            state=OutcomeState.FAILED,
            reason=Reason.INCOMPLETE,
            detail=f"{len(lacking)} of {outcome.segments} segments lack answers; the first is segment {lacking[0]}",
            transient=True,
        )
    passing = [failure for failure in failures if failure.transient]
    told = (passing or failures)[0]
    is_partly_done = not passing and len(missing) < outcome.segments
    return replace(
        outcome,
        state=OutcomeState.PARTLY_DONE if is_partly_done else OutcomeState.FAILED,
        reason=told.reason,
        detail=_told(failures, told, segments=outcome.segments),
        transient=bool(passing),
    )


def _settled_whole(outcome: Outcome, video: OpenVideo, *, was_asked: bool) -> Outcome:
    """How a video ends whose segments have all their answers, and that lacks answers about the whole.

    Args:
        was_asked: this chunk asked for them.
    """
    if outcome.state not in _FINISHED:
        return outcome
    if video.whole_failure is not None:
        error = video.whole_failure
        return replace(
            outcome,
            state=OutcomeState.FAILED,
            reason=error.reason,
            detail=f"questions about the whole video: {error.detail}",
            transient=isinstance(error, TransientError),
        )
    if was_asked:
        return replace(
            outcome,
            state=OutcomeState.FAILED,
            reason=Reason.ANSWER_ERROR,
            detail="a question about the whole video has no answer: the model's scores are not finite",
            transient=False,
        )
    video.whole_rounds += 1
    if video.whole_rounds <= _MOST_WHOLE_ROUNDS:
        return Outcome(analysis_id=outcome.analysis_id, state=OutcomeState.CONTINUES)
    detail = "questions about the whole video are not asked: what its segments lack changes while the run works"
    return replace(outcome, state=OutcomeState.FAILED, reason=Reason.INCOMPLETE, detail=detail, transient=True)


def _states(written: Sequence[SegmentAnswers], judged: Judged, prompts: PromptSet) -> Counter[tuple[str, VerdictState]]:
    """The number of verdicts on the written answers, by prompt set and state."""
    found: Counter[tuple[str, VerdictState]] = Counter()
    for item in written:
        asked = {answer.question_hash for answer in item.answers}
        verdicts = judged.get(item.segment.video_id, {}).get(item.segment.segment.index, {})
        for prompt in prompts.prompts:
            if prompt.question.hash in asked:
                verdict = verdicts.get(prompt.name)
                if verdict and verdict.look_again:
                    continue  # counted after the second look
                found[prompt.set_name, verdict.state if verdict else VerdictState.ERROR] += 1
    return found


def _innocent_wait_s(outcome: Outcome) -> float | None:
    """How long a video waits whose failure is transient and no fault of its own; None: it is charged."""
    if not outcome.transient:
        return None
    if outcome.reason in UNUSABLE_FEATURES:
        return 0.0
    return _HOST_WAIT_S if outcome.reason is Reason.DECODER_KILLED else None


def _told(failures: Sequence[SegmentFailure], told: SegmentFailure, *, segments: int) -> str:
    """The failed segments of a video, and why one of them failed."""
    if segments == 1:
        return told.detail
    failed = list(dict.fromkeys(failure.segment for failure in failures))
    bad = ", ".join(f"{segment.start_s:g}-{segment.end_s:g} s" for segment in failed[:10])
    more = f" and {len(failed) - 10} more" if len(failed) > 10 else ""
    return f"{len(failed)} of {segments} segments ({bad}{more}): {told.detail}"


def _reasons(failed: Sequence[Outcome], state: OutcomeState) -> Counter[Reason]:
    return Counter(outcome.reason for outcome in failed if outcome.state is state and outcome.reason)


def _wait_s(outcome: Outcome, attempt: int) -> float:
    if outcome.state is OutcomeState.DEFERRED:
        return _DEFERRED_WAIT_S
    if outcome.reason in OF_HOST:
        return _HOST_WAIT_S
    return backoff_s(attempt, first_s=_FIRST_WAIT_S, factor=5)

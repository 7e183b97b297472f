"""Ask: features to answers. Asks only prompts without an answer, for all segments of a chunk together."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nightreel.cache.features import FeatureCache
from nightreel.database.answers import GivenAnswers, answers_given
from nightreel.database.connection import Database
from nightreel.database.features import forget_features
from nightreel.database.recipes import Recipe
from nightreel.domain import (
    AnsweredChunk,
    EncodedSegment,
    Features,
    Outcome,
    OutcomeState,
    Prompt,
    SegmentAnswers,
    Verdict,
    WholeAnswers,
)
from nightreel.errors import NightreelError, PermanentError, TransientError
from nightreel.logs import log_context
from nightreel.models.inquiry import Seen
from nightreel.reasons import UNUSABLE_FEATURES, Scope
from nightreel.stages.model_session import ModelSession
from nightreel.stages.recorder import RunRecorder
from nightreel.stages.second_look import asked_of_windows, second_look_answers
from nightreel.stages.videos import OpenVideo, OpenVideos
from nightreel.stages.whole_videos import WholeVideo, ask_whole, lacking, without_reused

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Asking:
    """The ask stage and what it uses."""

    database: Database
    recipe: Recipe
    run_id: int
    videos: OpenVideos
    cache: FeatureCache
    model: ModelSession
    recorder: RunRecorder

    def ask_chunk(self, segments: Sequence[EncodedSegment], outcomes: Sequence[Outcome] = ()) -> AnsweredChunk:
        """Answer the missing prompts of these segments, and those about the whole videos that end with this chunk.

        A segment that cannot be asked fails; an unusable answer is an Answer in state `error`. Neither stops
        the others.

        Args:
            outcomes: of the claims of the chunk.

        Raises:
            NightreelError: all segments are affected: the database, the cache or the model failed.
        """
        with self.recorder.stage("database"), self.database.begin() as connection:
            given = answers_given(connection, sorted({segment.video_id for segment in segments}), self.recipe)
        items: list[_Item] = []
        with self.recorder.stage("cache"):
            for segment in segments:
                features = self._read(segment)
                if features:
                    items.append(_item(segment, features, given[segment.video_id][segment.whole.index], self.recipe))
        answered = self._ask([item for item in items if item.prompts])
        windows = [item for item in answered if item.segment.second_look]
        self.recorder.count("second_look_answers", sum(len(item.answers) for item in windows))
        return AnsweredChunk(
            answered=(
                *(item for item in answered if not item.segment.second_look),
                *second_look_answers(windows, self.recipe.prompts),
            ),
            whole=tuple(self._ask_whole(self._whole_videos(outcomes))),
        )

    def _whole_videos(self, outcomes: Sequence[Outcome]) -> list[WholeVideo]:
        """What the videos lack whose segments had all their answers before this chunk."""
        if not self.recipe.prompts.of_whole_videos:
            return []
        videos = {}
        for outcome in outcomes:
            video = self.videos.find(outcome.analysis_id)
            if outcome.state in (OutcomeState.DONE, OutcomeState.REUSED) and video is not None:
                videos[video.claim.video.id] = (outcome.analysis_id, video.segments)
        with self.recorder.stage("database"), self.database.begin() as connection:
            given = answers_given(connection, sorted(videos), self.recipe)
            wanted = lacking(connection, videos, given, self.recipe, self.recipe.prompts)
            return without_reused(connection, wanted, self.recipe, run_id=self.run_id)

    def _ask_whole(self, videos: Sequence[WholeVideo]) -> list[WholeAnswers]:
        """Ask about all whole videos together; if that fails, ask each alone, so that one cannot fail the others."""
        if not videos:
            return []
        try:
            with self.model.use() as model, self.recorder.stage("model.language"):
                answers = ask_whole(model, videos)
        except NightreelError as error:
            if error.reason.scope is not Scope.SEGMENT:
                raise
            if len(videos) > 1:
                return [one for video in videos for one in self._ask_whole([video])]
            self._open(videos[0].analysis_id).whole_failure = error
            return []
        self.recorder.count("whole_answers", sum(len(one.answers) for one in answers))
        return answers

    def _read(self, segment: EncodedSegment) -> Features | None:
        try:
            return self.cache.get(segment.feature)
        except PermanentError as error:
            if error.reason not in UNUSABLE_FEATURES:
                raise
            video = self._video(segment)
            with log_context(run=self.run_id, video=video.claim.video.uri, segment=segment.segment.index):
                logger.warning("the segment is encoded again: %s", error)
            with self.database.begin() as connection:
                forget_features(connection, segment.feature.key)
            self.recorder.count("damaged_features")
            video.fail(segment.whole, TransientError(error.reason, error.detail))
            return None

    def _ask(self, items: Sequence[_Item]) -> list[SegmentAnswers]:
        """Ask all segments together; if that fails, ask each alone, so that one cannot fail the others."""
        if not items:
            return []
        try:
            with self.model.use() as model, self.recorder.stage("model.language"):
                answers = model.ask(
                    [item.features for item in items],
                    [item.prompts for item in items],
                    known=[item.known for item in items],
                    seen=[_seen(item.segment) for item in items],
                )
        except NightreelError as error:
            if error.reason.scope is not Scope.SEGMENT:
                raise
            if len(items) > 1:
                return [one for item in items for one in self._ask([item])]
            segment = items[0].segment
            self._video(segment).fail(segment.whole, error)
            return []
        return [
            SegmentAnswers(segment=item.segment, answers=tuple(given))
            for item, given in zip(items, answers, strict=True)
        ]

    def _video(self, segment: EncodedSegment) -> OpenVideo:
        return self._open(segment.analysis_id)

    def _open(self, analysis_id: int) -> OpenVideo:
        video = self.videos.find(analysis_id)
        assert video is not None, f"{analysis_id = } is open until its chunk is written"
        return video


@dataclass(frozen=True, slots=True)
class _Item:
    """A segment or a window, what to ask about it, and the verdicts that conditions are checked against."""

    segment: EncodedSegment
    features: Features
    prompts: tuple[Prompt, ...]
    known: Mapping[str, Verdict]


def _item(segment: EncodedSegment, features: Features, given: GivenAnswers, recipe: Recipe) -> _Item:
    prompts = recipe.prompts
    verdicts = given.verdicts(prompts)
    if segment.second_look:
        return _Item(segment, features, asked_of_windows(prompts.to_look_again(verdicts), segment.second_look.look), {})
    due = prompts.due(verdicts)
    known = {name: verdict for name, verdict in verdicts.items() if due[name] is not False}
    return _Item(segment, features, prompts.missing(verdicts), known)


def _seen(item: EncodedSegment) -> Seen:
    """How much of a segment its frames cover. A version without this measure cached it: the share of good frames."""
    covered_s = item.covered_s
    if covered_s is None:
        covered_s = item.segment.duration_s * (1 - item.damaged_frames / max(len(item.pts_s), 1))
    return Seen(covered_s, item.segment.expected_s)

"""Ask: features to answers. Asks only prompts without an answer, for all segments of a chunk together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from nightreel.cache.features import FeatureCache
from nightreel.database.answers import StoredAnswer, answers_given
from nightreel.database.connection import Database
from nightreel.database.features import forget_features
from nightreel.database.recipes import Recipe
from nightreel.domain import AnsweredChunk, EncodedSegment, Features, SegmentAnswers
from nightreel.errors import NightreelError, PermanentError, TransientError
from nightreel.logs import log_context
from nightreel.models.inquiry import Seen
from nightreel.reasons import UNUSABLE_FEATURES, Scope
from nightreel.stages.judge import judged
from nightreel.stages.model_session import ModelSession
from nightreel.stages.recorder import RunRecorder
from nightreel.stages.videos import OpenVideo, OpenVideos

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

    def ask_chunk(self, segments: Sequence[EncodedSegment]) -> AnsweredChunk:
        """Answer the missing prompts of these segments.

        A segment that cannot be asked fails; an unusable answer is an Answer in state `error`. Neither stops
        the others.

        Raises:
            NightreelError: all segments are affected: the database, the cache or the model failed.
        """
        with self.recorder.stage("database"), self.database.begin() as connection:
            given = answers_given(connection, sorted({segment.video_id for segment in segments}), self.recipe)
        readable: list[tuple[EncodedSegment, Features]] = []
        with self.recorder.stage("cache"):
            for segment in segments:
                features = self._read(segment)
                if features:
                    readable.append((segment, features))
        if not readable:
            return AnsweredChunk(answered=())
        known = [given[segment.video_id][segment.segment.index] for segment, _ in readable]
        return AnsweredChunk(answered=tuple(self._ask(readable, known)))

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
            video.fail(segment.segment, TransientError(error.reason, error.detail))
            return None

    def _ask(
        self, readable: list[tuple[EncodedSegment, Features]], known: list[dict[str, StoredAnswer]]
    ) -> list[SegmentAnswers]:
        """Ask all segments together; if that fails, ask each alone, so that one cannot fail the others."""
        prompts = self.recipe.prompts
        verdicts = [judged(answers, prompts) for answers in known]
        due = [prompts.due(own) for own in verdicts]
        try:
            with self.model.use() as model, self.recorder.stage("model.language"):
                answers = model.ask(
                    [features for _, features in readable],
                    [prompts.missing(own) for own in verdicts],
                    known=[
                        {name: verdict for name, verdict in own.items() if is_due[name] is not False}
                        for own, is_due in zip(verdicts, due, strict=True)
                    ],
                    seen=[_seen(segment) for segment, _ in readable],
                )
        except NightreelError as error:
            if error.reason.scope is not Scope.SEGMENT:
                raise
            if len(readable) > 1:
                alone = [self._ask([pair], [answered]) for pair, answered in zip(readable, known, strict=True)]
                return [item for one in alone for item in one]
            segment = readable[0][0]
            self._video(segment).fail(segment.segment, error)
            return []
        return [
            SegmentAnswers(segment=segment, answers=tuple(given))
            for (segment, _), given in zip(readable, answers, strict=True)
        ]

    def _video(self, segment: EncodedSegment) -> OpenVideo:
        video = self.videos.find(segment.analysis_id)
        assert video is not None, f"{segment.analysis_id = } is open until its chunk is written"
        return video


def _seen(item: EncodedSegment) -> Seen:
    """How much of a segment its frames cover. A version without this measure cached it: the share of good frames."""
    covered_s = item.covered_s
    if covered_s is None:
        covered_s = item.segment.duration_s * (1 - item.damaged_frames / max(len(item.pts_s), 1))
    return Seen(covered_s, item.segment.expected_s)

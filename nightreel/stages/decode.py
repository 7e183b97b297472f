"""Decode: turn a claimed video into frames of its segments, or into features that are already in the cache.

This is the first half of the encode stage. Each video is fetched and decoded on its own and then releases its file, so
that a small spool cannot block a chunk.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version

from nightreel.cache.features import FeatureCache, feature_key
from nightreel.database.answers import answers_given
from nightreel.database.connection import Database
from nightreel.database.features import KnownFeatures, known_features
from nightreel.database.recipes import Recipe
from nightreel.domain import Claim, FrameBatch, LookAgain, Outcome, OutcomeState, SamplingPlan, SecondLook, Segment
from nightreel.domain.run_health import fails_alone
from nightreel.errors import NightreelError, TransientError
from nightreel.logs import log_context
from nightreel.media.sampling import windows
from nightreel.models.base import ModelSpec
from nightreel.stages.identify import Identification
from nightreel.stages.model_session import ModelSession
from nightreel.stages.recorder import RunRecorder
from nightreel.stages.videos import OpenVideo, OpenVideos, VideoFiles


@dataclass(frozen=True, slots=True)
class SegmentInput:
    """A segment without all its answers, or a window of one, with its known features or its frames.

    Args:
        second_look: of a window; None for a segment.
    """

    video: OpenVideo
    segment: Segment
    second_look: SecondLook | None
    key: str
    known: KnownFeatures | None = None
    frames: FrameBatch | None = None

    @property
    def whole(self) -> Segment:
        """The segment itself, or the one that the window is part of."""
        return self.second_look.segment if self.second_look else self.segment


@dataclass(frozen=True, slots=True)
class _Unanswered:
    """A segment that lacks answers: of a first look at it (`is_new`), of second looks, or of both."""

    segment: Segment
    is_new: bool
    looks: tuple[LookAgain, ...] = ()

    def to_see(self) -> list[tuple[Segment, SecondLook | None]]:
        """The segment, and the windows of its second looks."""
        seen = [
            (window, SecondLook(self.segment, look))
            for look in self.looks
            for window in windows(self.segment, look.window_s)
        ]
        return [(self.segment, None), *seen] if self.is_new else [*seen]


@dataclass(frozen=True, slots=True)
class DecodedVideo:
    """The part of a chunk that comes from one claim.

    Args:
        rest: the claim of the segments that are left for another chunk.
    """

    outcome: Outcome
    inputs: tuple[SegmentInput, ...] = ()
    rest: Claim | None = None


class ChunkRoom:
    """The number of segments and windows that a chunk still takes. Thread-safe."""

    def __init__(self, segments: int) -> None:
        self._left = segments
        self._lock = threading.Lock()

    def take(self, sizes: Sequence[int]) -> int:
        """Take room for the first of these; returns how many were taken. The last one may need more than is left."""
        with self._lock:
            taken = 0
            while taken < len(sizes) and self._left > 0:
                self._left -= sizes[taken]
                taken += 1
            return taken


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Decoding of a video and what it uses."""

    database: Database
    recipe: Recipe
    spec: ModelSpec
    run_id: int
    videos: OpenVideos
    files: VideoFiles
    identification: Identification
    cache: FeatureCache
    model: ModelSession
    recorder: RunRecorder

    def decode_video(
        self, claim: Claim, room: ChunkRoom, decoders: ThreadPoolExecutor, *, keep_file: bool
    ) -> DecodedVideo:
        """Decode the frames of a video. An error of the video becomes its outcome.

        Args:
            decoders: threads that decode segments.
            keep_file: keep the file of a long video for its next chunk; only if no other video needs the space.

        Raises:
            NightreelError: all videos are affected: the database or the model failed.
        """
        video = self.videos.open(claim)
        try:
            if not video.segments and not self.identification.identify(video):
                return DecodedVideo(Outcome(analysis_id=claim.analysis_id, state=OutcomeState.DEFERRED))
            wanted = self._without_answers(video, claim.first_segment)
            to_see = [item.to_see() for item in wanted]
            taken = to_see[: room.take([len(parts) for parts in to_see])]
            inputs = self._inputs(video, [part for parts in taken for part in parts], decoders)
        except NightreelError as error:
            if not fails_alone(error, of_model=self.model.failed_to_load(error)):
                raise
            return DecodedVideo(_failed(claim.analysis_id, error))
        finally:
            if not keep_file:
                self._put_away(video)
        if len(taken) < len(wanted):
            rest = replace(claim, first_segment=wanted[len(taken)].segment.index)
            outcome = Outcome(analysis_id=claim.analysis_id, state=OutcomeState.CONTINUES)
            return DecodedVideo(outcome, inputs, rest)
        self._put_away(video)
        state = OutcomeState.REUSED if video.copied and not wanted else OutcomeState.DONE
        return DecodedVideo(Outcome(analysis_id=claim.analysis_id, state=state, segments=len(video.segments)), inputs)

    def _put_away(self, video: OpenVideo) -> None:
        """Release the file of a decoded video; where second looks are possible, keep it while there is room."""
        if any(prompt.policy.look_again for prompt in self.recipe.prompts.prompts):
            self.files.set_aside(video)
        else:
            video.release()

    def _without_answers(self, video: OpenVideo, first: int) -> list[_Unanswered]:
        """The segments from index `first` on that lack answers, without those that failed for good."""
        if first == 0:
            video.advanced = False
        video_id = video.claim.video.id
        with self.recorder.stage("database"), self.database.begin() as connection:
            given = answers_given(connection, [video_id], self.recipe)[video_id]
        failed = {failure.segment.index for failure in video.failures if not failure.transient}
        prompts = self.recipe.prompts
        found = []
        for segment in video.segments[first:]:
            verdicts = given[segment.index].verdicts(prompts)
            looks = {
                one.policy.look_again.key: one.policy.look_again
                for one in prompts.to_look_again(verdicts)
                if one.policy.look_again
            }
            lacking = _Unanswered(segment, bool(prompts.missing(verdicts)), tuple(looks.values()))
            if segment.index not in failed and (lacking.is_new or lacking.looks):
                found.append(lacking)
        return found

    def _inputs(
        self,
        video: OpenVideo,
        to_see: Sequence[tuple[Segment, SecondLook | None]],
        decoders: ThreadPoolExecutor,
    ) -> tuple[SegmentInput, ...]:
        """Known features or decoded frames of segments and windows, without those that cannot be decoded."""
        if not to_see:
            return ()
        keys = [self._key(video, segment, self._plan(second_look)) for segment, second_look in to_see]
        with self.recorder.stage("database"), self.database.begin() as connection:
            known = known_features(connection, keys)
        known = {key: self._readable(item) for key, item in known.items()}
        inputs = [
            SegmentInput(video, segment, second_look, key, known.get(key))
            for (segment, second_look), key in zip(to_see, keys, strict=True)
        ]
        self.recorder.count("second_look_windows", sum(item.second_look is not None for item in inputs))
        return tuple(item for item in decoders.map(self._decode, inputs) if item)

    def _plan(self, second_look: SecondLook | None) -> SamplingPlan:
        return second_look.look.sampling if second_look else self.recipe.plan

    def _readable(self, known: KnownFeatures) -> KnownFeatures:
        """Treat features outside the cache as not cached: the cache was moved."""
        return known if known.ref is None or self.cache.covers(known.ref) else replace(known, ref=None)

    def _key(self, video: OpenVideo, segment: Segment, plan: SamplingPlan) -> str:
        decoder = video.facts["decoder"]
        return feature_key(
            content_sha256=video.content_sha256,
            segment=segment,
            plan=plan,
            decoder=decoder,
            decoder_version=version("av" if decoder == "pyav" else decoder),
            spec=self.spec,
        )

    def _decode(self, item: SegmentInput) -> SegmentInput | None:
        if item.known and item.known.ref:
            self.recorder.count("cached_segments")
            return item
        video = item.video
        try:
            with log_context(run=self.run_id, video=video.claim.video.uri, segment=item.segment.index):
                probe = self.files.probe(video)
                path = self.files.fetch(video)
                short_side = self.model.frame_size
                with self.recorder.stage("decode"):
                    self.recorder.count("decoded_segments")
                    frames = self.files.decoders.decode(
                        path,
                        probe=probe,
                        plan=self._plan(item.second_look),
                        segment=item.segment,
                        short_side=short_side,
                    )
        except NightreelError as error:
            if not fails_alone(error, of_model=self.model.failed_to_load(error)):
                raise
            video.fail(item.whole, error)
            return None
        return replace(item, frames=frames)


def _failed(analysis_id: int, error: NightreelError) -> Outcome:
    return Outcome(
        analysis_id=analysis_id,
        state=OutcomeState.FAILED,
        reason=error.reason,
        detail=error.detail,
        transient=isinstance(error, TransientError),
    )

"""Decode: turn a claimed video into frames of its segments, or into features that are already in the cache.

This is the first half of the encode stage. Each video is fetched and decoded on its own and then releases its file, so
that a small spool cannot block a chunk.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from nightreel.cache.features import FeatureCache
from nightreel.database.connection import Database
from nightreel.database.features import KnownFeatures, known_features
from nightreel.database.recipes import Recipe
from nightreel.domain import Claim, FrameBatch, Outcome, OutcomeState, SecondLook, Segment
from nightreel.domain.chunks import share_of
from nightreel.domain.run_health import fails_alone
from nightreel.errors import NightreelError, TransientError
from nightreel.logs import log_context
from nightreel.stages.identify import Identification
from nightreel.stages.model_session import ModelSession
from nightreel.stages.recall import Part, Recall, Recalled, Unanswered
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

    @property
    def is_cached(self) -> bool:
        """Whether its features are in the cache."""
        return self.known is not None and self.known.ref is not None


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
    """The number of segments and windows to decode that a chunk still takes. Thread-safe."""

    def __init__(self, segments: int) -> None:
        self._left = float(segments)
        self._lock = threading.Lock()

    def take(self, sizes: Iterable[float]) -> int:
        """Take room for the first of these; returns how many were taken. The last one may need more than is left."""
        with self._lock:
            taken = 0
            for size in sizes:
                if self._left <= 0:
                    break
                self._left -= size
                taken += 1
            return taken


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Decoding of a video and what it uses.

    Args:
        small_bytes: see `domain.chunks`.
    """

    database: Database
    recipe: Recipe
    run_id: int
    videos: OpenVideos
    files: VideoFiles
    identification: Identification
    recall: Recall
    cache: FeatureCache
    model: ModelSession
    recorder: RunRecorder
    small_bytes: int

    def recall_chunk(self, claims: Sequence[Claim]) -> Recalled:
        """What the database knows of these videos, for `decode_video`. Raises NightreelError if the database failed."""
        return self.recall.recall(claims, self.videos)

    def decode_video(
        self, claim: Claim, recalled: Recalled, room: ChunkRoom, decoders: ThreadPoolExecutor, *, keep_file: bool
    ) -> DecodedVideo:
        """Decode the frames of a video. An error of the video becomes its outcome.

        Args:
            recalled: of the chunk, by `recall_chunk`.
            decoders: threads that decode segments.
            keep_file: keep the file of a long video for its next chunk; only if no other video needs the space.

        Raises:
            NightreelError: all videos are affected: the database or the model failed.
        """
        video = self.videos.open(claim)
        try:
            if not video.segments and not self.identification.identify(video):
                return DecodedVideo(Outcome(analysis_id=claim.analysis_id, state=OutcomeState.DEFERRED))
            wanted = self._wanted(claim, video, recalled)
            to_see = [item.to_see() for item in wanted]
            taken = to_see[: room.take(self._size(video, parts, recalled) for parts in to_see)]
            inputs = self._inputs(video, [part for parts in taken for part in parts], recalled, decoders)
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

    def _wanted(self, claim: Claim, video: OpenVideo, recalled: Recalled) -> Sequence[Unanswered]:
        """The segments that lack answers, from the claim's first one on."""
        if claim.first_segment == 0:
            video.advanced = False
        wanted = recalled.wanted.get(claim.analysis_id)
        return self.recall.without_answers(claim, video) if wanted is None else wanted

    def _size(self, video: OpenVideo, to_see: Sequence[Part], recalled: Recalled) -> float:
        """The room that a segment and its windows need in a chunk."""
        known = (recalled.features.get(self.recall.key_of(video, part)) for part in to_see)
        return sum(share_of(one.ref if one else None, small_bytes=self.small_bytes) for one in known)

    def _inputs(
        self,
        video: OpenVideo,
        to_see: Sequence[Part],
        recalled: Recalled,
        decoders: ThreadPoolExecutor,
    ) -> tuple[SegmentInput, ...]:
        """Known features or decoded frames of segments and windows, without those that cannot be decoded."""
        if not to_see:
            return ()
        keys = [self.recall.key_of(video, part) for part in to_see]
        known = recalled.features
        if video.claim.analysis_id not in recalled.wanted:
            with self.recorder.stage("database"), self.database.begin() as connection:
                known = known_features(connection, keys)
        known = {key: self._readable(known[key]) for key in keys if key in known}
        inputs = [
            SegmentInput(video, segment, second_look, key, known.get(key))
            for (segment, second_look), key in zip(to_see, keys, strict=True)
        ]
        self.recorder.count("second_look_windows", sum(item.second_look is not None for item in inputs))
        return tuple(item for item in decoders.map(self._decode, self._with_file(video, inputs)) if item)

    def _with_file(self, video: OpenVideo, inputs: Sequence[SegmentInput]) -> Sequence[SegmentInput]:
        """Fetch the file if frames are needed; without it, only known features are left.

        The thread of the video waits for room in the spool. If threads that decode waited, all of them could wait for
        the room of a file whose own segments stand behind them.
        """
        to_decode = [item for item in inputs if not item.is_cached]
        try:
            if to_decode:
                self.files.fetch(video)
        except NightreelError as error:
            if not fails_alone(error, of_model=self.model.failed_to_load(error)):
                raise
            for item in to_decode:
                video.fail(item.whole, error)
            return [item for item in inputs if item.is_cached]
        return inputs

    def _readable(self, known: KnownFeatures) -> KnownFeatures:
        """Treat features outside the cache as not cached: the cache was moved."""
        return known if known.ref is None or self.cache.covers(known.ref) else replace(known, ref=None)

    def _decode(self, item: SegmentInput) -> SegmentInput | None:
        if item.is_cached:
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
                        plan=self.recall.plan_of(item.second_look),
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

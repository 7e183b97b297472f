"""Encode: claimed videos to features in the cache. Fetch, probe, decode, vision tower, Parquet.

Videos are decoded in parallel; then the vision tower encodes all frames of the chunk together. Frames never leave this
stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from nightreel.cache.eviction import CacheLimit
from nightreel.cache.features import FeatureCache
from nightreel.database.connection import Database
from nightreel.database.features import known_features, record_features
from nightreel.database.recipes import Recipe
from nightreel.domain import Claim, EncodedChunk, EncodedSegment, FeatureRef, Features, FrameBatch
from nightreel.errors import NightreelError
from nightreel.logs import log_context
from nightreel.media.contact_sheet import draw_contact_sheet, encode_jpeg
from nightreel.reasons import Scope
from nightreel.stages.decode import ChunkRoom, DecodedVideo, Decoding, SegmentInput
from nightreel.stages.embed import Embedding
from nightreel.stages.evict import make_room
from nightreel.stages.model_session import ModelSession
from nightreel.stages.recorder import RunRecorder

_THUMBNAIL_QUALITY = 70
_THREADS_PER_DECODER = 2  # one fetches while the other decodes


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """The encode stage and what it uses.

    Args:
        chunk_segments: segments to decode that a chunk takes. decode_workers: decode processes.
        thumbnail_px: width of a frame in the stored contact sheets; 0: none are stored.
    """

    database: Database
    recipe: Recipe
    run_id: int
    decoding: Decoding
    cache: FeatureCache
    cache_limit: CacheLimit
    model: ModelSession
    embedding: Embedding
    recorder: RunRecorder
    chunk_segments: int
    decode_workers: int
    thumbnail_px: int

    def encode_chunk(self, claims: Sequence[Claim]) -> EncodedChunk:
        """Store the features of the claimed videos in the cache.

        An error of one video becomes its outcome. A video with more segments than the chunk takes is cut: the rest is
        returned as a claim of its own.

        Raises:
            NightreelError: all videos are affected: the database, the cache or the model failed.
        """
        make_room(self.cache_limit, self.recorder)
        room = ChunkRoom(self.chunk_segments)
        recalled = self.decoding.recall_chunk(claims)

        def decode(claim: Claim) -> DecodedVideo:
            with log_context(run=self.run_id, video=claim.video.uri):
                return self.decoding.decode_video(claim, recalled, room, decoders, keep_file=len(claims) == 1)

        with (
            ThreadPoolExecutor(self.decode_workers, "decode") as decoders,
            ThreadPoolExecutor(self.decode_workers * _THREADS_PER_DECODER, "video") as videos,
        ):
            decoded = list(videos.map(decode, claims))
        return EncodedChunk(
            segments=tuple(self._encode([item for video in decoded for item in video.inputs])),
            outcomes=tuple(video.outcome for video in decoded),
            rest=tuple(video.rest for video in decoded if video.rest),
        )

    def _encode(self, inputs: Sequence[SegmentInput]) -> list[EncodedSegment]:
        """Encode and store frames; return known features unchanged."""
        cached = [_from_cache(item) for item in inputs if not item.frames]
        fresh = [item for item in inputs if item.frames]
        features = {feature.key: feature for feature in self._vision(fresh)}
        fresh = [item for item in fresh if item.key in features]
        vectors = self.embedding.vectors(fresh)
        published = self._publish(fresh, features)
        return cached + [
            segment if segment.second_look else replace(segment, vector=vectors.get(segment.feature.key))
            for segment in published
        ]

    def _vision(self, inputs: Sequence[SegmentInput]) -> list[Features]:
        """Encode all segments together; if that fails, encode each alone, so that one cannot fail the others."""
        batches = [item.frames for item in inputs if item.frames]
        if not batches:
            return []
        try:
            with self.model.share() as model, self.recorder.stage("model.vision"):
                features = model.encode(
                    batches, segments=[item.segment for item in inputs], keys=[item.key for item in inputs]
                )
        except NightreelError as error:
            if error.reason.scope is not Scope.SEGMENT:
                raise
            if len(inputs) > 1:
                return [feature for item in inputs for feature in self._vision([item])]
            inputs[0].video.fail(inputs[0].whole, error)
            return []
        self.recorder.count("encoded_segments", len(inputs))
        return features

    def _publish(self, inputs: Sequence[SegmentInput], features: Mapping[str, Features]) -> list[EncodedSegment]:
        """Store features in the cache and its index; store again those whose file an eviction has just deleted."""
        evictions = {item.key: item.known.evictions if item.known else 0 for item in inputs}
        published: list[EncodedSegment] = []
        while inputs:
            segments = []
            for item in inputs:
                assert item.frames is not None
                with self.recorder.stage("cache"):
                    ref = self.cache.put(features[item.key])
                    thumbnail_uri = self._thumbnail(item.key, item.frames)
                segments.append(_from_frames(item, item.frames, ref, thumbnail_uri))
            with self.recorder.stage("database"), self.database.begin() as connection:
                recorded = record_features(connection, segments, recipe=self.recipe, evictions=evictions)
                inputs = [item for item in inputs if item.key not in recorded]
                if inputs:
                    again = known_features(connection, [item.key for item in inputs])
                    evictions = {key: known.evictions for key, known in again.items()}
            published += [segment for segment in segments if segment.feature.key in recorded]
        self.cache_limit.published(sum(segment.feature.size_bytes for segment in published))
        return published

    def _thumbnail(self, key: str, frames: FrameBatch) -> str | None:
        """Store the frames as a small contact sheet beside the features; returns its URI."""
        if not self.thumbnail_px:
            return None
        sheet = draw_contact_sheet(frames, tile_width=self.thumbnail_px)
        return self.cache.put_thumbnail(key, encode_jpeg(sheet, quality=_THUMBNAIL_QUALITY))


def _from_frames(item: SegmentInput, frames: FrameBatch, ref: FeatureRef, thumbnail_uri: str | None) -> EncodedSegment:
    return EncodedSegment(
        analysis_id=item.video.claim.analysis_id,
        video_id=item.video.claim.video.id,
        segment=item.segment,
        feature=ref,
        pts_s=tuple(float(pts) for pts in frames.pts_s),
        damaged_frames=sum(bool(flags) for flags in frames.flags),
        covered_s=frames.covered_s,
        decoder=frames.decoder,
        decoder_version=frames.decoder_version,
        thumbnail_uri=thumbnail_uri,
        second_look=item.second_look,
    )


def _from_cache(item: SegmentInput) -> EncodedSegment:
    assert item.known is not None
    assert item.known.ref is not None
    return EncodedSegment(
        analysis_id=item.video.claim.analysis_id,
        video_id=item.video.claim.video.id,
        segment=item.segment,
        feature=item.known.ref,
        pts_s=item.known.pts_s,
        damaged_frames=item.known.damaged_frames,
        covered_s=item.known.covered_s,
        decoder=item.known.decoder,
        decoder_version=item.known.decoder_version,
        second_look=item.second_look,
    )

"""Encode: claimed videos to features in the cache. Fetch, probe, decode, vision tower, Parquet.

Each video goes through fetch and decode on its own and gives its file back, so that a small spool cannot hold a chunk
up; then all frames of the chunk go through the vision tower together. Frames never leave this stage.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version

from nightreel.cache.features import feature_key
from nightreel.database.features import KnownFeatures, known_features, record_features
from nightreel.database.results import answers_given
from nightreel.domain import (
    Claim,
    EncodedChunk,
    EncodedSegment,
    FeatureRef,
    Features,
    FrameBatch,
    Outcome,
    OutcomeState,
    Segment,
)
from nightreel.errors import NightreelError, TransientError
from nightreel.logs import log_context
from nightreel.media.contact_sheet import draw_contact_sheet, encode_jpeg
from nightreel.stages.identify import identify
from nightreel.stages.video import ABOUT_A_SEGMENT, OpenVideo
from nightreel.stages.workbench import Workbench

_THUMBNAIL_QUALITY = 70
_THREADS_PER_DECODER = 2  # one fetches while another decodes


@dataclass(frozen=True, slots=True)
class _Look:
    """A segment to be looked at: its features are known, or its frames are here."""

    video: OpenVideo
    segment: Segment
    key: str
    known: KnownFeatures | None = None
    frames: FrameBatch | None = None


@dataclass(frozen=True, slots=True)
class _Opened:
    """What one video brings to the chunk."""

    outcome: Outcome
    looks: tuple[_Look, ...] = ()
    rest: Claim | None = None


class _Room:
    """How many more segments the chunk takes; videos help themselves."""

    def __init__(self, segments: int) -> None:
        self._left = segments
        self._lock = threading.Lock()

    def take(self, wanted: int) -> int:
        with self._lock:
            taken = min(wanted, self._left)
            self._left -= taken
            return taken


def encode_chunk(bench: Workbench, claims: Sequence[Claim]) -> EncodedChunk:
    """Bring the features of the claimed videos into the cache.

    What is wrong with one video becomes its outcome. A video with more segments than the chunk takes is cut: the rest
    comes back as a claim of its own.

    Raises:
        NightreelError: what is wrong for all: the database, the cache, the model.
    """
    bench.make_room()
    room = _Room(bench.settings.chunk_segments)
    decoders = bench.settings.decode_workers

    def open_one(claim: Claim) -> _Opened:
        with log_context(run=bench.run_id, video=claim.video.uri):
            return _open(bench, claim, room, decoding, alone=len(claims) == 1)

    with (
        ThreadPoolExecutor(decoders, "decode") as decoding,
        ThreadPoolExecutor(decoders * _THREADS_PER_DECODER, "video") as videos,
    ):
        opened = list(videos.map(open_one, claims))
    return EncodedChunk(
        segments=tuple(_encode(bench, [look for item in opened for look in item.looks])),
        outcomes=tuple(item.outcome for item in opened),
        rest=tuple(item.rest for item in opened if item.rest),
    )


# -- one video ---------------------------------------------------------------------------------------------------


def _open(bench: Workbench, claim: Claim, room: _Room, decoding: ThreadPoolExecutor, *, alone: bool) -> _Opened:
    video = bench.open_videos.setdefault(claim.analysis_id, OpenVideo(claim))
    try:
        if not video.segments and not identify(bench, video):
            return _Opened(Outcome(analysis_id=claim.analysis_id, state=OutcomeState.DEFERRED))
        wanted = _lacking_answers(bench, video, claim.first_segment)
        taken = wanted[: room.take(len(wanted))]
        looks = _frames(bench, video, taken, decoding)
    except NightreelError as error:
        if error.reason.startswith("database") or bench.is_of_the_model(error):
            raise
        return _Opened(_failed(claim.analysis_id, error))
    finally:
        # A long video keeps its file for its next chunk only where no other could be waiting for the space.
        if not alone:
            video.release()
    if len(taken) < len(wanted):
        rest = replace(claim, first_segment=wanted[len(taken)].index)
        return _Opened(Outcome(analysis_id=claim.analysis_id, state=OutcomeState.CONTINUES), looks, rest)
    video.release()
    state = OutcomeState.REUSED if video.copied and not wanted else OutcomeState.DONE
    return _Opened(Outcome(analysis_id=claim.analysis_id, state=state, segments=len(video.segments)), looks)


def _lacking_answers(bench: Workbench, video: OpenVideo, first: int) -> list[Segment]:
    video_id = video.claim.video.id
    with bench.timings.stage("database"), bench.database.begin() as connection:
        given = answers_given(connection, [video_id], bench.recipe)[video_id]
    return [item for item in video.segments[first:] if bench.recipe.prompts.missing(given[item.index])]


def _frames(
    bench: Workbench, video: OpenVideo, segments: Sequence[Segment], decoding: ThreadPoolExecutor
) -> tuple[_Look, ...]:
    """Features known to the cache, or frames decoded. A segment that cannot be decoded is noted with its video."""
    if not segments:
        return ()
    keys = [_key(bench, video, segment) for segment in segments]
    with bench.timings.stage("database"), bench.database.begin() as connection:
        known = known_features(connection, keys)
    known = {key: _readable(bench, item) for key, item in known.items()}
    looks = [_Look(video, segment, key, known.get(key)) for segment, key in zip(segments, keys, strict=True)]
    return tuple(look for look in decoding.map(lambda look: _decode(bench, look), looks) if look)


def _readable(bench: Workbench, known: KnownFeatures) -> KnownFeatures:
    """What was kept in another place, before the cache was moved, is not kept for this run."""
    return known if known.ref is None or bench.cache.covers(known.ref) else replace(known, ref=None)


def _key(bench: Workbench, video: OpenVideo, segment: Segment) -> str:
    decoder = video.facts["decoder"]
    return feature_key(
        content_sha256=video.content_sha256,
        segment=segment,
        plan=bench.recipe.plan,
        decoder=decoder,
        decoder_version=version("av" if decoder == "pyav" else decoder),
        spec=bench.spec,
    )


def _decode(bench: Workbench, look: _Look) -> _Look | None:
    if look.known and look.known.ref:
        bench.count("cached_segments")
        return look
    video = look.video
    try:
        with log_context(run=bench.run_id, video=video.claim.video.uri, segment=look.segment.index):
            probe = bench.probe(video)
            path = bench.fetch(video)
            short_side = bench.frame_size
            with bench.timings.stage("decode"):
                bench.count("decoded_segments")
                frames = bench.pool.decode(
                    path, probe=probe, plan=bench.recipe.plan, segment=look.segment, short_side=short_side
                )
    except NightreelError as error:
        if bench.is_of_the_model(error):
            raise
        video.note(look.segment, error)
        return None
    return replace(look, frames=frames)


def _failed(analysis_id: int, error: NightreelError) -> Outcome:
    return Outcome(
        analysis_id=analysis_id,
        state=OutcomeState.FAILED,
        reason=error.reason,
        detail=error.detail,
        transient=isinstance(error, TransientError),
    )


# -- the chunk ---------------------------------------------------------------------------------------------------


def _encode(bench: Workbench, looks: list[_Look]) -> list[EncodedSegment]:
    """Frames through the vision tower into the cache and its index; a segment that cannot go through is noted."""
    fresh = [look for look in looks if look.frames]
    features = {feature.key: feature for feature in _see(bench, fresh)}
    cached = [_from_cache(look) for look in looks if not look.frames]
    return cached + _publish(bench, [look for look in fresh if look.key in features], features)


def _publish(bench: Workbench, looks: Sequence[_Look], features: Mapping[str, Features]) -> list[EncodedSegment]:
    """Features into the cache and its index, again where an eviction deleted the file that was found there."""
    evictions = {look.key: look.known.evictions if look.known else 0 for look in looks}
    published: list[EncodedSegment] = []
    while looks:
        segments = []
        for look in looks:
            assert look.frames is not None
            with bench.timings.stage("cache"):
                ref = bench.cache.put(features[look.key])
                thumbnail_uri = _thumbnail(bench, look.key, look.frames)
            segments.append(_from_frames(look, look.frames, ref, thumbnail_uri))
        with bench.timings.stage("database"), bench.database.begin() as connection:
            recorded = record_features(connection, segments, recipe=bench.recipe, evictions=evictions)
            looks = [look for look in looks if look.key not in recorded]
            if looks:
                again = known_features(connection, [look.key for look in looks])
                evictions = {key: known.evictions for key, known in again.items()}
        published += [segment for segment in segments if segment.feature.key in recorded]
    bench.cache_limit.published(sum(segment.feature.size_bytes for segment in published))
    return published


def _see(bench: Workbench, looks: Sequence[_Look]) -> list[Features]:
    """All segments together; if that fails, each on its own, so that one cannot spoil the others."""
    batches = [look.frames for look in looks if look.frames]
    if not batches:
        return []
    try:
        with bench.model() as model, bench.timings.stage("model.vision"):
            features = model.encode(
                batches, segments=[look.segment for look in looks], keys=[look.key for look in looks]
            )
    except NightreelError as error:
        if error.reason not in ABOUT_A_SEGMENT:
            raise
        if len(looks) > 1:
            return [feature for look in looks for feature in _see(bench, [look])]
        looks[0].video.note(looks[0].segment, error)
        return []
    bench.count("encoded_segments", len(looks))
    return features


def _thumbnail(bench: Workbench, key: str, frames: FrameBatch) -> str | None:
    """The frames as a small contact sheet beside the features; its uri."""
    width = bench.settings.thumbnail_px
    if not width:
        return None
    sheet = draw_contact_sheet(frames, tile_width=width)
    return bench.cache.put_thumbnail(key, encode_jpeg(sheet, quality=_THUMBNAIL_QUALITY))


def _from_frames(look: _Look, frames: FrameBatch, ref: FeatureRef, thumbnail_uri: str | None) -> EncodedSegment:
    return EncodedSegment(
        analysis_id=look.video.claim.analysis_id,
        video_id=look.video.claim.video.id,
        segment=look.segment,
        feature=ref,
        pts_s=tuple(float(pts) for pts in frames.pts_s),
        damaged_frames=sum(bool(flags) for flags in frames.flags),
        decoder=frames.decoder,
        decoder_version=frames.decoder_version,
        from_cache=False,
        thumbnail_uri=thumbnail_uri,
    )


def _from_cache(look: _Look) -> EncodedSegment:
    assert look.known is not None
    assert look.known.ref is not None
    return EncodedSegment(
        analysis_id=look.video.claim.analysis_id,
        video_id=look.video.claim.video.id,
        segment=look.segment,
        feature=look.known.ref,
        pts_s=look.known.pts_s,
        damaged_frames=look.known.damaged_frames,
        decoder=look.known.decoder,
        decoder_version=look.known.decoder_version,
        from_cache=True,
    )

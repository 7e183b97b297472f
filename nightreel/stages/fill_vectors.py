"""Fill: vectors for segments that have none, from the thumbnails of their frames, or from frames decoded again.

Runs make vectors from frames. Segments that were analysed before, or whose features were in the cache, or whose encoder
failed, get them here. Each batch is a transaction, so an interrupted fill goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nightreel.database.connection import Database
from nightreel.database.vectors import (
    SegmentVector,
    SegmentWithoutVector,
    count_vectors,
    find_embedding_model,
    segments_without_vector,
    share_vectors,
    use_embedding_model,
    why_no_vectors,
    write_vectors,
)
from nightreel.errors import SettingsError
from nightreel.models.embedding import FoundEncoder, SegmentEncoder, find_encoder, load_encoder
from nightreel.settings import Settings
from nightreel.stages.cache import open_cache
from nightreel.stages.embed import VECTOR_DTYPE
from nightreel.stages.stored_frames import StoredFrames
from nightreel.stages.used_revisions import used_revisions

_BATCH = 64  # segments


@dataclass(slots=True, kw_only=True)
class FillCounts:
    """What a fill did.

    Args:
        missing: segments on show that had no vector. filled: those that have one now. without_frames: those whose
            thumbnail and video are gone or damaged.
    """

    missing: int = 0
    filled: int = 0
    without_frames: int = 0


def required_encoder(settings: Settings, database: Database) -> FoundEncoder:
    """The encoder of the settings, where the database can store its vectors.

    Raises:
        SettingsError: the settings name none, or the database has no pgvector.
        NightreelError: as `find_encoder`.
    """
    with database.begin() as connection:
        lacks = why_no_vectors(connection)
        used = used_revisions(connection, settings)
    if lacks:
        raise SettingsError(f"there is no search by meaning: {lacks}")
    found = find_encoder(settings, used=used)
    if found is None:
        raise SettingsError(
            "there is no search by meaning: set NIGHTREEL_EMBEDDING_MODEL to a dual encoder, such as "
            "google/siglip2-base-patch16-224"
        )
    return found


def fill_vectors(
    settings: Settings, database: Database, *, device: str, on_progress: Callable[[FillCounts], None] = lambda _: None
) -> FillCounts:
    """Make the vectors that segments on show lack. Repeating it makes no vector twice.

    Args:
        device: for the encoder, as torch names it. Its memory is not leased.

    Raises:
        SettingsError: as `required_encoder`.
        NightreelError: the encoder cannot be used; the cache or the database cannot be reached.
    """
    found = required_encoder(settings, database)
    with StoredFrames.opened(settings, open_cache(settings, database)) as frames:
        return _Fill(settings, database, found, frames, device, on_progress).run()


class _Fill:
    def __init__(
        self,
        settings: Settings,
        database: Database,
        found: FoundEncoder,
        frames: StoredFrames,
        device: str,
        on_progress: Callable[[FillCounts], None],
    ) -> None:
        self._settings, self._database, self._device, self._on_progress = settings, database, device, on_progress
        self._found, self._frames = found, frames
        self._encoder: SegmentEncoder | None = None
        self._counts = FillCounts()
        with database.begin() as connection:
            self._id = find_embedding_model(connection, self._found.spec.hash)
            counted = count_vectors(connection, embedding_model_id=self._id)
        self._counts.missing = counted.segments - counted.with_vector

    def run(self) -> FillCounts:
        after = 0
        while True:
            with self._database.begin() as connection:
                lacking = segments_without_vector(connection, embedding_model_id=self._id, after=after, limit=_BATCH)
            if not lacking:
                return self._counts
            after = lacking[-1].segment_id
            self._fill(lacking)
            self._on_progress(self._counts)

    def _fill(self, lacking: Sequence[SegmentWithoutVector]) -> None:
        if self._id is not None:
            lacking = self._shared(lacking)
        seen = [(one, frames) for one in lacking if (frames := self._frames.of(one)) is not None]
        self._counts.without_frames += len(lacking) - len(seen)
        if not seen:
            return
        made = self._loaded().segments([frames for _, frames in seen])
        if self._id is None:
            with self._database.begin() as connection:
                self._id = use_embedding_model(
                    connection,
                    model_hash=self._found.spec.hash,
                    spec=self._found.spec.to_json(),
                    width=len(made[0]),
                )
        vectors = [
            SegmentVector(
                video_id=one.video_id, plan_hash=one.plan_hash, index=one.index, vector=vector.astype(VECTOR_DTYPE)
            )
            for (one, _), vector in zip(seen, made, strict=True)
        ]
        with self._database.begin() as connection:
            write_vectors(connection, vectors, embedding_model_id=self._id)
        self._counts.filled += len(vectors)

    def _shared(self, lacking: Sequence[SegmentWithoutVector]) -> Sequence[SegmentWithoutVector]:
        """Those that get none from another video with the same bytes."""
        assert self._id is not None
        with self._database.begin() as connection:
            share_vectors(connection, [one.video_id for one in lacking], embedding_model_id=self._id)
            left = segments_without_vector(
                connection, embedding_model_id=self._id, after=lacking[0].segment_id - 1, limit=len(lacking)
            )
        still = {one.segment_id for one in left}
        kept = [one for one in lacking if one.segment_id in still]
        self._counts.filled += len(lacking) - len(kept)
        return kept

    def _loaded(self) -> SegmentEncoder:
        if self._encoder is None:
            self._encoder = load_encoder(self._settings, self._found, device=self._device)
        return self._encoder

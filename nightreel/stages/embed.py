"""Embed: the vectors of a run's segments, for search by meaning.

The encode stage makes them from the frames that it has, the write stage stores them with the answers. In between they
travel as a few hundred bytes. What fails here costs no answer: `nightreel vectors fill` makes the vectors later.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence

import numpy as np
from sqlalchemy import Connection

from nightreel.database.connection import Database
from nightreel.database.recipes import Recipe
from nightreel.database.vectors import (
    SegmentVector,
    find_embedding_model,
    share_vectors,
    use_embedding_model,
    why_no_vectors,
    write_vectors,
)
from nightreel.domain import EncodedSegment, FrameBatch
from nightreel.errors import NightreelError
from nightreel.models.embedding import EncoderSpec
from nightreel.reasons import Reason
from nightreel.stages.decode import SegmentInput
from nightreel.stages.model_session import ModelSession
from nightreel.stages.recorder import RunRecorder

logger = logging.getLogger(__name__)

VECTOR_DTYPE = np.dtype("<f2")
"""Numbers of a vector as they are stored."""


class Embedding:
    """Makes and stores vectors. It does neither where the run has no encoder, or the database no pgvector. Thread-safe.

    Args:
        spec: of the encoder; None: there is none.
    """

    def __init__(
        self,
        *,
        spec: EncoderSpec | None,
        model: ModelSession,
        database: Database,
        recipe: Recipe,
        recorder: RunRecorder,
    ) -> None:
        self._spec, self._model, self._database = spec, model, database
        self._recipe, self._recorder = recipe, recorder
        self._lock = threading.Lock()
        self._id: int | None = None
        self._is_used = False

    def vectors(self, inputs: Sequence[SegmentInput]) -> dict[str, bytes]:
        """The vectors of segments, by feature key, from their frames. Empty if they cannot be made."""
        seen = {item.key: _good(item.frames) for item in inputs if item.frames and not item.second_look}
        if self._spec is None or not seen:
            return {}
        try:
            with self._model.use_encoder() as encoder, self._recorder.stage("model.embedding"):
                made = encoder.segments(list(seen.values()))
        except NightreelError as error:
            self._recorder.count("segments_without_vector", len(seen))
            logger.warning("%s: %d segments get no vector now: %s", Reason.NO_VECTOR, len(seen), error)
            return {}
        self._recorder.count("embedded_segments", len(made))
        return {key: vector.astype(VECTOR_DTYPE).tobytes() for key, vector in zip(seen, made, strict=True)}

    def prepare(self, segments: Sequence[EncodedSegment]) -> None:
        """Make the table's index for the first vectors of a run. Call it outside a transaction, before `write`."""
        vector = next((segment.vector for segment in segments if segment.vector), None)
        with self._lock:
            if self._spec is None or self._is_used or vector is None:
                return
            with self._database.begin() as connection:
                self._id = use_embedding_model(
                    connection,
                    model_hash=self._spec.hash,
                    spec=self._spec.to_json(),
                    width=len(vector) // VECTOR_DTYPE.itemsize,
                )
            self._is_used = True

    def write(self, connection: Connection, segments: Sequence[EncodedSegment], *, video_ids: Collection[int]) -> None:
        """Store the vectors of segments, and those that videos share with others of the same bytes."""
        if self._spec is None:
            return
        if self._id is None:
            self._id = find_embedding_model(connection, self._spec.hash)
        if self._id is None:
            return
        vectors = [
            SegmentVector(
                video_id=segment.video_id,
                plan_hash=self._recipe.plan.hash,
                index=segment.segment.index,
                vector=np.frombuffer(segment.vector, VECTOR_DTYPE),
            )
            for segment in segments
            if segment.vector
        ]
        write_vectors(connection, vectors, embedding_model_id=self._id)
        share_vectors(connection, video_ids, embedding_model_id=self._id)


def _good(frames: FrameBatch) -> np.ndarray:
    """The frames without a flag; all if none is without."""
    good = [index for index, flags in enumerate(frames.flags) if not flags]
    chosen: np.ndarray = frames.frames_thwc[good] if good else frames.frames_thwc
    return chosen


def usable_spec(connection: Connection, spec: EncoderSpec | None) -> EncoderSpec | None:
    """The encoder of a run; None, and a line in the log, where the database can store no vectors."""
    lacks = spec and why_no_vectors(connection)
    if lacks:
        logger.warning("videos of this run are not found by meaning: %s", lacks)
        return None
    return spec

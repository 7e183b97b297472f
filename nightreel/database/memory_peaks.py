"""Memory peaks of batches: passed to a model when it is loaded, and updated with its new measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.domain import MemoryPeak, MemoryStage

EXHAUSTED_DAYS = 30
"""How long a batch that ran out of memory counts. Another process may have caused it; a new try costs one batch."""

_peaks = schema.memory_peaks


def known_peaks(connection: Connection, model_hash: str) -> list[MemoryPeak]:
    """The peaks of a model on all devices, by shape."""
    since = func.now() - text("make_interval(days => :days)").bindparams(days=EXHAUSTED_DAYS)
    rows = connection.execute(
        select(_peaks)
        .join(schema.models, schema.models.c.id == _peaks.c.model_id)
        .where(schema.models.c.hash == model_hash, or_(~_peaks.c.out_of_memory, _peaks.c.measured_at > since))
        .order_by(_peaks.c.device, _peaks.c.stage, _peaks.c.shape, _peaks.c.out_of_memory)
    )
    return [
        MemoryPeak(
            stage=MemoryStage(row.stage),
            shape=row.shape,
            device=row.device,
            segments=row.segments,
            estimated_bytes=row.estimated_bytes,
            measured_bytes=row.measured_bytes,
            out_of_memory=row.out_of_memory,
        )
        for row in rows
    ]


def keep_peaks(connection: Connection, peaks: Sequence[MemoryPeak], *, model_id: int, run_id: int) -> None:
    """Upsert peaks: the largest of each shape stays, and the last one that ran out of memory."""
    if not peaks:
        return
    new = insert(_peaks)
    place = ("model_id", "device", "stage", "shape", "out_of_memory")
    values = ("segments", "estimated_bytes", "measured_bytes", "run_id")
    connection.execute(
        new.on_conflict_do_update(
            index_elements=place,
            set_={name: new.excluded[name] for name in values} | {"measured_at": func.now()},
            where=or_(new.excluded.out_of_memory, new.excluded.measured_bytes > _peaks.c.measured_bytes),
        ),
        # in a fixed order, so that two runs never wait for each other's rows
        sorted(
            (asdict(peak) | {"model_id": model_id, "run_id": run_id} for peak in peaks),
            key=lambda row: tuple(row[name] for name in place),
        ),
    )

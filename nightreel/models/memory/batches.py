"""Decide which segments share a batch, and make batches smaller when the device runs out of memory.

`local` and `vision` pass their work to a BatchBudget. `estimates` estimates the memory of a segment, `meters` measures
it, and `peaks` corrects the estimates by the measurements.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any, TypeVar

import torch

from nightreel.domain import MemoryPeak
from nightreel.errors import PermanentError
from nightreel.models.memory.estimates import Estimates
from nightreel.models.memory.meters import MemoryMeter, meter_of
from nightreel.models.memory.peaks import Peaks
from nightreel.models.memory.shapes import FrameShape, SegmentShape
from nightreel.reasons import Reason

_Item = TypeVar("_Item")
_Shape = TypeVar("_Shape", SegmentShape, FrameShape)


class BatchBudget:
    """Admits batches of one model to its device, and learns from their peaks.

    Args:
        model: from AutoModelForImageTextToText, on its devices.
        known: peaks of earlier runs.
        meter: measures the batches; None: the meter of the model's devices.
    """

    def __init__(self, model: Any, *, known: Iterable[MemoryPeak] = (), meter: MemoryMeter | None = None) -> None:
        self._estimates = Estimates(model)
        self._meter = meter or meter_of(model)
        self._peaks = Peaks(self._meter.device, known)
        self._device_lock = threading.Lock()  # a meter measures one batch at a time

    def take_peaks(self) -> list[MemoryPeak]:
        """Return the peaks that are new since the last call."""
        return self._peaks.take_news()

    def run(
        self,
        items: Sequence[_Item],
        work: Callable[[Sequence[_Item]], None],
        *,
        shape_of: Callable[[_Item], _Shape | None],
        what: str,
        most: int | None = None,
    ) -> None:
        """Call `work` on all items in order, in batches of neighbours that fit; a single item is always admitted.

        If memory runs out anyway, it is released, and later batches have at most half as many items. Batches of several
        threads take turns on the device, one batch at a time.

        Args:
            work: must leave nothing behind if it fails.
            shape_of: None if the shape is not known before the work is done: such an item is a batch of its own.
            what: the activity, for the error message.
            most: maximum number of items in a batch, even if more fit.

        Raises:
            PermanentError: `out_of_memory` if a single item does not fit.
        """
        left, most = items, most or len(items)
        while left:
            with self._device_lock:
                batch, done = self._run_batch(left[:most], work, shape_of, what)
            if done:
                left = left[len(batch) :]
            else:
                most = len(batch) // 2

    def _run_batch(
        self,
        items: Sequence[_Item],
        work: Callable[[Sequence[_Item]], None],
        shape_of: Callable[[_Item], _Shape | None],
        what: str,
    ) -> tuple[Sequence[_Item], bool]:
        """Call `work` on the first of these items that fit together; return them, and whether memory sufficed."""
        available = self._meter.available_bytes()
        batch = self._admit(items, shape_of, available)
        self._meter.start()
        problem = _attempt(work, batch)
        if problem is None:
            self._record(batch, shape_of, self._meter.peak_bytes())
            return batch, True
        release_memory()
        if len(batch) == 1:
            raise PermanentError(
                Reason.OUT_OF_MEMORY,
                f"one segment alone does not fit into memory while {what} ({problem}): use a sampling plan with "
                "fewer frames, a smaller dtype or a larger device",
            )
        self._record(batch, shape_of, available, out_of_memory=True)
        return batch, False

    def _admit(
        self, items: Sequence[_Item], shape_of: Callable[[_Item], _Shape | None], available: int
    ) -> Sequence[_Item]:
        batch_shape = shape_of(items[0])
        for count, item in enumerate(items[1:], start=1):
            shape = shape_of(item)
            if batch_shape is None or shape is None:
                return items[:count]
            batch_shape = batch_shape.joined(shape)
            estimate = self._estimates.of_batches(batch_shape).of(count + 1)
            counted = self._peaks.batch_bytes(
                batch_shape.stage, str(batch_shape), segments=count + 1, estimate=estimate
            )
            if counted > available:
                return items[:count]
        return items

    def _record(
        self,
        batch: Sequence[_Item],
        shape_of: Callable[[_Item], _Shape | None],
        measured_bytes: int | None,
        *,
        out_of_memory: bool = False,
    ) -> None:
        shapes = [shape for shape in map(shape_of, batch) if shape is not None]
        if measured_bytes is None or not shapes:
            return
        shape = reduce(lambda one, other: one.joined(other), shapes)
        self._peaks.record(
            MemoryPeak(
                stage=shape.stage,
                shape=str(shape),
                device=self._peaks.device,
                segments=len(batch),
                estimated_bytes=self._estimates.of_batches(shape).of(len(batch)),
                measured_bytes=measured_bytes,
                out_of_memory=out_of_memory,
            )
        )


def _attempt(work: Callable[[Sequence[_Item]], None], batch: Sequence[_Item]) -> str | None:
    """Do the work. If memory runs out, return torch's message: the error would keep the batch's tensors alive."""
    try:
        work(batch)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return str(error).splitlines()[0]
    return None


def release_memory() -> None:
    """Return freed blocks to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, also on the CPU, whose allocator raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)

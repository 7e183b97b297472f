"""Peaks of earlier batches, and how they correct the estimate for the next batch.

`batches` reads it before each batch and updates it afterwards. It depends neither on torch nor on storage.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from nightreel.domain import MemoryPeak, MemoryStage

MARGIN = 1.1
"""Factor on measured bytes: shapes with the same text differ by at most a sixteenth, and the allocator rounds up."""


class Peaks:
    """The known peaks of one model's batches on one device. One thread may take news while another records.

    For each shape the largest peak in bytes counts, because small batches include workspaces that do not grow.

    Args:
        device: name of the device; peaks of other devices are ignored.
        known: peaks of earlier runs.
    """

    def __init__(self, device: str, known: Iterable[MemoryPeak] = ()) -> None:
        self.device = device
        self._known = {_place(peak): peak for peak in known if peak.device == device}
        self._lock = threading.Lock()
        self._news: dict[tuple[MemoryStage, str, bool], MemoryPeak] = {}

    def batch_bytes(self, stage: MemoryStage, shape: str, *, segments: int, estimate: int) -> int:
        """Bytes to count for a batch.

        For a measured shape: the estimate, times the ratio of its peak to that batch's estimate, with a margin. For
        another shape: the estimate, times the worst ratio in this stage. For a shape that ran out of memory: at least
        the bytes that halve the batch.

        Args:
            estimate: estimated bytes of the batch.
        """
        measured = self._known.get((stage, shape, False))
        exhausted = self._known.get((stage, shape, True))
        ratio = measured.ratio * MARGIN if measured else self._worst_ratio(stage)
        return max(int(estimate * ratio), segments * exhausted.halving_bytes if exhausted else 0)

    def record(self, peak: MemoryPeak) -> None:
        """Add a measurement, unless a larger one is known."""
        with self._lock:
            known = self._known.get(_place(peak))
            if known is None or peak.out_of_memory or peak.measured_bytes > known.measured_bytes:
                self._known[_place(peak)] = self._news[_place(peak)] = peak

    def take_news(self) -> list[MemoryPeak]:
        """Return the peaks that changed since the last call."""
        with self._lock:
            news, self._news = list(self._news.values()), {}
        return news

    def _worst_ratio(self, stage: MemoryStage) -> float:
        ratios = [peak.ratio for peak in self._known.values() if peak.stage is stage and not peak.out_of_memory]
        return max([1.0, *ratios])


def _place(peak: MemoryPeak) -> tuple[MemoryStage, str, bool]:
    return peak.stage, peak.shape, peak.out_of_memory

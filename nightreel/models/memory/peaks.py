"""What earlier batches took, and what the next one is counted for: measurements correct the estimate.

`memory` asks it before each batch and tells it after. It knows neither torch nor where peaks are kept.
"""

from __future__ import annotations

from collections.abc import Iterable

from nightreel.domain import MemoryPeak, MemoryStage

MARGIN = 1.1
"""On what was measured: shapes of the same words differ by a sixteenth at most, and the allocator rounds up."""


class Peaks:
    """What is known of batches of one model on one device.

    Of a shape the largest peak counts, by bytes: small batches hold workspaces that do not grow with a batch.

    Args:
        device: peaks of others are left aside.
        known: from earlier runs.
    """

    def __init__(self, device: str, known: Iterable[MemoryPeak] = ()) -> None:
        self.device = device
        self._known = {_place(peak): peak for peak in known if peak.device == device}
        self._news: dict[tuple[MemoryStage, str, bool], MemoryPeak] = {}

    def segment_bytes(self, stage: MemoryStage, shape: str, *, estimate: int) -> int:
        """What to count for one segment.

        A shape that was measured: what it took, with a margin. Another one: the estimate, made worse by as much as
        the worst measurement of this stage was above its own. A shape that ran out of memory: what halves the batch,
        if that is more.

        Args:
            estimate: bytes of one segment, counted.
        """
        measured = self._known.get((stage, shape, False))
        exhausted = self._known.get((stage, shape, True))
        expected = measured.segment_bytes * MARGIN if measured else estimate * self._worst_ratio(stage)
        return max(int(expected), exhausted.segment_bytes if exhausted else 0)

    def record(self, peak: MemoryPeak) -> None:
        """Take a measurement into account from now on, unless a larger one is known."""
        known = self._known.get(_place(peak))
        if known is None or peak.out_of_memory or peak.measured_bytes > known.measured_bytes:
            self._known[_place(peak)] = self._news[_place(peak)] = peak

    def take_news(self) -> list[MemoryPeak]:
        """What changed since this was last asked."""
        news, self._news = list(self._news.values()), {}
        return news

    def _worst_ratio(self, stage: MemoryStage) -> float:
        ratios = [
            peak.measured_bytes / peak.estimated_bytes
            for peak in self._known.values()
            if peak.stage is stage and not peak.out_of_memory
        ]
        return max([1.0, *ratios])


def _place(peak: MemoryPeak) -> tuple[MemoryStage, str, bool]:
    return peak.stage, peak.shape, peak.out_of_memory

"""Memory of a device: what batches of a model took of it, what a run needs of it, who leases it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MemoryStage(StrEnum):
    VISION = "vision"
    LANGUAGE = "language"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPeak:
    """The most that one batch held beside the weights, or that it ran out of memory.

    Args:
        shape: what one of its segments was, in words; segments of the same words take the same.
        device: the GPU's name, as "NVIDIA H200": what one of them holds, another holds too.
        segments: of the batch.
        estimated_bytes: of the batch, before anything was measured.
        measured_bytes: the most it held at once. Where it ran out of memory: what it was admitted to, and exceeded.
    """

    stage: MemoryStage
    shape: str
    device: str
    segments: int
    estimated_bytes: int
    measured_bytes: int
    out_of_memory: bool = False

    @property
    def segment_bytes(self) -> int:
        """What to count for one segment.

        After a batch that ran out of memory: as much as admits half its segments to the same room. The half segment
        more keeps that true where a little less or more is free the next time.

        >>> def peak(**more):
        ...     return MemoryPeak(stage=MemoryStage.VISION, shape="", device="", estimated_bytes=1, **more)
        >>> peak(segments=4, measured_bytes=1000).segment_bytes
        250
        >>> 1000 // peak(segments=4, measured_bytes=1000, out_of_memory=True).segment_bytes
        2
        """
        if self.out_of_memory:
            return int(self.measured_bytes / (self.segments // 2 + 0.5))
        return -(-self.measured_bytes // self.segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """What a run needs of each device that its model is on.

    Args:
        least_mib: weights and one segment: with less it cannot work.
        wanted_mib: weights and a chunk of segments in one batch: with more it gains nothing.
        apart_mib: of both, what is no tensor: the CUDA context, the process itself on the CPU.
    """

    least_mib: int
    wanted_mib: int
    apart_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRequest:
    """A run asks for memory.

    Args:
        capacities: by concurrency limit, what can be leased of it in all, MiB. The request is for any one of them, or
            for all where the model is spread.
        mib: of each.
    """

    host: str
    capacities: dict[str, int]
    mib: int
    spread: bool = False

"""Memory of a device: what batches of a model took of it, what a run needs of it, who leases it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
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
class MemoryRequirement:
    """Memory that a run requires of each device that its model is on.

    Args:
        minimum_mib: weights and one segment: with less the run cannot work.
        preferred_mib: weights and a chunk of segments in one batch: with more the run gains nothing.
        overhead_mib: the part of both that is no tensor: the CUDA context, or the process itself on the CPU.
    """

    minimum_mib: int
    preferred_mib: int
    overhead_mib: int = 0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRequest:
    """A memory request in the queue of a host, waiting or granted.

    Args:
        ticket: its place in the queue; later requests have larger tickets.
        limits: the concurrency limits it is for: any one of them, or all where `spread`.
        mib: of each limit.
        granted: the limits of which it holds memory; empty while it waits.
        silent: it holds memory, and has not renewed its ticket for so long that its process may be dead. Then its
            memory is free when its lease runs out, whoever waits: it counts as granted before all others.
    """

    ticket: int
    limits: tuple[str, ...]
    mib: int
    spread: bool = False
    granted: tuple[str, ...] = ()
    silent: bool = False
    run_id: int | None = None
    pid: int | None = None
    requested_at: datetime | None = None
    granted_at: datetime | None = None

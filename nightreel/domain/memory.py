"""Memory of a device: peaks of a model's batches, requirements of runs, and requests for leases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class MemoryStage(StrEnum):
    VISION = "vision"
    LANGUAGE = "language"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPeak:
    """The peak memory of one batch, without the weights; or the fact that the batch ran out of memory.

    Args:
        shape: the shape of its segments, as text; segments with the same text take the same memory.
        device: the GPU's name, as "NVIDIA H200": peaks hold for every GPU of this name.
        segments: number of segments in the batch.
        estimated_bytes: estimate for the batch, before any measurement.
        measured_bytes: the peak. If the batch ran out of memory: the budget that it exceeded.
    """

    stage: MemoryStage
    shape: str
    device: str
    segments: int
    estimated_bytes: int
    measured_bytes: int
    out_of_memory: bool = False

    @property
    def ratio(self) -> float:
        """The peak, as a multiple of the estimate."""
        return self.measured_bytes / self.estimated_bytes

    @property
    def halving_bytes(self) -> int:
        """After a batch that ran out of memory: bytes to count for a segment, so that half of them fit into its budget.

        The additional half segment keeps that true if slightly less or more memory is free next time.

        >>> 1000 // MemoryPeak(
        ...     stage=MemoryStage.VISION, shape="", device="", segments=4, estimated_bytes=1, measured_bytes=1000,
        ...     out_of_memory=True,
        ... ).halving_bytes
        2
        """
        return int(self.measured_bytes / (self.segments // 2 + 0.5))


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRequirement:
    """Memory that a run requires on each device of its model.

    Args:
        minimum_mib: weights and one segment. The run cannot work with less.
        preferred_mib: weights and a chunk of segments in one batch. The run gains nothing from more.
        overhead_mib: the part of both that is not tensors: the CUDA context, or on the CPU the process itself.
    """

    minimum_mib: int
    preferred_mib: int
    overhead_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRequest:
    """A run's request for memory.

    Args:
        capacities: capacity in MiB, by concurrency limit, of the devices that can hold the model. The request is for
            any one limit, or for all of them if the model is spread.
        mib: requested of each limit; of a limit with a smaller capacity, all of it.
    """

    host: str
    capacities: dict[str, int]
    mib: int
    spread: bool = False

    def mib_of(self, limit: str) -> int:
        """MiB that the request takes of a limit.

        >>> request = MemoryRequest(host="a", capacities={"small": 20, "large": 80}, mib=60)
        >>> request.mib_of("small"), request.mib_of("large")
        (20, 60)
        """
        return min(self.mib, self.capacities[limit])


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRequest:
    """A memory request in the queue of a host, waiting or granted.

    Args:
        ticket: its place in the queue; later requests have larger tickets.
        limits: the concurrency limits that it is for: any one of them, or all if `spread`.
        mib: requested of each limit; of a limit with a smaller capacity, all of it. Once granted: held of each.
        granted: the limits of which it holds memory; empty while it waits.
        silent: it holds memory, but has not renewed its ticket for so long that its process may be dead. Its memory
            becomes free when its lease expires, so it counts as granted before all others.
        run_name: as "night 2026-11-26". night_id: of a helper, the run that it helps.
    """

    ticket: int
    limits: tuple[str, ...]
    mib: int
    spread: bool = False
    granted: tuple[str, ...] = ()
    silent: bool = False
    run_id: int | None = None
    run_name: str | None = None
    night_id: int | None = None
    pid: int | None = None
    requested_at: datetime | None = None
    granted_at: datetime | None = None

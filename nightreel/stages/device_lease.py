"""The lease on device memory that a run holds while its model is loaded.

`model_session` and the REST service call it; `models.memory.device_request` says how much memory, and of which
devices. The caller supplies the lease: with Prefect `orchestration.leases` does, most tests use none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

from nightreel.database.connection import Database
from nightreel.domain import MemoryRequest
from nightreel.models.memory.device_request import DeviceRequest
from nightreel.stages.recorder import RunRecorder

_MIB = 1 << 20


class Lease(Protocol):
    """Memory that a run holds within a context."""

    limits: tuple[str, ...]
    """The concurrency limits whose slots it holds: one, or one per GPU of a spread model."""

    def ensure_held(self) -> None:
        """Raise TransientError `memory_lease_lost` if the lease expired: another run may have the memory."""
        ...


class LeaseMemory(Protocol):
    def __call__(
        self, request: MemoryRequest, *, database: Database, run_id: int, why_stop: Callable[[], str | None]
    ) -> AbstractContextManager[Lease]:
        """Wait until memory is free, and hold it for the context. Once `why_stop` returns a reason, raise it."""
        ...


LeaseNow = Callable[[MemoryRequest], AbstractContextManager[Lease]]
"""Leases memory for the REST service. Raises PermanentError `run_closed` if none is free within some seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedDevice:
    """The device for a model, and the memory that it may use there.

    Args:
        name: of the device, in the form of the setting `device`.
        limit_bytes: per device, for weights and batches; None: no limit.
        lease: None: nothing is leased.
    """

    name: str
    limit_bytes: int | None = None
    lease: Lease | None = None


@contextmanager
def lease_device(
    request: DeviceRequest,
    *,
    recorder: RunRecorder,
    lease_memory: Callable[[MemoryRequest], AbstractContextManager[Lease]],
) -> Iterator[LeasedDevice]:
    """Wait for the memory of a request, and hold it for the block. Raises as `lease_memory`."""
    with ExitStack() as stack:
        with recorder.stage("lease"):  # the wait alone
            lease = stack.enter_context(lease_memory(request.memory))
        yield leased_device(request, lease)


def leased_device(request: DeviceRequest, lease: Lease) -> LeasedDevice:
    """The device that a lease gave to a request."""
    return LeasedDevice(
        name=request.names[lease.limits[0]],
        limit_bytes=max(0, request.memory.mib_of(lease.limits[0]) - request.overhead_mib) * _MIB,
        lease=lease,
    )

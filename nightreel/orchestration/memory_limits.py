"""Memory as slots of Prefect's global concurrency limits, a limit a device, a MiB a slot: all calls there are.

`leases` makes them. Each either works or raises this project's errors. Not through `prefect.concurrency`: that asks
again in its own time, up to half a minute late, and gives a lease up when the server is away for some seconds at its
renewal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from nightreel.errors import PermanentError
from nightreel.orchestration.prefect_errors import prefect_errors
from nightreel.reasons import Reason

LEASE_S = 120.0
"""How long a killed run's memory stays taken, and how long the Prefect server may be away."""


class MemoryLimits:
    """Takes, renews and gives back slots.

    Args:
        holder: the flow run that Prefect's UI names; None for none.
        lease_s: slots that are not renewed for this long are free again.
    """

    def __init__(self, client: SyncPrefectClient, *, holder: UUID | None = None, lease_s: float = LEASE_S) -> None:
        self.lease_s = lease_s
        self._client = client
        self._holder = ConcurrencyLeaseHolder(type="flow_run", id=holder) if holder else None

    def ensure(self, capacities: Mapping[str, int]) -> None:
        """Create the limits that are missing, correct those of another size."""
        for name, mib in capacities.items():
            with prefect_errors():
                try:
                    self._client.upsert_global_concurrency_limit_by_name(name, mib)
                except ObjectAlreadyExists:  # made by another run, a moment ago
                    self._client.upsert_global_concurrency_limit_by_name(name, mib)

    def take(self, limits: tuple[str, ...], mib: int) -> UUID | None:
        """Take slots of all limits or of none; None where one has too few free.

        Raises:
            PermanentError: `memory_limit_gone`: Prefect would count nothing, and let us have it.
        """
        with prefect_errors():
            try:
                answer = self._client.increment_concurrency_slots_with_lease(
                    names=list(limits), slots=mib, mode="concurrency", lease_duration=self.lease_s, holder=self._holder
                ).json()
            except httpx.HTTPStatusError as error:
                if error.response.status_code == httpx.codes.LOCKED:
                    return None
                raise
        if len(answer["limits"]) < len(limits):
            raise PermanentError(
                Reason.MEMORY_LIMIT_GONE, f"of the concurrency limits {', '.join(limits)} one was deleted"
            )
        return UUID(answer["lease_id"])

    def renew(self, lease_id: UUID) -> None:
        """Raises PermanentError where the lease ran out."""
        with prefect_errors():
            self._client.renew_concurrency_lease(lease_id, self.lease_s)

    def taken_mib(self, name: str) -> tuple[int, int] | None:
        """Size of a limit, and how much of it is taken; None where there is no such limit yet."""
        with prefect_errors():
            try:
                found = self._client.read_global_concurrency_limit_by_name(name)
            except ObjectNotFound:
                return None
        return found.limit, found.active_slots

    def give_back(self, lease_id: UUID) -> None:
        with prefect_errors():
            self._client.release_concurrency_slots_with_lease(lease_id)


def read_limits(api_url: str, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Size and taken MiB of the limits that exist, by name.

    Raises:
        NightreelError: as `prefect_errors`.
    """
    with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
        limits = MemoryLimits(client)
        return {name: taken for name in names if (taken := limits.taken_mib(name))}

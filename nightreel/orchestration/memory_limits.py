"""Memory as slots of Prefect's global concurrency limits: one limit for each device, one slot for each MiB.

All such calls are here. Each works or raises this project's errors, without Prefect's minute of retries. `leases` makes
them. They do not use `prefect.concurrency`, which retries up to half a minute late, and gives up a lease when the
server does not respond for some seconds at its renewal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import temporary_settings

from nightreel.errors import PermanentError
from nightreel.orchestration.client import settings_of
from nightreel.orchestration.prefect_errors import prefect_errors
from nightreel.orchestration.server_watch import one_try
from nightreel.reasons import Reason
from nightreel.services import PrefectApi

LEASE_S = 120.0
"""How long a killed run's memory stays taken, and how long the Prefect server may be unreachable."""


class MemoryLimits:
    """Takes, renews and gives back slots.

    Args:
        holder: the flow run that Prefect's UI shows; None for none.
        lease_s: slots that are not renewed for this long are free again.
    """

    def __init__(self, client: SyncPrefectClient, *, holder: UUID | None = None, lease_s: float = LEASE_S) -> None:
        self.lease_s = lease_s
        self._client = client
        self._holder = ConcurrencyLeaseHolder(type="flow_run", id=holder) if holder else None

    def ensure(self, capacities: Mapping[str, int]) -> None:
        """Create the missing limits, and correct those of another size."""
        for name, mib in capacities.items():
            with one_try(), prefect_errors():
                try:
                    self._client.upsert_global_concurrency_limit_by_name(name, mib)
                except ObjectAlreadyExists:  # made by another run, a moment ago
                    self._client.upsert_global_concurrency_limit_by_name(name, mib)

    def take(self, limits: tuple[str, ...], mib: int) -> UUID | None:
        """Take slots of all limits or of none. Returns None if one has too few free slots.

        Raises:
            PermanentError: `memory_limit_gone`: a limit was deleted. Prefect grants its slots without counting them.
        """
        with one_try(), prefect_errors():
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
                Reason.MEMORY_LIMIT_GONE, f"one of the concurrency limits {', '.join(limits)} was deleted"
            )
        return UUID(answer["lease_id"])

    def renew(self, lease_id: UUID) -> None:
        """Renew a lease. Raises PermanentError if it ran out."""
        with one_try(), prefect_errors():
            self._client.renew_concurrency_lease(lease_id, self.lease_s)

    def taken_mib(self, name: str) -> tuple[int, int] | None:
        """Size of a limit and its taken part, MiB; None if it does not exist yet."""
        with one_try(), prefect_errors():
            try:
                found = self._client.read_global_concurrency_limit_by_name(name)
            except ObjectNotFound:
                return None
        return found.limit, found.active_slots

    def give_back(self, lease_id: UUID) -> None:
        with one_try(), prefect_errors():
            self._client.release_concurrency_slots_with_lease(lease_id)


def read_limits(api: PrefectApi, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Size and taken MiB of the existing limits, by name.

    Raises:
        NightreelError: like `prefect_errors`.
    """
    with temporary_settings(settings_of(api)), get_client(sync_client=True) as client:
        limits = MemoryLimits(client)
        return {name: taken for name in names if (taken := limits.taken_mib(name))}

"""The lease on device memory of a service, which takes memory as a run does: of REST, or of a vLLM that is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from prefect.client.orchestration import get_client
from prefect.settings import temporary_settings

from nightreel.database.connection import Database
from nightreel.domain import MemoryRequest
from nightreel.orchestration.client import request_timeout_s, settings_of
from nightreel.orchestration.held_memory import HeldMemory
from nightreel.orchestration.leases import lease_memory
from nightreel.orchestration.memory_limits import MemoryLimits
from nightreel.services import PrefectApi
from nightreel.settings import Settings
from nightreel.stages.database import open_database
from nightreel.stages.device_lease import LeaseNow

_PATIENCE_S = 10.0
"""A person waits for the answer: then the service refuses the question."""


@contextmanager
def open_leases(settings: Settings, api: PrefectApi, *, wait_s: float | None = _PATIENCE_S) -> Iterator[LeaseNow]:
    """What a service leases memory with, of this Prefect server. Uses the database as a worker does.

    Args:
        wait_s: longest wait for memory; None: no limit.

    Raises:
        NightreelError: as `open_database`.
    """
    timeout = {"timeout": request_timeout_s(settings)}
    with (
        open_database(settings) as database,
        temporary_settings(settings_of(api)),
        get_client(httpx_settings=timeout, sync_client=True) as client,
    ):
        yield partial(_lease_now, limits=MemoryLimits(client), database=database, wait_s=wait_s)


@contextmanager
def _lease_now(
    request: MemoryRequest, *, limits: MemoryLimits, database: Database, wait_s: float | None
) -> Iterator[HeldMemory]:
    """See `LeaseNow`."""
    until = time.monotonic() + (math.inf if wait_s is None else wait_s)

    def why_stop() -> str | None:
        return None if time.monotonic() < until else f"none was free within {wait_s:g} s"

    with lease_memory(request, limits=limits, database=database, run_id=None, why_stop=why_stop) as held:
        yield held

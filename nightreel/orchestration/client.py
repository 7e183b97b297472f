"""A client of the Prefect server, for commands that talk to one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from nightreel.errors import TransientError
from nightreel.orchestration.prefect_errors import prefect_errors
from nightreel.reasons import Reason
from nightreel.services import PrefectApi
from nightreel.settings import Settings

_LEAST_REQUEST_S = 10.0  # a busy server takes seconds


def settings_of(api: PrefectApi) -> dict[Any, Any]:
    """Prefect's settings with which its clients reach this server."""
    secret = {PREFECT_API_AUTH_STRING: api.auth_string} if api.auth_string else {}
    return {PREFECT_API_URL: api.url, **secret}


def request_timeout_s(settings: Settings) -> float:
    """How long a run waits for one reply. A server that accepts requests and never replies is gone, too."""
    return max(_LEAST_REQUEST_S, settings.prefect_patience_s)


@contextmanager
def prefect_client(api: PrefectApi) -> Iterator[SyncPrefectClient]:
    """A client of this server. Raises like `prefect_errors`, and TransientError on a conflict with another client."""
    with temporary_settings(settings_of(api)), get_client(sync_client=True) as client:
        try:
            with prefect_errors():
                yield client
        except (ObjectAlreadyExists, ObjectNotFound) as error:
            raise TransientError(
                Reason.PREFECT_CHANGED,
                f"another client changed the Prefect server at the same time ({error}): try again",
            ) from error

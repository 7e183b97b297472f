"""Runs the application on a socket of this host until it is interrupted. `nightreel api` calls it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from nightreel.api.app import PREFIX, create_app
from nightreel.api.service import open_service
from nightreel.errors import SettingsError
from nightreel.settings import Settings
from nightreel.stages.database import open_console_database
from nightreel.stages.device_lease import LeaseNow

_MOST_CONNECTIONS = 200
_REQUESTS_END_WITHIN_S = 10
_IDLE_S = 15


def serve(settings: Settings, *, on_ready: Callable[[str], None], lease_memory: LeaseNow | None = None) -> None:
    """Serve until SIGINT or SIGTERM. Running requests end first.

    Args:
        lease_memory: as `open_service`.
        on_ready: called with the URL when the port is open.

    Raises:
        SettingsError: the address or the port cannot be used.
        NightreelError: as `open_console_database`.
    """
    with (
        _listening(settings.api_host, settings.api_port) as listener,
        open_console_database(settings) as database,
        open_service(settings, database, lease_memory=lease_memory) as service,
    ):
        app = create_app(service, names=[settings.api_host, *settings.api_names])
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # names and words of queries are not for a log
            server_header=False,
            lifespan="off",
            ws="none",
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=_REQUESTS_END_WITHIN_S,
        )
        host, port = listener.getsockname()[:2]
        on_ready(f"http://{host}:{port}{PREFIX}")
        with suppress(KeyboardInterrupt):  # uvicorn ends first, then passes the signal on
            uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"NIGHTREEL_API_HOST={host} NIGHTREEL_API_PORT={port}: {error}: expected an address of this host and a "
            "free port"
        ) from error

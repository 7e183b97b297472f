"""Runs the application on a socket of this host until it is interrupted. `nightreel api` calls it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import uvicorn
from starlette.types import ASGIApp

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
        listening(settings.api_host, settings.api_port, setting="NIGHTREEL_API") as listener,
        open_console_database(settings) as database,
        open_service(settings, database, lease_memory=lease_memory) as service,
    ):
        app = create_app(service, names=[settings.api_host, *settings.api_names])
        host, port = listener.getsockname()[:2]
        on_ready(f"http://{host}:{port}{PREFIX}")
        run_server(app, listener)


def run_server(app: ASGIApp, listener: socket.socket, **tls: Any) -> None:
    """Serve an application on an open socket until SIGINT or SIGTERM. No header of a proxy is believed.

    Args:
        tls: `ssl_certfile` and `ssl_keyfile` of uvicorn.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # names and words of queries are not for a log
        server_header=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=_REQUESTS_END_WITHIN_S,
        **tls,
    )
    with suppress(KeyboardInterrupt):  # uvicorn ends first, then passes the signal on
        uvicorn.Server(config).run(sockets=[listener])


def is_for_this_host(host: str) -> bool:
    """Whether no other machine reaches a service that listens on this address.

    >>> [is_for_this_host(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "10.0.0.1")]
    [True, True, True, False, False, False]
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listening(host: str, port: int, *, setting: str) -> socket.socket:
    """An open socket.

    Args:
        setting: start of the names of the settings, for the message.

    Raises:
        SettingsError: the address or the port cannot be used.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"{setting}_HOST={host} {setting}_PORT={port}: {error}: expected an address of this host and a free port"
        ) from error

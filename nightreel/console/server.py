"""Runs the console on a socket of this host until it is interrupted. `nightreel console` calls it."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from nightreel.api.server import is_for_this_host, listening, run_server
from nightreel.api.service import open_service
from nightreel.console.app import create_console
from nightreel.errors import SettingsError
from nightreel.settings import Settings
from nightreel.stages.database import open_console_database
from nightreel.stages.device_lease import LeaseNow


def check_address(settings: Settings) -> None:
    """Check that passwords and cookies do not travel unencrypted.

    Raises:
        SettingsError: the address is not loopback, and there is neither TLS nor a proxy that has it; or half of what
            TLS needs.
    """
    certificate, key = settings.console_tls_certificate, settings.console_tls_key
    if (certificate is None) != (key is None):
        raise SettingsError("set both NIGHTREEL_CONSOLE_TLS_CERTIFICATE and NIGHTREEL_CONSOLE_TLS_KEY, or neither")
    for path in (certificate, key):
        if path is not None and not path.is_file():
            raise SettingsError(f"{path} is no file: expected one of the certificate or its key, PEM")
    if certificate is None and not settings.console_proxies and not is_for_this_host(settings.console_host):
        raise SettingsError(
            f"NIGHTREEL_CONSOLE_HOST={settings.console_host}: passwords would travel unencrypted: set "
            "NIGHTREEL_CONSOLE_TLS_CERTIFICATE and NIGHTREEL_CONSOLE_TLS_KEY, or put a proxy with TLS in front and "
            "name its address with --behind-proxy"
        )


def serve_console(settings: Settings, *, on_ready: Callable[[str], None], lease_memory: LeaseNow | None = None) -> None:
    """Serve until SIGINT or SIGTERM. Running requests end first.

    Args:
        lease_memory: as `open_service`.
        on_ready: called with the URL when the port is open.

    Raises:
        SettingsError: the address or the port cannot be used; as `check_address`.
        NightreelError: as `open_console_database`.
    """
    check_address(settings)
    certificate, key = settings.console_tls_certificate, settings.console_tls_key
    with (
        listening(settings.console_host, settings.console_port, setting="NIGHTREEL_CONSOLE") as listener,
        open_console_database(settings) as database,
        open_service(settings, database, lease_memory=lease_memory) as service,
    ):
        names = [settings.console_host, urlsplit(settings.console_url or "").hostname or ""]
        app = create_console(service, names=[*filter(None, names), *settings.api_names])
        port = listener.getsockname()[1]
        on_ready(settings.console_url or f"{'https' if certificate else 'http'}://{_in_url(settings)}:{port}")
        run_server(
            app,
            listener,
            proxies=settings.console_proxies,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )


def _in_url(settings: Settings) -> str:
    host = settings.console_host
    return f"[{host}]" if ":" in host else host

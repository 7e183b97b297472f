"""Runs the console on a socket of this host until it is interrupted. `nightreel console` calls it."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from nightreel.api.server import is_for_this_host, listening, run_server
from nightreel.api.service import open_service
from nightreel.console.app import create_console
from nightreel.console.signing_in import LINK
from nightreel.database.connection import Database
from nightreel.database.sign_in_links import add_link
from nightreel.database.users import find_user
from nightreel.errors import SettingsError
from nightreel.private import private_opener
from nightreel.settings import Settings
from nightreel.stages.database import open_console_database
from nightreel.stages.device_lease import LeaseNow

DEMO_LINK = "demo/sign-in-link"
"""File of the work directory of a demo: `nightreel demo` makes it with its database."""
DEMO_USER = "demo"
OnReady = Callable[[str, str | None], None]


def check_address(settings: Settings) -> None:
    """Check that passwords and cookies do not travel unencrypted.

    Raises:
        SettingsError: the address is not loopback, and there is neither TLS nor a proxy that has it; half of what TLS
            needs is set; or a header names people, and no proxy is known that sends it.
    """
    certificate, key = settings.console_tls_certificate, settings.console_tls_key
    if (certificate is None) != (key is None):
        raise SettingsError("set both NIGHTREEL_CONSOLE_TLS_CERTIFICATE and NIGHTREEL_CONSOLE_TLS_KEY, or neither")
    for path in (certificate, key):
        if path is not None and not path.is_file():
            raise SettingsError(f"{path} is no file: expected one of the certificate or its key, PEM")
    if settings.console_user_header and not settings.console_proxies:
        raise SettingsError(
            f"NIGHTREEL_CONSOLE_USER_HEADER={settings.console_user_header}: anybody could send it: name the "
            "addresses of the proxies that do with --behind-proxy"
        )
    if certificate is None and not settings.console_proxies and not is_for_this_host(settings.console_host):
        raise SettingsError(
            f"NIGHTREEL_CONSOLE_HOST={settings.console_host}: passwords would travel unencrypted: set "
            "NIGHTREEL_CONSOLE_TLS_CERTIFICATE and NIGHTREEL_CONSOLE_TLS_KEY, or put a proxy with TLS in front and "
            "name its address with --behind-proxy"
        )


def serve_console(
    settings: Settings, *, on_ready: Callable[[str, str | None], None], lease_memory: LeaseNow | None = None
) -> None:
    """Serve until SIGINT or SIGTERM. Running requests end first.

    Args:
        lease_memory: as `open_service`.
        on_ready: called when the port is open, with the URL, and with a link that signs in once as a user of the demo.

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
        url = settings.console_url or f"{'https' if certificate else 'http'}://{_in_url(settings)}:{port}"
        on_ready(url, _demo_link(settings, database, url))
        run_server(
            app,
            listener,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )


def _in_url(settings: Settings) -> str:
    host = settings.console_host
    return f"[{host}]" if ":" in host else host


def _demo_link(settings: Settings, database: Database, url: str) -> str | None:
    """A new link that signs in once as the user of the demo, if `nightreel demo` made this database; else None.

    It is also in the file `DEMO_LINK` of the work directory.
    """
    path = settings.work_dir / DEMO_LINK
    if settings.database_url is not None or settings.database_console_url is not None or not path.is_file():
        return None
    with database.begin() as connection:
        user = find_user(connection, DEMO_USER)
        if user is None:
            return None
        link = f"{url}{LINK}?secret={add_link(connection, user)}"
    with open(path, "w", opener=private_opener) as file:
        file.write(f"{link}\n")
    return link

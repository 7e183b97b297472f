"""Which URLs a webhook may have."""

from __future__ import annotations

from urllib.parse import urlsplit

from nightreel.errors import SettingsError
from nightreel.webhooks.addresses import Allowed, names_loopback

_LONGEST = 2000


def check_url(url: str, allowed: Allowed) -> None:
    """Refuse a URL that nothing will be sent to.

    Raises:
        SettingsError: it is none, has a login, or has no https although its host is not this one.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"{url!r} is no URL: {error}") from error
    if parts.scheme not in ("https", "http") or not host or len(url) > _LONGEST or not _is_plain(url):
        raise SettingsError(f"{url[:100]!r}: expected https://host/path of at most {_LONGEST} ASCII characters")
    if "@" in parts.netloc:
        raise SettingsError(f"a URL of a webhook has no login: leave out what is before the @ in front of {host}")
    if parts.scheme == "http" and not allowed.http and not names_loopback(host):
        raise SettingsError(
            f"http://{host}: events would travel unencrypted: use https://, or set NIGHTREEL_WEBHOOK_HTTP=true"
        )


def shown(url: str) -> str:
    """A URL without its query and fragment, which may be secrets.

    >>> shown("https://example.com/hooks?token=1#a")
    'https://example.com/hooks'
    """
    return url.partition("#")[0].partition("?")[0]


def _is_plain(url: str) -> bool:
    return url.isascii() and url.isprintable() and " " not in url

"""Proxies of the environment: loopback never goes through one, and an error names the one that a request took.

Clients of HTTP libraries read `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` themselves: Prefect's, httpx,
botocore, urllib. `settings` corrects these variables for this process and its children. Whoever reports that a server
does not respond adds `via_proxy`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, MutableMapping
from importlib.util import find_spec
from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from nightreel.errors import SettingsError

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
_SOCKS = ("socks5", "socks5h")

logger = logging.getLogger(__name__)


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine by a loopback address or as localhost.

    >>> [is_loopback(f"http://{host}:80/x") for host in ("127.0.0.2", "[::1]", "localhost", "a.localhost", "10.0.0.1")]
    [True, True, True, True, False]
    """
    return _is_loopback(_host(url))


def keep_loopback_direct(environ: MutableMapping[str, str], urls: Iterable[str]) -> None:
    """Correct the variables for proxies: no client sends a request to loopback through one.

    A proxy that no installed library can use is left out with a warning: with it, clients would fail for every URL.

    Args:
        environ: of this process; children inherit it.
        urls: of servers that are used; those on loopback are added to NO_PROXY with the usual names.

    Raises:
        SettingsError: a proxy is not a URL.
    """
    names = [name for name in environ if name.lower() in _VARIABLES and environ[name]]
    for name in names:
        if not _is_usable(name, environ[name]):
            logger.warning(
                "%s=%s is not used: it needs the package socksio (pip install 'httpx[socks]'), or it is no http://, "
                "https:// or socks5:// proxy; connections do not go through it",
                name,
                _shown(environ[name]),
            )
            del environ[name]
    if not names:
        return
    given = environ.get("no_proxy", environ.get("NO_PROXY", "")).split(",")
    # httpx cannot read an address in brackets.
    direct = [entry.strip().removeprefix("[").removesuffix("]") for entry in given if entry.strip()]
    direct += [host for host in (*_LOOPBACK, *map(_host, urls)) if _is_loopback(host) and host not in direct]
    environ["no_proxy"] = environ["NO_PROXY"] = ",".join(direct)


def via_proxy(url: str, *, uses_all_proxy: bool = True) -> str:
    """A phrase for errors, such as " through the proxy http://proxy:3128 (HTTPS_PROXY)"; empty if none is used.

    Args:
        uses_all_proxy: whether the client reads ALL_PROXY. botocore does not.
    """
    proxies = getproxies()
    try:
        parts = urlsplit(url)
    except ValueError:  # whoever connects reports it
        return ""
    if is_loopback(url) or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return ""
    for kind in (parts.scheme, "all") if uses_all_proxy else (parts.scheme,):
        if kind in proxies:
            return f" through the proxy {_shown(proxies[kind])} ({kind.upper()}_PROXY)"
    return ""


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified  # connecting to 0.0.0.0 reaches this machine


def _is_usable(name: str, value: str) -> bool:
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise SettingsError(
            f"{name}={_shown(value)} is not the URL of a proxy: expected http://host:port; correct or unset it"
        )
    return parts.scheme in ("http", "https") or (parts.scheme in _SOCKS and find_spec("socksio") is not None)


def _shown(proxy: str) -> str:
    """A proxy's URL without user and password."""
    scheme, separator, rest = proxy.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('/')[0]}"

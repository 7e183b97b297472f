"""Which requests take a proxy of the environment, and how an error names it."""

from __future__ import annotations

import httpx
import pytest

from nightreel.errors import SettingsError
from nightreel.proxies import is_loopback, keep_loopback_direct, via_proxy

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def environ(monkeypatch):
    """`environ(HTTP_PROXY=...)` sets the variables of this process, which httpx reads."""
    for name in (*PROXIES, *map(str.lower, PROXIES)):
        monkeypatch.delenv(name, raising=False)

    def set_to(variables, urls=()):
        corrected = dict(variables)
        keep_loopback_direct(corrected, urls)
        for name, value in corrected.items():
            monkeypatch.setenv(name, value)
        return corrected

    return set_to


def takes_proxy(url):
    with httpx.Client() as client:
        return type(client._transport_for_url(httpx.URL(url))._pool).__name__ != "ConnectionPool"


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTP_PROXY": "http://10.0.0.1:3128"},
        {"http_proxy": "http://user:pw@10.0.0.1:3128"},
        {"ALL_PROXY": "10.0.0.1:3128"},
        {"HTTP_PROXY": "http://10.0.0.1:3128", "no_proxy": ""},
        {"HTTP_PROXY": "http://10.0.0.1:3128", "NO_PROXY": "intranet.example, [::1]"},
        {"HTTP_PROXY": "http://10.0.0.1:3128", "ALL_PROXY": "socks5://10.0.0.1:1080"},
        {"HTTP_PROXY": "http://10.0.0.1:3128", "all_proxy": "socks://10.0.0.1:1080/"},
    ],
)
def test_no_client_sends_requests_to_loopback_through_a_proxy(environ, variables):
    environ(variables, ["http://127.0.0.2:9000", "http://model.localhost/v1", "http://10.0.0.9/v1"])
    for host in ("127.0.0.1", "localhost", "[::1]", "127.0.0.2", "model.localhost"):
        assert not takes_proxy(f"http://{host}:8000/x"), host
    for host in ("10.0.0.9", "example.org", "mylocalhost.example"):
        assert takes_proxy(f"http://{host}/x"), host


def test_entries_of_no_proxy_are_kept(environ):
    given = {"HTTP_PROXY": "http://10.0.0.1:1", "NO_PROXY": "intranet.example,localhost"}
    assert environ(given)["no_proxy"] == "intranet.example,localhost,127.0.0.1,::1"
    assert environ(given | {"NO_PROXY": "*"})["NO_PROXY"].startswith("*")


def test_without_a_proxy_nothing_changes(environ):
    assert environ({"PATH": "/bin", "NO_PROXY": "a"}) == {"PATH": "/bin", "NO_PROXY": "a"}


def test_a_socks_proxy_that_no_library_can_use_is_left_out_with_a_warning(environ, caplog):
    assert "ALL_PROXY" not in environ({"ALL_PROXY": "socks5://user:pa55@10.0.0.1:1080"})
    assert "ALL_PROXY=socks5://10.0.0.1:1080" in caplog.text
    assert "socksio" in caplog.text
    assert "pa55" not in caplog.text


@pytest.mark.parametrize("value", ["http://proxy:port", "http://", "http://[::1", "://"])
def test_a_proxy_that_is_no_url_is_refused_with_its_variable(environ, value):
    with pytest.raises(SettingsError, match=r"HTTPS_PROXY=.*expected http://host:port"):
        environ({"HTTPS_PROXY": value})


def test_an_error_names_the_proxy_that_a_request_took_and_hides_its_password(environ):
    environ({"HTTPS_PROXY": "http://user:pa55@proxy.example:3128", "ALL_PROXY": "http://other:1"})
    assert via_proxy("https://hub.example/x") == " through the proxy http://proxy.example:3128 (HTTPS_PROXY)"
    assert via_proxy("http://hub.example/x") == " through the proxy http://other:1 (ALL_PROXY)"
    assert via_proxy("http://hub.example/x", uses_all_proxy=False) == ""
    assert via_proxy("https://127.0.0.1/x") == ""


def test_an_error_names_no_proxy_for_a_host_that_needs_none(environ):
    environ({"HTTP_PROXY": "http://proxy.example:3128", "NO_PROXY": "intranet.example"})
    assert via_proxy("http://user:pw@s3.intranet.example:9000/x") == ""


@pytest.mark.parametrize("url", ["", "not a url", "http://[::1", "http://"])
def test_what_is_no_url_is_not_loopback_and_takes_no_proxy(environ, url):
    environ({"HTTP_PROXY": "http://proxy.example:3128"})
    assert not is_loopback(url)
    via_proxy(url)

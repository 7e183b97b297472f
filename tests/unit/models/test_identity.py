"""The address of a model on a server, and its secrets."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from nightreel.errors import SettingsError
from nightreel.models.served.chat_endpoint import ChatEndpoint
from nightreel.models.served.identity import Address


@pytest.mark.parametrize(
    ("text", "url", "name"),
    [
        ("openai:http://127.0.0.1:8000/v1#org/model", "http://127.0.0.1:8000/v1", "org/model"),
        ("openai:https://host/v1/", "https://host/v1", ""),
        ("openai:http://[::1]:8000/v1#m", "http://[::1]:8000/v1", "m"),
        ("openai:https://host/openai/v1#org/model@main:x", "https://host/openai/v1", "org/model@main:x"),
    ],
)
def test_an_address_has_a_root_and_a_name(text: str, url: str, name: str) -> None:
    assert Address.parse(text) == Address(url, name)


@pytest.mark.parametrize(
    "text",
    ["openai:", "openai:host:8000/v1", "openai:ftp://host/v1", "openai:http:///v1", "openai:http://host:port/v1",
     "openai:http://host:8000#m", "openai:http://host:8000/#m", "openai:http://[::1/v1", "http://host/v1"],
)  # fmt: skip
def test_an_invalid_address_is_refused_with_the_expected_form(text: str) -> None:
    with pytest.raises(SettingsError, match=r"expected openai:http://host:port/v1#name"):
        Address.parse(text)


@pytest.mark.parametrize("text", ["http://user:secret-4711@host/v1#m", "http://secret-4711@host/v1",
                                  "https://host/v1?key=secret-4711#m"])  # fmt: skip
def test_a_secret_in_an_address_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(SettingsError, match="NIGHTREEL_REMOTE_API_KEY") as caught:
        Address.parse(f"openai:{text}")
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize("key", ["schlüssel-4711", "key-4711\nHost: elsewhere"])
def test_a_key_that_does_not_fit_a_header_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(SettingsError, match="NIGHTREEL_REMOTE_API_KEY") as caught:
        ChatEndpoint("http://host/v1", api_key=SecretStr(key), timeout_s=1, patience_s=0, connections=1)
    assert "4711" not in str(caught.value)


def test_an_address_with_an_invalid_host_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"NIGHTREEL_MODEL: .* is not valid"):
        ChatEndpoint("http://ü..b/v1", api_key=None, timeout_s=1, patience_s=0, connections=1)

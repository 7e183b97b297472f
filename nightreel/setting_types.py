"""The types of settings: how the text of a variable is split, and which texts are accepted."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from nightreel.domain import SamplingPlan
from nightreel.domain.deadlines import TimeOfDay
from nightreel.errors import SettingsError


def _valid_plan(text: str) -> str:
    try:
        return str(SamplingPlan.parse(text))
    except SettingsError as error:
        raise ValueError(error.detail) from error


def _split_commas(value: Any) -> Any:
    """Split a text at its commas, and each item of a list too: `--prompts a,b` is `--prompts a --prompts b`."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        return value
    return [part.strip() for item in items for part in item.split(",") if part.strip()]


def _all_or_some(suffixes: tuple[str, ...]) -> tuple[str, ...]:
    return () if suffixes == ("*",) else suffixes


def _valid_networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(ip_network(text)) for text in texts)


PlanText = Annotated[str, AfterValidator(_valid_plan)]
CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]


def _valid_time(text: str) -> str:
    TimeOfDay.parse(text)
    return text


ReadyBy = Annotated[str, AfterValidator(_valid_time)]
"""See `TimeOfDay`."""
Suffixes = Annotated[CommaSeparated, AfterValidator(_all_or_some)]
"""`*` alone: all."""
Networks = Annotated[CommaSeparated, AfterValidator(_valid_networks)]


def parts_of(secrets: SecretStr) -> list[str]:
    """The secrets between commas."""
    return [part.strip() for part in secrets.get_secret_value().split(",")]


def _postgres(value: SecretStr | None) -> SecretStr | None:
    if value is None or not value.get_secret_value():
        return None
    scheme, separator, _ = value.get_secret_value().partition("://")
    if not separator or scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
        found = f"scheme {scheme!r}" if separator and scheme.replace("+", "").isalnum() else "no scheme"
        raise ValueError(f"{found}: expected postgresql://user:password@host:port/database")
    return value


def _page(value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise ValueError("expected http://host or https://host")
    return value.rstrip("/") if value else None


def _long_enough(value: SecretStr | None) -> SecretStr | None:
    if value is not None and any(len(part) < _SECRET_LENGTH for part in parts_of(value)):
        raise ValueError(
            f"expected {_SECRET_LENGTH} characters or more, and commas only between secrets; make one with "
            "`openssl rand -hex 32`"
        )
    return value


_SECRET_LENGTH = 32

DatabaseUrl = Annotated[SecretStr | None, AfterValidator(_postgres)]
PageUrl = Annotated[str | None, AfterValidator(_page)]
SigningSecrets = Annotated[SecretStr | None, AfterValidator(_long_enough)]
"""The newest first, with commas between them."""

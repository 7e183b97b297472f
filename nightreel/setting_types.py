"""The types of settings: how the text of a variable is split, and which texts are accepted."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
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

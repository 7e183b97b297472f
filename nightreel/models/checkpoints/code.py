"""Python code that a model ships. It runs only with NIGHTREEL_TRUST_REMOTE_CODE, and only from the model's files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nightreel.errors import PermanentError
from nightreel.reasons import Reason

_ELSEWHERE = "--"
"""Separates a repository from a class in `auto_map`: `someone/code--modeling.Model`."""


def require_own_code(directory: Path, name: str) -> None:
    """Raise if a configuration file takes classes from a repository on the hub, not from files beside it.

    transformers would download such code at whatever commit is the newest, which no revision of the model pins.

    Raises:
        PermanentError: `unsupported_model`, with the file and the repository.
    """
    for path in sorted(directory.glob("*.json")):
        for reference in _code_references(path):
            if _ELSEWHERE in reference:
                repository, _, target = reference.partition(_ELSEWHERE)
                raise PermanentError(
                    Reason.UNSUPPORTED_MODEL,
                    f"model {name!r}: {path.name} takes {target!r} from the hub repository {repository!r}, at whatever "
                    f"commit is the newest: copy the model to a directory, put that repository's .py files there, "
                    f"remove '{repository}{_ELSEWHERE}' from auto_map, and set NIGHTREEL_MODEL to the directory",
                )


def _code_references(path: Path) -> Iterator[str]:
    """All texts in the `auto_map` of a JSON file; none if it is no JSON object, which loading reports."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return
    if isinstance(value, dict):
        yield from _texts(value.get("auto_map"))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)

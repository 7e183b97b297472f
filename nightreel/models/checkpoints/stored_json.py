"""A JSON object in a file of the work directory, replaced as a whole. A file that is missing or damaged is empty."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from nightreel.private import private_directory


def read_object(path: Path | None) -> dict[str, Any]:
    """The object in the file; empty if there is none: it was never written, or a full disk truncated it."""
    if path is None:
        return {}
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_object(path: Path, value: dict[str, Any]) -> None:
    """Replace the object in the file."""
    private_directory(path.parent)
    descriptor, temporary = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        json.dump(value, file)
    Path(temporary).replace(path)

"""Content defines identity: the hash that identifies sampling plans, prompts, models and features."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def content_hash(value: Any) -> str:
    """SHA-256 (hex) over the canonical JSON of `value`.

    >>> content_hash({"b": 1, "a": [2.5, None]}) == content_hash({"a": [2.5, None], "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

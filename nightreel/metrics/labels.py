"""Bounds label values: only plain words, and no more than a Prometheus server can store forever."""

from __future__ import annotations

import re
import threading

OTHER = "other"
_WORD = re.compile(r"[a-z][a-z0-9_.]{0,59}")


class BoundedLabels:
    """Admits the first `most` words. Every later value, and every value that is not a word, becomes "other".

    Reasons are words of this code, but the process that decodes untrusted files reports some of them. Operators name
    prompt sets. Neither may fill the memory of a Prometheus server.

    >>> words = BoundedLabels(1)
    >>> words.admit("no_index"), words.admit("no_video_stream"), words.admit("a b")
    ('no_index', 'other', 'other')
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._words: set[str] = set()
        self._lock = threading.Lock()

    def admit(self, word: str) -> str:
        with self._lock:
            if word not in self._words:
                if len(self._words) >= self._most or not _WORD.fullmatch(word):
                    return OTHER
                self._words.add(word)
            return word

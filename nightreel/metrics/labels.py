"""Label values that stay few: a word of ours, and no more of them than a Prometheus server can keep for ever."""

from __future__ import annotations

import re
import threading

OTHER = "other"
_WORD = re.compile(r"[a-z][a-z0-9_.]{0,59}")


class BoundedLabels:
    """Lets the first `most` words through; whatever comes later, or is no word, is "other".

    Reasons are words of our code, but some are told by the process that decodes untrusted files, and prompt sets are
    the operator's: neither may fill the memory of who collects them.

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

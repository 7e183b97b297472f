"""The errors of this project. Every module raises these and no others for what can go wrong outside the code.

    NightreelError
    ├── TransientError       the same call may succeed later: network, a server that is down, a full disk
    └── PermanentError       it will fail again: a broken file, a missing bucket, a wrong secret
        └── SettingsError    what the operator set cannot work; nothing was touched

Which of the two it is gets decided once, where it happens. `reason` is a short snake_case word that is stored in
Postgres and counted; the message has the offending value, what was expected, and the way out.

>>> raise PermanentError("no_video_stream", "a.mp4 holds 1 audio stream and no video: remove it or filter by suffix")
Traceback (most recent call last):
nightreel.errors.PermanentError: no_video_stream: a.mp4 holds 1 audio stream and no video: remove it or filter by suffix
"""

from __future__ import annotations

import re

_REASON = re.compile(r"[a-z][a-z0-9_]*")


class NightreelError(Exception):
    """Base of all. `reason` is a snake_case word, `detail` a sentence for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        assert _REASON.fullmatch(reason), f"{reason = } is not a snake_case word"
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class TransientError(NightreelError):
    """Trying again, later, may help."""


class PermanentError(NightreelError):
    """Trying again will not help."""


class SettingsError(PermanentError):
    """A setting, an option or a prompt file is wrong."""

    def __init__(self, detail: str, reason: str = "settings") -> None:
        super().__init__(reason, detail)

    def __reduce__(self) -> tuple[type[SettingsError], tuple[str, str]]:
        return type(self), (self.detail, self.reason)

    def __str__(self) -> str:
        return self.detail

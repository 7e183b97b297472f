"""The errors of this project. Every module raises these and no others for what can go wrong outside the code.

    NightreelError
    ├── TransientError       the same call may succeed later: network, a server that is down, a full disk
    └── PermanentError       it will fail again: a broken file, a missing bucket, a wrong secret
        └── SettingsError    what the operator set cannot work; nothing was touched

Which of the two it is gets decided once, where it happens. The reason is stored in Postgres and counted (`reasons` has
them all); the message has the offending value, what was expected, and what to do.

>>> raise PermanentError(Reason.NO_VIDEO_STREAM, "a.mp4 has 1 audio stream and no video: remove it or filter by suffix")
Traceback (most recent call last):
nightreel.errors.PermanentError: no_video_stream: a.mp4 has 1 audio stream and no video: remove it or filter by suffix
"""

from __future__ import annotations

from nightreel.reasons import Reason


class NightreelError(Exception):
    """Base of all. `detail` is a sentence for a person."""

    def __init__(self, reason: Reason, detail: str) -> None:
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

    def __init__(self, detail: str, reason: Reason = Reason.SETTINGS) -> None:
        super().__init__(reason, detail)

    def __reduce__(self) -> tuple[type[SettingsError], tuple[str, Reason]]:
        return type(self), (self.detail, self.reason)

    def __str__(self) -> str:
        return self.detail

"""The errors of this project. Every module raises only these for failures outside the code.

    NightreelError
    ├── TransientError       the same call may succeed later: network, a server that is down, a full disk
    └── PermanentError       the same call will fail again: a broken file, a missing bucket, a wrong secret
        └── SettingsError    a setting cannot work; nothing was changed

The code that raises an error decides whether it is transient. The reason is stored in Postgres and counted (`reasons`
lists them all). The message names the offending value, what is expected, and what to do.

>>> raise PermanentError(Reason.NO_VIDEO_STREAM, "a.mp4 has 1 audio stream and no video: remove it or filter by suffix")
Traceback (most recent call last):
nightreel.errors.PermanentError: no_video_stream: a.mp4 has 1 audio stream and no video: remove it or filter by suffix
"""

from __future__ import annotations

from nightreel.reasons import Reason


class NightreelError(Exception):
    """Base class. `detail` is a sentence for a person."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class TransientError(NightreelError):
    """A later retry may succeed."""


class PermanentError(NightreelError):
    """A retry will not succeed."""


class SettingsError(PermanentError):
    """A setting, an option or a prompt file is wrong."""

    def __init__(self, detail: str, reason: Reason = Reason.SETTINGS) -> None:
        super().__init__(reason, detail)

    def __reduce__(self) -> tuple[type[SettingsError], tuple[str, Reason]]:
        return type(self), (self.detail, self.reason)

    def __str__(self) -> str:
        return self.detail

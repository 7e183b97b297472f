"""What a person may not do, as errors. A command prints them; the web service gives each its own status."""

from __future__ import annotations

from nightreel.errors import SettingsError


class NotFoundError(SettingsError):
    """There is no such case, queue or batch, or the person may not know of it."""


class NotAllowedError(SettingsError):
    """The role of the person does not allow it."""


class ConflictError(SettingsError):
    """The case is in another state than the person thinks: it was decided, taken or changed meanwhile."""

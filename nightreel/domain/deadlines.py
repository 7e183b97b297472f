"""When a run must be ready: a time of day with its time zone, and how it keeps that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_KEPT = 5  # chunks whose duration is kept


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """A time of day in a time zone.

    >>> str(TimeOfDay.parse("06:00 Europe/Berlin")), str(TimeOfDay.parse("6:30"))
    ('06:00 Europe/Berlin', '06:30 UTC')
    """

    at: time
    zone: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `HH:MM` or `HH:MM ZONE`. Raises ValueError, with the expected form."""
        said, _, zone = text.strip().partition(" ")
        try:
            hours, minutes = said.split(":")
            ZoneInfo(zone := zone.strip() or "UTC")
            return cls(time(int(hours), int(minutes)), zone)
        except (ValueError, ZoneInfoNotFoundError, OSError):
            raise ValueError(
                f"{text!r}: expected HH:MM, or HH:MM and a time zone, such as 06:00 Europe/Berlin"
            ) from None

    def after(self, moment: datetime) -> datetime:
        """The first such time after a moment.

        >>> from datetime import UTC
        >>> TimeOfDay.parse("06:00 Europe/Berlin").after(datetime(2026, 11, 27, 4, 30, tzinfo=UTC)).isoformat()
        '2026-11-27T06:00:00+01:00'
        >>> TimeOfDay.parse("06:00").after(datetime(2026, 11, 27, 6, tzinfo=UTC)).isoformat()
        '2026-11-28T06:00:00+00:00'
        """
        local = moment.astimezone(ZoneInfo(self.zone))
        for days in (0, 1, 2):
            found = datetime.combine(local.date() + timedelta(days=days), self.at, ZoneInfo(self.zone))
            if found > moment:
                return found
        raise AssertionError(f"{moment = }")

    def __str__(self) -> str:
        return f"{self.at:%H:%M} {self.zone}"


@dataclass
class Deadline:
    """Lets a run claim only what it will probably have done in time.

    A chunk takes as long as the slowest of the last ones, from claim to commit.

    Args:
        at: None: there is no deadline.
        first_chunk_s: expected seconds of the first chunk, with the start of the model.
    """

    at: datetime | None = None
    first_chunk_s: float = 0.0
    _claimed: dict[int, datetime] = field(default_factory=dict)
    _took_s: list[float] = field(default_factory=list)

    def claimed(self, ids: Iterable[int], now: datetime) -> None:
        """Note that these videos were claimed."""
        self._claimed.update(dict.fromkeys(ids, now))

    def written(self, ids: Iterable[int], now: datetime) -> None:
        """Note that these videos were written."""
        began = [self._claimed.pop(one) for one in ids if one in self._claimed]
        if began:
            self._took_s = [*self._took_s, (now - min(began)).total_seconds()][-_KEPT:]

    def why_stop(self, now: datetime) -> str | None:
        """Why no further chunk should be claimed; None: one more will be done in time.

        >>> from datetime import UTC
        >>> deadline = Deadline(datetime(2026, 1, 1, 6, tzinfo=UTC), first_chunk_s=60)
        >>> deadline.why_stop(datetime(2026, 1, 1, 5, 58, tzinfo=UTC)) is None
        True
        >>> deadline.why_stop(datetime(2026, 1, 1, 5, 59, 30, tzinfo=UTC))
        'another chunk takes about 60 s and would not be done by 2026-01-01 06:00 UTC'
        """
        if self.at is None:
            return None
        chunk_s = max(self._took_s, default=self.first_chunk_s)
        if now + timedelta(seconds=chunk_s) <= self.at:
            return None
        return f"another chunk takes about {chunk_s:.0f} s and would not be done by {self.at:%Y-%m-%d %H:%M %Z}"

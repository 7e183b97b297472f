"""What a person looks for: words, filters, order and page."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime

from nightreel.errors import SettingsError

MOST_CHARACTERS = 500
MOST_HITS = 1000
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFilters:
    """Which segments to search. None: all.

    `verdict` to `run_id` hold for the verdict on show for `prompt`; without it, each for any verdict of the segment.

    Args:
        prompt: name of a prompt, or set/name. verdict: yes, no, a tag, a choice, unknown, error, or flagged.
        min_severity: 1 to 4. min_p: 0 to 1. model: name. run_id: the run that gave the answer.
        since, until: when the object was last modified, in UTC without an offset; `until` itself is left out.
        under: start of the key.
        min_duration_s, max_duration_s: length of the video.
        from_s, to_s: only segments with a part between these seconds of the video; `to_s` itself is left out.
        restricted: include restricted videos, if the role of the connection may see them.
    """

    prompt: str | None = None
    verdict: str | None = None
    min_severity: int | None = None
    min_p: float | None = None
    model: str | None = None
    run_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    under: str | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    from_s: float | None = None
    to_s: float | None = None
    restricted: bool = False

    def __post_init__(self) -> None:
        if self.min_severity is not None and not 1 <= self.min_severity <= 4:
            raise SettingsError(f"min_severity={self.min_severity}: expected 1 to 4")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise SettingsError(f"min_p={self.min_p}: expected 0 to 1")
        if self.run_id is not None and not 0 <= self.run_id <= _LARGEST:
            raise SettingsError(f"run_id={self.run_id}: expected the number of a run")
        for name in ("min_duration_s", "max_duration_s", "from_s", "to_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise SettingsError(f"{name}={value}: expected seconds, 0 or more")
        if self.to_s is not None and self.to_s <= (self.from_s or 0):
            raise SettingsError(f"to_s={self.to_s}: expected more seconds than from_s={self.from_s or 0}")
        for name in ("since", "until"):
            time = getattr(self, name)
            if time is not None and time.tzinfo is None:
                object.__setattr__(self, name, time.replace(tzinfo=UTC))
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, str) and not _is_storable(value):
                raise SettingsError(f"{one.name}={value!r}: no text of the database has these characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuery:
    """A search and one page of its hits.

    Args:
        text: words, all of which are wanted; "words in a row", one OR other, -without, begin*.
        newest: the newest videos first, instead of the best hits.
        limit: hits of the page. after: `SearchPage.next` of the page before it.

    Raises:
        SettingsError: a value cannot be searched for.
    """

    text: str
    filters: SearchFilters = field(default_factory=SearchFilters)
    newest: bool = False
    limit: int = 20
    after: str | None = None

    def __post_init__(self) -> None:
        if len(self.text) > MOST_CHARACTERS:
            raise SettingsError(f"the search has {len(self.text):,} characters: at most {MOST_CHARACTERS}")
        if not 1 <= self.limit <= MOST_HITS:
            raise SettingsError(f"limit={self.limit}: expected 1 to {MOST_HITS:,}")


def _is_storable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)

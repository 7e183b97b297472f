"""What a change of policy does to the flags of videos, in numbers, from a preview of it."""

from __future__ import annotations

from dataclasses import dataclass

from nightreel.stages.preview import PromptPreview

_FLAGGED = ", flagged"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagChanges:
    """What a change of policy does to the flags of videos, in numbers of videos.

    Args:
        gained, lost: flags. other: other verdicts that change.
    """

    gained: int
    lost: int
    other: int


def changed_flags(would: PromptPreview) -> FlagChanges:
    """The changes of videos by what becomes of their flags."""
    gained = lost = other = 0
    for (before, after), count in would.videos.items():
        was, is_flagged = _FLAGGED in before, _FLAGGED in after
        gained += count if is_flagged and not was else 0
        lost += count if was and not is_flagged else 0
        other += count if was == is_flagged else 0
    return FlagChanges(gained=gained, lost=lost, other=other)

"""Whether a server shows its model every frame, in order: read from the probabilities of the prompt's own tokens.

A language model reads from left to right: a token's probability depends only on what comes before it. If the first,
the middle and the last frame of a video are changed in turn, the first token whose probability changes lies further to
the right each time. This needs no skill of the model. It says nothing of models whose vision mixes all frames.

`frame_limits` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from nightreel.errors import PermanentError
from nightreel.models.served.layouts import Layout
from nightreel.models.served.trials import Trials, is_refusal

_LEAST = 1e-3  # of differences between log-probabilities


class Order(Enum):
    IN_ORDER = "all frames arrive in order"
    WRONG = "frames arrive in another order, or not at all"
    NOT_SHOWN = "the server does not show the order of frames"


def frame_order(trials: Trials, *, frames: int, layout: Layout) -> Order:
    """Ask about a video of grey frames, and about copies with one other frame.

    Raises:
        NightreelError: as `Trials.request`.
    """
    try:
        same, again = (_prompt(trials, frames, layout, None) for _ in range(2))
        if not same or len(same) != len(again):
            return Order.NOT_SHOWN
        noise = _LEAST + 3 * max(abs(one - other) for one, other in zip(same, again, strict=True))
        starts = []
        for place in sorted({0, frames // 2, frames - 1}):
            changed = _prompt(trials, frames, layout, place)
            if len(changed) != len(same):
                return Order.NOT_SHOWN
            starts.append(_first_change(same, changed, noise))
    except PermanentError as error:
        if not is_refusal(error):
            raise
        return Order.NOT_SHOWN
    return _order_of(starts)


def _order_of(starts: Sequence[int | None]) -> Order:
    """
    >>> [_order_of(starts).name for starts in ([6, 38, 62], [6, 38, None], [38, 6, 62], [6, 6, 6], [6, 6, 62])]
    ['IN_ORDER', 'WRONG', 'WRONG', 'NOT_SHOWN', 'NOT_SHOWN']
    """
    seen = [start for start in starts if start is not None]
    if not seen or (len(starts) > 1 and len(set(starts)) == 1):
        return Order.NOT_SHOWN
    if len(seen) < len(starts) or seen != sorted(seen):
        return Order.WRONG
    return Order.IN_ORDER if len(set(seen)) == len(seen) else Order.NOT_SHOWN


def _first_change(before: Sequence[float], after: Sequence[float], noise: float) -> int | None:
    pairs = enumerate(zip(before, after, strict=True))
    return next((place for place, (one, other) in pairs if abs(one - other) > noise), None)


def _prompt(trials: Trials, frames: int, layout: Layout, other: int | None) -> list[float]:
    """The log-probability of each token of a prompt; empty if the server does not give them."""
    said = trials.request(trials.shown(frames, layout, other=other), prompt_logprobs=0).get("prompt_logprobs")
    if not isinstance(said, list):
        return []
    return [_own(entry) for entry in said if isinstance(entry, dict)]


def _own(entry: dict[str, Any]) -> float:
    """Of the entry of one token: with no others asked for, it has the token alone, or that and the likeliest."""
    values = [value.get("logprob") for value in entry.values() if isinstance(value, dict)]
    return min((float(value) for value in values if isinstance(value, int | float)), default=0.0)

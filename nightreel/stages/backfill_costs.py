"""The cost of a backfill: counts of work, times the measured cost of one unit.

>>> share = Measured(**dict.fromkeys(Measured.__slots__, 0)) # nothing was measured
>>> UnitCosts.of(share).decode_s is None
True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nightreel.database.backfill_work import LookShare, Measured, Totals
from nightreel.database.backfills import KeyRange
from nightreel.domain import Segment
from nightreel.media.sampling import windows

SHARD_VIDEOS = 1000
"""Fewest videos of a shard: a flow run takes 10 to 20 s to start, and a server handles a limited number of them."""
_HOUR_S = 3600.0
GIB = 2.0**30


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCosts:
    """Measured cost of one unit of work; None if nothing was measured.

    Args:
        decode_s: seconds of one worker to fetch, probe and decode a segment. vision_s: to encode it.
        answer_s: seconds per answer. of_recipe: measured on the same questions, else on others of the same model.
        load_s: seconds to load the model. feature_bytes: size of a segment's features.
        runs, segments, answers: how many were measured.
    """

    decode_s: float | None
    vision_s: float | None
    answer_s: float | None
    load_s: float
    feature_bytes: float | None
    of_recipe: bool
    runs: int
    segments: int
    answers: int

    @classmethod
    def of(cls, measured: Measured) -> UnitCosts:
        of_recipe = measured.recipe_answers > 0
        answers = measured.recipe_answers if of_recipe else measured.answers
        language_s = measured.recipe_language_s if of_recipe else measured.language_s
        return cls(
            decode_s=measured.decode_s / measured.decoded if measured.decoded else None,
            vision_s=measured.vision_s / measured.encoded if measured.encoded else None,
            answer_s=language_s / answers if answers else None,
            load_s=measured.load_s,
            feature_bytes=measured.feature_bytes if measured.features else None,
            of_recipe=of_recipe,
            runs=max(measured.decode_runs, measured.vision_runs, measured.language_runs),
            segments=measured.decoded,
            answers=answers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Dollars for an hour of a GPU, and for a GiB of the cache per month. None: not set."""

    gpu_hour: float | None = None
    gib_month: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondLooks:
    """The second looks that a backfill will probably take, by the share of earlier answers that led to one.

    Args:
        windows, answers: to decode and encode, and to ask. measured: answers that the shares come from.
        unknown: prompts with a second look that have no answers yet, so that theirs are not counted.
    """

    windows: int = 0
    answers: int = 0
    measured: int = 0
    unknown: tuple[str, ...] = ()

    @classmethod
    def of(cls, shares: Sequence[LookShare], *, segments: float, window_s: float) -> SecondLooks:
        """Prompts with the same look share its windows: the most frequent one counts.

        Args:
            segments: that get first answers. window_s: length of a segment.
        """
        windows_of: dict[str, float] = {}
        answers = 0.0
        for share in shares:
            look = share.prompt.policy.look_again
            if look is None or not share.answers:
                continue
            each = segments * share.hits / share.answers * len(windows(Segment(0, 0.0, window_s), look.window_s))
            windows_of[look.key] = max(windows_of.get(look.key, 0.0), each)
            answers += each
        return cls(
            windows=round(sum(windows_of.values())),
            answers=round(answers),
            measured=sum(share.answers for share in shares),
            unknown=tuple(share.prompt.name for share in shares if not share.answers),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillEstimate:
    """A backfill before it is accepted.

    Args:
        listed: objects, videos or not. prompts: per segment; conditional ones count in full.
        guessed_by: bytes per second of video, for unknown durations. measured_videos: how many it was measured on.
        second_looks: None if no prompt has one.
        first: the first keys of its work.
    """

    source: str
    model: str
    listed: int
    prompts: int
    totals: Totals
    costs: UnitCosts
    rates: Rates
    guessed_by: float
    measured_videos: int
    shards: tuple[KeyRange, ...]
    first: tuple[str, ...]
    second_looks: SecondLooks | None = None

    @property
    def _to_look(self) -> int:
        return self.totals.to_look + (self.second_looks.windows if self.second_looks else 0)

    @property
    def _to_ask(self) -> int:
        return self.totals.to_ask + (self.second_looks.answers if self.second_looks else 0)

    @property
    def decode_hours(self) -> float | None:
        """Hours of one worker's decode processes, including fetching; 0 if no segment must be encoded."""
        return _hours(self._to_look, self.costs.decode_s)

    @property
    def vision_hours(self) -> float | None:
        return _hours(self._to_look, self.costs.vision_s)

    @property
    def language_hours(self) -> float | None:
        return _hours(self._to_ask, self.costs.answer_s)

    @property
    def gpu_hours(self) -> float | None:
        """Hours of the vision tower, of the language model, and of loading the model once per shard."""
        if self.vision_hours is None or self.language_hours is None:
            return None
        return self.vision_hours + self.language_hours + len(self.shards) * self.costs.load_s / _HOUR_S

    @property
    def elapsed_hours(self) -> float | None:
        """Hours on one worker, which decodes one chunk while it asks the previous one."""
        if self.decode_hours is None or self.gpu_hours is None:
            return None
        return max(self.decode_hours, self.gpu_hours)

    @property
    def cache_bytes(self) -> float | None:
        """Bytes that the backfill adds to the feature cache."""
        return _times(self._to_look, self.costs.feature_bytes)

    @property
    def gpu_dollars(self) -> float | None:
        return _times(self.gpu_hours, self.rates.gpu_hour)

    @property
    def cache_dollars_a_month(self) -> float | None:
        return _times(None if self.cache_bytes is None else self.cache_bytes / GIB, self.rates.gib_month)

    def to_json(self) -> dict[str, Any]:
        """JSON values, for the output and for the row of an accepted backfill."""
        computed = ("decode_hours", "vision_hours", "language_hours", "gpu_hours", "elapsed_hours", "cache_bytes",
                    "gpu_dollars", "cache_dollars_a_month")  # fmt: skip
        plain = asdict(self)
        plain["shards"] = len(self.shards)
        return plain | {name: getattr(self, name) for name in computed}


def _times(count: float | None, each: float | None) -> float | None:
    """A product; a count of 0 costs 0, even if the unit's cost is unknown."""
    if count == 0:
        return 0.0
    return None if count is None or each is None else count * each


def _hours(count: int, seconds_each: float | None) -> float | None:
    seconds = _times(count, seconds_each)
    return None if seconds is None else seconds / _HOUR_S

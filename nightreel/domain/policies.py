"""Policies: what an answer means. A policy changes without asking a model again.

answer (p, mass, text, coverage)  +  policy  ->  verdict        judging.judge
verdicts of a video's segments    +  policy  ->  verdict        rolling.roll_up
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from nightreel.domain.identity import content_hash
from nightreel.domain.videos import SamplingPlan

MIN_COVERAGE = 0.8
"""Least share of a segment or video that must be seen for a "no", by default. One bad frame of eight sampled ones costs
0.125 or a little more, because frames are not exactly where the plan asks for them; two cost about 0.25."""


class Band(NamedTuple):
    """Below `no_below` the answer is "no", from `yes_from` on it is "yes", and between the two it is unknown.

    >>> Band.around(0.6, 0.1)
    Band(no_below=0.55, yes_from=0.65)
    """

    no_below: float
    yes_from: float

    @classmethod
    def around(cls, threshold: float, doubt: float) -> Band:
        """The band of width `doubt` around a threshold, within 0 to 1."""
        half = doubt / 2
        return cls(max(0.0, round(threshold - half, 9)), min(1.0, round(threshold + half, 9)))

    def moved(self, limit: float, *, begins: bool) -> Band:
        """The band of the same width that ends at a probability, or begins there, within 0 to 1.

        >>> Band(0.4, 0.5).moved(0.8, begins=False), Band(0.4, 0.5).moved(0.8, begins=True)
        (Band(no_below=0.7, yes_from=0.8), Band(no_below=0.8, yes_from=0.9))
        """
        width = self.yes_from - self.no_below
        if begins:
            return Band(limit, min(1.0, round(limit + width, 9)))
        return Band(max(0.0, round(limit - width, 9)), limit)


class Review(StrEnum):
    """Which verdicts of a prompt a person should see."""

    FLAGGED_OR_UNKNOWN = "flagged_or_unknown"  # of prompts with a flag
    FLAGGED = "flagged"
    ALL = "all"
    NONE = "none"


class RollUpKind(StrEnum):
    """How the answers of a video's segments become one of the video."""

    ANY = "any"
    ALL = "all"
    SHARE = "share"
    LONGEST = "longest"
    MAX = "max"
    MEAN = "mean"
    FIRST = "first"
    MODE = "mode"


class RollUp(NamedTuple):
    """`least`: for `share`, the share of the seen seconds, for `longest`, the seconds in a row, that must say so.

    >>> str(RollUp.parse("share 0.3")), RollUp.parse("any")
    ('share 0.3', RollUp(kind=<RollUpKind.ANY: 'any'>, least=0.0))
    """

    kind: RollUpKind
    least: float = 0.0

    @classmethod
    def parse(cls, text: str) -> RollUp:
        """Raises ValueError, with the expected forms."""
        name, *numbers = text.split() or [""]
        expected = "expected any, all, share X (0 < X <= 1), longest SECONDS, max, mean, first or mode"
        try:
            kind = RollUpKind(name)
            given = [float(number) for number in numbers]
        except ValueError:
            raise ValueError(expected) from None
        most = {RollUpKind.SHARE: 1.0, RollUpKind.LONGEST: 86_400.0}.get(kind)
        if len(given) != (most is not None) or (most is not None and not 0 < given[0] <= most):
            raise ValueError(expected)
        return cls(kind, given[0] if given else 0.0)

    def __str__(self) -> str:
        return f"{self.kind} {self.least:g}" if self.least else str(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAgain:
    """When and how a segment is looked at again, denser.

    Args:
        from_p: from this probability on.
        plan: the sampling plan of the second look, such as "fps:2:64".
        window_s: length of the windows that a segment is cut into.

    >>> LookAgain(from_p=0.2, plan="fps:2.0:64", window_s=5).key
    'fps:2:64/5'
    """

    from_p: float
    plan: str
    window_s: float

    @property
    def sampling(self) -> SamplingPlan:
        return SamplingPlan.parse(self.plan, self.window_s)

    @property
    def key(self) -> str:
        """What identifies its measurements: the plan, and the seconds of a window."""
        return f"{self.sampling}/{self.window_s:g}"


_HALF = Band(0.5, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the answers to one prompt mean.

    Args:
        band: yes_no and tags: which probabilities are "no", unknown and "yes".
        bands: tags: the bands of single tags that differ from `band`.
        min_mass: unknown if the allowed answers hold less of the next-token probability than this.
        min_margin: choice and scored numbers: unknown if the best answer leads the next by less than this.
        flags: the answers that an analyst should see: "yes", choices, tags.
        severity: of a flag, 1 to 4; severities: those of single answers that differ.
        lane: who may see the verdict, such as "restricted".
        review: which verdicts a person should see.
        roll_up: how segments become a video; None: the usual way of the kind (`rolling`).
        coverage: least share of a segment or video that must be seen for a "no".
        text: what counts, what does not, and the borderline, for people.
        codes: codes of public taxonomies.
        when: names of earlier prompts of the set, and the answer that each must have, for the prompt to be asked.
        look_again: None: never.
    """

    band: Band = _HALF
    bands: tuple[tuple[str, Band], ...] = ()
    min_mass: float = 0.0
    min_margin: float = 0.0
    flags: tuple[str, ...] = ()
    severity: int | None = None
    severities: tuple[tuple[str, int], ...] = ()
    lane: str | None = None
    review: Review = Review.FLAGGED_OR_UNKNOWN
    roll_up: RollUp | None = None
    coverage: float = MIN_COVERAGE
    text: str = ""
    codes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    when: tuple[tuple[str, str], ...] = ()
    look_again: LookAgain | None = None

    def band_of(self, tag: str) -> Band:
        return dict(self.bands).get(tag, self.band)

    def severity_of(self, answer: str) -> int | None:
        return dict(self.severities).get(answer, self.severity)

    def to_json(self) -> dict[str, Any]:
        """JSON values, from which `from_json` makes an equal policy."""
        return asdict(self) | {
            "band": list(self.band),
            "bands": {tag: list(band) for tag, band in self.bands},
            "severities": dict(self.severities),
            "flags": list(self.flags),
            "when": dict(self.when),
            "roll_up": None if self.roll_up is None else str(self.roll_up),
            "codes": dict(self.codes),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Policy:
        look = values.get("look_again")
        roll_up = values.get("roll_up")
        return cls(
            **dict(values)
            | {
                "band": Band(*values["band"]),
                "bands": tuple((tag, Band(*band)) for tag, band in values["bands"].items()),
                "severities": tuple(values["severities"].items()),
                "flags": tuple(values["flags"]),
                "when": tuple(values["when"].items()),
                "review": Review(values["review"]),
                "roll_up": None if roll_up is None else RollUp.parse(roll_up),
                "look_again": None if look is None else LookAgain(**look),
            }
        )

    @property
    def hash(self) -> str:
        return content_hash(self.to_json())

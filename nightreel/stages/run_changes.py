"""What changed from one run to the next of its kind. The artifact of a run and the console show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nightreel.database.runs import PastRun
from nightreel.domain.work import OutcomeState


@dataclass(frozen=True, slots=True)
class Compared:
    """A value of both runs, by its name. Values are numbers or untrusted text."""

    name: str
    now: Any
    before: Any


def changes_since(run: PastRun, before: PastRun) -> list[Compared]:
    """What differs between two runs that ended with counts."""
    return [one for one in _compared(run, before) if one.now != one.before]


def _compared(run: PastRun, before: PastRun) -> Iterator[Compared]:
    now, then = run.counts, before.counts
    yield Compared("status", _colour(run), _colour(before))
    yield Compared("model", run.model, before.model)
    yield Compared("recipe", run.recipe_id, before.recipe_id)
    yield Compared("Nightreel", run.version, before.version)
    for group, title in (("new_videos", "new videos"), ("videos", "videos"), ("reasons", "failed:")):
        ours, theirs = _group(now, group), _group(then, group)
        for name in dict.fromkeys((*ours, *theirs)):
            if name == OutcomeState.CONTINUES:  # a step on the way of a video, not how it ended
                continue
            yield Compared(f"{title} {name}", ours.get(name, 0), theirs.get(name, 0))
    yield Compared("objects listed", _group(now, "listing").get("listed", 0), _group(then, "listing").get("listed", 0))
    yield Compared("seconds", *(f"{_group(counts, 'cost').get('seconds', 0):.0f}" for counts in (now, then)))


def _group(counts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return counts.get(name) or {}


def _colour(run: PastRun) -> str:
    return "green" if run.status == "completed" else "red"

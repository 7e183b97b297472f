"""The rules between the keys of a prompt, and between prompts. `schema` has the keys and their values."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Sequence

from nightreel.domain import MOST_SCORED_NUMBERS, Level, Prompt, PromptKind, RollUp, SamplingPlan, roll_ups_of
from nightreel.errors import SettingsError
from nightreel.prompts.schema import DECODING, PromptEntry

_WITH_CHOICES = (PromptKind.CHOICE, PromptKind.TAGS)
_WITH_THRESHOLD = (PromptKind.YES_NO, PromptKind.TAGS)
_NEEDS_TEMPERATURE = ("top_k", "top_p", "seed")
Problem = tuple[str, str]
"""A key, and what is wrong with it."""


def problems_of(entry: PromptEntry, earlier: Sequence[Prompt], *, taxonomies: Collection[str]) -> list[Problem]:
    """What is wrong between keys and between prompts.

    Args:
        earlier: the prompts of the set before this one.
        taxonomies: names at the top of the file.
    """
    return [
        *_misplaced_keys(entry),
        *_choices(entry),
        *_answers(entry),
        *_band(entry),
        *_decoding(entry),
        *_range(entry),
        *_roll_up(entry),
        *_look_again(entry),
        *_form(entry),
        *_level(entry, earlier),
        *_codes(entry, taxonomies),
        *_links(entry, earlier),
    ]


def _misplaced_keys(entry: PromptEntry) -> Iterator[Problem]:
    kind, scored = entry.kind, entry.question.scored
    belongs = {
        "choices": kind in _WITH_CHOICES,
        "max_new_tokens": not kind.scored,
        **dict.fromkeys(("threshold", "doubt", "no_below", "yes_from"), kind in _WITH_THRESHOLD),
        "thresholds": kind is PromptKind.TAGS,
        **dict.fromkeys(("flag", "severity"), kind.scored),
        "severities": kind in _WITH_CHOICES,
        "min_mass": scored,
        "min_margin": scored and kind not in _WITH_THRESHOLD,
        "minimum": kind is PromptKind.NUMBER,
        "maximum": kind is PromptKind.NUMBER,
        "roll_up": bool(roll_ups_of(kind)),
        "look_again": kind in _WITH_THRESHOLD,
        "most": kind is PromptKind.KEYWORDS,
        **dict.fromkeys(DECODING, not kind.scored),
        "beams": not kind.scored and not entry.has_form,
    }
    for key in (key for key, fits in belongs.items() if not fits and getattr(entry, key) is not None):
        if key == "min_margin" and kind in _WITH_THRESHOLD:
            threshold = 0.5 if entry.threshold is None else entry.threshold
            instead = f"at threshold {threshold:g}, write `doubt: {entry.min_margin:g}`"
            if entry.no_below is not None or entry.yes_from is not None:
                instead = "no_below and yes_from are its limits"
            yield key, f"not allowed for kind {kind}: its doubt is a band around the threshold; {instead}"
            continue
        wide = kind is PromptKind.NUMBER and key in ("min_mass", "min_margin")
        bounds = f" unless its minimum and maximum are at most {MOST_SCORED_NUMBERS} apart" if wide else ""
        yield key, f"not allowed for kind {kind}{bounds}"
    if entry.form is not None and kind is not PromptKind.OBJECT:
        yield "schema", f"not allowed for kind {kind}"


def _choices(entry: PromptEntry) -> Iterator[Problem]:
    if entry.kind not in _WITH_CHOICES:
        return
    least = 2 if entry.kind is PromptKind.CHOICE else 1
    choices = entry.choices or []
    if len(choices) < least:
        yield "choices", f"a prompt of kind {entry.kind} needs at least {least}, got {len(choices)}"
    seen: set[str] = set()
    for choice in choices:
        looks = " ".join(unicodedata.normalize("NFKC", choice).casefold().split())
        if looks in seen:
            yield "choices", f"{choice!r} appears twice"
        seen.add(looks)


def _answers(entry: PromptEntry) -> Iterator[Problem]:
    """Keys that name answers."""
    possible = entry.question.possible_answers
    named = {
        "flag": entry.flags,
        "severities": tuple(entry.severities or ()),
        "thresholds": tuple(entry.thresholds or ()),
        "codes": tuple(name for codes in (entry.codes or {}).values() if isinstance(codes, dict) for name in codes),
    }
    for key, names in named.items():
        for name in names:
            if possible and name not in possible:
                yield key, f"{name!r} is not a possible answer: expected {' or '.join(map(repr, possible))}"
    if (entry.severity or entry.severities) and entry.kind.scored and not entry.flags:
        yield ("severity" if entry.severity else "severities"), "has no effect without a flag"
    for name in entry.severities or ():
        if entry.flags and name in possible and name not in entry.flags:
            yield "severities", f"{name!r} is not flagged: add it to `flag`"


def _band(entry: PromptEntry) -> Iterator[Problem]:
    limits = [key for key in ("no_below", "yes_from") if getattr(entry, key) is not None]
    if len(limits) == 1:
        yield limits[0], "no_below and yes_from belong together: give both, or threshold and doubt"
    for key in ("threshold", "doubt"):
        if limits and getattr(entry, key) is not None:
            yield key, "cannot be combined with no_below and yes_from"
    if len(limits) == 2 and entry.band.no_below > entry.band.yes_from:
        yield "yes_from", f"{entry.band.yes_from:g} is less than no_below {entry.band.no_below:g}"


def _decoding(entry: PromptEntry) -> Iterator[Problem]:
    for key in _NEEDS_TEMPERATURE:
        if getattr(entry, key) is not None and not entry.temperature:
            yield key, "has no effect without a temperature above 0"
    if (entry.beams or 1) > 1 and entry.temperature:
        yield "beams", "beam search finds the likeliest text, so it cannot be combined with a temperature above 0"


def _range(entry: PromptEntry) -> Iterator[Problem]:
    if entry.minimum is not None and entry.maximum is not None and entry.minimum > entry.maximum:
        yield "maximum", f"{entry.maximum:g} is less than minimum {entry.minimum:g}"


def _roll_up(entry: PromptEntry) -> Iterator[Problem]:
    allowed = roll_ups_of(entry.kind)
    if entry.roll_up is None or not allowed:
        return
    try:
        how = RollUp.parse(entry.roll_up)
    except ValueError as error:
        yield "roll_up", f"{entry.roll_up!r}: {error}"
    else:
        if how.kind not in allowed:
            yield "roll_up", f"{entry.roll_up!r} is not for kind {entry.kind}: expected {', '.join(allowed)}"


def _look_again(entry: PromptEntry) -> Iterator[Problem]:
    if entry.look_again is None:
        return
    try:
        SamplingPlan.parse(entry.look_again.plan, entry.look_again.window_s)
    except SettingsError as error:
        yield "look_again", error.detail


def _form(entry: PromptEntry) -> Iterator[Problem]:
    if entry.form is not None:
        yield from entry.form.problems()
    elif entry.kind is PromptKind.OBJECT:
        yield "schema", "a prompt of kind object needs one: {type: object, properties: {name: {type: string, ...}}}"


def _level(entry: PromptEntry, earlier: Sequence[Prompt]) -> Iterator[Problem]:
    if entry.level is not Level.VIDEO:
        for key in ("over", "notes_bytes"):
            if getattr(entry, key) is not None:
                yield key, "is for prompts of `level: video`"
        return
    for key, why in _NOT_OF_VIDEO.items():
        if getattr(entry, key) is not None:
            yield key, f"not allowed for `level: video`: {why}"
    of_segments = [one.name for one in earlier if one.question.level is Level.SEGMENT]
    for name in entry.over or ():
        if name not in of_segments:
            names = ", ".join(of_segments) or "none"
            yield "over", f"{name!r} is not an earlier prompt about segments; earlier ones: {names}"
    if not of_segments:
        yield "level", "a prompt about the whole video is asked over the answers of earlier prompts: there are none"


_NOT_OF_VIDEO = {
    "roll_up": "its answer is that of the video already",
    "look_again": "it sees no frames",
    "when": "it is asked once all segments are done",
}


def _codes(entry: PromptEntry, taxonomies: Collection[str]) -> Iterator[Problem]:
    for name in entry.codes or ():
        if name not in taxonomies:
            known = ", ".join(taxonomies) or "none"
            yield "codes", f"{name!r} is not in `taxonomies` at the top of the file, which names what was read: {known}"


def _links(entry: PromptEntry, earlier: Sequence[Prompt]) -> Iterator[Problem]:
    by_name = {prompt.name: prompt.question for prompt in earlier}
    if entry.name in by_name:
        yield "name", "an earlier prompt of the set has the same name"
    for name, answer in (entry.when or {}).items():
        question = by_name.get(name)
        if question is None:
            names = ", ".join(by_name) or "none"
            yield "when", f"{name!r} is not an earlier prompt of the set; earlier prompts: {names}"
        elif question.level is Level.VIDEO:
            yield "when", f"{name!r} is about the whole video, which is asked last"
        elif not question.kind.scored:
            yield "when", f"{name!r} is of kind {question.kind}: only yes_no, choice and tags can be a condition"
        elif answer not in question.possible_answers:
            possible = question.possible_answers
            yield "when", f"{name!r} never answers {answer!r}: expected {' or '.join(map(repr, possible))}"

"""The schema of a prompt file: the keys, their values, and the rules between them.

`loading` calls it and adds line numbers. This module does not depend on YAML.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from nightreel.domain import MOST_SCORED_NUMBERS, ONE_NAME, GenerationOptions, Prompt, PromptKind

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
_Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

_WITH_CHOICES = (PromptKind.CHOICE, PromptKind.TAGS)
_DECODING = tuple(field.name for field in fields(GenerationOptions))
_NEEDS_TEMPERATURE = ("top_k", "top_p", "seed")
_NUMBER_TOKENS = 16
"""Enough for "There are twenty-three people."."""


class SetEntry(BaseModel):
    """The top level of a file, without its prompts."""

    model_config = ConfigDict(extra="forbid")

    name: _Name


class PromptEntry(BaseModel):
    """One prompt of a file. A missing key is None."""

    model_config = ConfigDict(extra="forbid")

    name: _Name
    kind: PromptKind
    text: _Words
    choices: list[_Words] | None = Field(None, max_length=100)
    max_new_tokens: int | None = Field(None, ge=1, le=4096)
    threshold: _Share | None = None
    flag: str | None = None
    min_mass: _Share | None = None
    min_margin: _Share | None = None
    when: dict[str, str] | None = Field(None, min_length=1)
    minimum: _Finite | None = None
    maximum: _Finite | None = None
    temperature: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] | None = None
    top_k: int | None = Field(None, ge=1)
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    seed: int | None = Field(None, ge=0, lt=2**63)
    repetition_penalty: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] | None = None
    beams: int | None = Field(None, ge=1, le=32)

    @property
    def scored(self) -> bool:
        """Whether its answer has a probability; a number has one only if its bounds are narrow."""
        return self.kind.scored or self.to_prompt("").scored

    def to_prompt(self, set_name: str) -> Prompt:
        given = self.model_dump(exclude_none=True)
        given["decoding"] = GenerationOptions(**{key: given.pop(key) for key in _DECODING if key in given})
        if self.kind is PromptKind.NUMBER:
            given.setdefault("max_new_tokens", _NUMBER_TOKENS)
        given |= {"choices": tuple(self.choices or ()), "when": tuple((self.when or {}).items()), "set_name": set_name}
        return Prompt(**given)


_Entry = TypeVar("_Entry", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Checked(Generic[_Entry]):
    """An entry, or its problems as (key, problem) pairs."""

    value: _Entry | None
    problems: list[tuple[str, str]]


def explain(model: type[_Entry], values: dict[str, Any]) -> Checked[_Entry]:
    """Validate `values`, and describe each problem so that a person can fix it."""
    try:
        return Checked(model.model_validate(values), [])
    except ValidationError as error:
        return Checked(None, [_problem(model, item) for item in error.errors()])


def cross_checks(entry: PromptEntry | None, earlier: Sequence[Prompt]) -> list[tuple[str, str]]:
    """Problems between keys and between prompts, as (key, problem) pairs."""
    if entry is None:
        return []
    own = [*_misplaced_keys(entry), *_choices(entry), *_flag(entry), *_decoding(entry), *_range(entry)]
    return [*own, *_links(entry, earlier)]


def possible_answers(kind: PromptKind, choices: Sequence[str]) -> tuple[str, ...]:
    """The possible answers of a scored prompt; empty for other prompts, whose answers cannot be listed."""
    return ("yes", "no") if kind is PromptKind.YES_NO else tuple(choices) if kind in _WITH_CHOICES else ()


def _problem(model: type[BaseModel], item: Any) -> tuple[str, str]:
    key = str(item["loc"][0])
    known = list(model.model_fields)
    match item["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(known)}"
            return key, f"unknown key: {hint}"
        case "missing":
            return key, "is missing"
        case "enum":
            return key, f"{item['input']!r} is not a kind: expected {', '.join(PromptKind)}"
        case "string_pattern_mismatch":
            return key, f"{item['input']!r}: expected lower-case letters, digits and _, starting with a letter"
        case "string_too_short":
            return key, "is empty"
        case _:
            return key, f"{item['input']!r}: {item['msg'][:1].lower()}{item['msg'][1:]}"


def _misplaced_keys(entry: PromptEntry) -> Iterator[tuple[str, str]]:
    belongs = {
        "choices": entry.kind in _WITH_CHOICES,
        "max_new_tokens": not entry.kind.scored,
        "threshold": entry.kind in (PromptKind.YES_NO, PromptKind.TAGS),
        "flag": entry.kind.scored,
        "min_mass": entry.scored,
        "min_margin": entry.scored,
        "minimum": entry.kind is PromptKind.NUMBER,
        "maximum": entry.kind is PromptKind.NUMBER,
        **dict.fromkeys(_DECODING, not entry.kind.scored),
    }
    for key, fits in belongs.items():
        if getattr(entry, key) is not None and not fits:
            wide = entry.kind is PromptKind.NUMBER and key in ("min_mass", "min_margin")
            bounds = f" unless its minimum and maximum are at most {MOST_SCORED_NUMBERS} apart" if wide else ""
            yield key, f"not allowed for kind {entry.kind}{bounds}"


def _choices(entry: PromptEntry) -> Iterator[tuple[str, str]]:
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


def _flag(entry: PromptEntry) -> Iterator[tuple[str, str]]:
    possible = possible_answers(entry.kind, entry.choices or ())
    if entry.flag is not None and possible and entry.flag not in possible:
        yield "flag", f"{entry.flag!r} is not a possible answer: expected {' or '.join(map(repr, possible))}"


def _decoding(entry: PromptEntry) -> Iterator[tuple[str, str]]:
    for key in _NEEDS_TEMPERATURE:
        if getattr(entry, key) is not None and not entry.temperature:
            yield key, "has no effect without a temperature above 0"
    if (entry.beams or 1) > 1 and entry.temperature:
        yield "beams", "beam search finds the likeliest text, so it cannot be combined with a temperature above 0"


def _range(entry: PromptEntry) -> Iterator[tuple[str, str]]:
    if entry.minimum is not None and entry.maximum is not None and entry.minimum > entry.maximum:
        yield "maximum", f"{entry.maximum:g} is less than minimum {entry.minimum:g}"


def _links(entry: PromptEntry, earlier: Sequence[Prompt]) -> Iterator[tuple[str, str]]:
    by_name = {prompt.name: prompt for prompt in earlier}
    if entry.name in by_name:
        yield "name", "an earlier prompt of the set has the same name"
    elif same := {prompt.hash: prompt for prompt in earlier}.get(entry.to_prompt("").hash):
        yield "text", f"prompt {same.name!r} asks the same question: {ONE_NAME}"
    for name, answer in (entry.when or {}).items():
        prompt = by_name.get(name)
        if prompt is None:
            names = ", ".join(by_name) or "none"
            yield "when", f"{name!r} is not an earlier prompt of the set; earlier prompts: {names}"
        elif not prompt.kind.scored:
            yield "when", f"{name!r} is of kind {prompt.kind}: only yes_no, choice and tags can be a condition"
        else:
            possible = possible_answers(prompt.kind, prompt.choices)
            if answer not in possible:
                yield "when", f"{name!r} never answers {answer!r}: expected {' or '.join(map(repr, possible))}"

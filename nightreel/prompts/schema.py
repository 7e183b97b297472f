"""The schema of a prompt file: the keys, their values, and the rules between them.

The keys are of two groups. Those of the question decide what the model is asked; those of the policy decide what its
answers mean, and change without asking again. `loading` calls this module and adds line numbers. It does not depend on
YAML.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)

from nightreel.domain import (
    MIN_COVERAGE,
    Band,
    GenerationOptions,
    Language,
    Level,
    LookAgain,
    Policy,
    Prompt,
    PromptKind,
    Question,
    Review,
    RollUp,
)
from nightreel.prompts.objects import KEYS, JsonType, Name, ObjectEntry, Words

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Severity = Annotated[int, Field(ge=1, le=4)]
_List = Annotated[list[Words], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
"""A list, or its only item."""
_Codes = dict[
    Name,
    Annotated[
        Annotated[_List, Tag("list")] | Annotated[dict[Words, _List], Tag("mapping")],
        Discriminator(lambda value: "mapping" if isinstance(value, dict) else "list"),
    ],
]

DECODING = tuple(field.name for field in fields(GenerationOptions))
"""The keys that choose the tokens of a generated text."""
_ENUMS: dict[str, Any] = {"kind": PromptKind, "review": Review, "language": Language, "level": Level, "type": JsonType}
_NUMBER_TOKENS = 16
"""Enough for "There are twenty-three people."."""
MOST_KEYWORDS = 8
KEYWORD_TOKENS = 24
"""For one keyword: a few words, in scripts with a token for each character or byte."""
_OBJECT_TOKENS = 512
_NOTES_BYTES = 12_000
"""About 3,000 tokens of English, 4,000 of Chinese: they fit any model beside a question."""


class Taxonomy(BaseModel):
    """The document in which the codes of a taxonomy were read."""

    model_config = ConfigDict(extra="forbid")

    title: Words
    version: Words
    date: Words
    url: Words


class SetEntry(BaseModel):
    """The top level of a file, without its prompts."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    language: Language = Language.ENGLISH
    taxonomies: dict[Name, Taxonomy] = Field(default_factory=dict)


class LookAgainEntry(BaseModel):
    """The key `look_again` of a prompt."""

    model_config = ConfigDict(extra="forbid")

    from_p: _Share = Field(alias="from")
    plan: str
    window_s: Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)]


class PromptEntry(BaseModel):
    """One prompt of a file. A missing key is None."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    # the question
    kind: PromptKind
    text: Words
    choices: list[Words] | None = Field(None, max_length=100)
    max_new_tokens: int | None = Field(None, ge=1, le=4096)
    minimum: _Finite | None = None
    maximum: _Finite | None = None
    temperature: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] | None = None
    top_k: int | None = Field(None, ge=1)
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    seed: int | None = Field(None, ge=0, lt=2**63)
    repetition_penalty: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] | None = None
    beams: int | None = Field(None, ge=1, le=32)
    most: int | None = Field(None, ge=1, le=50)
    form: ObjectEntry | None = Field(None, alias="schema")
    level: Level | None = None
    over: list[Name] | None = Field(None, min_length=1, max_length=100)
    notes_bytes: int | None = Field(None, ge=1000, le=1_000_000)
    # the policy
    threshold: _Share | None = None
    doubt: _Share | None = None
    no_below: _Share | None = None
    yes_from: _Share | None = None
    thresholds: dict[str, _Share] | None = Field(None, min_length=1)
    min_mass: _Share | None = None
    min_margin: _Share | None = None
    flag: _List | None = None
    severity: _Severity | None = None
    severities: dict[str, _Severity] | None = Field(None, min_length=1)
    lane: Name | None = None
    review: Review | None = None
    roll_up: str | None = None
    coverage: _Share | None = None
    policy_text: Words | None = None
    codes: _Codes | None = None
    when: dict[str, str] | None = Field(None, min_length=1)
    look_again: LookAgainEntry | None = None

    @property
    def question(self) -> Question:
        decoding = GenerationOptions(**self._given(*DECODING))
        given = self._given("kind", "text", "max_new_tokens", "minimum", "maximum")
        if self.kind is PromptKind.NUMBER:
            given.setdefault("max_new_tokens", _NUMBER_TOKENS)
        if self.kind is PromptKind.KEYWORDS:
            given["most"] = self.most or MOST_KEYWORDS
            given.setdefault("max_new_tokens", KEYWORD_TOKENS * given["most"])
        if self.form is not None:
            given["fields"] = self.form.fields
            given.setdefault("max_new_tokens", _OBJECT_TOKENS)
        if self.level is Level.VIDEO:
            given |= {"level": Level.VIDEO, "notes_bytes": self.notes_bytes or _NOTES_BYTES}
        return Question(choices=tuple(self.choices or ()), decoding=decoding, **given)

    @property
    def has_form(self) -> bool:
        """Whether its answers are JSON."""
        return self.kind in (PromptKind.KEYWORDS, PromptKind.OBJECT)

    @property
    def flags(self) -> tuple[str, ...]:
        return tuple(self.flag or ())

    @property
    def band(self) -> Band:
        """Its limits are `no_below` and `yes_from`; without them, they lie around the threshold."""
        if self.no_below is not None and self.yes_from is not None:
            return Band(self.no_below, self.yes_from)
        return Band.around(0.5 if self.threshold is None else self.threshold, self.doubt or 0.0)

    def to_prompt(self, top: SetEntry, earlier: Sequence[Prompt] = (), *, coverage: float = MIN_COVERAGE) -> Prompt:
        """The prompt.

        Args:
            earlier: the prompts of the set before it, whose answers a question about the whole video is asked over.
            coverage: the policy's, unless the prompt sets its own.
        """
        look = self.look_again
        given = self._given("min_mass", "min_margin", "severity", "lane", "review", "coverage", "codes")
        policy = Policy(
            **{"coverage": coverage} | given,
            band=self.band,
            bands=tuple((tag, Band.around(limit, self.doubt or 0.0)) for tag, limit in (self.thresholds or {}).items()),
            flags=self.flags,
            severities=tuple((self.severities or {}).items()),
            roll_up=RollUp.parse(self.roll_up) if self.roll_up else None,
            text=self.policy_text or "",
            when=tuple((self.when or {}).items()),
            look_again=LookAgain(**look.model_dump()) if look else None,
        )
        question = replace(self.question, language=top.language)
        if question.level is Level.VIDEO:
            named = self.over or [one.name for one in earlier if one.question.level is Level.SEGMENT]
            over = sorted({one.question.hash for one in earlier if one.name in named})
            question = replace(question, over=tuple(over))
        return Prompt(name=self.name, set_name=top.name, question=question, policy=policy)

    def _given(self, *names: str) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(self, name)) is not None}


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
        return Checked(None, list(dict.fromkeys(_problem(model, item) for item in error.errors())))


_FORMS = {
    "dict_type": "expected keys and values, such as {key: value}",
    "model_type": "expected keys and values, such as {key: value}",
    "list_type": "expected a list, such as [a, b]",
    "string_type": "expected text",
}
_MOST_QUOTED = 80


def _problem(model: type[BaseModel], item: Any) -> tuple[str, str]:
    key, *inner = item["loc"]
    names = [name for name in inner if isinstance(name, str) and name not in ("list", "mapping", "[key]")]
    known = [field.alias or name for name, field in model.model_fields.items()]
    given = repr(item["input"])
    if len(given) > _MOST_QUOTED:
        given = f"{given[:_MOST_QUOTED]}..."
    if names and names[-1] != item["input"]:
        given += f" of {names[-1]!r}"
    is_deep = key == "schema" and bool(inner)
    if is_deep:  # the line of the key in the schema, not that of the schema
        key, names = ".".join(map(str, item["loc"])), []
    match item["type"]:
        case "extra_forbidden" if not inner:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(known)}"
            return key, f"unknown key: {hint}"
        case "extra_forbidden" if is_deep:
            return key, f"unknown key: a schema may have {', '.join(KEYS)}"
        case "extra_forbidden":
            return key, f"unknown key {names[-1]!r}"
        case "missing":
            return key, f"{names[-1]!r} is missing" if names else "is missing"
        case "enum":
            expected = _ENUMS[key.rsplit(".", 1)[-1]]
            what = "a kind" if expected is PromptKind else "known"
            return key, f"{given} is not {what}: expected {', '.join(expected)}"
        case "string_pattern_mismatch":
            return key, f"{given}: expected lower-case letters, digits and _, starting with a letter"
        case "string_too_short" | "too_short":
            return key, f"{names[-1]!r} is empty" if names else "is empty"
        case form if form in _FORMS:
            return key, f"{given}: {_FORMS[form]}"
        case _:
            return key, f"{given}: {item['msg'][:1].lower()}{item['msg'][1:]}"

"""Prompts and answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from nightreel.domain.identity import content_hash
from nightreel.errors import SettingsError

ONE_NAME = "an answer belongs to one name; remove one of the two prompts, or change its text"
"""Why two prompts must not ask the same question, and what to do about it."""
WORDING_VERSION = 1
"""Version of the instructions that `nightreel.prompts.wording` adds to a prompt's text. Part of every prompt hash."""


class PromptKind(StrEnum):
    CAPTION = "caption"
    TEXT = "text"
    YES_NO = "yes_no"
    NUMBER = "number"
    CHOICE = "choice"
    TAGS = "tags"

    @property
    def scored(self) -> bool:
        """Whether answers of this kind always come from next-token scores, not from generated text."""
        return self in (PromptKind.YES_NO, PromptKind.CHOICE, PromptKind.TAGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """How a text is generated, token by token. The default is greedy: always the likeliest token.

    Args:
        temperature: above 0, tokens are drawn at random; below 1 it sharpens, above 1 it flattens the probabilities.
        top_k: draw from the k likeliest tokens only; 0 for all.
        top_p: draw from the likeliest tokens that together hold this share of the probability.
        seed: of the draws.
        repetition_penalty: above 1, tokens that are already in the prompt or the text become less likely.
        beams: number of texts to search in parallel; the likeliest one is the result.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    repetition_penalty: float = 1.0
    beams: int = 1


GREEDY = GenerationOptions()
MOST_SCORED_NUMBERS = 20
"""Largest distance between the bounds of a number prompt whose integers are scored one by one, as 0 to 20."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One question of a prompt set.

    Args:
        threshold: yes_no and tags: the probability from which the answer is "yes".
        flag: the answer that an analyst should see ("yes", or a choice); None flags nothing.
        min_mass: the answer is `unknown` if the allowed answers hold less of the next-token probability than this.
        min_margin: the answer is `unknown` if the best answer leads the next by less than this.
        when: names of earlier prompts of the set, and the answer that each must have.
        minimum, maximum: number: an answer outside this range is `unknown`. In a narrow range each number is scored,
            unless `decoding` is set.
        decoding: caption, text and number: how tokens are chosen.
        set_name: the prompt set that it belongs to.
    """

    name: str
    kind: PromptKind
    text: str
    choices: tuple[str, ...] = ()
    max_new_tokens: int = 64
    threshold: float = 0.5
    flag: str | None = None
    min_mass: float = 0.0
    min_margin: float = 0.0
    when: tuple[tuple[str, str], ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    decoding: GenerationOptions = GREEDY
    set_name: str = ""

    @property
    def numbers(self) -> tuple[int, ...]:
        """The integers that can answer a number prompt with narrow bounds; empty for all other prompts."""
        if self.kind is not PromptKind.NUMBER or self.minimum is None or self.maximum is None:
            return ()
        if self.decoding != GREEDY or self.maximum - self.minimum > MOST_SCORED_NUMBERS:
            return ()
        return tuple(range(math.ceil(self.minimum), math.floor(self.maximum) + 1))

    @property
    def scored(self) -> bool:
        """Whether a local model takes the answer from next-token scores instead of generating it."""
        return self.kind.scored or bool(self.numbers)

    @property
    def sampled(self) -> bool:
        """Whether the answer is drawn at random, so that two segments with the same bytes may have different ones."""
        return not self.kind.scored and self.decoding.temperature > 0

    @property
    def hash(self) -> str:
        """Identity of the question: what is asked and how the answer is read. Excludes names, flag and condition."""
        return content_hash(
            {
                "wording": WORDING_VERSION,
                "kind": self.kind,
                "text": self.text,
                "choices": self.choices,
                "max_new_tokens": None if self.scored else self.max_new_tokens,
                "threshold": self.threshold if self.kind in (PromptKind.YES_NO, PromptKind.TAGS) else None,
                "min_mass": self.min_mass,
                "min_margin": self.min_margin,
                "range": [self.minimum, self.maximum],
                "decoding": None if self.scored else asdict(self.decoding),
            }
        )


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Prompts asked together, in order. Names are unique, and so are questions.

    Raises:
        SettingsError: two prompts ask the same question. An answer belongs to one prompt, so one of the two names would
            get no answers and its flag would be lost.
    """

    name: str
    prompts: tuple[Prompt, ...]

    def __post_init__(self) -> None:
        asked: dict[str, Prompt] = {}
        for prompt in self.prompts:
            same = asked.setdefault(prompt.hash, prompt)
            if same is not prompt:
                raise SettingsError(
                    f"prompt {prompt.name!r} of set {prompt.set_name or self.name!r} asks the same question as prompt "
                    f"{same.name!r} of set {same.set_name or self.name!r}: {ONE_NAME}"
                )

    def __add__(self, other: PromptSet) -> PromptSet:
        """Both sets as one, in order.

        Raises:
            SettingsError: both sets use the same prompt name, or ask the same question.
        """
        own = {prompt.name: prompt for prompt in self.prompts}
        for prompt in other.prompts:
            clash = own.get(prompt.name)
            if clash is not None:
                raise SettingsError(
                    f"prompt {prompt.name!r} is in set {clash.set_name or self.name!r} and in set "
                    f"{prompt.set_name or other.name!r}: rename one of them, so that answers can be told apart"
                )
        return PromptSet(f"{self.name}+{other.name}", self.prompts + other.prompts)

    def __len__(self) -> int:
        return len(self.prompts)

    def missing(self, given: Mapping[str, Answer]) -> tuple[Prompt, ...]:
        """The prompts that a segment with these answers (by prompt hash) still lacks.

        Includes a follow-up whose condition holds or is undecided.
        """
        said = {prompt.name: given[prompt.hash].text for prompt in self.prompts if prompt.hash in given}
        return tuple(
            prompt
            for prompt in self.prompts
            if prompt.hash not in given and all(said.get(name, answer) == answer for name, answer in prompt.when)
        )


class AnswerState(StrEnum):
    ANSWERED = "answered"
    UNKNOWN = "unknown"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to one prompt about one segment. A failure never becomes a "no".

    Args:
        text: the answer as text: the caption, "yes", the choice, tags joined by ", "; None unless answered.
        value: the same, typed: bool, float, str or list of str; None unless answered.
        p: probability of the answer among the allowed ones; of "yes" for yes_no; None if nothing was scored.
        scores: probability of each allowed answer.
        reason: why the answer is unknown or an error.
    """

    prompt_hash: str
    state: AnswerState
    text: str | None = None
    value: bool | float | str | list[str] | None = None
    p: float | None = None
    scores: Mapping[str, float] | None = None
    reason: str | None = None
    prompt_tokens: int = 0
    generated_tokens: int = 0

    def __post_init__(self) -> None:
        assert (self.state is AnswerState.ANSWERED) == (self.value is not None), self
        assert (self.state is AnswerState.ANSWERED) == (self.reason is None), self

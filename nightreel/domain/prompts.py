"""Prompts: a name, the question that a model gets, and the policy that says what its answers mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, NamedTuple

from nightreel.domain.answers import Answer
from nightreel.domain.judging import judge
from nightreel.domain.policies import Policy
from nightreel.domain.questions import Level, Question
from nightreel.domain.verdicts import Verdict, VerdictState
from nightreel.domain.videos import SamplingPlan
from nightreel.errors import SettingsError

NO_LOOKS: Mapping[tuple[str, str], Answer] = MappingProxyType({})
_QUESTION = frozenset(item.name for item in fields(Question))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt of a prompt set. Set and name identify it; several prompts may ask one question.

    Args:
        set_name: the prompt set that it belongs to.
    """

    name: str
    set_name: str = ""
    question: Question
    policy: Policy = field(default=Policy())

    @classmethod
    def of(cls, *, name: str, set_name: str = "", **keys: Any) -> Prompt:
        """A prompt from the fields of its question and its policy."""
        question = {key: keys.pop(key) for key in tuple(keys) if key in _QUESTION}
        return cls(name=name, set_name=set_name, question=Question(**question), policy=Policy(**keys))


class BothVerdicts(NamedTuple):
    """The verdicts on the first answer of a segment, and on that of the second look that the policy wants."""

    first: Verdict
    second: Verdict | None

    @property
    def decisive(self) -> Verdict:
        """The second one, if the first one asks for it and it is not an error."""
        if self.second is None or not self.first.look_again or self.second.state is VerdictState.ERROR:
            return self.first
        return self.second


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Prompts asked together, in order. Names are unique."""

    name: str
    prompts: tuple[Prompt, ...]

    def __add__(self, other: PromptSet) -> PromptSet:
        """Both sets as one, in order.

        Raises:
            SettingsError: both sets use the same prompt name.
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

    def judge(
        self, answers: Mapping[str, Answer], looks: Mapping[tuple[str, str], Answer] = NO_LOOKS
    ) -> dict[str, Verdict]:
        """The verdict of each prompt whose question is answered, by prompt name. A second look that is due decides.

        Args:
            answers: by question hash. looks: answers of second looks, by question hash and `LookAgain.key`.
        """
        return {name: both.decisive for name, both in self.judge_both(answers, looks).items()}

    def judge_both(
        self, answers: Mapping[str, Answer], looks: Mapping[tuple[str, str], Answer]
    ) -> dict[str, BothVerdicts]:
        """As `judge`, with the verdicts on both looks."""
        verdicts = {}
        for prompt in self.prompts:
            question, policy = prompt.question, prompt.policy
            if question.hash not in answers:
                continue
            second = looks.get((question.hash, policy.look_again.key)) if policy.look_again else None
            verdicts[prompt.name] = BothVerdicts(
                judge(question, answers[question.hash], policy),
                None if second is None else judge(question, second, policy),
            )
        return verdicts

    def due(self, verdicts: Mapping[str, Verdict]) -> dict[str, bool | None]:
        """For each prompt, whether its condition holds; None if that is undecided.

        A verdict on a prompt that is not due counts for no condition.

        Args:
            verdicts: by prompt name.
        """
        due: dict[str, bool | None] = {}
        conditions = {prompt.name: prompt.policy.when for prompt in self.prompts}

        def says(name: str, wanted: str) -> bool | None:
            if is_due(name) is False:
                return False
            return verdicts[name].says(wanted) if name in verdicts else None

        def is_due(name: str) -> bool | None:
            if name not in due:
                due[name] = None  # a prompt that is its own condition stays undecided
                holds = [says(earlier, wanted) for earlier, wanted in conditions.get(name, ())]
                due[name] = False if False in holds else None if None in holds else True
            return due[name]

        return {name: is_due(name) for name in conditions}

    def with_conditions(self, names: Collection[str]) -> PromptSet:
        """These prompts, by name, and those that their conditions name."""
        wanted = set(names)
        while more := {name for one in self.prompts if one.name in wanted for name, _ in one.policy.when} - wanted:
            wanted |= more
        return PromptSet(self.name, tuple(one for one in self.prompts if one.name in wanted))

    def missing(self, verdicts: Mapping[str, Verdict]) -> tuple[Prompt, ...]:
        """The prompts that a segment with these verdicts, by prompt name, still lacks.

        Includes a follow-up whose condition holds or is undecided, and no prompt about the whole video.
        """
        due = self.due(verdicts)
        return tuple(
            one
            for one in self.prompts
            if one.name not in verdicts and due[one.name] is not False and one.question.level is Level.SEGMENT
        )

    @property
    def of_whole_videos(self) -> tuple[Prompt, ...]:
        return tuple(one for one in self.prompts if one.question.level is Level.VIDEO)

    def to_look_again(self, verdicts: Mapping[str, Verdict]) -> tuple[Prompt, ...]:
        """The prompts that a segment with these verdicts, by prompt name, must be looked at again for."""
        due = self.due(verdicts)
        return tuple(
            one
            for one in self.prompts
            if one.name in verdicts and verdicts[one.name].look_again and due[one.name] is not False
        )


def largest_plan(plan: SamplingPlan, prompts: Iterable[Prompt]) -> SamplingPlan:
    """The sampling plan that takes the most frames: this one, or that of a second look of these prompts."""
    looks = [prompt.policy.look_again.sampling for prompt in prompts if prompt.policy.look_again]
    return max([plan, *looks], key=lambda one: one.most_frames)

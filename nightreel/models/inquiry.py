"""The state of one segment's prompts: ready to ask, waiting for an answer, answered.

`local` and `remote` keep one Inquiry per segment. This module does not depend on models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from nightreel.domain import Answer, AnswerState, Prompt


@dataclass(slots=True, kw_only=True)
class Inquiry:
    """The waiting prompts and the answers so far.

    Args:
        known: answers by prompt name, including those of earlier runs: `when` conditions are checked against them.
    """

    waiting: list[Prompt]
    known: dict[str, Answer]
    answers: list[Answer] = field(default_factory=list)

    def take_ready(self) -> list[Prompt]:
        """Remove and return the prompts that can be asked now; drop those whose condition can no longer hold."""
        names = {prompt.name for prompt in self.waiting}
        ready, blocked = [], []
        for prompt in self.waiting:
            states = [self._holds(name, wanted, names) for name, wanted in prompt.when]
            if all(states):
                ready.append(prompt)
            elif False not in states:
                blocked.append(prompt)
        self.waiting = blocked
        return ready

    def snapshot(self) -> tuple[list[Prompt], dict[str, Answer], list[Answer]]:
        return list(self.waiting), dict(self.known), list(self.answers)

    def restore(self, state: tuple[list[Prompt], dict[str, Answer], list[Answer]]) -> None:
        self.waiting, self.known, self.answers = state

    def record(self, prompt: Prompt, answer: Answer) -> None:
        self.known[prompt.name] = answer
        self.answers.append(answer)

    def in_order(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """The answers in the order of `prompts`, one per prompt hash.

        An error beside usable answers concerns this prompt alone, and becomes unknown. If all answers are errors, the
        model or the segment is at fault: they stay errors, which fail the video.
        """
        order = {prompt.hash: place for place, prompt in reversed(list(enumerate(prompts)))}
        usable = any(answer.state is not AnswerState.ERROR for answer in self.known.values())
        unique = {answer.prompt_hash: _only_unknown(answer) if usable else answer for answer in self.answers}
        return sorted(unique.values(), key=lambda answer: order[answer.prompt_hash])

    def _holds(self, name: str, wanted: str, waiting: set[str]) -> bool | None:
        """Whether an earlier prompt has the wanted answer; None if it is not answered yet."""
        answer = self.known.get(name)
        if answer is None:
            return None if name in waiting else False
        if answer.state is not AnswerState.ANSWERED:
            return False
        return wanted in answer.value if isinstance(answer.value, list) else answer.text == wanted


def _only_unknown(answer: Answer) -> Answer:
    return replace(answer, state=AnswerState.UNKNOWN) if answer.state is AnswerState.ERROR else answer

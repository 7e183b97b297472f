"""Which prompts a model can be asked: refused before any video is touched, not by the first video.

`footprint` calls it, and so do the checks before a run claims videos.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nightreel.domain import Level, Prompt
from nightreel.errors import NightreelError, SettingsError
from nightreel.models.inprocess.answer_tokens import AnswerTokens
from nightreel.models.inprocess.dialogue import Dialogue
from nightreel.models.inprocess.grammars import Grammars
from nightreel.prompts.wording import texts_of


def require_answerable(
    prompts: Sequence[Prompt], *, dialogue: Dialogue, answer_tokens: AnswerTokens, grammars: Grammars, model: str
) -> None:
    """Refuse prompts whose questions or allowed answers do not fit the model's tokenizer.

    Args:
        model: its name, for the message.

    Raises:
        SettingsError: one line for each such prompt: its name, the words, and why.
    """
    problems = [problem for prompt in prompts for problem in _problems(prompt, dialogue, answer_tokens, grammars)]
    if problems:
        raise SettingsError(f"model {model!r} cannot answer all prompts:\n" + "\n".join(problems))


def _problems(prompt: Prompt, dialogue: Dialogue, answer_tokens: AnswerTokens, grammars: Grammars) -> Iterator[str]:
    where = f"prompt {prompt.name!r}" + (f" of set {prompt.set_name!r}" if prompt.set_name else "")
    question = prompt.question
    for text in texts_of(question):
        try:
            dialogue.check(text)
        except NightreelError as error:
            yield f"{where}: {error.detail}"
    if problem := answer_tokens.problem(question):
        what = "choices" if question.choices else "numbers" if question.numbers else "answers"
        yield f"{where}: its {what} cannot be scored: {problem}; use other words, or another model"
    if question.level is Level.VIDEO:
        try:
            dialogue.before_question("")
        except NightreelError as error:
            yield f"{where}: {error.detail}"
    if problem := grammars.problem(question):
        yield f"{where}: its answers cannot be written: {problem}; use other words, or another model"

"""The questions that a model gets for a prompt: its text and one short instruction per kind.

`nightreel.models` asks these. If you change a sentence here, raise `domain.prompts.WORDING_VERSION`: it is part of
every prompt hash, so that old answers do not count as answers to the new question.
"""

from __future__ import annotations

from nightreel.domain import Prompt, PromptKind


def questions_of(prompt: Prompt) -> tuple[str, ...]:
    """The questions for one prompt: one question, or for tags one per choice, because several tags can apply.

    >>> questions_of(Prompt(name="q", kind=PromptKind.YES_NO, text="Is it raining?"))
    ('Is it raining? Answer yes or no.',)
    """
    text = prompt.text.strip()
    match prompt.kind:
        case PromptKind.CAPTION | PromptKind.TEXT:
            return (text,)
        case PromptKind.YES_NO:
            return (f"{text} Answer yes or no.",)
        case PromptKind.NUMBER:
            return (f"{text} Answer with a number.",)
        case PromptKind.CHOICE:
            return (f"{text} Answer with one of: {', '.join(prompt.choices)}.",)
        case PromptKind.TAGS:
            return tuple(f"{text} {choice}? Answer yes or no." for choice in prompt.choices)

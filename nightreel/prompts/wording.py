"""The words in which a prompt is put to a model: its text and one short instruction a kind.

`nightreel.models` asks these. They are part of what is asked: whoever changes a sentence here raises
`domain.prompts.WORDING_VERSION`, which is part of every prompt hash, so that old answers are not taken for new ones.
"""

from __future__ import annotations

from nightreel.domain import Prompt, PromptKind


def questions_of(prompt: Prompt) -> tuple[str, ...]:
    """The questions one prompt stands for: one, or one a choice for tags, which do not exclude each other.

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

"""Turn questions into Rows, the tokens of each of their texts, and Rows into a shape, their size in a batch.

`local` asks the rows, `footprint` only counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nightreel.domain import Question
from nightreel.models.inprocess.answer_tokens import AnswerTokens
from nightreel.models.inprocess.grammars import Grammar
from nightreel.models.inprocess.prefix import Row
from nightreel.models.memory.shapes import SegmentShape
from nightreel.prompts.wording import texts_of

Suffix = Callable[[str], tuple[int, ...]]
"""The tokens of a question's text, after a prefix."""


def rows_of(
    question: Question, segment: int, *, suffix: Suffix, answer_tokens: AnswerTokens, grammar: Grammar | None = None
) -> list[Row]:
    """One Row for each text of a question.

    Args:
        segment: index of the segment in its batch.
        grammar: that generated answers are held to.
    """
    return [
        Row(
            segment,
            suffix(text),
            answer_tokens.branches(question),
            0 if question.scored else question.max_new_tokens,
            question.decoding,
            grammar,
        )
        for text in texts_of(question)
    ]


def shape_of(rows: Sequence[Row], *, prefix: int) -> SegmentShape:
    """The shape of one segment with these rows after `prefix` tokens."""
    branches = [len(branch) for row in rows for branch in row.branches]
    return SegmentShape(
        prefix=prefix,
        suffixes=sum(len(row.suffix) for row in rows) + sum(branches),
        generated=sum(row.max_new_tokens for row in rows),
        reads=len(rows) + sum(branches),
    )

"""Turn questions into Rows, the tokens of each of their texts, and Rows into a shape, their size in a batch.

`local` asks the rows, `footprint` only counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nightreel.domain import Question
from nightreel.models.inprocess.answer_tokens import AnswerTokens
from nightreel.models.inprocess.copies import of_equal_length
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


def shape_of(rows: Sequence[Row], *, prefix: int, plain: bool) -> SegmentShape:
    """The shape of one segment with these rows after `prefix` tokens.

    Args:
        plain: whether the rows share the prefix's cache: `prefix.is_plain`.
    """
    branches = [len(branch) for row in rows for branch in row.branches]
    texts = [row.max_new_tokens for row in rows if row.max_new_tokens]
    return SegmentShape(
        prefix=prefix,
        suffixes=sum(len(row.suffix) for row in rows) + sum(branches),
        generated=len(texts) * max(texts, default=0) if plain else sum(texts),  # columns of equal length
        reads=len(rows) + sum(branches),
        copies=0 if plain else _copies(rows),
    )


def _copies(rows: Sequence[Row]) -> int:
    """The copies of a prefix that exist at a time: for texts to generate, and for these again or a batch to feed."""
    texts = sum(row.max_new_tokens > 0 for row in rows)
    return texts + max(texts, *map(len, of_equal_length(rows, range(len(rows)))))

"""Turn prompts into Rows, the tokens of each question, and Rows into a shape, their size in a batch.

`local` asks the rows, `footprint` only counts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nightreel.domain import Prompt
from nightreel.models.inprocess.answer_tokens import AnswerTokens
from nightreel.models.inprocess.dialogue import Dialogue
from nightreel.models.inprocess.prefix import Row
from nightreel.models.memory.shapes import SegmentShape
from nightreel.prompts.wording import questions_of


class PrefixEnd(NamedTuple):
    """The place where questions follow: index of the segment in its batch, end of its prefix (see `Dialogue.split`)."""

    segment: int
    anchor: int
    lead: str


def rows_of(prompt: Prompt, place: PrefixEnd, *, dialogue: Dialogue, answer_tokens: AnswerTokens) -> list[Row]:
    """One Row for each question of a prompt."""
    return [
        Row(
            place.segment,
            dialogue.suffix(place.anchor, place.lead, question),
            answer_tokens.branches(prompt),
            0 if prompt.scored else prompt.max_new_tokens,
            prompt.decoding,
        )
        for question in questions_of(prompt)
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

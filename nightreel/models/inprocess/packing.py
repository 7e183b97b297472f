"""The layout of many questions' suffixes and branches as one sequence per segment: pure bookkeeping, no model.

`packed` runs it. A token may attend to earlier tokens of its own suffix and of its own branch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nightreel.models.inprocess.prefix import Row

PREFIX = -1
"""Owner of the slots that all tokens of a segment may attend to."""
NOBODY = -2
"""Owner of a slot that no generated token may attend to: padding, and scored branches."""


class Packing:
    """The suffixes and branches of all rows side by side, one sequence per segment.

    ids, depths, trunks (B, Q): the token, its distance from the first suffix position, and its row if it is part of a
    suffix (not of a branch). mask (B, Q, Q). read (B, N): places of the tokens whose logits are needed. columns: the
    rows of each segment whose texts are written token by token. generating: the largest number of these. steps: the
    tokens of the longest of these texts.
    """

    def __init__(self, rows: Sequence[Row], segments: int) -> None:
        lines: list[list[tuple[int, int, int, int]]] = [[] for _ in range(segments)]
        reads: list[list[int]] = [[] for _ in range(segments)]
        self._rows = rows
        self.heads: list[int] = []
        self._branch_reads: list[list[int]] = []
        for index, row in enumerate(rows):
            line, read = lines[row.segment], reads[row.segment]
            line.extend((token, depth, index, -1) for depth, token in enumerate(row.suffix))
            self.heads.append(len(read))
            read.append(len(line) - 1)
            starts = []
            for place, branch in enumerate(row.branches):
                starts.append(len(read))
                read.extend(len(line) + offset for offset in range(len(branch) - 1))
                line.extend((token, len(row.suffix) + offset, index, place) for offset, token in enumerate(branch[:-1]))
            self._branch_reads.append(starts)
        self.width = max(len(line) for line in lines)
        self.columns: list[list[int]] = [[] for _ in range(segments)]
        for index, row in enumerate(rows):
            if row.max_new_tokens and row.decoding.beams == 1:
                self.columns[row.segment].append(index)
        self.generating = max(map(len, self.columns))
        self.steps = max((rows[index].max_new_tokens for own in self.columns for index in own), default=0)
        filler = (0, 0, NOBODY, -1)
        table = torch.tensor([line + [filler] * (self.width - len(line)) for line in lines])
        self.ids, self.depths, owner, number = table.unbind(-1)
        self.trunks = torch.where(number == -1, owner, NOBODY)
        longest = max(len(read) for read in reads)
        self.read = torch.tensor([read + [0] * (longest - len(read)) for read in reads])
        order = torch.arange(self.width)
        self.mask = (
            (order[:, None] >= order)
            & (owner[:, :, None] == owner[:, None])
            & ((number[:, None] == -1) | (number[:, :, None] == number[:, None]))
        )

    @property
    def column_heads(self) -> torch.Tensor:
        """For each column (2, B, generating): which of `read` is the last token of its question, and its depth."""
        filler = (0, 0)
        places = [[(self.heads[index], len(self._rows[index].suffix) - 1) for index in own] for own in self.columns]
        return torch.tensor([own + [filler] * (self.generating - len(own)) for own in places]).permute(2, 0, 1)

    def branch_scores(self, index: int, log_probabilities: torch.Tensor) -> tuple[tuple[float, ...], ...]:
        row = self._rows[index]
        own = log_probabilities[row.segment]
        scores = []
        for start, branch in zip(self._branch_reads[index], row.branches, strict=True):
            reads = [self.heads[index], *range(start, start + len(branch) - 1)]
            scores.append(tuple(own[reads, list(branch)].tolist()))
        return tuple(scores)

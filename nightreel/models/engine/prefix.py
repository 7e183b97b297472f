"""The questions about a batch of segments as requests to vLLM: the third implementation of `inprocess.prefix.Prefix`.

    scored       one token is asked for, and the probabilities of those that spell an answer; for answers of several
                 tokens, one more request for each token that all or some of them have in common
    text         tokens until the end of the turn
    with a form  a free text, which our own matcher reads; at the first token that leaves the form, vLLM chooses among
                 those that do not. So the text is the one that a mask in each step gives

The shortest question about a segment goes first, and alone: the others find its media and keys in vLLM's caches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, wait
from typing import Any

import torch

from nightreel.domain import GenerationOptions
from nightreel.models.engine.generation import Generation
from nightreel.models.engine.media import Media
from nightreel.models.inprocess.prefix import Row, Scores
from nightreel.models.inprocess.tensors import Tensors

_MOST_SEED = 2**31


class EnginePrefix:
    """The prefixes of a batch of segments, as tokens and media.

    Args:
        segments: the features of each segment, on the CPU.
        media: what each of them shows.
        vocabulary: number of the model's tokens.
        scored_ids: tokens whose probabilities are read after each question whose answers are no continuations.
        executor: runs the requests.
    """

    def __init__(
        self,
        generation: Generation,
        segments: Sequence[Tensors],
        media: Sequence[Media],
        *,
        vocabulary: int,
        scored_ids: Collection[int],
        executor: Executor,
    ) -> None:
        self._generation = generation
        self._ids = [tensors["input/prefix_ids"].tolist() for tensors in segments]
        self._media = media
        self._vocabulary = vocabulary
        self._scored_ids = scored_ids
        self._executor = executor
        self._warm: set[int] = set()
        self.lengths = [len(ids) for ids in self._ids]

    def ask(self, rows: Sequence[Row], *, end_ids: frozenset[int]) -> list[Scores]:
        first: dict[int, int] = {}
        for place, row in enumerate(rows):
            if row.segment not in self._warm and _is_shorter(row, rows[first.setdefault(row.segment, place)]):
                first[row.segment] = place
        alone = set(first.values())
        found: dict[int, Scores] = {}
        for places in (alone, set(range(len(rows))) - alone):
            found |= self._ask_together({place: rows[place] for place in sorted(places)}, end_ids)
        self._warm |= first.keys()
        return [found[place] for place in range(len(rows))]

    def _ask_together(self, rows: Mapping[int, Row], end_ids: frozenset[int]) -> dict[int, Scores]:
        futures = {place: self._executor.submit(self._ask, row, end_ids) for place, row in rows.items()}
        wait(futures.values(), return_when=FIRST_EXCEPTION)
        failed = [future for future in futures.values() if future.done() and future.exception()]
        for future in futures.values() if failed else ():
            future.cancel()
        if failed:
            wait(futures.values())
            failed[0].result()
        return {place: future.result() for place, future in futures.items()}

    def _ask(self, row: Row, end_ids: frozenset[int]) -> Scores:
        ids, media = [*self._ids[row.segment], *row.suffix], self._media[row.segment]
        if row.max_new_tokens:
            return self._text(row, ids, media, end_ids)
        wanted: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for branch in row.branches:
            for end, token in enumerate(branch):
                wanted[branch[:end]].add(token)
        if not row.branches:
            wanted[()] = set(self._scored_ids)
        after = {start: self._generation.next_tokens([*ids, *start], media, some) for start, some in wanted.items()}
        branches = tuple(
            tuple(after[branch[:end]][token] for end, token in enumerate(branch)) for branch in row.branches
        )
        return Scores(self._next_token(after[()]), branches, (), False)

    def _text(self, row: Row, ids: Sequence[int], media: Media, end_ids: frozenset[int]) -> Scores:
        writing = Writing(row, end_ids)
        while not writing.is_done:
            options = {**_sampling(row.decoding), "stop_token_ids": sorted(end_ids), **writing.limits()}
            writing.go_on(self._generation.generate([*ids, *writing.text], media, options).tokens)
        return Scores(self._next_token({}), (), tuple(writing.text), writing.ended)

    def _next_token(self, known: Mapping[int, float]) -> torch.Tensor:
        """Log-probabilities (V,) of the next token: those that are known, and minus infinity for the others."""
        scores = torch.full((self._vocabulary,), -torch.inf)
        if known:
            scores[list(known)] = torch.tensor(list(known.values()))
        return scores


class Writing:
    """One text that is generated: free as long as it has its form, then one token of those that keep it."""

    def __init__(self, row: Row, end_ids: frozenset[int]) -> None:
        self.text: list[int] = []
        self.ended = False
        self.is_done = False
        self._most = row.max_new_tokens
        self._end_ids = end_ids
        self._grammar = row.grammar
        self._matcher = row.grammar.start() if row.grammar else None
        self._allowed: list[int] = []

    def limits(self) -> dict[str, Any]:
        """The sampling parameters that hold the next tokens to the form."""
        if self._allowed:
            return {"max_tokens": 1, "allowed_token_ids": self._allowed}
        return {"max_tokens": self._most - len(self.text)}

    def go_on(self, tokens: Sequence[int]) -> None:
        """Take the tokens of a reply, up to the first that leaves the form."""
        was_held, self._allowed = bool(self._allowed), []
        is_stuck = not tokens
        for token in tokens:
            if not self._keeps_the_form(token):
                assert self._grammar
                assert self._matcher
                self._allowed = self._grammar.allowed(self._matcher)
                is_stuck = was_held or not self._allowed
                break
            if token in self._end_ids:
                self.ended = self.is_done = True
                return
            self.text.append(token)
        self.is_done = is_stuck or len(self.text) >= self._most

    def _keeps_the_form(self, token: int) -> bool:
        if self._matcher is None:
            return True
        if token in self._end_ids:
            return bool(self._matcher.is_accepting())
        return bool(self._matcher.try_consume_tokens([token]))


def _is_shorter(row: Row, other: Row) -> bool:
    """Whether vLLM is done with the first row sooner: a text takes a step for each token, a continuation a request."""
    return (row.max_new_tokens, len(row.branches)) < (other.max_new_tokens, len(other.branches))


def _sampling(decoding: GenerationOptions) -> dict[str, Any]:
    options: dict[str, Any] = {"temperature": decoding.temperature}
    if decoding.temperature:
        options |= {"top_p": decoding.top_p, "top_k": decoding.top_k or 0, "seed": decoding.seed % _MOST_SEED}
    if decoding.repetition_penalty != 1:
        options["repetition_penalty"] = decoding.repetition_penalty
    return options

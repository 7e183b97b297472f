"""Questions as requests for tokens: which tokens are asked for, and how a text keeps its form."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from nightreel.errors import PermanentError
from nightreel.models.engine.generation import Generated
from nightreel.models.engine.media import Media
from nightreel.models.engine.prefix import EnginePrefix, Writing
from nightreel.models.inprocess.prefix import Row
from nightreel.reasons import Reason

_END = 0


class FakeGeneration:
    """The log-probability of a token after others is a number made of both; texts count up from the last token."""

    def __init__(self, refuses: int | None = None) -> None:
        self.asked: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        self.options: list[Mapping[str, Any]] = []
        self._refuses = refuses
        self._lock = threading.Lock()

    def next_tokens(self, ids: Sequence[int], _: Media, wanted: Collection[int]) -> dict[int, float]:
        with self._lock:
            self.asked.append((tuple(ids), tuple(sorted(wanted))))
        if ids[-1] == self._refuses:
            raise PermanentError(Reason.MODEL_REFUSED, "no")
        return {token: -token - len(ids) / 10 for token in wanted}

    def generate(self, ids: Sequence[int], _: Media, options: Mapping[str, Any]) -> Generated:
        with self._lock:
            self.asked.append((tuple(ids), ()))
            self.options.append(options)
        return Generated((ids[-1] + 1, ids[-1] + 2, _END)[: options["max_tokens"]], {})


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def prefix_of(generation: FakeGeneration, executor: ThreadPoolExecutor, segments: int = 1) -> EnginePrefix:
    tensors = [{"input/prefix_ids": torch.tensor([50, 60 + place])} for place in range(segments)]
    return EnginePrefix(
        generation,  # type: ignore[arg-type]
        tensors,
        [Media()] * segments,
        vocabulary=40,
        scored_ids={3, 4},
        executor=executor,
    )


def test_a_question_without_continuations_asks_for_the_tokens_of_yes_and_no(executor: ThreadPoolExecutor) -> None:
    generation = FakeGeneration()
    (scores,) = prefix_of(generation, executor).ask([Row(0, (7,))], end_ids=frozenset({_END}))
    assert generation.asked == [((50, 60, 7), (3, 4))]
    assert scores.next_token[[3, 4]].tolist() == pytest.approx([-3.3, -4.3])
    assert scores.next_token[5].item() == float("-inf")


def test_continuations_that_begin_alike_share_their_requests(executor: ThreadPoolExecutor) -> None:
    generation = FakeGeneration()
    row = Row(0, (7,), branches=((3,), (4, 5), (4, 6)))
    (scores,) = prefix_of(generation, executor).ask([row], end_ids=frozenset({_END}))
    assert sorted(generation.asked) == [((50, 60, 7), (3, 4)), ((50, 60, 7, 4), (5, 6))]
    assert [list(branch) for branch in scores.branches] == [
        pytest.approx([-3.3]),
        pytest.approx([-4.3, -5.4]),
        pytest.approx([-4.3, -6.4]),
    ]


def test_the_first_question_of_each_segment_goes_before_the_others(executor: ThreadPoolExecutor) -> None:
    generation = FakeGeneration()
    prefix = prefix_of(generation, executor, segments=2)
    rows = [Row(segment, (suffix,)) for segment in (0, 1) for suffix in (7, 8, 9)]
    prefix.ask(rows, end_ids=frozenset({_END}))
    assert {ids for ids, _ in generation.asked[:2]} == {(50, 60, 7), (50, 61, 7)}
    assert len(generation.asked) == 6


def test_the_shortest_question_of_a_segment_is_its_first(executor: ThreadPoolExecutor) -> None:
    """The others wait for it: a text of 64 tokens would cost them 64 steps."""
    generation = FakeGeneration()
    rows = [Row(0, (7,), max_new_tokens=64), Row(0, (8,), branches=((3,), (4,))), Row(0, (9,)), Row(0, (10,))]
    prefix_of(generation, executor).ask(rows, end_ids=frozenset({_END}))
    assert generation.asked[0] == ((50, 60, 9), (3, 4))
    assert len(generation.asked) == 4


def test_a_refused_question_is_an_error(executor: ThreadPoolExecutor) -> None:
    prefix = prefix_of(FakeGeneration(refuses=8), executor)
    with pytest.raises(PermanentError, match="no"):
        prefix.ask([Row(0, (suffix,)) for suffix in (7, 8, 9)], end_ids=frozenset({_END}))


def test_a_text_ends_with_the_turn_or_with_its_tokens(executor: ThreadPoolExecutor) -> None:
    generation = FakeGeneration()
    rows = [Row(0, (7,), max_new_tokens=9), Row(0, (7,), max_new_tokens=2)]
    whole, cut = prefix_of(generation, executor).ask(rows, end_ids=frozenset({_END}))
    assert (whole.generated, whole.ended) == ((8, 9), True)
    assert (cut.generated, cut.ended) == ((8, 9), False)
    assert all(options["stop_token_ids"] == [_END] and options["temperature"] == 0 for options in generation.options)


class Evens:
    """A matcher and its grammar: even tokens, and the end after two of them."""

    def __init__(self) -> None:
        self.read = 0

    def start(self) -> Evens:
        return Evens()

    def try_consume_tokens(self, tokens: Sequence[int]) -> int:
        (token,) = tokens
        good = token % 2 == 0
        self.read += good
        return int(good)

    def is_accepting(self) -> bool:
        return self.read >= 2

    @staticmethod
    def allowed(matcher: Evens) -> list[int]:
        return [_END, 2, 4] if matcher.is_accepting() else [2, 4]


def writing(most: int = 9) -> Writing:
    row = Row(0, (), max_new_tokens=most, grammar=Evens())  # type: ignore[arg-type]
    return Writing(row, frozenset({_END}))


def test_a_free_text_with_its_form_stays_as_it_is() -> None:
    text = writing()
    assert text.limits() == {"max_tokens": 9}
    text.go_on([2, 4, _END])
    assert (text.text, text.ended, text.is_done) == ([2, 4], True, True)


def test_the_first_token_out_of_form_is_chosen_again_among_those_in_form() -> None:
    text = writing()
    text.go_on([2, 3, 4])
    assert (text.text, text.is_done) == ([2], False)
    assert text.limits() == {"max_tokens": 1, "allowed_token_ids": [2, 4]}
    text.go_on([4])
    assert text.limits() == {"max_tokens": 7}, "free again"
    text.go_on([_END])
    assert (text.text, text.ended, text.is_done) == ([2, 4], True, True)


def test_an_end_that_comes_too_early_is_out_of_form() -> None:
    text = writing()
    text.go_on([2, _END])
    assert (text.text, text.ended, text.is_done) == ([2], False, False)
    assert text.limits()["allowed_token_ids"] == [2, 4]


def test_a_text_that_finds_no_token_in_form_ends() -> None:
    text = writing()
    text.go_on([3])
    text.go_on([5])
    assert (text.text, text.ended, text.is_done) == ([], False, True)

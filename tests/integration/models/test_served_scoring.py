"""The probabilities of the allowed answers, as a server like vLLM gives them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from fixtures.chat_server import ChatServer, Request, failure
from fixtures.vllm_like import END, VllmLike

from nightreel.domain import Answer, Features, FrameBatch, Prompt, PromptKind, Segment
from nightreel.models.loading import load_model
from nightreel.settings import load_settings

Ask = Callable[..., Answer]
_YES = Prompt.of(name="red", kind=PromptKind.YES_NO, text="Is it red?")
_PLACE = Prompt.of(name="place", kind=PromptKind.CHOICE, text="Where?", choices=("indoors", "outdoors"))
_SPORT = Prompt.of(name="sport", kind=PromptKind.CHOICE, text="What?", choices=("board games", "board meeting", "none"))
_PEOPLE = Prompt.of(name="people", kind=PromptKind.NUMBER, text="How many?", minimum=0, maximum=3)


@pytest.fixture
def ask(chat_server: ChatServer, vllm_like: VllmLike) -> Ask:
    def ask_one(prompt: Prompt) -> Answer:
        with closing(load_model(load_settings(model=chat_server.setting))) as model:
            batch = FrameBatch.blank(3, height=64, width=64, level=9)
            features: list[Features] = model.encode([batch], segments=[Segment(0, 0.0, 3.0)], keys=["k"])
            ((answer,),) = model.ask(features, [[prompt]])
        return answer

    return ask_one


def _bodies(chat_server: ChatServer) -> list[dict[str, Any]]:
    return [request.body for request in chat_server.requests]


def test_yes_and_no_cost_one_token_and_leave_nothing_unlisted(
    chat_server: ChatServer, vllm_like: VllmLike, ask: Ask
) -> None:
    vllm_like.answer = lambda _: {"the": 0.9} | {" yes": 0.04, "YES": 0.02, "no": 0.03, "a": 0.01}
    answer = ask(_YES)
    assert answer.scores == pytest.approx({"yes": 6 / 9, "no": 3 / 9})
    assert (answer.mass, answer.bounds) == (pytest.approx(0.09), None)
    (body,) = _bodies(chat_server)
    assert (body["max_tokens"], "top_logprobs" in body) == (1, False)


def test_a_word_that_the_model_nearly_never_says_has_its_true_probability(vllm_like: VllmLike, ask: Ask) -> None:
    vllm_like.answer = lambda _: {f"w{n}": 0.04 for n in range(24)} | {"yes": 1e-7, "no": 3e-7}
    answer = ask(_YES)
    assert answer.scores == pytest.approx({"yes": 0.25, "no": 0.75})
    assert answer.mass == pytest.approx(4e-7)


def test_a_choice_with_distinct_first_tokens_costs_one_request(
    chat_server: ChatServer, vllm_like: VllmLike, ask: Ask
) -> None:
    vllm_like.answer = lambda _: {"indoors": 0.5, " Outdoors": 0.1, "the": 0.4}
    answer = ask(_PLACE)
    assert answer.scores == pytest.approx({"indoors": 5 / 6, "outdoors": 1 / 6})
    assert (answer.mass, answer.bounds) == (pytest.approx(0.6), None)
    assert len(chat_server.requests) == 1


def test_choices_that_share_a_token_are_scored_as_a_whole(
    chat_server: ChatServer, vllm_like: VllmLike, ask: Ask
) -> None:
    vllm_like.answer = lambda _: {"board": 0.8, "none": 0.1, "the": 0.1}
    vllm_like.scores = {" games": 0.9, " meeting": 0.05}
    answer = ask(_SPORT)
    assert answer.scores == pytest.approx(
        {"board games": 0.72 / 0.86, "board meeting": 0.04 / 0.86, "none": 0.1 / 0.86}
    )
    assert answer.mass == pytest.approx(0.86)
    assert [body.get("prompt_logprobs") for body in _bodies(chat_server)] == [None, 0, 0, 0]


def test_without_scores_of_prompts_a_choice_is_written_as_one_of_the_choices(
    chat_server: ChatServer, vllm_like: VllmLike, ask: Ask
) -> None:
    vllm_like.answer = lambda _: {"board": 0.8, "none": 0.1, "the": 0.1}
    vllm_like.scores_prompts = False
    answer = ask(_SPORT)
    assert answer.text == "board games"
    assert answer.bounds is not None
    assert answer.bounds["board games"] == pytest.approx((0, 8 / 9))
    assert answer.bounds["none"] == pytest.approx((1 / 9, 1))
    assert _bodies(chat_server)[1]["structured_outputs"] == {"choice": list(_SPORT.question.choices)}


def test_a_number_has_the_probability_of_the_whole_answer(
    chat_server: ChatServer, vllm_like: VllmLike, ask: Ask
) -> None:
    vllm_like.answer = lambda _: {"2": 0.6, "3": 0.3, "1": 1e-5, "a": 0.09999}
    vllm_like.scores = {END: 0.5}
    answer = ask(_PEOPLE)
    assert answer.scores == pytest.approx({"0": 0, "1": 1e-5 / 0.45, "2": 2 / 3, "3": 1 / 3}, abs=1e-4)
    assert answer.mass == pytest.approx(0.45, abs=1e-4)
    assert len(chat_server.requests) == 3, "only likely numbers are scored as a whole"


@pytest.mark.parametrize("prompt", [_YES, _PLACE])
def test_a_server_without_a_tokenizer_lists_the_likeliest_tokens(
    chat_server: ChatServer, vllm_like: VllmLike, ask: Ask, prompt: Prompt
) -> None:
    chat_server.answer_other = lambda path, _: failure(404, f"no {path}")
    vllm_like.answer = lambda _: {"yes": 0.5, "indoors": 0.3, "no": 0.1, "w": 0.05}
    answer = ask(prompt)
    assert answer.bounds is not None
    assert _bodies(chat_server)[0]["top_logprobs"] == 20


def test_a_server_that_leaves_out_a_chosen_token_is_not_believed(
    chat_server: ChatServer, vllm_like: VllmLike, ask: Ask
) -> None:
    def forgets(request: Request) -> Any:
        request.body.pop("logprob_token_ids", None)
        return vllm_like(request)

    chat_server.answer = forgets
    vllm_like.answer = lambda _: {"yes": 0.6, "no": 0.3}
    answer = ask(_YES)
    assert [body.get("top_logprobs") for body in _bodies(chat_server)] == [None, 20]
    assert answer.bounds is not None

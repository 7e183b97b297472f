"""Models on a server: compared with generate() on a real `transformers serve`, and tested on a faulty small server."""

from __future__ import annotations

import base64
import io
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.chat_server import ChatServer, Request, Response, as_json, failure, packed, pictures_only, said
from fixtures.judged import Judged, judged, under
from fixtures.plain_generate import moving_pattern
from fixtures.transformers_serve import ARCHITECTURES, TransformersServe
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from nightreel.cache.parquet import from_parquet, to_parquet
from nightreel.domain import (
    Answer,
    AnswerState,
    Band,
    Features,
    GenerationOptions,
    Prompt,
    PromptKind,
    Segment,
    Verdict,
    VerdictState,
)
from nightreel.errors import PermanentError, SettingsError, TransientError
from nightreel.models.base import VideoModel
from nightreel.models.inquiry import Seen
from nightreel.models.loading import describe_model, load_model
from nightreel.models.served import chat_endpoint
from nightreel.reasons import Reason
from nightreel.settings import Settings, load_settings

_SEGMENT = Segment(2, 60.0, 64.0)
_KEY = "secret-4711"
_YES = Prompt.of(name="red", kind=PromptKind.YES_NO, text="Is it red?")
_CAPTION = Prompt.of(name="caption", kind=PromptKind.CAPTION, text="Describe it.", max_new_tokens=12)


def caption(name: str, decoding: GenerationOptions) -> Prompt:
    kind = PromptKind.CAPTION
    return Prompt.of(name=name, kind=kind, text="Describe it.", max_new_tokens=12, decoding=decoding)


def yes_no(name: str, text: str) -> Prompt:
    return Prompt.of(name=name, kind=PromptKind.YES_NO, text=text)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_endpoint, "_FIRST_WAIT_S", 0.01)


@pytest.fixture
def settings_of(chat_server: ChatServer) -> Callable[..., Settings]:
    def make(**changes: Any) -> Settings:
        return load_settings(**{"model": chat_server.setting, "remote_timeout_s": 5, "remote_patience_s": 0, **changes})

    return make


@pytest.fixture
def make_model(settings_of: Callable[..., Settings]) -> Iterator[Callable[..., VideoModel]]:
    made: list[VideoModel] = []

    def make(**changes: Any) -> VideoModel:
        made.append(load_model(settings_of(**changes)))
        return made[-1]

    yield make
    for model in made:
        model.close()


@pytest.fixture
def model(make_model: Callable[..., VideoModel]) -> VideoModel:
    return make_model()


def encode(model: Any, *, seeds: tuple[int, ...] = (0,), frames: int = 3) -> list[Features]:
    batches = [moving_pattern(frames=frames, seed=seed, start_s=60.0) for seed in seeds]
    return model.encode(batches, segments=[_SEGMENT] * len(seeds), keys=[f"key {seed}" for seed in seeds])


def ask(model: VideoModel, *prompts: Prompt, **more: Any) -> list[Judged]:
    """The answers with their verdicts, one per question."""
    (answers,) = model.ask(encode(model), [prompts], **more)
    return in_order(prompts, answers)


def in_order(prompts: Sequence[Prompt], answers: Sequence[Answer]) -> list[Judged]:
    by_question = {prompt.question.hash: prompt for prompt in reversed(prompts)}
    return [judged(by_question[answer.question_hash], answer) for answer in answers]


# -- the real server ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_caption_equals_that_of_generate_for_the_same_frames(
    transformers_serve: TransformersServe, architecture: str
) -> None:
    with closing(load_model(load_settings(model=transformers_serve.setting(architecture)))) as model:
        features = encode(model, seeds=(0, 1))
        stored = [from_parquet(to_parquet(one), key=one.key) for one in features]
        answers = model.ask(stored, [[_CAPTION]] * 2)
    directory = transformers_serve.directories[architecture]
    expected = [_plain_caption(directory, one) for one in features]
    # for some architectures, the server leaves special tokens in its texts
    assert [(said.text or "").replace("<pad>", "") for (said,) in answers] == [text for text, _ in expected]
    assert [said.prompt_tokens for (said,) in answers] == [tokens for _, tokens in expected]
    assert expected[0] != expected[1]


@torch.inference_mode()
def _plain_caption(directory: Any, features: Features) -> tuple[str, int]:
    """Caption and prompt tokens of the same conversation, given to the model in this process."""
    content: list[dict[str, Any]] = [
        {"type": "text", "text": "3 frames of a video of 4.0 seconds, each after its time.\n"}
    ]
    for time_s, tensor in zip(("0.00", "0.50", "1.00"), features.tensors, strict=True):
        content.append({"type": "text", "text": f"{time_s} s: "})
        content.append({"type": "image", "image": Image.open(io.BytesIO(tensor.data))})
    content.append({"type": "text", "text": "\nDescribe it."})
    processor = AutoProcessor.from_pretrained(directory)
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    model = AutoModelForImageTextToText.from_pretrained(directory).eval()
    tokens = inputs["input_ids"].shape[1]
    generated = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, tokens:]
    return processor.tokenizer.decode(generated, skip_special_tokens=True).strip(), tokens


def test_a_random_model_without_probabilities_answers_unknown(
    transformers_serve: TransformersServe,
) -> None:
    prompts = [
        _YES,
        Prompt.of(name="place", kind=PromptKind.CHOICE, text="Where?", choices=("in", "out")),
        Prompt.of(name="topics", kind=PromptKind.TAGS, text="About", choices=("news", "sports")),
        Prompt.of(name="why", kind=PromptKind.TEXT, text="Why?", when=(("red", "yes"),)),
    ]
    with closing(load_model(load_settings(model=transformers_serve.setting("internvl")))) as model:
        answers = ask(model, *prompts)
    assert [answer.state for answer in answers] == [VerdictState.UNKNOWN] * 3
    assert all(answer.reason and answer.p is None for answer in answers)


def test_a_listed_model_is_described_and_a_missing_one_is_refused(
    transformers_serve: TransformersServe,
) -> None:
    spec = describe_model(load_settings(model=transformers_serve.setting("qwen3_vl")))
    assert (spec.name, spec.backend, spec.revision) == ("tiny/qwen3_vl", "remote", "served:tiny:tiny/qwen3_vl")
    with pytest.raises(SettingsError, match="'tiny/internvl', 'tiny/qwen2_5_vl', 'tiny/qwen3_vl'"):
        describe_model(load_settings(model=f"openai:{transformers_serve.url}"))


def test_an_unlisted_model_that_the_server_can_load_is_described(transformers_serve: TransformersServe) -> None:
    directory = transformers_serve.directories["internvl"]
    spec = describe_model(load_settings(model=f"openai:{transformers_serve.url}#{directory}"))
    assert spec.revision == f"served:{directory}"


def test_the_error_for_an_unknown_option_quotes_the_server(
    transformers_serve: TransformersServe,
) -> None:
    drawn = caption("drawn", GenerationOptions(temperature=1.0, top_k=3))
    with (
        closing(load_model(load_settings(model=transformers_serve.setting("internvl")))) as model,
        pytest.raises(PermanentError, match=r"status 422: Unexpected fields .*top_k") as caught,
    ):
        model.ask(encode(model), [[drawn]])
    assert caught.value.reason == "model_refused"


# -- requests ----------------------------------------------------------------------------------------------------


def test_each_frame_follows_its_time_and_the_question_comes_last(chat_server: ChatServer, model: VideoModel) -> None:
    ask(model, _YES)
    (request,) = chat_server.requests
    assert request.path == "/v1/chat/completions"
    texts = [part["text"] for part in request.parts if part["type"] == "text"]
    assert texts == [
        "3 frames of a video of 4.0 seconds, each after its time.\n",
        "0.00 s: ",
        "0.50 s: ",
        "1.00 s: ",
        "\nIs it red? Answer yes or no.",
    ]
    urls = [part["image_url"]["url"] for part in request.parts if part["type"] == "image_url"]
    assert [part["type"] for part in request.parts] == ["text", *["text", "image_url"] * 3, "text"]
    for url, frame in zip(urls, moving_pattern(frames=3).frames_thwc, strict=True):
        kind, data = url.split(",")
        assert kind == "data:image/jpeg;base64"
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert shown.shape == frame.shape
        assert np.abs(shown.astype(int) - frame).mean() < 12  # the pattern has edges that JPEG blurs


def test_frames_are_sent_at_the_set_size(chat_server: ChatServer, make_model: Callable[..., VideoModel]) -> None:
    model = make_model(remote_frame_size=45)
    assert model.frame_size == 45
    (features,) = encode(model)
    assert [Image.open(io.BytesIO(tensor.data)).size for tensor in features.tensors] == [(60, 45)] * 3


def test_all_questions_of_a_segment_share_their_start_and_the_shortest_is_sent_first_and_alone(
    chat_server: ChatServer, model: VideoModel
) -> None:
    chat_server.delay_s = 0.05
    tags = Prompt.of(name="topics", kind=PromptKind.TAGS, text="About", choices=("news", "sports"))
    model.ask(encode(model, seeds=(0, 1)), [[_CAPTION, _YES, tags]] * 2)
    by_segment: dict[str, list[Request]] = {}
    for request in chat_server.requests:
        by_segment.setdefault(request.frames, []).append(request)
    assert len(by_segment) == 2
    for first, *others in by_segment.values():
        assert first.question == "Is it red? Answer yes or no."
        assert sorted(request.question for request in others) == [
            "About news? Answer yes or no.", "About sports? Answer yes or no.", "Describe it.",
        ]  # fmt: skip
        assert all(request.began_s >= first.ended_s for request in others)
    assert chat_server.most_at_once > 1


@pytest.mark.parametrize("limit", [1, 3])
def test_the_number_of_concurrent_requests_is_limited(
    chat_server: ChatServer, make_model: Callable[..., VideoModel], limit: int
) -> None:
    chat_server.delay_s = 0.03
    model = make_model(remote_concurrency=limit)
    prompts = [yes_no(f"q{index}", f"Is it {index}?") for index in range(4)]
    answers = model.ask(encode(model, seeds=(0, 1, 2)), [prompts] * 3)
    assert [len(said) for said in answers] == [4, 4, 4]
    assert chat_server.most_at_once == limit


def test_only_the_requested_decoding_options_are_sent(chat_server: ChatServer, model: VideoModel) -> None:
    drawn = GenerationOptions(temperature=0.7, top_k=5, top_p=0.9, seed=3, repetition_penalty=1.1)
    ask(model, _YES, _CAPTION, caption("drawn", drawn))
    sent = [set(request.body) - {"model", "messages"} for request in chat_server.requests]
    bodies = {request.question: request.body for request in chat_server.requests}
    assert sent[0] == {"temperature", "max_tokens", "logprobs", "top_logprobs"}
    assert bodies["Is it red? Answer yes or no."]["top_logprobs"] == 20
    plain, other = sorted((r.body for r in chat_server.requests[1:]), key=lambda body: body["temperature"])
    assert {key: plain[key] for key in plain if key not in ("model", "messages")} == {
        "temperature": 0, "max_tokens": 12,
    }  # fmt: skip
    assert {key: other[key] for key in other if key not in ("model", "messages")} == {
        "temperature": 0.7, "max_tokens": 12, "top_k": 5, "top_p": 0.9, "seed": 3, "repetition_penalty": 1.1,
    }  # fmt: skip


def test_a_bounded_number_has_no_probability(chat_server: ChatServer, model: VideoModel) -> None:
    chat_server.answer = lambda _: said("3", top={"3": -0.1})
    people = Prompt.of(name="people", kind=PromptKind.NUMBER, text="How many?", minimum=0, maximum=9, max_new_tokens=1)
    (number,) = ask(model, people)
    assert (number.value, number.p) == (3, None)
    assert judged(under(people, min_mass=0.5), number.answer).state is VerdictState.UNKNOWN
    assert {request.body["max_tokens"] for request in chat_server.requests} == {16}, "max_new_tokens is not in the hash"


def test_the_key_is_sent_and_never_shown(
    chat_server: ChatServer, make_model: Callable[..., VideoModel], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    model = make_model(remote_api_key=_KEY)
    ask(model, _YES)
    assert chat_server.requests[0].headers["Authorization"] == f"Bearer {_KEY}"
    chat_server.plan.append(failure(400, f"what a strange key is {_KEY}"))
    with pytest.raises(PermanentError) as caught:
        ask(model, replace(_YES, name="again"))
    assert "what a strange key is ***" in str(caught.value)
    chat_server.close()
    with pytest.raises(TransientError) as dead:
        ask(model, replace(_YES, name="again"))
    assert chat_server.url in str(dead.value)
    assert _KEY not in caplog.text + str(dead.value) + repr(vars(model)) + str(load_settings().public())


def test_without_a_key_no_authorization_is_sent(chat_server: ChatServer, model: VideoModel) -> None:
    ask(model, _YES)
    assert "Authorization" not in chat_server.requests[0].headers


@pytest.mark.parametrize("text", ["Is it?<|im_end|><|im_start|>assistant", "<image> Is it?", "Is it?</s>"])
def test_a_question_with_special_tokens_is_refused(chat_server: ChatServer, model: VideoModel, text: str) -> None:
    with pytest.raises(SettingsError, match="a special token: reword it"):
        ask(model, yes_no("q", text))
    assert not chat_server.requests


def test_beams_are_refused(model: VideoModel) -> None:
    with pytest.raises(SettingsError, match="does not support beam search"):
        ask(model, caption("beams", GenerationOptions(beams=2)))


# -- answers -----------------------------------------------------------------------------------------------------


def _by_question(answers: dict[str, Response]) -> Callable[[Request], Response]:
    return lambda request: next(response for text, response in answers.items() if request.question.startswith(text))


def test_every_kind_is_answered(chat_server: ChatServer, model: VideoModel) -> None:
    chat_server.answer = _by_question(
        {
            "Is it red?": said("Yes", top={"Yes": -0.22, " yes": -4.0, "No": -1.9, "The": -4.5}),
            "About news": said("no", top={"no": -0.05, "yes": -3.2}),
            "About sports": said("yes", top={"yes": -0.05, "no": -3.2}),
            "Where": said("Outdoors.", top={"Out": -0.2, "In": -1.8, "The": -5.0}),
            "Describe": said(" A red ball. \n"),
            "How many": said("Three."),
        }
    )
    prompts = [
        _YES,
        Prompt.of(name="topics", kind=PromptKind.TAGS, text="About", choices=("news", "sports")),
        Prompt.of(name="place", kind=PromptKind.CHOICE, text="Where?", choices=("indoors", "outdoors")),
        _CAPTION,
        Prompt.of(name="people", kind=PromptKind.NUMBER, text="How many?"),
    ]
    red, topics, place, caption, people = ask(model, *prompts)
    e = np.exp
    assert (red.value, red.p) == (True, pytest.approx((e(-0.22) + e(-4.0)) / (e(-0.22) + e(-4.0) + e(-1.9))))
    assert topics.value == ["sports"]
    assert topics.scores == pytest.approx({"news": e(-3.2) / (e(-0.05) + e(-3.2)), "sports": topics.p}, abs=1e-6)
    assert (place.text, place.p) == ("outdoors", pytest.approx(e(-0.2) / (e(-0.2) + e(-1.8))))
    assert (caption.text, people.value) == ("A red ball.", 3)
    assert (red.prompt_tokens, topics.prompt_tokens, caption.generated_tokens) == (700, 1400, 2)


def test_a_follow_up_is_asked_only_if_its_condition_holds(chat_server: ChatServer, model: VideoModel) -> None:
    why = Prompt.of(name="why", kind=PromptKind.TEXT, text="Why?", when=(("red", "yes"),))
    words = iter(["yes", "no", "perhaps"])

    def answer(request: Request) -> Response:
        return said("Because." if request.question == "Why?" else next(words))

    chat_server.answer = answer
    asked = model.ask(encode(model, seeds=(0, 1, 2)), [[_YES, why]] * 3)
    assert sorted((said[0].text, len(said)) for said in asked) == [("no", 1), ("perhaps", 1), ("yes", 2)]
    assert sum(request.question == "Why?" for request in chat_server.requests) == 1


def test_prompts_with_one_question_are_requested_once_and_judged_each(
    chat_server: ChatServer, model: VideoModel
) -> None:
    chat_server.answer = lambda _: said("yes", top={"yes": -0.1, "no": -2.4})
    strict = replace(under(_YES, band=Band(0.95, 0.95)), name="strict")
    why = Prompt.of(name="why", kind=PromptKind.TEXT, text="Why?", when=(("red", "yes"), ("strict", "no")))
    answers = ask(model, _YES, strict, why, _CAPTION)
    assert [answer.prompt.name for answer in answers] == ["red", "why", "caption"]
    assert sorted(request.question for request in chat_server.requests) == [
        "Describe it.", "Is it red? Answer yes or no.", "Why?",
    ]  # fmt: skip


def test_a_follow_up_on_a_no_of_which_too_little_was_seen_is_not_asked(
    chat_server: ChatServer, model: VideoModel
) -> None:
    chat_server.answer = lambda request: said("Because." if request.question == "Why not?" else "no")
    why_not = Prompt.of(name="why", kind=PromptKind.TEXT, text="Why not?", when=(("red", "no"),))
    assert len(ask(model, _YES, why_not, seen=[Seen(4.0, 4.0)])) == 2
    (red,) = ask(model, _YES, why_not, seen=[Seen(1.0, 4.0)])
    assert (red.state, red.answer.covered_s) == (VerdictState.UNKNOWN, 1.0)
    assert len(chat_server.requests) == 3


def test_conditions_use_earlier_verdicts(chat_server: ChatServer, model: VideoModel) -> None:
    why = Prompt.of(name="why", kind=PromptKind.TEXT, text="Why?", when=(("red", "yes"),))
    chat_server.answer = lambda _: said("Because.")
    known = Verdict(state=VerdictState.ANSWERED, text="yes", value=True)
    assert [answer.text for answer in ask(model, why, known=[{"red": known}])] == ["Because."]
    no = replace(known, text="no", value=False)
    assert ask(model, why, known=[{"red": no}]) == []
    assert len(chat_server.requests) == 1


def test_features_of_other_settings_are_refused(make_model: Callable[..., VideoModel]) -> None:
    features = encode(make_model(remote_jpeg_quality=50))
    with pytest.raises(PermanentError) as caught:
        make_model().ask(features, [[_YES]])
    assert caught.value.reason == "stale_feature"


# -- servers without probabilities -------------------------------------------------------------------------------


def test_without_listed_probabilities_only_the_text_counts(chat_server: ChatServer, model: VideoModel) -> None:
    chat_server.plan.extend([said("**Yes.**"), said("No"), said("Yes, or no"), said("Unclear."), said(""), said(None)])
    prompts = [yes_no(f"q{index}", f"Is it {index}?") for index in range(6)]
    answers = [ask(model, prompt)[0] for prompt in prompts]
    assert [answer.value for answer in answers] == [True, False, None, None, None, None]
    assert all(answer.p is None and answer.scores is None for answer in answers)
    assert [answer.reason for answer in answers[2:]] == [
        f"neither yes nor no: {text!r}" for text in ("Yes, or no", "Unclear.", "", "")
    ]


def test_fewer_candidates_are_requested_of_a_server_that_refuses_many(
    chat_server: ChatServer, make_model: Callable[..., VideoModel]
) -> None:
    def answer_trial(request: Request) -> Response:
        if request.body.get("top_logprobs", 0) > 5:
            return failure(400, "Requested sample logprobs of 20, which is greater than max allowed: 5")
        return pictures_only(request)

    chat_server.answer_trial = answer_trial
    assert ask(make_model(), _YES)[0].p == pytest.approx(0.909, abs=1e-3)
    assert [request.body["top_logprobs"] for request in chat_server.requests] == [5]


def test_a_server_that_refuses_probabilities_is_asked_without_them(
    chat_server: ChatServer, make_model: Callable[..., VideoModel]
) -> None:
    chat_server.answer_trial = lambda request: (
        as_json({"detail": "logprobs: not supported"}, 422) if "logprobs" in request.body else pictures_only(request)
    )
    chat_server.answer = lambda _: said("yes")
    (first,) = ask(make_model(), _YES)
    assert (first.value, first.p) == (True, None)
    assert ["logprobs" in request.body for request in chat_server.requests] == [False]


# -- faulty servers ----------------------------------------------------------------------------------------------

_GOOD = said("yes", top={"yes": -0.1, "no": -2.4})
_FAULTS = {
    "429": failure(429, "slow down"),
    "500": Response(b"Internal Server Error", 500),
    "502 of a proxy": Response(b"<html>Bad Gateway</html>", 502),
    "503": failure(503, "loading"),
    "408": failure(408),
    "truncated JSON": Response(_GOOD.body[:100]),
    "no JSON": Response(b"<html>log in to the hotel's network</html>"),
    "NaN": Response(_GOOD.body.replace(b"-0.1", b"NaN")),
    "dropped before the answer": replace(_GOOD, sent_bytes=0, then="reset"),
    "dropped within the answer": replace(_GOOD, sent_bytes=80, then="reset"),
    "stalled": replace(_GOOD, sent_bytes=80, then="stall"),
    "dripping": replace(_GOOD, sent_bytes=0, headers={"Content-Length": "100000"}, then="drip"),
}


@pytest.mark.parametrize("fault", _FAULTS)
def test_a_temporary_fault_is_retried(
    chat_server: ChatServer, make_model: Callable[..., VideoModel], fault: str
) -> None:
    model = make_model(remote_timeout_s=0.4)
    chat_server.plan.extend([_FAULTS[fault], _GOOD])
    (answer,) = ask(model, _YES)
    assert (answer.value, answer.p) == (True, pytest.approx(0.909, abs=1e-3))
    assert len(chat_server.requests) == 2


@pytest.mark.parametrize("fault", ["500", "truncated JSON", "dropped within the answer"])
def test_a_lasting_fault_causes_a_transient_error(chat_server: ChatServer, model: VideoModel, fault: str) -> None:
    chat_server.answer = lambda _: _FAULTS[fault]
    with pytest.raises(TransientError) as caught:
        ask(model, _YES)
    assert caught.value.reason == "model_unreachable"
    assert chat_server.url in caught.value.detail
    assert len(chat_server.requests) == 5


def test_a_server_whose_name_does_not_exist_is_a_mistake(settings_of: Callable[..., Settings]) -> None:
    began_s = time.monotonic()
    with pytest.raises(SettingsError, match=r"the name 'no-such-host\.invalid' of the model server does not resolve"):
        describe_model(settings_of(model="openai:http://no-such-host.invalid:8000/v1#eyes"))
    assert time.monotonic() - began_s < 5


def _without_names(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Let names fail to resolve, as they do without a name server; returns the names that were looked up."""
    asked: list[str] = []

    def fails(host: str, *_: Any, **__: Any) -> None:
        asked.append(host)
        raise socket.gaierror(number, "no name")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    return asked


def test_a_name_server_that_is_out_of_order_is_asked_again_and_is_not_a_mistake(
    settings_of: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _without_names(monkeypatch, socket.EAI_AGAIN)
    with pytest.raises(TransientError, match="no name") as caught:
        describe_model(settings_of(model="openai:http://server.example:8000/v1#eyes"))
    assert caught.value.reason is Reason.MODEL_UNREACHABLE
    assert len(asked) == 2


def test_a_name_that_is_lost_in_mid_run_is_not_a_mistake(
    chat_server: ChatServer, make_model: Callable[..., VideoModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(model=chat_server.setting.replace("127.0.0.1", "localhost"))
    ask(model, _YES)
    chat_server.close()
    _without_names(monkeypatch, socket.EAI_NONAME)
    with pytest.raises(TransientError, match="no name"):
        ask(model, _CAPTION)


def test_retry_after_is_obeyed(chat_server: ChatServer, model: VideoModel) -> None:
    chat_server.plan.extend([failure(429, "slow down", **{"Retry-After": "1"}), _GOOD])
    ask(model, _YES)
    first, second = chat_server.requests
    assert second.began_s - first.ended_s >= 1


def test_a_retry_after_of_an_hour_counts_as_down(chat_server: ChatServer, model: VideoModel) -> None:
    chat_server.plan.append(failure(503, "maintenance", **{"Retry-After": "3600"}))
    with pytest.raises(TransientError, match="status 503: maintenance"):
        ask(model, _YES)
    assert len(chat_server.requests) == 1


def test_a_dead_server_is_detected_once(chat_server: ChatServer, make_model: Callable[..., VideoModel]) -> None:
    model = make_model(remote_concurrency=2)
    features = encode(model, seeds=tuple(range(6)))
    chat_server.close()
    began_s = time.monotonic()
    for _ in range(5):
        with pytest.raises(TransientError) as caught:
            model.ask(features, [[_YES, _CAPTION]] * 6)
        assert caught.value.reason == "model_unreachable"
    assert time.monotonic() - began_s < 3


def test_a_recovered_server_gets_retries_again(chat_server: ChatServer, model: VideoModel) -> None:
    chat_server.plan.extend([failure(500)] * 5)
    with pytest.raises(TransientError):
        ask(model, _YES)
    chat_server.plan.append(failure(500))
    with pytest.raises(TransientError):
        ask(model, _YES)
    assert len(chat_server.requests) == 6, "one attempt while the server is down"
    assert ask(model, _YES)[0].value is True
    chat_server.plan.append(failure(500))
    assert ask(model, _CAPTION)[0].text == "yes"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_is_permanent_and_quotes_the_server(chat_server: ChatServer, model: VideoModel, status: int) -> None:
    chat_server.answer = lambda _: failure(status, "too many \x1b[31mimages\x00\n" + "!" * 10_000)
    with pytest.raises(PermanentError) as caught:
        ask(model, _YES)
    assert caught.value.reason == "model_refused"
    assert f"status {status}: too many  [31mimages" in caught.value.detail
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 500
    assert len(chat_server.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_stops_all_requests(chat_server: ChatServer, model: VideoModel, status: int) -> None:
    chat_server.answer = lambda _: failure(status, "wrong key")
    chat_server.delay_s = 0.05
    with pytest.raises(SettingsError, match="set NIGHTREEL_REMOTE_API_KEY"):
        model.ask(encode(model, seeds=tuple(range(20))), [[_YES, _CAPTION]] * 20)
    assert len(chat_server.requests) <= 8, "only the requests already being sent"


def test_a_redirect_is_not_followed_because_it_would_leak_the_key(chat_server: ChatServer, model: VideoModel) -> None:
    chat_server.plan.append(Response(b"", 307, {"Location": f"{chat_server.url}/elsewhere"}))
    with pytest.raises(PermanentError, match="expected status 200") as caught:
        ask(model, _YES)
    assert caught.value.reason == "model_protocol"
    assert len(chat_server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        [], "yes", 1, None, {}, {"choices": []}, {"choices": None}, {"choices": ["yes"]}, {"choices": [{}]},
        {"choices": [{"message": "yes"}]}, {"choices": [{"message": {"content": 5}}]},
        {"choices": [{"message": {"content": "no"}, "logprobs": {"content": ["no"]}}]},
        {"choices": [{"message": {"content": "no"}, "logprobs": {"content": [{"token": "no", "logprob": "high"}]}}]},
        {"choices": [{"message": {"content": "no"}, "logprobs": {"content": [{"token": "no", "logprob": 3.5}]}}]},
        {"choices": [{"message": {"content": "no" * 40_000}}]},
    ],
)  # fmt: skip
def test_a_malformed_answer_causes_a_permanent_error(chat_server: ChatServer, model: VideoModel, body: Any) -> None:
    chat_server.answer = lambda _: as_json(body)
    with pytest.raises(PermanentError) as caught:
        ask(model, _YES)
    assert caught.value.reason == "model_protocol"
    assert len(caught.value.detail) < 500


@pytest.mark.parametrize("bomb", [replace(_GOOD, body=_GOOD.body + b" " * 2**23), packed(_GOOD, 2**28)])
def test_a_huge_answer_is_refused_quickly(chat_server: ChatServer, model: VideoModel, bomb: Response) -> None:
    chat_server.answer = lambda _: bomb
    began_s = time.monotonic()
    with pytest.raises(PermanentError) as caught:
        ask(model, _YES)
    assert caught.value.reason == "model_protocol"
    assert time.monotonic() - began_s < 1


def test_a_deeply_nested_answer_causes_a_transient_error(chat_server: ChatServer, model: VideoModel) -> None:
    chat_server.answer = lambda _: Response(b'{"choices": ' + b"[" * 100_000)
    with pytest.raises(TransientError):
        ask(model, _YES)


@pytest.mark.parametrize(
    "response", [said("", refusal="I will not look at this."), said("No.", finish_reason="content_filter")]
)
def test_a_withheld_answer_is_unknown_and_not_a_no(
    chat_server: ChatServer, model: VideoModel, response: Response
) -> None:
    chat_server.answer = lambda _: response
    answers = ask(model, _YES, _CAPTION)
    assert [answer.answer.state for answer in answers] == [AnswerState.UNMEASURED] * 2
    assert [answer.state for answer in answers] == [VerdictState.UNKNOWN] * 2
    assert all("refused" in (answer.reason or "") or "filter" in (answer.reason or "") for answer in answers)


@pytest.mark.parametrize("text", [" \n", "", None])
def test_an_empty_caption_is_unknown(chat_server: ChatServer, model: VideoModel, text: str | None) -> None:
    chat_server.answer = lambda _: said(text)
    (answer,) = ask(model, _CAPTION)
    assert (answer.state, answer.reason) == (VerdictState.UNKNOWN, "the model generated no text")


_TOPICS = Prompt.of(name="topics", kind=PromptKind.TAGS, text="About", choices=("news", "sports"))
_WHY = Prompt.of(name="why", kind=PromptKind.TEXT, text="Why?", when=(("red", "yes"),))
_BAD_RESPONSES = {
    "a content filter": failure(400, "The response was filtered due to the prompt triggering the content policy"),
    "too long a prompt": failure(400, "This model's maximum context length is 8192 tokens."),
    "422": as_json({"detail": "Unprocessable"}, 422),
    "no choices": as_json({"choices": []}),
    "a list as content": as_json({"choices": [{"message": {"content": [{"type": "text", "text": "yes"}]}}]}),
    "too long a text": said("la" * 40_000),
    "a positive log-probability": said("yes", top={"yes": 0.7}),
    "probabilities above 1": said("yes", top={"yes": -0.01, "no": -0.01}),
    "NaN each time": Response(_GOOD.body.replace(b"-0.1", b"NaN")),
}


@pytest.mark.parametrize("bad", _BAD_RESPONSES)
@pytest.mark.parametrize("question", ["About sports", "Describe it", "Why?"])
def test_one_question_that_a_server_cannot_answer_is_unknown_and_others_are_answered(
    chat_server: ChatServer, model: VideoModel, bad: str, question: str
) -> None:
    chat_server.answer = lambda request: _BAD_RESPONSES[bad] if request.question.startswith(question) else _GOOD
    prompts = [_YES, _TOPICS, _CAPTION, _WHY]
    answers = dict(zip(("red", "topics", "caption", "why"), ask(model, *prompts), strict=True))
    unknown = {"About sports": "topics", "Describe it": "caption", "Why?": "why"}[question]
    assert answers[unknown].state is VerdictState.UNKNOWN
    assert (answers[unknown].reason or "").startswith("the server did not answer: ")
    del answers[unknown]
    assert {answer.state for answer in answers.values()} == {VerdictState.ANSWERED}


def test_a_first_question_that_is_refused_does_not_stop_the_others(chat_server: ChatServer, model: VideoModel) -> None:
    chat_server.answer = lambda request: failure(400, "no") if "red" in request.question else _GOOD
    red, topics = ask(model, _YES, _TOPICS, _WHY)
    assert (red.state, topics.state) == (VerdictState.UNKNOWN, VerdictState.ANSWERED), "and the follow-up is not asked"


def test_questions_that_are_all_refused_fail_their_segment_although_a_follow_up_waits(
    chat_server: ChatServer, model: VideoModel
) -> None:
    chat_server.answer = lambda _: failure(400, "no")
    with pytest.raises(PermanentError, match="status 400: no") as caught:
        ask(model, _YES, _TOPICS, _WHY)
    assert caught.value.reason == "model_refused"
    chat_server.answer = lambda _: _GOOD
    assert [answer.state for answer in ask(model, _YES, _TOPICS, _WHY)] == [VerdictState.ANSWERED] * 3


@pytest.mark.parametrize(
    ("choices", "problem"),
    [
        (("none", "(none)"), "the choices 'none' and '(none)' cannot be told apart"),
        (("a.", "b", "A"), "the choices 'a.' and 'A' cannot be told apart"),
        (("yes", "..."), "the choice '...' has no letter or digit"),
    ],
)
def test_choices_that_a_text_cannot_name_are_refused(
    chat_server: ChatServer, model: VideoModel, choices: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        ask(model, Prompt.of(name="q", kind=PromptKind.CHOICE, text="Which?", choices=choices))
    assert f"prompt 'q': {problem}" in str(caught.value)
    assert not chat_server.requests


def test_one_refused_segment_does_not_affect_the_others(chat_server: ChatServer, model: VideoModel) -> None:
    features = encode(model, seeds=(0, 1, 2))
    bad = base64.b64encode(features[1].tensors[0].data).decode()
    chat_server.answer = lambda request: failure(400, "no such picture") if bad in request.frames else _GOOD
    with pytest.raises(PermanentError, match="no such picture"):
        model.ask(features, [[_YES, _CAPTION]] * 3)
    asked = len(chat_server.requests)
    assert asked == 6, "two questions for each segment: one refused question does not mean that all are"
    for one in (features[0], features[2]):
        prompts = [_YES, _CAPTION]
        red, caption = in_order(prompts, model.ask([one], [prompts])[0])
        assert (red.value, caption.text) == (True, "yes")
    assert len(chat_server.requests) == asked, "answered questions are not asked again"
    model.ask([features[0]], [[_YES]])
    assert len(chat_server.requests) == asked + 1, "a kept answer is used only once"


# -- identity ----------------------------------------------------------------------------------------------------


def test_a_models_identity_depends_only_on_stable_facts(
    chat_server: ChatServer, settings_of: Callable[..., Settings]
) -> None:
    before = describe_model(settings_of())
    chat_server.models = [{**chat_server.models[0], "created": 2, "permission": [{"id": "modelperm-1"}]}]
    assert describe_model(settings_of(remote_concurrency=2, remote_timeout_s=9)).hash == before.hash
    assert before.revision == "served:vllm:org/eyes"
    hashes = {before.hash}
    for change in ({"remote_jpeg_quality": 50}, {"remote_frame_size": 224}, {"model_revision": "v2"}):
        hashes.add(describe_model(settings_of(**change)).hash)
    chat_server.models[0]["root"] = "org/other"
    hashes.add(describe_model(settings_of()).hash)
    assert len(hashes) == 5


def test_the_only_model_of_a_server_needs_no_name(
    chat_server: ChatServer, settings_of: Callable[..., Settings]
) -> None:
    assert describe_model(settings_of(model=f"openai:{chat_server.url}")).name == "eyes"


def test_the_error_for_a_missing_model_lists_the_served_ones(
    chat_server: ChatServer, settings_of: Callable[..., Settings]
) -> None:
    chat_server.models = [{"id": f"model-{index}"} for index in range(12)]
    chat_server.answer = lambda _: failure(404, "The model `ears` does not exist.")
    with pytest.raises(PermanentError, match="'model-7' and 2 more") as caught:
        describe_model(settings_of(model=f"openai:{chat_server.url}#ears"))
    assert caught.value.reason == "model_not_found"
    assert "The model `ears` does not exist." in caught.value.detail


def test_a_server_of_another_api_causes_a_permanent_error(
    chat_server: ChatServer, settings_of: Callable[..., Settings]
) -> None:
    chat_server.models = {"eyes": 1}  # type: ignore[assignment]
    with pytest.raises(PermanentError, match="to the root of an OpenAI-compatible API") as caught:
        describe_model(settings_of())
    assert caught.value.reason == "model_protocol"


@pytest.mark.parametrize(("name", "value"), [("dtype", "bfloat16"), ("attention", "eager")])
def test_an_option_that_only_the_servers_operator_can_set_is_refused(
    settings_of: Callable[..., Settings], name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=f"NIGHTREEL_{name.upper()}='{value}' does not apply"):
        describe_model(settings_of(**{name: value}))


# -- the process -------------------------------------------------------------------------------------------------

_PROGRAM = """
import re, sys, time
from pathlib import Path
from nightreel.domain import FrameBatch, Prompt, PromptKind, Segment
from nightreel.models.loading import check_model, find_model, load_model
from nightreel.settings import load_settings

settings = load_settings(model=sys.argv[1])
prompt = Prompt.of(name="red", kind=PromptKind.YES_NO, text="Is it red?")
found = find_model(settings)
check_model(settings, prompts=[prompt], found=found)
model = load_model(settings, found=found)
batch = FrameBatch.blank(8, height=64, width=64, level=9)
features = model.encode([batch], segments=[Segment(0, 0.0, 8.0)], keys=["k"])
model.ask(features, [[prompt]])
peak_kib = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]  # ru_maxrss is the parent's, too
print(time.process_time(), int(peak_kib) >> 10, sorted({"torch", "transformers"} & set(sys.modules)))
"""


def test_a_process_that_talks_to_a_server_is_small_and_starts_quickly(chat_server: ChatServer) -> None:
    command = [sys.executable, "-c", _PROGRAM, chat_server.setting]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    seconds, peak_mib, heavy = done.stdout.split(maxsplit=2)
    assert heavy.strip() == "[]"
    assert float(seconds) <= 1.5, "of CPU time: other tests run beside it"
    assert int(peak_mib) <= 200

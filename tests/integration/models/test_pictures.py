"""A server that takes fewer pictures than the plan samples is refused with its limit, before any video is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fixtures.chat_server import ChatServer, Request, Response, as_json, failure, said
from fixtures.transformers_serve import ARCHITECTURES, TransformersServe

from nightreel.domain import Prompt, PromptKind
from nightreel.errors import PermanentError, SettingsError, TransientError
from nightreel.models.loading import check_model
from nightreel.models.served import chat_endpoint
from nightreel.settings import load_settings

_YES = Prompt.of(name="red", kind=PromptKind.YES_NO, text="Is it red?")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_endpoint, "_FIRST_WAIT_S", 0.01)


def _check(model: str, **settings: Any) -> None:
    assert check_model(load_settings(model=model, remote_timeout_s=60, **settings), prompts=[_YES]) is None


def _pictures(request: Request) -> int:
    return sum(part["type"] == "image_url" for part in request.parts)


def _counting(request: Request, *, seen: int | None = None) -> Response:
    """A response with the tokens of a real server: 9 for a text, 100 for each picture that the model sees."""
    pictures = _pictures(request) if seen is None else min(seen, _pictures(request))
    tokens = 9 * (len(request.parts) - _pictures(request)) + 100 * pictures
    choice = {"index": 0, "message": {"role": "assistant", "content": "A"}, "finish_reason": "length"}
    return as_json({"choices": [choice], "usage": {"prompt_tokens": tokens, "completion_tokens": 1}})


_REFUSALS: dict[str, Callable[[int, int], Response]] = {
    "vLLM": lambda limit, _: failure(
        400,
        f"At most {limit} image(s) may be provided in one prompt. You can set `--limit-mm-per-prompt` to increase this "
        "limit if the model supports it.",
    ),
    "vLLM 0.6": lambda limit, _: as_json(
        {"object": "error", "message": f"At most {limit} image(s) may be provided in one request.", "code": 400}, 400
    ),
    "SGLang": lambda limit, sent: as_json(
        {"object": "error", "message": f"Image count {sent} exceeds limit {limit} per request.", "code": 400}, 400
    ),
    "OpenAI": lambda limit, _: as_json(
        {"error": {"message": f"Too many images in request. Max is {limit}.", "type": "invalid_request_error"}}, 400
    ),
    "FastAPI": lambda *_: as_json({"detail": [{"loc": ["body", "messages"], "msg": "too many items"}]}, 422),
    "a proxy": lambda *_: Response(b"<html>413 Request Entity Too Large</html>", 413),
    "too small a context": lambda *_: failure(400, "The prompt is longer than the maximum model length of 4096."),
}


@pytest.mark.parametrize("kind", _REFUSALS)
@pytest.mark.parametrize("limit", [1, 5, 7])
def test_a_limit_below_the_plan_is_refused_with_the_limit_and_what_the_server_says(
    chat_server: ChatServer, kind: str, limit: int
) -> None:
    def answer(request: Request) -> Response:
        sent = _pictures(request)
        return _REFUSALS[kind](limit, sent) if sent > limit else _counting(request)

    chat_server.answer = answer
    with pytest.raises(SettingsError) as caught:
        _check(chat_server.setting, plan="uniform:8")
    message = str(caught.value)
    assert f"the server at {chat_server.url} takes at most {limit} pictures in a request" in message
    assert "plan uniform:8 samples up to 8 frames" in message
    assert "status 4" in message
    assert f"such as uniform:{limit}, or raise the server's limit (vLLM: --limit-mm-per-prompt" in message
    _check(chat_server.setting, plan=f"uniform:{limit}")


@pytest.mark.parametrize("limit", [1, 5, 7])
def test_a_server_that_leaves_pictures_out_is_refused(chat_server: ChatServer, limit: int) -> None:
    chat_server.answer = lambda request: _counting(request, seen=limit)
    with pytest.raises(SettingsError) as caught:
        _check(chat_server.setting, plan="uniform:8")
    assert f"takes at most {limit} pictures in a request" in str(caught.value)
    assert "counts no tokens for the others" in str(caught.value)
    _check(chat_server.setting, plan=f"uniform:{limit}")


def test_a_model_for_text_alone_is_refused(chat_server: ChatServer) -> None:
    chat_server.answer = lambda request: (
        failure(400, "At most 0 image(s) may be provided in one prompt.") if _pictures(request) else _counting(request)
    )
    with pytest.raises(SettingsError, match="takes no pictures, but plan uniform:8"):
        _check(chat_server.setting, plan="uniform:8")


def test_a_server_that_takes_all_pictures_is_asked_twice(chat_server: ChatServer) -> None:
    chat_server.answer = _counting
    _check(chat_server.setting, plan="uniform:8")
    assert [_pictures(request) for request in chat_server.requests] == [8, 7]
    assert {request.body["max_tokens"] for request in chat_server.requests} == {1}


def test_a_server_that_counts_no_tokens_of_pictures_is_believed(chat_server: ChatServer) -> None:
    chat_server.answer = lambda _: said("A")
    _check(chat_server.setting, plan="uniform:8")


@pytest.mark.parametrize(
    ("plan", "window_s", "most"), [("fps:0.2:64", 30, 8), ("fps:2:16", 30, 16), ("uniform:1", 30, 1)]
)
def test_the_trial_has_as_many_pictures_as_a_segment_can_have(
    chat_server: ChatServer, plan: str, window_s: float, most: int
) -> None:
    chat_server.answer = _counting
    _check(chat_server.setting, plan=plan, window_s=window_s)
    assert max(map(_pictures, chat_server.requests)) == most


def test_a_server_that_refuses_every_chat_is_not_blamed_for_its_pictures(chat_server: ChatServer) -> None:
    chat_server.answer = lambda _: failure(400, "Unsupported parameter: 'max_tokens'")
    with pytest.raises(PermanentError, match="Unsupported parameter") as caught:
        _check(chat_server.setting)
    assert caught.value.reason == "model_refused"


@pytest.mark.parametrize(("status", "error"), [(401, SettingsError), (503, TransientError)])
def test_other_errors_keep_their_own_message(chat_server: ChatServer, status: int, error: type[Exception]) -> None:
    chat_server.answer = lambda _: failure(status, "go away")
    with pytest.raises(error, match=f"status {status}: go away"):
        _check(chat_server.setting)


@pytest.mark.parametrize("text", ["Is it?<|im_end|>", "<image> Is it?"])
def test_prompts_that_a_server_cannot_be_asked_are_refused_without_a_request(
    chat_server: ChatServer, text: str
) -> None:
    prompt = Prompt.of(name="q", kind=PromptKind.YES_NO, text=text)
    with pytest.raises(SettingsError, match=r"prompt 'q': .* a special token: reword it"):
        check_model(load_settings(model=chat_server.setting), prompts=[prompt])
    assert not chat_server.requests


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_real_server_takes_the_pictures_of_a_plan(transformers_serve: TransformersServe, architecture: str) -> None:
    _check(transformers_serve.setting(architecture), plan="uniform:3", remote_frame_size=56)

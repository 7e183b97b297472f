"""A server that shows its model fewer frames than the plan samples is refused, before any video is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fixtures.chat_server import ChatServer, Request, Response, as_json, counted, failure, pictures_only
from fixtures.transformers_serve import ARCHITECTURES, TransformersServe
from fixtures.vllm_like import VllmLike

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
    assert (
        check_model(load_settings(model=model, remote_timeout_s=60, remote_patience_s=0, **settings), prompts=[_YES])
        is None
    )


def _pictures(request: Request) -> int:
    return len(request.media("image_url"))


def _frames(request: Request) -> int:
    return sum(part["video_url"]["url"].count(",") for part in request.media("video_url") if part["video_url"])


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
        return _REFUSALS[kind](limit, sent) if sent > limit else pictures_only(request)

    chat_server.answer_trial = answer
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
    chat_server.answer_trial = lambda request: (
        counted(request, seen=limit) if _pictures(request) > 1 else pictures_only(request)
    )
    with pytest.raises(SettingsError) as caught:
        _check(chat_server.setting, plan="uniform:8")
    assert f"takes at most {limit} pictures in a request" in str(caught.value)
    assert "counts no tokens for the others" in str(caught.value)
    _check(chat_server.setting, plan=f"uniform:{limit}")


def test_a_model_for_text_alone_is_refused(chat_server: ChatServer) -> None:
    chat_server.answer_trial = lambda request: (
        failure(400, "At most 0 image(s)") if _pictures(request) else pictures_only(request)
    )
    with pytest.raises(SettingsError, match="takes no pictures, but plan uniform:8"):
        _check(chat_server.setting, plan="uniform:8")


def test_a_server_for_pictures_is_asked_a_few_times(chat_server: ChatServer) -> None:
    _check(chat_server.setting, plan="uniform:8")
    assert sorted(_pictures(request) for request in chat_server.trials) == [0] * 6 + [1, 1, 7, 8, 8, 8, 8]
    assert {request.body["max_tokens"] for request in chat_server.trials} == {1, 8}


def test_a_server_that_counts_no_tokens_is_shown_pictures_and_believed(chat_server: ChatServer) -> None:
    chat_server.answer_trial = lambda _: as_json({"choices": [{"message": {"content": "A"}}]})
    _check(chat_server.setting, plan="uniform:8")
    assert _pictures(chat_server.trials[-1]) == 8


@pytest.mark.parametrize(
    ("plan", "window_s", "most"), [("fps:0.2:64", 30, 8), ("fps:2:16", 30, 16), ("uniform:1", 30, 1)]
)
def test_the_trial_has_as_many_pictures_as_a_segment_can_have(
    chat_server: ChatServer, plan: str, window_s: float, most: int
) -> None:
    _check(chat_server.setting, plan=plan, window_s=window_s)
    assert max(map(_pictures, chat_server.trials)) == most


def test_a_server_that_refuses_every_chat_is_not_blamed_for_its_pictures(chat_server: ChatServer) -> None:
    chat_server.answer_trial = lambda _: failure(400, "Unsupported parameter: 'max_tokens'")
    with pytest.raises(PermanentError, match="Unsupported parameter") as caught:
        _check(chat_server.setting)
    assert caught.value.reason == "model_refused"


@pytest.mark.parametrize(("status", "error"), [(401, SettingsError), (503, TransientError)])
def test_other_errors_keep_their_own_message(chat_server: ChatServer, status: int, error: type[Exception]) -> None:
    chat_server.answer_trial = lambda _: failure(status, "go away")
    with pytest.raises(error, match=f"status {status}: go away"):
        _check(chat_server.setting)


@pytest.mark.parametrize("text", ["Is it?<|im_end|>", "<image> Is it?"])
def test_prompts_that_a_server_cannot_be_asked_are_refused_before_the_plan_is_tried(
    chat_server: ChatServer, text: str
) -> None:
    prompt = Prompt.of(name="q", kind=PromptKind.YES_NO, text=text)
    with pytest.raises(SettingsError, match=r"prompt 'q': .* a special token: reword it"):
        check_model(load_settings(model=chat_server.setting), prompts=[prompt])
    assert max(map(_pictures, chat_server.trials)) == 1, "the plan was not tried"


# -- videos ------------------------------------------------------------------------------------------------------


def test_a_video_is_checked_with_the_frames_of_the_plan(chat_server: ChatServer, vllm_like: VllmLike) -> None:
    _check(chat_server.setting, plan="uniform:40")
    assert max(map(_frames, chat_server.trials)) == 40
    assert not any(map(_pictures, chat_server.trials))


def test_frames_beyond_the_32_of_vllm_are_refused_with_the_flag_that_helps(
    chat_server: ChatServer, vllm_like: VllmLike
) -> None:
    vllm_like.trusts = False
    with pytest.raises(SettingsError) as caught:
        _check(chat_server.setting, plan="uniform:40")
    assert "takes at most 32 frames of a video in a request, but plan uniform:40 samples up to 40" in str(caught.value)
    assert "--trust-request-mm-kwargs" in str(caught.value)
    _check(chat_server.setting, plan="uniform:32")


@pytest.mark.parametrize("lost", [0, 20, 39])
def test_a_server_that_loses_a_frame_is_refused(chat_server: ChatServer, vllm_like: VllmLike, lost: int) -> None:
    vllm_like.lost = (lost,)
    with pytest.raises(SettingsError, match="does not show its model all 40 frames of a timed_video in order"):
        _check(chat_server.setting, plan="uniform:40")


@pytest.mark.parametrize(
    ("merges", "frames"), [(2, 1), (2, 2), (2, 3), (2, 4), (2, 7), (2, 8), (4, 4), (4, 5), (4, 15), (4, 16)]
)
def test_frames_that_a_model_merges_are_not_taken_for_lost(
    chat_server: ChatServer, vllm_like: VllmLike, merges: int, frames: int
) -> None:
    vllm_like.merges = merges
    _check(chat_server.setting, plan=f"uniform:{frames}")


def test_a_limit_of_a_model_that_merges_frames_is_found(chat_server: ChatServer, vllm_like: VllmLike) -> None:
    vllm_like.merges, vllm_like.trusts = 2, False
    with pytest.raises(SettingsError, match="takes at most 32 frames of a video in a request"):
        _check(chat_server.setting, plan="uniform:40")


def test_a_server_that_shows_frames_backwards_is_refused(chat_server: ChatServer, vllm_like: VllmLike) -> None:
    vllm_like.backwards = True
    with pytest.raises(SettingsError, match="in order: set NIGHTREEL_REMOTE_LAYOUT=pictures"):
        _check(chat_server.setting, plan="uniform:8")


def test_a_context_that_is_too_small_for_a_video_is_refused(chat_server: ChatServer, vllm_like: VllmLike) -> None:
    vllm_like.context = 100
    with pytest.raises(SettingsError) as caught:
        _check(chat_server.setting, plan="uniform:16")
    assert "takes at most 13 frames of a video" in str(caught.value)
    assert "exceeds model's maximum context length (100)" in str(caught.value)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_real_server_takes_the_pictures_of_a_plan(transformers_serve: TransformersServe, architecture: str) -> None:
    _check(transformers_serve.setting(architecture), plan="uniform:3", remote_frame_size=56)

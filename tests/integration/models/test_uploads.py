"""Frames are sent once to a server that remembers them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from fixtures.chat_server import ChatServer, Request, Response, failure
from fixtures.vllm_like import VllmLike

from nightreel.domain import Answer, FrameBatch, Prompt, PromptKind, Segment
from nightreel.errors import PermanentError
from nightreel.models.base import VideoModel
from nightreel.models.loading import load_model
from nightreel.settings import load_settings

_QUESTIONS = [Prompt.of(name=f"q{n}", kind=PromptKind.YES_NO, text=f"Is it {n}?") for n in range(4)]


@pytest.fixture
def load(chat_server: ChatServer, vllm_like: VllmLike) -> Iterator[Callable[[], VideoModel]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(load_model(load_settings(model=chat_server.setting))))


def ask(model: VideoModel, *levels: int, prompts: list[Prompt] | None = None, frames: int = 3) -> list[list[Answer]]:
    """Ask about videos of one grey each."""
    batches = [FrameBatch.blank(frames, height=64, width=64, level=level) for level in levels]
    segments = [Segment(0, 0.0, 3.0)] * len(levels)
    features = model.encode(batches, segments=segments, keys=["segment-0"] * len(levels))
    return model.ask(features, [prompts or _QUESTIONS] * len(levels))


def uploads(chat_server: ChatServer) -> list[bool]:
    return [bool(part["video_url"]) for request in chat_server.requests for part in request.media("video_url")]


def test_the_frames_of_a_segment_are_sent_with_its_first_question_only(
    chat_server: ChatServer, load: Callable[[], VideoModel]
) -> None:
    model = load()
    ask(model, 10)
    assert uploads(chat_server) == [True, False, False, False]
    ask(model, 10, prompts=[_QUESTIONS[0]])
    assert uploads(chat_server)[4:] == [False], "in a later call, too"


@pytest.mark.parametrize(("merges", "shown"), [(1, 1), (2, 2)])
def test_a_single_frame_is_shown_twice_to_a_model_that_refuses_one(
    chat_server: ChatServer, vllm_like: VllmLike, load: Callable[[], VideoModel], merges: int, shown: int
) -> None:
    vllm_like.merges = merges
    (answers,) = ask(load(), 10, frames=1)
    assert len(answers) == 4
    (part,) = chat_server.requests[0].media("video_url")
    assert part["video_url"]["url"].count(",") == shown
    times = chat_server.requests[0].body["media_io_kwargs"]["video"]["frames_indices"]
    assert times == [0] * shown


def test_videos_with_the_same_key_are_not_mixed_up(
    chat_server: ChatServer, vllm_like: VllmLike, load: Callable[[], VideoModel]
) -> None:
    def brightness(request: Request) -> dict[str, float]:
        for part in request.media("video_url"):
            seen.setdefault(part.get("uuid"), []).append(request.question)
        return {"yes": 1.0}

    seen: dict[str | None, list[str]] = {}
    vllm_like.answer = brightness
    model = load()
    seen.clear()
    ask(model, 10)
    ask(model, 200)
    assert [len(questions) for questions in seen.values()] == [4, 4]
    assert uploads(chat_server).count(True) == 2


def test_frames_that_the_server_dropped_are_sent_again(
    chat_server: ChatServer, vllm_like: VllmLike, load: Callable[[], VideoModel]
) -> None:
    model = load()
    ask(model, 10)
    vllm_like.names.clear()  # a restart
    (answers,) = ask(model, 10)
    assert len(answers) == 4
    assert uploads(chat_server)[4:].count(True) == 1
    assert uploads(chat_server)[4] is False


def test_a_server_that_keeps_nothing_gets_the_frames_with_each_question(
    chat_server: ChatServer, vllm_like: VllmLike, load: Callable[[], VideoModel]
) -> None:
    vllm_like.keeps = False
    ask(load(), 10)
    assert uploads(chat_server) == [True] * 4
    assert not any("uuid" in part for request in chat_server.requests for part in request.parts)


def test_a_server_that_ignores_names_gets_the_frames_with_each_question(
    chat_server: ChatServer, vllm_like: VllmLike, load: Callable[[], VideoModel]
) -> None:
    def ignores(request: Request) -> Response:
        parts = request.body["messages"][0]["content"]
        parts[:] = [part for part in parts if part["type"] == "text" or part[part["type"]]]
        return vllm_like(request)

    chat_server.answer_trial = ignores
    ask(load(), 10)
    assert uploads(chat_server) == [True] * 4


def test_a_question_that_the_server_refuses_is_refused_with_its_frames_too(
    chat_server: ChatServer, vllm_like: VllmLike, load: Callable[[], VideoModel]
) -> None:
    model = load()
    ask(model, 10)
    chat_server.answer = lambda _: failure(400, "I do not like this question")
    with pytest.raises(PermanentError, match="I do not like this question"):
        ask(model, 10, prompts=[_QUESTIONS[0]])
    assert uploads(chat_server)[4:] == [False, True]


def test_answers_kept_from_a_failed_call_are_not_given_to_another_video(
    chat_server: ChatServer, load: Callable[[], VideoModel]
) -> None:
    model = load()
    good = chat_server.answer
    chat_server.answer = lambda request: failure(400, "no") if "200" in request.question else good(request)
    bad = Prompt.of(name="bad", kind=PromptKind.YES_NO, text="Is it 200?")
    batches = [FrameBatch.blank(3, height=64, width=64, level=level) for level in (1, 2)]
    features = model.encode(batches, segments=[Segment(0, 0.0, 3.0)] * 2, keys=["segment-0", "segment-0"])
    with pytest.raises(PermanentError):
        model.ask(features, [[_QUESTIONS[0]], [bad]])
    chat_server.requests.clear()
    ask(model, 99, prompts=[_QUESTIONS[0]])
    assert len(chat_server.requests) == 1, "asked, although another video with the same key has an answer"

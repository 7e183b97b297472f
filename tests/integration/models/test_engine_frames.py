"""A vLLM that we start and that gets frames, with a small program in its place: what it refuses, and what kills it.

`test_engine.py` asks a real one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fixtures.engine_like import EngineLike
from fixtures.plain_generate import moving_pattern

from nightreel.domain import Features, LookAgain, Prompt, PromptKind, SamplingPlan, Segment
from nightreel.errors import NightreelError, PermanentError, SettingsError
from nightreel.models.base import VideoModel
from nightreel.models.engine import loader
from nightreel.models.loading import load_model
from nightreel.settings import load_settings

_YES = Prompt.of(name="red", kind=PromptKind.YES_NO, text="Is it red?")


@pytest.fixture
def model(engine_like: EngineLike, tmp_path: Path) -> Iterator[VideoModel]:
    with closing(load(engine_like, tmp_path)) as loaded:
        yield loaded


def load(engine_like: EngineLike, tmp_path: Path, *prompts: Prompt) -> VideoModel:
    settings = load_settings(
        model="vllm:demo",
        engine_media="frames",
        engine_dir=engine_like.directory,
        engine_start_s=20,
        work_dir=tmp_path / "work",
        device="cpu",
    )
    return load_model(settings, prompts=prompts)


def encoded(model: VideoModel) -> list[Features]:
    return model.encode([moving_pattern(frames=2)], segments=[Segment(0, 0.0, 4.0)], keys=["a"])


def test_frames_are_encoded_whether_it_is_ready_or_not(engine_like: EngineLike, tmp_path: Path) -> None:
    engine_like.tell(dies_first=99)
    with closing(load(engine_like, tmp_path)) as model:
        features = encoded(model)
        assert [tensor.name for tensor in features[0].tensors] == ["jpeg/0000", "jpeg/0001"]
        with pytest.raises(PermanentError, match="no room for the model"):
            model.ask(features, [[_YES]])


def test_a_model_whose_frames_it_does_not_take_is_refused_with_what_it_says(
    engine_like: EngineLike, model: VideoModel
) -> None:
    engine_like.tell(refuses=(400, {"message": "this model has no video"}))
    with pytest.raises(SettingsError) as caught:
        model.ask(encoded(model), [[_YES]])
    for part in (
        "vLLM cannot be shown the frames of demo",
        "this model has no video",
        "NIGHTREEL_REMOTE_LAYOUT=pictures",
    ):
        assert part in str(caught.value)
    assert len(engine_like.starts) == 1


def test_a_vllm_that_frames_kill_is_not_taken_for_one_that_refuses_them(
    engine_like: EngineLike, model: VideoModel
) -> None:
    engine_like.tell(refuses=(500, {"message": "EngineCore encountered an issue"}), dies_at_request=True)
    with pytest.raises(PermanentError, match="vLLM ended when it was shown frames of demo") as caught:
        model.ask(encoded(model), [[_YES]])
    assert caught.value.reason == "unsupported_model"


def test_a_vllm_that_each_request_kills_ends_the_run(engine_like: EngineLike, model: VideoModel) -> None:
    engine_like.tell(dies_at_request=True)
    with pytest.raises(NightreelError, match="the last of 4 ends within an hour") as caught:
        model.ask(encoded(model), [[_YES]])
    assert caught.value.reason == "engine_died"


def test_it_must_take_the_frames_of_a_second_look(
    engine_like: EngineLike, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[SamplingPlan] = []

    def require(*_: object, plan: SamplingPlan, **__: object) -> None:
        checked.append(plan)
        raise SettingsError("too many frames")

    monkeypatch.setattr(loader, "probe_server", lambda *_, **__: None)
    monkeypatch.setattr(loader, "require_frames", require)
    look = LookAgain(from_p=0.2, plan="uniform:48", window_s=5)
    prompt = Prompt.of(name="blood", kind=PromptKind.YES_NO, text="Is there blood?", flags=["yes"], look_again=look)
    engine_like.tell()
    with closing(load(engine_like, tmp_path, prompt)) as model, pytest.raises(SettingsError, match="too many frames"):
        model.ask(encoded(model), [[prompt]])
    assert [plan.most_frames for plan in checked] == [48]

"""A vLLM that `nightreel engine serve` keeps, with a small program in its place: runs use it, and start none.

`tests/e2e/test_engine.py` keeps a real one.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fixtures.engine_like import EngineLike, is_alive
from fixtures.plain_generate import moving_pattern

from nightreel.domain import Answer, MemoryRequest, Prompt, PromptKind, Segment
from nightreel.errors import NightreelError, SettingsError, TransientError
from nightreel.models.base import VideoModel
from nightreel.models.engine.kept import find_kept, path_of
from nightreel.models.loading import check_model, describe_model, find_model, load_model
from nightreel.models.memory.device_request import request_device
from nightreel.prompts.loading import load_prompt_sets
from nightreel.reasons import Reason
from nightreel.settings import Settings, load_settings
from nightreel.stages.keep_engine import keep_engine

_YES = Prompt.of(name="red", kind=PromptKind.YES_NO, text="Is it red?")


@dataclass
class Keeper:
    """A keeper in a thread, with a lease that the test may take away."""

    settings: Settings
    is_held: bool = True
    requests: list[MemoryRequest] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _errors: list[NightreelError] = field(default_factory=list)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._keep)
        self._thread.start()
        while not self.ready.wait(0.05):
            assert self._thread.is_alive(), self._errors

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def error(self) -> NightreelError:
        self._thread.join()
        return self._errors[0]

    def _keep(self) -> None:
        try:
            keep_engine(
                self.settings, used={}, lease_memory=self._lease, on_ready=lambda _: self.ready.set(), stop=self._stop
            )
        except NightreelError as error:
            self._errors.append(error)

    @contextmanager
    def _lease(self, request: MemoryRequest) -> Iterator[Any]:
        self.requests.append(request)
        yield _Lease(self, tuple(request.capacities)[:1])


@dataclass
class _Lease:
    keeper: Keeper
    limits: tuple[str, ...]

    def ensure_held(self) -> None:
        if not self.keeper.is_held:
            raise TransientError(Reason.MEMORY_LEASE_LOST, "it expired")


@pytest.fixture
def settings(engine_like: EngineLike, tmp_path: Path) -> Settings:
    engine_like.tell(answers_after_s=0.1)
    return load_settings(
        model="vllm:demo",
        engine_dir=engine_like.directory,
        engine_start_s=20,
        work_dir=tmp_path / "work",
        device="cpu",
        embedding_model="none",
    )


@pytest.fixture
def keep(settings: Settings) -> Iterator[Callable[..., Keeper]]:
    with ExitStack() as stack:

        def start(**changed: object) -> Keeper:
            keeper = Keeper(settings.model_copy(update=changed))
            keeper.start()
            stack.callback(keeper.stop)
            return keeper

        yield start


def ask(model: VideoModel) -> Answer:
    features = model.encode([moving_pattern(frames=2)], segments=[Segment(0, 0.0, 4.0)], keys=["a"])
    return model.ask(features, [[_YES]])[0][0]


def test_runs_use_the_vllm_that_is_kept_and_leave_it_running(
    settings: Settings, engine_like: EngineLike, keep: Callable[..., Keeper]
) -> None:
    with closing(load_model(settings)) as model:
        own = ask(model)
    keeper = keep()
    for _ in range(2):
        with closing(load_model(settings)) as model:
            assert ask(model) == own
    assert len(engine_like.starts) == 2, "one of the first run, and the one that is kept"
    kept = engine_like.starts[-1]
    assert is_alive(kept)
    keeper.stop()
    assert not is_alive(kept)
    with closing(load_model(settings)) as model:
        assert ask(model) == own
    assert len(engine_like.starts) == 3


def test_a_run_needs_no_memory_for_what_is_kept(settings: Settings, keep: Callable[..., Keeper]) -> None:
    prompts = load_prompt_sets(settings.prompt_sets).prompts
    alone = check_model(settings, prompts=prompts)
    keeper = keep()
    beside = check_model(settings, prompts=prompts)
    assert alone
    assert beside
    assert alone.weights_bytes - beside.weights_bytes > 2 << 30, "vLLM itself, and the layers of the language side"
    assert beside.vision_bytes == alone.vision_bytes
    assert beside.language.of(16) <= 16 < alone.language.of(16)
    together = request_device(settings, alone).memory
    assert keeper.requests[0].mib + request_device(settings, beside, beside_engine=True).memory.mib == together.mib


def test_the_configured_memory_is_that_of_both(settings: Settings, keep: Callable[..., Keeper]) -> None:
    configured = settings.model_copy(update={"gpu_memory_mib": 6000})
    keeper = keep(gpu_memory_mib=6000)
    beside = check_model(configured, prompts=[_YES])
    assert beside
    assert keeper.requests[0].mib + request_device(configured, beside, beside_engine=True).memory.mib == 6000


def test_the_memory_for_a_dual_encoder_is_left_to_the_runs(settings: Settings, keep: Callable[..., Keeper]) -> None:
    without = keep(gpu_memory_mib=6000)
    without.stop()
    keeper = keep(gpu_memory_mib=6000, embedding_model="demo")
    assert keeper.requests[0].mib < without.requests[0].mib


def test_a_run_whose_vllm_gets_frames_needs_none_at_all(settings: Settings, keep: Callable[..., Keeper]) -> None:
    keep(engine_media="frames")
    assert check_model(settings.model_copy(update={"engine_media": "frames"}), prompts=[_YES]) is None


@pytest.mark.parametrize("changed", [{"engine_arguments": "--seed 7"}, {"engine_media": "frames"}])
def test_a_run_with_another_model_starts_its_own(
    settings: Settings, keep: Callable[..., Keeper], changed: dict[str, str]
) -> None:
    keep()
    assert find_model(settings).kept
    assert not find_model(settings.model_copy(update=changed)).kept


def test_only_one_process_keeps_vllm_for_a_model(settings: Settings, keep: Callable[..., Keeper]) -> None:
    keep()
    second = Keeper(settings)
    with pytest.raises(AssertionError, match="another `nightreel engine serve`"):
        second.start()
    assert isinstance(second.error(), SettingsError)


def test_a_vllm_that_is_killed_is_started_again_by_its_keeper_and_the_run_goes_on(
    settings: Settings, engine_like: EngineLike, keep: Callable[..., Keeper]
) -> None:
    keep()
    with closing(load_model(settings)) as model:
        first = ask(model)
        os.kill(engine_like.starts[-1], signal.SIGKILL)
        assert ask(model) == first
    assert len(engine_like.starts) == 2


def test_a_vllm_that_is_killed_under_a_request_is_asked_again(
    settings: Settings, engine_like: EngineLike, keep: Callable[..., Keeper]
) -> None:
    keep()
    with closing(load_model(settings)) as model:
        first = ask(model)
        engine_like.tell(answers_after_s=0.1)
        timer = threading.Timer(0.05, lambda: os.kill(engine_like.starts[0], signal.SIGKILL))
        timer.start()
        assert ask(model) == first
        timer.join()


def test_a_run_whose_keeper_ends_says_so(settings: Settings, keep: Callable[..., Keeper]) -> None:
    keeper = keep()
    with closing(load_model(settings)) as model:
        ask(model)
        keeper.stop()
        with pytest.raises(TransientError, match="`nightreel engine serve` that kept vLLM for this run has ended"):
            ask(model)


def test_a_keeper_that_loses_its_memory_stops_vllm(engine_like: EngineLike, keep: Callable[..., Keeper]) -> None:
    keeper = keep()
    keeper.is_held = False
    assert keeper.error().reason == "memory_lease_lost"
    assert not is_alive(engine_like.starts[0])


def test_a_file_that_a_killed_keeper_left_is_ignored(settings: Settings) -> None:
    path = path_of(settings, describe_model(settings).hash)
    path.parent.mkdir(parents=True)
    path.write_text('{"socket": "/tmp/other", "log": "/tmp/log"}')
    assert find_kept(path) is None
    assert find_model(settings).kept is None


def test_a_file_of_another_user_is_ignored(
    settings: Settings, keep: Callable[..., Keeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep()
    assert find_model(settings).kept
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert find_model(settings).kept is None


def test_a_keeper_whose_vllm_does_not_start_says_why(settings: Settings, engine_like: EngineLike) -> None:
    engine_like.tell(dies_first=99)
    keeper = Keeper(settings)
    with pytest.raises(AssertionError):
        keeper.start()
    assert "no room for the model" in keeper.error().detail


def test_only_models_that_run_in_vllm_are_kept(settings: Settings) -> None:
    keeper = Keeper(settings.model_copy(update={"model": "demo"}))
    with pytest.raises(AssertionError):
        keeper.start()
    assert "write vllm: before its name" in keeper.error().detail

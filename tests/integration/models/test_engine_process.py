"""vLLM as a process, with a small program in its place: start, death, restart, end, and what it may reach."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from fixtures.engine_like import EngineLike, is_alive

from nightreel.errors import NightreelError, PermanentError, TransientError
from nightreel.models.engine.endpoint import EngineEndpoint
from nightreel.models.engine.environment import EngineEnvironment
from nightreel.models.engine.generation import Generation
from nightreel.models.engine.launch import EngineMemory, engine_launch, for_features
from nightreel.models.engine.media import Media
from nightreel.models.engine.process import EngineProcess
from nightreel.settings import load_settings

_ONE_TOKEN = {"temperature": 0, "max_tokens": 1}
_IMAGE = Media("image", [(1, 2)], ["name"], [b"\0\0\0"])


def until(holds: Callable[[], object], within_s: float = 20.0) -> None:
    give_up_at = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def started(engine_like: EngineLike, tmp_path: Path) -> Iterator[Callable[[], tuple[EngineProcess, Generation]]]:
    """Starts a process with the environment; all are stopped at the end."""
    running: list[Generation] = []

    def start() -> tuple[EngineProcess, Generation]:
        settings = load_settings(
            engine_dir=engine_like.directory,
            work_dir=tmp_path / "work",
            device="cpu",
            remote_timeout_s=20,
            engine_start_s=20,
        )
        launch = partial(
            engine_launch,
            settings,
            EngineEnvironment.of(settings),
            tmp_path,
            dtype="float32",
            memory=EngineMemory(),
            gpus=1,
            name="model",
            media=for_features(with_tower=False),
        )
        process = EngineProcess(launch, log_directory=tmp_path / "logs", start_timeout_s=20)
        generation = Generation(EngineEndpoint(process, settings))
        process.start()
        running.append(generation)
        return process, generation

    yield start
    for generation in running:
        generation.stop()
        generation.close()


Started = Callable[[], tuple[EngineProcess, Generation]]


def test_it_answers_and_leaves_nothing_behind(engine_like: EngineLike, started: Started) -> None:
    engine_like.tell(tokens=(7, 3))
    process, generation = started()
    generation.wait_until_ready()
    assert generation.generate([1, 2], Media(), {"temperature": 0, "max_tokens": 9}).tokens == (7, 3)
    assert process.socket_path.parent.stat().st_mode & 0o777 == 0o700
    pids = [*engine_like.starts, engine_like.child]
    generation.stop()
    assert not any(map(is_alive, pids))
    assert not process.socket_path.parent.exists()


def test_it_is_started_again_when_it_is_killed_and_no_request_is_lost(
    engine_like: EngineLike, started: Started
) -> None:
    _, generation = started()
    generation.wait_until_ready()
    generation.generate([1], _IMAGE, _ONE_TOKEN)
    os.kill(engine_like.starts[0], signal.SIGKILL)
    first_child = engine_like.child
    assert generation.generate([1], _IMAGE, _ONE_TOKEN).tokens == (3,)
    assert len(engine_like.starts) == 2
    assert not is_alive(first_child)
    sent = [request["features"]["kwargs_data"]["image"] for request in engine_like.requests]  # type: ignore[index]
    assert sent[-2:] == [[None], ["AAAA"]], "the new process does not have the media of the old one"


def test_media_are_sent_once(engine_like: EngineLike, started: Started) -> None:
    _, generation = started()
    for _ in range(3):
        generation.generate([1], _IMAGE, _ONE_TOKEN)
    sent = [request["features"]["kwargs_data"]["image"] for request in engine_like.requests]  # type: ignore[index]
    assert sent == [["AAAA"], [None], [None]]


def test_a_request_ends_when_the_run_stops_vllm(engine_like: EngineLike, started: Started) -> None:
    engine_like.tell(answers_after_s=60)
    process, generation = started()
    generation.wait_until_ready()
    began = time.monotonic()
    threading.Timer(0.5, process.stop).start()
    with pytest.raises(TransientError):
        generation.generate([1], Media(), _ONE_TOKEN)
    assert time.monotonic() - began < 15


def test_the_probabilities_of_many_tokens_come_in_parts_and_are_all_there(
    engine_like: EngineLike, started: Started
) -> None:
    _, generation = started()
    found = generation.next_tokens([1], Media(), range(1, 301))
    assert sorted(found) == [*range(1, 301)]
    assert found[299] == pytest.approx(-0.5 - 2.99)
    assert len(engine_like.requests) == 3


def test_a_start_that_fails_is_not_repeated_and_its_first_error_is_told(
    engine_like: EngineLike, started: Started
) -> None:
    engine_like.tell(dies_first=9)
    _, generation = started()
    with pytest.raises(PermanentError, match=r"ended with status 3(.|\n)*ValueError: no room for the model") as caught:
        generation.wait_until_ready()
    assert caught.value.reason == "engine_died"
    assert len(engine_like.starts) == 1


def test_a_question_that_kills_it_each_time_ends_the_run(engine_like: EngineLike, started: Started) -> None:
    _, generation = started()
    generation.wait_until_ready()
    engine_like.tell(dies_at_request=True)
    os.kill(engine_like.starts[0], signal.SIGKILL)
    with pytest.raises(TransientError, match="signal 9, the last of 4 ends within an hour") as caught:
        generation.generate([1], Media(), _ONE_TOKEN)
    assert caught.value.reason == "engine_died"
    assert len(engine_like.starts) == 4
    with pytest.raises(NightreelError, match="the last of 4 ends"):
        generation.generate([1], Media(), _ONE_TOKEN)


def test_it_is_started_again_if_its_warden_is_killed(engine_like: EngineLike, started: Started) -> None:
    process, generation = started()
    generation.wait_until_ready()
    pids = [*engine_like.starts, engine_like.child]
    assert process._warden
    process._warden.kill()
    until(lambda: len(engine_like.starts) == 2)
    assert not any(map(is_alive, pids))
    assert generation.generate([1], Media(), _ONE_TOKEN).tokens == (3,)


_RUN = """
import sys, time
from functools import partial
from pathlib import Path
from nightreel.models.engine.environment import EngineEnvironment
from nightreel.models.engine.launch import EngineMemory, engine_launch, for_features
from nightreel.models.engine.process import EngineProcess
from nightreel.settings import load_settings

place = Path(sys.argv[1])
settings = load_settings(engine_dir=place / "engine", work_dir=place)
launch = partial(
    engine_launch, settings, EngineEnvironment.of(settings), place, dtype="float32", memory=EngineMemory(), gpus=1,
    name="model", media=for_features(with_tower=False),
)
process = EngineProcess(launch, log_directory=place, start_timeout_s=20)
process.start()
process.wait_until_ready()
print(process.socket_path, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_a_run_that_is_killed(engine_like: EngineLike, tmp_path: Path, number: signal.Signals) -> None:
    run = subprocess.Popen([sys.executable, "-c", _RUN, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert run.stdout
    socket_path = Path(run.stdout.readline().strip())
    pids = [*engine_like.starts, engine_like.child]
    assert all(map(is_alive, pids))
    run.send_signal(number)
    run.wait()
    run.stdout.close()
    until(lambda: not any(map(is_alive, pids)))
    until(lambda: not socket_path.parent.exists())


def test_its_log_is_bounded(
    engine_like: EngineLike, started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightreel.models.engine.process._LOG_LIMIT_BYTES", 200_000)
    engine_like.tell(prints=1_000_000)
    _, generation = started()
    generation.wait_until_ready()
    logs = sorted((tmp_path / "logs").iterdir())
    assert len(logs) == 2
    assert all(log.stat().st_size <= 200_000 for log in logs)
    assert all(log.stat().st_mode & 0o777 == 0o600 for log in logs)


def test_it_gets_no_secret_and_reaches_no_network(
    engine_like: EngineLike, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", "postgresql://u:hidden-word@localhost/x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-word")
    monkeypatch.setenv("HF_TOKEN", "hidden-word")
    monkeypatch.setenv("VLLM_API_KEY", "hidden-word")
    process, generation = started()
    generation.wait_until_ready()
    assert "hidden-word" not in json.dumps(engine_like.read_json("environment.json"))
    if "shares the network" in process.log_path.read_text():
        pytest.skip("this kernel gives no process a network of its own")
    assert [
        line.split(":")[0].strip() for line in (engine_like.directory / "network").read_text().splitlines()[2:]
    ] == ["lo"]

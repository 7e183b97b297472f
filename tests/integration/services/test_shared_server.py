"""The rules by which commands share a server, tested with a server that starts quickly."""

import os
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from fixtures.services import TinyServer

from nightreel.errors import PermanentError, TransientError
from nightreel.services import process as shared
from nightreel.services.process import SharedServer
from nightreel.services.state import read_state, write_state


def joined(directory: Path, *options: str) -> SharedServer:
    server = SharedServer(TinyServer(directory, options))
    server.join()
    server.wait_ready()
    return server


def test_the_first_user_starts_the_server_and_the_last_stops_it(tmp_path: Path) -> None:
    first, second = joined(tmp_path), joined(tmp_path)
    assert (first.was_started_here, second.was_started_here) == (True, False)
    assert first.process() == second.process()
    assert first.users() == [os.getpid(), os.getpid()]
    assert not first.leave()
    assert second.process() is not None
    assert second.leave()
    assert second.process() is None
    assert second.users() == []


def test_leaving_without_having_joined_stops_nothing(tmp_path: Path) -> None:
    user = joined(tmp_path)
    assert not SharedServer(TinyServer(tmp_path)).leave()
    assert user.process() is not None
    user.leave()


def test_a_kept_server_outlives_its_users_until_it_is_stopped(tmp_path: Path) -> None:
    server = joined(tmp_path)
    server.keep()
    assert not server.leave()
    assert server.process() is not None
    assert server.stop(force=False)
    assert server.process() is None
    assert not server.stop(force=False)


def test_a_kept_server_that_was_killed_is_kept_again(tmp_path: Path) -> None:
    server = joined(tmp_path)
    server.keep()
    server.leave()
    killed = server.process()
    assert killed is not None
    killed.kill()
    killed.wait(10)
    again = joined(tmp_path)
    assert again.was_started_here
    assert not again.leave()
    assert again.stop(force=False)


def test_a_used_server_is_stopped_only_by_force(tmp_path: Path) -> None:
    server = joined(tmp_path)
    with pytest.raises(TransientError, match=f"tiny is used by process {os.getpid()}") as caught:
        server.stop(force=False)
    assert caught.value.reason == "service_in_use"
    assert server.process() is not None
    assert server.stop(force=True)
    assert not server.leave()


def test_the_port_stays_the_same_until_another_process_takes_it(tmp_path: Path) -> None:
    program = TinyServer(tmp_path)
    for _ in range(2):
        server = SharedServer(program)
        server.join()
        server.wait_ready()
        server.leave()
    assert program.ports[0] == program.ports[1]
    with socket.create_server(("127.0.0.1", program.ports[0])):
        server = SharedServer(program)
        server.join()
        assert server.wait_ready() == program.ports[2] != program.ports[0]
        server.leave()


def test_a_port_lost_to_another_process_at_the_last_moment_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        offered = iter([taken])
        real = shared.free_port
        monkeypatch.setattr(shared, "free_port", lambda: next(offered, None) or real())
        server = SharedServer(TinyServer(tmp_path))
        server.join()
        try:
            assert server.wait_ready() != taken
        finally:
            server.leave()


def test_a_stopping_server_is_started_again(tmp_path: Path) -> None:
    first = joined(tmp_path, "slow_to_end")
    ending = first.process()
    assert ending is not None
    ending.terminate()
    second = SharedServer(TinyServer(tmp_path))
    second.join()
    assert not second.was_started_here
    ending.wait(10)
    second.wait_ready()
    assert second.was_started_here
    first.leave()
    assert second.leave()


def test_a_server_whose_launcher_died_before_writing_the_pid_is_used(tmp_path: Path) -> None:
    first = joined(tmp_path)
    path = tmp_path / "state.json"
    state = read_state(path)
    assert state is not None
    write_state(path, replace(state, pid=None))
    second = joined(tmp_path)
    assert not second.was_started_here
    first.leave()
    assert second.leave()
    assert first.process() is None


def test_a_server_that_dies_at_its_start_causes_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    server = SharedServer(TinyServer(tmp_path, ("dies",)))
    server.join()
    with pytest.raises(PermanentError, match="ended with code 1") as caught:
        server.wait_ready()
    server.leave()
    assert caught.value.reason == "service_died"
    assert "no teapots left" in caught.value.detail
    assert str(tmp_path / "server.log") in caught.value.detail


def test_a_server_killed_at_its_start_causes_a_transient_error(tmp_path: Path) -> None:
    server = SharedServer(TinyServer(tmp_path, ("killed",)))
    server.join()
    with pytest.raises(TransientError, match="ended by signal 9"):
        server.wait_ready()
    server.leave()


def test_a_server_that_never_answers_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = TinyServer(tmp_path, start_timeout_s=0.3)
    monkeypatch.setattr(TinyServer, "why_not_ready", lambda *_: "it is asleep")
    server = SharedServer(program)
    server.join()
    try:
        with pytest.raises(TransientError, match="it is asleep") as caught:
            server.wait_ready()
        assert caught.value.reason == "service_not_ready"
    finally:
        server.leave()


def test_a_server_that_ignores_the_stop_signal_is_killed(tmp_path: Path) -> None:
    program = TinyServer(tmp_path, ("deaf",), stop_signals=((signal.SIGTERM, 0.3),))
    server = SharedServer(program)
    server.join()
    server.wait_ready()
    began = time.monotonic()
    assert server.leave()
    assert 0.3 <= time.monotonic() - began < 5
    assert server.process() is None


def test_a_new_server_waits_for_the_children_of_a_killed_one(tmp_path: Path) -> None:
    first = joined(tmp_path, "has_child")
    child = int(first.log_tail())
    killed = first.process()
    assert killed is not None
    killed.kill()
    killed.wait(10)
    assert psutil.pid_exists(child)
    second = joined(tmp_path)
    assert second.was_started_here
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    first.leave()
    second.leave()


def test_a_child_that_outlives_a_killed_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = joined(tmp_path, "has_child")
    child = int(first.log_tail())
    killed = first.process()
    assert killed is not None
    killed.kill()
    killed.wait(10)
    monkeypatch.setattr(shared, "_ORPHANS_TIMEOUT_S", 0.2)
    second = SharedServer(TinyServer(tmp_path))
    with pytest.raises(TransientError, match=f"process {child}, left by an earlier server") as caught:
        second.join()
    assert caught.value.reason == "service_orphans"
    second.leave()
    first.leave()


def test_a_dead_server_leaves_no_zombie(tmp_path: Path) -> None:
    server = joined(tmp_path)
    found = server.process()
    assert found is not None
    found.kill()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(found.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not psutil.pid_exists(found.pid)
    server.leave()


def test_a_large_log_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_LOG_LIMIT_BYTES", 10)
    (tmp_path / "server.log").write_text("more than ten bytes\n")
    server = joined(tmp_path)
    server.leave()
    assert (tmp_path / "server.log.1").read_text() == "more than ten bytes\n"
    assert "more than ten bytes" not in server.log_tail()

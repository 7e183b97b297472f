import os
import socket
import sys
from pathlib import Path

import psutil
import pytest

from nightreel.services.state import ServerState, find_process, free_port, is_free, read_state, write_state


def test_a_written_state_is_read_back(tmp_path: Path) -> None:
    state = ServerState(port=5432, argv=("postgres", "-c", "port=5432"), pid=17, kept=True)
    write_state(tmp_path / "state.json", state)
    assert read_state(tmp_path / "state.json") == state


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"port": 1}', '{"port": 1, "argv": [], "colour": "red"}'])
def test_a_foreign_file_is_not_a_state(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert read_state(tmp_path / "state.json") is None


def test_a_recycled_pid_is_not_the_server() -> None:
    assert find_process(ServerState(port=1, argv=("postgres", "-D", "/data"), pid=os.getpid())) is None


def test_a_server_is_found_though_its_exec_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Popen` returns when the new program closes inherited files. Its command line is empty for 0.1 ms more, or longer
    if the host is busy."""
    argv = psutil.Process().cmdline()
    seen: list[list[str]] = [[], [], argv, argv]
    monkeypatch.setattr(psutil.Process, "cmdline", lambda _: seen.pop(0))
    assert find_process(ServerState(port=1, argv=tuple(argv), pid=os.getpid())) is not None
    assert seen == []


def test_an_unused_pid_is_not_the_server() -> None:
    assert find_process(ServerState(port=1, argv=("postgres",), pid=2**22 + 1)) is None


def test_the_server_is_found_by_its_command_line_if_its_pid_was_not_written() -> None:
    argv = tuple(psutil.Process().cmdline())
    found = find_process(ServerState(port=1, argv=argv, pid=None))
    assert found is not None
    assert found.cmdline() == list(argv)
    assert Path(found.exe()).resolve() == Path(sys.executable).resolve()


def test_a_port_with_a_listener_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not is_free(listener.getsockname()[1])
    assert is_free(free_port())

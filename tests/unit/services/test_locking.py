import os
import subprocess
import sys
from pathlib import Path

import pytest

from nightreel.errors import TransientError
from nightreel.services.locking import is_locked, locked, open_locked, release, write_private

_HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
input()
"""


def test_a_lock_is_held_until_its_release(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, timeout_s=1):
        assert is_locked(path)
    assert not is_locked(path)


def test_a_missing_file_is_not_locked_and_not_created(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "lock")
    assert not (tmp_path / "lock").exists()


def test_waiting_for_a_lock_ends_with_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, timeout_s=1), pytest.raises(TransientError, match=str(path)) as caught:
        open_locked(path, timeout_s=0.2)
    assert caught.value.reason == "service_locked"


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", _HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert is_locked(path)
        holder.kill()
    assert not is_locked(path)


def test_a_released_lock_is_free_even_if_a_copy_of_the_descriptor_is_open(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    descriptor = open_locked(path, timeout_s=1)
    copy = os.dup(descriptor)  # like that of a forked child
    try:
        release(descriptor)
        assert not is_locked(path)
    finally:
        os.close(copy)


def test_only_its_owner_can_read_a_private_file_and_it_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "password"
    write_private(path, "a longer first text")
    write_private(path, "second")
    assert path.read_text() == "second"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["password"]

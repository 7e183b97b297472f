import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nightreel.storage.spool import Spool


class Fetcher:
    """A thread that holds a place in the spool until `leave`."""

    def __init__(self, spool, size_bytes):
        self.admitted = threading.Event()
        self._leave = threading.Event()
        self._spool, self._size_bytes = spool, size_bytes
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        with self._spool.admit(self._size_bytes):
            self.admitted.set()
            assert self._leave.wait(20)

    def leave(self):
        self._leave.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


def waiting(spool, count):
    """Wait until `count` threads wait, so that their order of arrival is known."""
    deadline = time.monotonic() + 10
    while len(spool._waiting) != count:
        assert time.monotonic() < deadline, f"{len(spool._waiting)} wait, not {count}"
        time.sleep(0.001)


@pytest.fixture
def spool(tmp_path):
    with Spool(tmp_path / "spool", limit_bytes=100, low_water=1.0) as spool:
        yield spool


def test_a_directory_is_private_empty_and_deleted_with_its_contents(spool):
    with spool.admit(10) as first, spool.admit(10) as second:
        assert first != second
        assert list(first.iterdir()) == []
        (first / "video").write_bytes(b"x")
        (first / "sub").mkdir()
        assert spool.held_bytes == 20
    assert not first.exists()
    assert not second.exists()
    assert spool.held_bytes == 0


def test_a_failed_fetch_releases_its_place(spool):
    directories = []

    def fetch():
        with spool.admit(100) as directory:
            directories.append(directory)
            (directory / "half").write_bytes(b"x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fetch()
    assert not directories[0].exists()
    with spool.admit(100):
        pass


def test_no_file_is_admitted_beyond_the_limit(spool):
    first = Fetcher(spool, 60)
    assert first.admitted.wait(10)
    second = Fetcher(spool, 41)
    waiting(spool, 1)
    assert not second.admitted.is_set()
    first.leave()
    assert second.admitted.wait(10)
    second.leave()


def test_files_are_admitted_in_order_so_small_ones_do_not_overtake_large_ones(spool):
    holder = Fetcher(spool, 60)
    assert holder.admitted.wait(10)
    large = Fetcher(spool, 90)
    waiting(spool, 1)
    small = Fetcher(spool, 5)
    waiting(spool, 2)
    time.sleep(0.05)
    assert not small.admitted.is_set()
    holder.leave()
    assert large.admitted.wait(10)
    assert small.admitted.wait(10)
    large.leave()
    small.leave()


def test_a_file_larger_than_the_spool_is_admitted_alone(spool):
    with spool.admit(1):
        giant = Fetcher(spool, 1000)
        waiting(spool, 1)
        assert not giant.admitted.is_set()
    assert giant.admitted.wait(10)
    other = Fetcher(spool, 0)
    waiting(spool, 1)
    assert not other.admitted.is_set()
    giant.leave()
    assert other.admitted.wait(10)
    other.leave()


def test_a_full_spool_admits_nothing_until_it_drains_to_the_low_water_mark(tmp_path):
    with Spool(tmp_path, limit_bytes=100, low_water=0.5) as spool:
        holders = [Fetcher(spool, 25) for _ in range(4)]
        assert all(holder.admitted.wait(10) for holder in holders)
        newcomer = Fetcher(spool, 10)
        waiting(spool, 1)
        holders[0].leave()
        assert spool.held_bytes == 75
        assert not newcomer.admitted.wait(0.05)
        holders[1].leave()
        assert newcomer.admitted.wait(10)
        for fetcher in (*holders[2:], newcomer):
            fetcher.leave()


def test_many_threads_stay_within_the_limit_and_all_are_admitted(tmp_path):
    with Spool(tmp_path, limit_bytes=100) as spool:
        most, served = 0, []

        def work(number):
            nonlocal most
            for turn in range(20):
                with spool.admit(1 + (number * 7 + turn * 13) % 60):
                    most = max(most, spool.held_bytes)
                served.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(served) == sorted(list(range(8)) * 20)
        assert 0 < most <= 100
        assert spool.held_bytes == 0


def test_an_interrupted_wait_leaves_the_queue(spool):
    class StopNowError(Exception):
        pass

    def interrupt(*_):
        raise StopNowError

    holder = Fetcher(spool, 100)
    assert holder.admitted.wait(10)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(StopNowError), spool.admit(50):
            pytest.fail("admitted to a full spool")
    finally:
        signal.signal(signal.SIGALRM, before)
    holder.leave()
    with spool.admit(100):
        pass


def test_leftovers_of_a_killed_process_are_removed_and_files_of_a_living_one_stay(tmp_path):
    script = (
        "import sys; from pathlib import Path; from nightreel.storage.spool import Spool\n"
        "with Spool(Path(sys.argv[1]), 100).admit(1) as directory:\n"
        "    (directory / 'video').write_bytes(b'x'); print(directory, flush=True); sys.stdin.read()\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    dead, living = (Path(child.stdout.readline().strip()).parent for child in children)
    children[0].kill()
    children[0].communicate()
    assert dead.exists()
    with Spool(tmp_path, 100) as spool, spool.admit(1):
        assert not dead.exists()
        assert living.exists()
    children[1].communicate()
    with Spool(tmp_path, 100):
        assert not living.exists()


def test_a_closed_spool_leaves_only_its_lock(tmp_path):
    Spool(tmp_path, 100).close()
    with Spool(tmp_path, 100) as spool, spool.admit(5) as directory:
        (directory / "video").write_bytes(b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]

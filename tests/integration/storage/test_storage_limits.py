"""Fetching and publishing at the limits of the machine: a full disk, and little memory."""

import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from nightreel.errors import TransientError
from nightreel.settings import load_settings
from nightreel.storage import open_storage

SIZE = 3_000_000
_TMPFS = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size=1m none "$0" && exec "$@"']

FILL_A_DISK = """
import sys
from pathlib import Path
from nightreel.errors import NightreelError
from nightreel.settings import load_settings
from nightreel.storage import open_storage

small, source_url = Path(sys.argv[1]), sys.argv[2]
source = open_storage(source_url, load_settings())
((item,),) = source.list_pages()
fetch = lambda: source.fetch(item.uri, etag=item.etag, destination=small / "video", max_bytes=10**9)
publish = lambda: open_storage(str(small), load_settings()).publish("a/b", bytes(item.size_bytes))
for operation in (fetch, publish):
    try:
        operation()
        print("no error")
    except NightreelError as error:
        left = [path for path in small.rglob("*") if path.is_file()]
        print(type(error).__name__, error.reason, str(small) in error.detail, left, sep="|")
"""

MEASURE_A_FETCH = """
import re, sys
from pathlib import Path
from nightreel.settings import load_settings
from nightreel.storage import open_storage

target = Path(sys.argv[1])
source = open_storage(sys.argv[2], load_settings())
((large, small),) = source.list_pages()

def peak_kib():
    # not ru_maxrss: it starts at the memory of the parent process
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

for item in (small, large):
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    before = peak_kib()
    fetched = source.fetch(item.uri, etag=item.etag, destination=target / "out", max_bytes=10**12)
print(peak_kib() - before, fetched.size_bytes)
"""


@pytest.fixture(params=["directory", "bucket"])
def source(request, tmp_path):
    """The URL of a source that holds one object of SIZE bytes."""
    if request.param == "directory":
        (tmp_path / "source").mkdir()
        (tmp_path / "source/a.mp4").write_bytes(bytes(SIZE))
        return str(tmp_path / "source")
    bucket = request.getfixturevalue("s3_bucket")
    request.getfixturevalue("s3_client").put_object(Bucket=bucket, Key="a.mp4", Body=bytes(SIZE))
    return f"s3://{bucket}"


@pytest.fixture
def small_disk(tmp_path):
    """A directory at which `_TMPFS` can mount a real filesystem of 1 MiB for a command."""
    directory = tmp_path / "small"
    directory.mkdir()
    probe = shutil.which("unshare") and subprocess.run([*_TMPFS, directory, "true"], capture_output=True, check=False)
    if not probe or probe.returncode:
        pytest.skip("this system forbids mounts in user namespaces; only the test with a file-size limit runs")
    return directory


def python(script, *arguments, prefix=()):
    root = Path(__file__).parents[3]
    command = [*prefix, sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_error_for_a_full_disk_is_transient_and_names_the_path(small_disk, source):
    lines = python(FILL_A_DISK, small_disk, source, prefix=[*_TMPFS, small_disk])
    assert lines == ["TransientError|disk_full|True|[]"] * 2


@contextmanager
def file_size_limit(size_bytes):
    """Limit the size of files; Python ignores SIGXFSZ, so writing more raises EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_beyond_the_file_size_limit_causes_the_same_error(source, tmp_path):
    storage = open_storage(source, load_settings())
    cache = open_storage(str(tmp_path / "cache"), load_settings())
    ((item,),) = storage.list_pages()
    target = tmp_path / "target"
    target.mkdir()
    for operation, where in (
        (lambda: storage.fetch(item.uri, etag=item.etag, destination=target / "video", max_bytes=10**9), target),
        (lambda: cache.publish("a/b", bytes(SIZE)), tmp_path / "cache"),
    ):
        with file_size_limit(1 << 20), pytest.raises(TransientError) as caught:
            operation()
        assert caught.value.reason == "disk_full"
        assert str(where) in caught.value.detail
        assert [path for path in where.rglob("*") if path.is_file()] == []


def test_fetching_a_large_object_takes_far_less_memory_than_its_size(s3_bucket, tmp_path):
    storage = open_storage(f"s3://{s3_bucket}", load_settings())
    size = 128 << 20
    with (tmp_path / "local").open("wb") as file:
        file.truncate(size)
    storage.publish("1-large", tmp_path / "local")
    storage.publish("2-small", b"x")
    ((growth_kib, fetched),) = (line.split() for line in python(MEASURE_A_FETCH, tmp_path, f"s3://{s3_bucket}"))
    assert int(fetched) == size
    assert int(growth_kib) < 64 << 10, f"{int(growth_kib) >> 10} MiB for an object of {size >> 20} MiB"

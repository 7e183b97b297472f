"""Other users can read nothing that Nightreel writes, whatever the umask is and whichever version wrote it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nightreel.models.checkpoints.digests import FileDigests
from nightreel.private import tighten_work_dir
from nightreel.services import open_services
from nightreel.settings import Settings
from nightreel.storage.disk import new_file
from nightreel.storage.local import LocalStorage
from nightreel.storage.spool import Spool

NEIGHBOUR = 12_345


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def open_to_others(directory: Path) -> list[Path]:
    entries = [directory, *directory.rglob("*")]
    return [path for path in entries if not path.is_symlink() and path.lstat().st_mode & 0o077]


def _publish(directory: Path) -> None:
    storage = LocalStorage(directory / "features")
    storage.publish("ab/abcdef.parquet", b"features")
    storage.publish("cd/cdef.jpg", b"thumbnail")


def _spool(directory: Path) -> None:
    spool = Spool(directory / "spool", limit_bytes=1 << 20)
    with spool.admit(10) as place, new_file(place / "video") as fd:
        os.write(fd, b"video")
        assert open_to_others(directory) == []


def _digests(directory: Path) -> None:
    (directory / "weights").write_bytes(b"weights")
    (directory / "weights").chmod(0o600)
    FileDigests(directory / "models" / "digests.json").sha256(directory / "weights")


WRITERS = [_publish, _spool, _digests]


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("write", WRITERS)
def test_what_is_written_is_private_whatever_the_umask(tmp_path, write):
    directory = tmp_path / "work"
    directory.mkdir(mode=0o700)
    write(directory)
    assert list(directory.iterdir())
    assert open_to_others(directory) == []


def test_the_embedded_postgres_and_its_log_are_private(service_settings: Settings):
    before = os.umask(0)
    try:
        with open_services(service_settings, prefect=False):
            pass
    finally:
        os.umask(before)
    assert (service_settings.work_dir / "postgres" / "server.log").stat().st_size
    assert open_to_others(service_settings.work_dir) == []


def test_a_command_writes_private_files_even_by_libraries_that_choose_no_mode(tmp_path):
    """The demo's clips are written by FFmpeg."""
    script = (
        "import sys; sys.argv = ['nightreel', 'settings']\n"
        "from pathlib import Path\n"
        "from nightreel.cli import app\n"
        "app._run = lambda: Path(sys.path[0] or '.', 'x').write_text('x') and 0\n"
        "app.main()\n"
    )
    subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": ROOT}, umask=0, check=True
    )
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600


ROOT = str(Path(__file__).parents[2])


def _old_work_dir(directory: Path) -> Path:
    """As a version before wrote it under umask 000."""
    for name in ("postgres/server.log", "prefect/home/prefect.db", "features/ab/x.parquet", "models/digests.json"):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("private")
        path.chmod(0o666)
    for path in [directory, *directory.rglob("*")]:
        if path.is_dir():
            path.chmod(0o777)
    return directory


def test_a_work_directory_of_an_older_version_is_tightened(tmp_path, caplog):
    directory = _old_work_dir(tmp_path / ".nightreel")
    outside = tmp_path / "outside"
    outside.write_text("of another program")
    outside.chmod(0o644)
    (directory / "features" / "link").symlink_to(outside)
    tighten_work_dir(directory)
    assert open_to_others(directory) == []
    assert outside.stat().st_mode & 0o777 == 0o644
    assert "other users could read" in caplog.text
    caplog.clear()
    tighten_work_dir(directory)
    assert not caplog.text


def test_a_directory_that_holds_other_things_keeps_its_mode_but_not_what_is_ours_in_it(tmp_path):
    shared = _old_work_dir(tmp_path / "shared")
    (shared / "of-another-program").mkdir()
    (shared / "of-another-program").chmod(0o755)
    tighten_work_dir(shared)
    assert shared.stat().st_mode & 0o777 == 0o777
    assert (shared / "of-another-program").stat().st_mode & 0o777 == 0o755
    assert open_to_others(shared / "features") == open_to_others(shared / "prefect") == []


def test_a_command_tightens_its_work_directory(tmp_path, answering_url):
    directory = _old_work_dir(tmp_path / ".nightreel")
    with open_services(Settings(work_dir=directory, prefect_api_url=answering_url, _env_file=None), postgres=False):
        assert open_to_others(directory) == []


def test_a_neighbour_reads_nothing(open_directory):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    work_dir = open_directory / ".nightreel"
    before = os.umask(0)
    try:
        work_dir.mkdir(mode=0o700)
        for write in WRITERS:
            write(work_dir)
    finally:
        os.umask(before)
    work_dir.chmod(0o755)  # so that each file is judged by its own mode
    files = [str(path) for path in work_dir.rglob("*")]
    tried = subprocess.run(
        ["cat", "--", *files], user=NEIGHBOUR, group=NEIGHBOUR, extra_groups=[], capture_output=True, check=False
    )
    assert files
    assert tried.stdout == b""

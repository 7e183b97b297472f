"""The addresses of Postgres and Prefect: the configured servers, or embedded ones that start and stop on demand.

The command line uses it, and everything that needs a database during a command. It knows nothing of tables or flows.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from sqlalchemy import URL

from nightreel.database.url import shown
from nightreel.errors import NightreelError, PermanentError, SettingsError, TransientError
from nightreel.host_errors import host_error
from nightreel.private import tighten_work_dir
from nightreel.reasons import Reason
from nightreel.services import configured
from nightreel.services.postgres import Postgres
from nightreel.services.postgres_roles import OWNER, WORKER, Role
from nightreel.services.prefect_server import PrefectApi, PrefectServer
from nightreel.services.process import SharedServer
from nightreel.services.program import Program
from nightreel.services.state import ServerState
from nightreel.settings import Settings

ServiceName = Literal["postgres", "prefect"]
_PASSING_ERRNOS = (errno.EAGAIN, errno.EIO)


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """The addresses of the services. URLs of databases are for SQLAlchemy and contain the password.

    `owner_url` is that of the user that migrates. Both URLs are empty if no database was requested. `prefect` is None
    if no server was requested. `started` names the services that this call started.
    """

    database_url: str = field(repr=False)
    owner_url: str = field(repr=False)
    prefect: PrefectApi | None
    started: tuple[str, ...]

    @property
    def prefect_api_url(self) -> str | None:
        return self.prefect.url if self.prefect else None


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """The status of one service. URLs have no password; `detail` is a sentence, or empty; `ui_url` is for a browser.

    `kept`: `nightreel down` stops it, not the end of the last command that uses it.
    """

    name: ServiceName
    state: Literal["running", "stopped", "external", "broken"]
    url: str = ""
    ui_url: str = ""
    detail: str = ""
    pid: int | None = None
    uptime_s: float | None = None
    log_path: Path | None = None
    kept: bool = False


@contextmanager
def open_services(settings: Settings, *, postgres: bool = True, prefect: bool = True) -> Iterator[Endpoints]:
    """Provide services for the body: use the configured ones, and start embedded ones for the rest.

    All commands of one work directory share the embedded servers. At the end of the body, those that no other command
    uses stop, unless `up` was called.

    Raises:
        TransientError: a configured service cannot be reached ("database_unreachable", "prefect_unreachable"), or an
            embedded one does not start in time.
        PermanentError: Postgres refuses the login ("database_refused"), or an embedded server dies at its start. The
            error contains the end of its log.
    """
    with ExitStack() as stack:
        with _explained(settings):
            endpoints, _ = _enter(settings, stack, postgres=postgres, prefect=prefect)
        yield endpoints


def up(settings: Settings) -> Endpoints:
    """Start the services that are not configured, and keep them until `down`. Raises like `open_services`."""
    with _explained(settings), ExitStack() as stack:
        endpoints, servers = _enter(settings, stack, postgres=True, prefect=True)
        for server in servers:
            server.keep()
        return endpoints


def down(settings: Settings, *, force: bool = False) -> list[str]:
    """Stop the servers of this work directory, even those that `up` keeps. Returns their names.

    Raises:
        TransientError("service_in_use"): commands use them and `force` is not set. Nothing was stopped.
    """
    with _explained(settings):
        servers = [SharedServer(_prefect(settings)), SharedServer(_postgres(settings))]
        if not force:
            for server in servers:
                server.refuse_if_used()
        return [server.program.name for server in servers if server.stop(force=force)]


def status(settings: Settings) -> list[ServiceStatus]:
    """The status of the services, Postgres first. Starts and changes nothing."""
    with _explained(settings):
        return [_postgres_status(settings), _prefect_status(settings)]


# -- starting ---------------------------------------------------------------------------------------------------------


def _enter(
    settings: Settings, stack: ExitStack, *, postgres: bool, prefect: bool
) -> tuple[Endpoints, list[SharedServer]]:
    """Check the configured services and join the embedded ones. The stack leaves those, and may stop them."""
    tighten_work_dir(settings.work_dir)
    database_url, owner_url, api = "", "", None
    if postgres and settings.database_url:
        url = configured.database_url(settings.database_url)
        configured.check_database(url)
        owner = configured.database_url(settings.database_owner_url or settings.database_url)
        database_url, owner_url = (one.render_as_string(hide_password=False) for one in (url, owner))
    if prefect and settings.prefect_api_url:
        configured.check_prefect(settings.prefect_api_url)
        api = _configured_api(settings)

    postgres_program, prefect_program = _postgres(settings), _prefect(settings)
    programs: list[Program] = []
    if prefect and not api:
        programs.append(prefect_program)  # first: it takes seconds; meanwhile Postgres makes its data directory
    if postgres and not database_url:
        programs.append(postgres_program)
    servers = {program.name: SharedServer(program) for program in programs}
    for server in servers.values():
        stack.callback(server.leave)
        server.join()
    ports = {name: server.wait_ready() for name, server in servers.items()}
    if "postgres" in ports:
        database_url, owner_url = (
            postgres_program.url(ports["postgres"], role=role).render_as_string(hide_password=False)
            for role in (WORKER, OWNER)
        )
    if "prefect" in ports:
        api = prefect_program.api(ports["prefect"])
    started = tuple(sorted(name for name, server in servers.items() if server.was_started_here))
    endpoints = Endpoints(database_url=database_url, owner_url=owner_url, prefect=api, started=started)
    return endpoints, list(servers.values())


def _configured_api(settings: Settings) -> PrefectApi:
    secret = settings.prefect_api_auth_string
    return PrefectApi(settings.prefect_api_url or "", secret.get_secret_value() if secret else None)


def _postgres(settings: Settings) -> Postgres:
    return Postgres(settings.work_dir / "postgres")


def _prefect(settings: Settings) -> PrefectServer:
    return PrefectServer(settings.work_dir / "prefect", keep_days=settings.prefect_keep_days)


@contextmanager
def _explained(settings: Settings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        passes = host_error(error) is not None or error.errno in _PASSING_ERRNOS
        raise (TransientError if passes else PermanentError)(
            Reason.WORK_DIR_UNUSABLE,
            f"{error}: the services keep their files below {settings.work_dir.resolve()}, which must be writable; "
            "set NIGHTREEL_WORK_DIR to use another directory",
        ) from error


def running_database(settings: Settings, *, role: Role = WORKER) -> URL | None:
    """The configured Postgres, or the embedded one; None if none was ever started here. Starts nothing.

    Args:
        role: of the embedded one.

    Raises:
        TransientError("database_unreachable"): the embedded one does not run.
        SettingsError: NIGHTREEL_DATABASE_URL is wrong, or it is set and the URL of another role is wanted.
    """
    if settings.database_url and role == WORKER:
        return configured.database_url(settings.database_url)
    if settings.database_url:
        raise SettingsError(
            f"NIGHTREEL_DATABASE_URL is set: the password of {role} there is known to who made the role, not here"
        )
    with _explained(settings):
        program = _postgres(settings)
        server = SharedServer(program)
        state = server.state()
        if state is None:
            return None
        if server.process() is None:
            raise TransientError(
                Reason.DATABASE_UNREACHABLE,
                f"the Postgres of {settings.work_dir} does not run: `nightreel up` starts it",
            )
        return program.url(state.port, role=role)


def prefect_api(settings: Settings) -> PrefectApi | None:
    """The configured Prefect server, or the embedded one if it runs. Starts nothing."""
    if settings.prefect_api_url:
        return _configured_api(settings)
    state = SharedServer(_prefect(settings)).state()
    return _prefect(settings).api(state.port) if state else None


def login_page(settings: Settings) -> Path | None:
    """A page that logs a browser in to the embedded Prefect server; None if another server is configured.

    Raises:
        PermanentError("prefect_secret_lost").
    """
    program = _prefect(settings)
    state = SharedServer(program).state()
    return None if settings.prefect_api_url or state is None else program.write_login_page(state.port)


# -- status -----------------------------------------------------------------------------------------------------------


def _postgres_status(settings: Settings) -> ServiceStatus:
    if settings.database_url:
        try:
            url = configured.database_url(settings.database_url)
        except NightreelError as error:
            return ServiceStatus(name="postgres", state="broken", detail=error.detail)
        return _external("postgres", shown(url), lambda: configured.check_database(url))
    program = _postgres(settings)
    return _embedded("postgres", program, lambda port: program.url(port).render_as_string())


def _prefect_status(settings: Settings) -> ServiceStatus:
    if settings.prefect_api_url:
        url = settings.prefect_api_url
        found = _external("prefect", configured.without_login(url), lambda: configured.check_prefect(url))
    else:
        program = _prefect(settings)
        found = _embedded("prefect", program, program.url)
    api = found.url.rstrip("/")
    is_up = found.state in ("running", "external") and api.endswith("/api")  # Prefect Cloud has its UI elsewhere
    return replace(found, ui_url=api.removesuffix("/api") if is_up else "")


def _external(name: ServiceName, url: str, check: Callable[[], None]) -> ServiceStatus:
    try:
        check()
    except NightreelError as error:
        return ServiceStatus(name=name, state="broken", url=url, detail=error.detail)
    return ServiceStatus(name=name, state="external", url=url)


def _embedded(name: ServiceName, program: Program, url: Callable[[int], str]) -> ServiceStatus:
    server = SharedServer(program)
    state, process = server.state(), server.process()
    if state is None:
        return ServiceStatus(name=name, state="stopped", detail="never started here")
    log = server.log_path if server.log_path.exists() else None
    if process is None:
        if state.kept and not server.is_busy:
            return ServiceStatus(name=name, state="broken", detail="it died; `nightreel up` starts it", log_path=log)
        return ServiceStatus(name=name, state="stopped", log_path=log)
    try:
        problem, address = program.why_not_ready(process, state.port), url(state.port)
    except NightreelError as error:
        problem, address = error.detail, ""
    return ServiceStatus(
        name=name,
        state="broken" if problem else "running",
        url=address,
        detail=problem or _use(server, state),
        pid=process.pid,
        uptime_s=max(0.0, time.time() - process.create_time()),
        log_path=log,
        kept=state.kept,
    )


def _use(server: SharedServer, state: ServerState) -> str:
    users = server.users()
    used = f"used by process {', '.join(map(str, users))}" if users else "used by no command"
    return f"{used}; kept until `nightreel down`" if state.kept else used

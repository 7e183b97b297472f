"""The Postgres that pip installs, as a shared server: initdb, command line, readiness.

`endpoints` and the tests' fixtures use it. The server listens on 127.0.0.1 only and requires a password. The password
files are readable by their owner only: other users of the machine reach the port, not the data. Knows nothing of
tables. `postgres_roles` makes the roles.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import psutil
import psycopg
from psycopg.pq import PGconn, Ping
from sqlalchemy import URL

from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason
from nightreel.services.locking import write_private
from nightreel.services.postgres_binaries import MAJOR_VERSION, bin_directory
from nightreel.services.postgres_roles import SUPERUSER, WORKER, Role, are_stated, password_path, state
from nightreel.services.program import Launch, StopSignals

logger = logging.getLogger(__name__)

_DATABASE = "nightreel"
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}  # no secrets of this process, no variables of libpq
_CONNECT_TIMEOUT_S = 5
# The same sort order on all machines, with any locales.
_LOCALE = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")


@dataclass(frozen=True)
class _Account:
    user: int
    group: int


class Postgres:
    """A `Program` for `SharedServer`.

    Args:
        directory: of its files; a path of any length that the current user can write to.
        options: additional Postgres settings, `{"fsync": "off"}` in tests.
    """

    name = "postgres"
    start_timeout_s = 180.0  # recovery after a crash replays the write-ahead log first
    # A fast shutdown, then an immediate one. Both keep committed data.
    stop_signals: StopSignals = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 15.0))

    def __init__(self, directory: Path, *, options: Mapping[str, str] | None = None) -> None:
        self.directory = directory.resolve()
        self.data = self.directory / "data"
        self._password_path = password_path(self.directory, SUPERUSER)
        self._options = dict(options or {})

    def url(self, port: int, *, role: Role = WORKER, database: str = _DATABASE) -> URL:
        """The SQLAlchemy URL of a database for a role, with the password."""
        return URL.create(
            "postgresql+psycopg",
            username=role,
            password=self._password(role),
            host="127.0.0.1",
            port=port,
            database=database,
            query={"sslmode": "disable"},  # overrides PGSSLMODE=require, which is for other servers; this one is local
        )

    def prepare(self) -> None:
        """Make the data directory if it is missing.

        Raises:
            PermanentError: initdb failed, another Postgres made the data directory, or its password is missing.
        """
        for leftover in self.directory.glob("initdb-*"):
            # An initdb whose command was killed may still write there: the next start removes the rest.
            shutil.rmtree(leftover, ignore_errors=True)
        if not self.data.exists():
            self._initdb()
            logger.warning("this is a new, empty database: %s%s", self.data, _others(self.directory))
        self._check_data()
        self._forget_dead_postmaster()

    def launch(self, port: int) -> Launch:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",  # every connection needs the password, and no path is too long
            "cluster_name": self._cluster_name,
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self._options,
        }
        account = self._account
        return Launch(
            argv=(
                str(self._bin / "postgres"),
                "-D",
                str(self.data) if account is None else _through_cwd(),
                *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
            ),
            environment=_ENVIRONMENT,
            cwd=self.data,
            user=account.user if account else None,
            group=account.group if account else None,
        )

    def why_outdated(self, _argv: Sequence[str]) -> str | None:
        return None

    def why_not_ready(self, _process: psutil.Process, port: int) -> str | None:
        """Postgres is ready when the pipeline's roles can work. Makes them and the database if they are missing.

        So does a command that finds a server of an older version running, which had one role: a superuser.
        """
        if PGconn.ping(f"host=127.0.0.1 port={port} connect_timeout={_CONNECT_TIMEOUT_S}".encode()) != Ping.OK:
            return "it does not accept connections yet"
        connect = partial(self._connect, port)
        try:
            if are_stated(connect, _DATABASE):
                return None
        except (psycopg.OperationalError, FileNotFoundError):
            pass  # a role or the database does not exist yet
        try:
            state(connect, _DATABASE, self.directory)
        except psycopg.OperationalError as error:
            return str(error)
        except psycopg.Error as error:
            raise PermanentError(
                Reason.DATABASE_REFUSED, f"the roles of the Postgres in {self.directory} cannot be made: {error}"
            ) from error
        return None

    def settle(self, _port: int) -> None:
        """Do nothing: committed data stays."""

    # -- private --------------------------------------------------------------------------------------------------

    def _connect(self, port: int, role: Role, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=port,
            user=role,
            password=self._password(role),
            dbname=database,
            connect_timeout=_CONNECT_TIMEOUT_S,
            sslmode="disable",
            autocommit=True,
        )

    @cached_property
    def _account(self) -> _Account | None:
        """The user that runs Postgres if this is root: the owner of the data directory, or else user `nobody`.

        Postgres refuses to run as root.
        """
        if os.geteuid() != 0:
            return None
        if self.data.exists() and self.data.stat().st_uid != 0:
            owner = self.data.stat()
            return _Account(owner.st_uid, owner.st_gid)
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise PermanentError(
                Reason.POSTGRES_NOT_RUNNABLE,
                "Postgres does not run as root, and user `nobody` does not exist: add it, or set "
                "NIGHTREEL_DATABASE_URL",
            ) from None
        return _Account(nobody.pw_uid, nobody.pw_gid)

    @cached_property
    def _bin(self) -> Path:
        return bin_directory(*((self._account.user, self._account.group) if self._account else ()))

    @cached_property
    def _cluster_name(self) -> str:
        """Distinguishes servers in process lists, and in the command line that identifies a server."""
        return "nightreel-" + hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]

    def _password(self, role: Role = SUPERUSER) -> str:
        try:
            return password_path(self.directory, role).read_text(encoding="ascii")
        except FileNotFoundError:
            if role != SUPERUSER:
                raise  # `state` makes another
            raise PermanentError(
                Reason.POSTGRES_PASSWORD_LOST,
                f"{self._password_path} is missing, and {self.data} needs it: put it back, "
                f"or move {self.data} away to start with an empty database",
            ) from None

    def _initdb(self) -> None:
        """Make the data directory under another name, then rename it: an interruption leaves no incomplete one."""
        if not self._password_path.exists():
            write_private(self._password_path, secrets.token_urlsafe(24))
        account = self._account
        scratch = Path(tempfile.mkdtemp(prefix="initdb-", dir=self.directory))
        data, password_file = scratch / "data", scratch / "password"
        data.mkdir(mode=0o700)
        write_private(password_file, self._password())
        if account is not None:
            for path in (scratch, data, password_file):
                self._give(path, account)
        done = subprocess.run(
            [
                self._bin / "initdb",
                "--pgdata", data if account is None else _through_cwd(),
                "--pwfile", password_file if account is None else _through_cwd("../password"),
                "--username", SUPERUSER,
                "--auth", "scram-sha-256",
                "--encoding", "UTF8",
                *_LOCALE,
                *(["--no-sync"] if self._options.get("fsync") == "off" else []),
            ],
            cwd=data,
            env=_ENVIRONMENT,
            user=account.user if account else None,
            group=account.group if account else None,
            extra_groups=[] if account else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise PermanentError(
                Reason.POSTGRES_INITDB_FAILED,
                f"initdb in {data} ended with code {done.returncode}:\n{done.stdout[-2000:].strip()}",
            )
        data.rename(self.data)
        shutil.rmtree(scratch)

    def _give(self, path: Path, account: _Account) -> None:
        try:
            os.chown(path, account.user, account.group)
        except PermissionError as error:
            raise PermanentError(
                Reason.POSTGRES_NOT_RUNNABLE,
                f"Postgres does not run as root, and {path} cannot be given to user {account.user} ({error}): "
                "run as a user who is not root, or set NIGHTREEL_DATABASE_URL",
            ) from error

    def _check_data(self) -> None:
        """Refuse a data directory that the server would refuse, with an error that says what to do."""
        self._password()
        found = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        if found != MAJOR_VERSION:
            raise PermanentError(
                Reason.POSTGRES_VERSION,
                f"{self.data} was made by Postgres {found}, but Postgres {MAJOR_VERSION} is installed: dump it with "
                f"{found} and restore it, or move it away to start with an empty database",
            )

    def _forget_dead_postmaster(self) -> None:
        """Remove a postmaster.pid that a kill left: Postgres would trust it once another process has the pid.

        Called while no server of this directory runs. A Postgres that was started by hand is recognised by its name
        and working directory, and left alone.
        """
        path = self.data / "postmaster.pid"
        try:
            pid = int(path.read_text(encoding="utf-8", errors="replace").split("\n")[0])
        except FileNotFoundError:
            return
        except ValueError:
            pid = 0  # a full disk cut the file off
        if pid > 0 and self._is_postmaster_here(pid):
            raise TransientError(
                Reason.POSTGRES_FOREIGN,
                f"process {pid} is a Postgres on {self.data} that nightreel did not start: stop it",
            )
        path.unlink()

    def _is_postmaster_here(self, pid: int) -> bool:
        try:
            process = psutil.Process(pid)
            return process.name() == "postgres" and Path(process.cwd()) == self.data
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            # Root without CAP_SYS_PTRACE, as in containers, cannot read the directory. When in doubt, leave it alone.
            return process.uids().real == self.data.stat().st_uid


def _others(directory: Path) -> str:
    """Where the database is that the user may have meant: in a directory above."""
    work_dir = directory.parent
    for above in work_dir.parent.parents:
        with suppress(OSError):  # this user may not enter it
            if not (above / work_dir.name / directory.name / "data" / "PG_VERSION").exists():
                continue
            return f"; {above} has one too: run commands there, or set NIGHTREEL_WORK_DIR={above / work_dir.name}"
    return "; each directory has its own: set NIGHTREEL_WORK_DIR to use one database everywhere"


def _through_cwd(name: str = "") -> str:
    """A path below the working directory, absolute as Postgres requires.

    A child of root that becomes another user is already in its working directory, even if it may not enter the parent
    directories: below /root or in a private checkout.
    """
    if sys.platform != "linux":
        raise PermanentError(
            Reason.POSTGRES_NOT_RUNNABLE,
            "Postgres does not run as root: run as another user, or set NIGHTREEL_DATABASE_URL",
        )
    return f"/proc/self/cwd/{name}".rstrip("/")

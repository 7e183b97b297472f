"""A Prefect server's client, and Prefect's own commands as child processes of ours.

`deploy` and `worker` use both, against the server that the settings name or the embedded one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from nightreel.errors import TransientError
from nightreel.settings import Settings, child_environment
from tasks.prefect_errors import prefect_errors


@contextmanager
def prefect_client(api_url: str) -> Iterator[SyncPrefectClient]:
    """A client of this server. Raises as `prefect_errors`, and TransientError where somebody else is at it too."""
    with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
        try:
            with prefect_errors():
                yield client
        except (ObjectAlreadyExists, ObjectNotFound) as error:
            raise TransientError(
                "prefect_changed", f"somebody else changed the Prefect server at the same moment ({error}): try again"
            ) from error


def prefect_environment(settings: Settings, api_url: str, **extra: str) -> dict[str, str]:
    """The environment of such a command.

    Beside a server of one's own, Prefect's profile of this user (which may hold a key of that server) counts; beside
    the embedded one it would only be in the way.
    """
    home = {} if settings.prefect_api_url else {"PREFECT_HOME": str(settings.work_dir.resolve() / "prefect-client")}
    return child_environment(PREFECT_API_URL=api_url, DO_NOT_TRACK="1", **home, **extra)


def prefect_command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "prefect", "--no-prompt", *arguments]


def run_prefect(arguments: Sequence[str], *, environment: Mapping[str, str], cwd: Path) -> tuple[int, str]:
    """Run a command to its end: exit status and what it printed."""
    done = subprocess.run(
        prefect_command(arguments),
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout

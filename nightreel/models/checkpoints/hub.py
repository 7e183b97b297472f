"""Model repositories on the hub: which commit a name means, and its files in the hub's local cache.

`checkpoint` and `adapters` call it. HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE are read by the hub's own client.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nightreel.errors import PermanentError, TransientError
from nightreel.models.checkpoints.revisions import COMMIT, NEWEST, StoredRevisions
from nightreel.proxies import via_proxy
from nightreel.reasons import Reason


def find_on_hub(
    repository: str, revision: str | None, *, stored: StoredRevisions, patterns: list[str], known_by: str
) -> Path:
    """The directory of a repository's files at the commit that a revision means; its name is that commit.

    Asks the hub only for a branch or tag that is neither stored nor in the local cache, and for missing files. Stores
    the commit.

    Args:
        patterns: of the files to download.
        known_by: the file that tells whether the local cache has a commit.

    Raises:
        TransientError, PermanentError: as `snapshot`.
    """
    from huggingface_hub import try_to_load_from_cache

    commit = stored.commit(repository, revision)
    cached = try_to_load_from_cache(repository, known_by, revision=commit or revision)
    directory = Path(cached).parent if isinstance(cached, str) else None
    if directory is None or not COMMIT.fullmatch(directory.name):
        directory = snapshot(repository, commit or revision, patterns)
    stored.store(repository, revision, directory.name)
    return directory


def ask_hub_for_commit(repository: str, revision: str | None) -> str:
    """The commit that a branch or tag means now, `main` by default. Stores nothing.

    Raises:
        TransientError: the hub cannot be reached. PermanentError: `model_not_found`.
    """
    from huggingface_hub import HfApi

    with _errors_of_hub(repository, revision):
        try:
            return str(HfApi().model_info(repository, revision=revision).sha)
        except ConnectionError:
            raise
        except Exception as error:
            if type(error).__module__.partition(".")[0].startswith("httpx"):  # of the library that the client chose
                raise ConnectionError(error) from error
            raise


def snapshot(model: str, revision: str | None, patterns: list[str]) -> Path:
    """Download the matching files of a hub repository into the hub's cache.

    Raises:
        TransientError: the hub cannot be reached. PermanentError: `model_not_found`.
    """
    from huggingface_hub import snapshot_download

    with _errors_of_hub(model, revision):
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns))


@contextmanager
def _errors_of_hub(model: str, revision: str | None) -> Iterator[None]:
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise PermanentError(
            Reason.MODEL_NOT_FOUND,
            f"the hub has no model {model!r} at revision {revision or NEWEST!r}, or it is gated: {error}",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise TransientError(
            Reason.HUB_UNREACHABLE,
            f"model {model!r} is not in the local hub cache, and the hub cannot be reached{via_proxy(ENDPOINT)}: "
            f"{error}",
        ) from error

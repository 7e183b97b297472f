"""The commits of hub models and adapters whose revision the settings leave open, or name by a branch or tag.

A name like `main` means another commit tomorrow, and then every video would be analysed again by another model. So the
first answer is stored: runs take it from the database, other commands from a file in the work directory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nightreel.models.checkpoints.stored_json import read_object, write_object

COMMIT = re.compile(r"[0-9a-f]{40}")
NEWEST = "main"
"""The branch that a hub id without a revision means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRevisions:
    """What this installation knows about the hub's branches and tags.

    Args:
        path: of the JSON file with earlier answers; None: there is none.
        used: commits that runs of the same database used, by `key`; they replace those of the file.
    """

    path: Path | None = None
    used: Mapping[str, str] = field(default_factory=dict)

    def commit(self, repository: str, revision: str | None) -> str | None:
        """The stored commit; the revision itself if it is a commit; None if the hub must be asked."""
        if revision is not None and COMMIT.fullmatch(revision):
            return revision
        name = key(repository, revision)
        found = self.used.get(name) or read_object(self.path).get(name)
        return found if isinstance(found, str) and COMMIT.fullmatch(found) else None

    def store(self, repository: str, revision: str | None, commit: str) -> None:
        """Store the commit for later commands. A revision that is a commit needs no storing."""
        known, name = read_object(self.path), key(repository, revision)
        if self.path is not None and revision != commit and known.get(name) != commit:
            write_object(self.path, known | {name: commit})


def key(repository: str, revision: str | None) -> str:
    """The name of a branch or tag of a repository.

    >>> key("someone/tiny", None), key("someone/tiny", "v1")
    ('someone/tiny@main', 'someone/tiny@v1')
    """
    return f"{repository}@{revision or NEWEST}"

"""Queues from YAML. docs/review.md explains the keys."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from nightreel.domain.queues import Queue, Queues, SecondReview
from nightreel.errors import SettingsError

_LARGEST_BYTES = 64 << 10
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
_Names = Annotated[tuple[_Name, ...], Field(max_length=1000)]
_People = Annotated[tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...], Field(max_length=1000)]
_Severity = Annotated[int, Field(ge=1, le=4)]


class _SecondReviewEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    categories: _Names = ()
    min_severity: _Severity | None = None
    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0


class _QueueEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: _Name
    categories: _Names = ()
    prompt_sets: _Names = ()
    min_severity: _Severity | None = None
    max_severity: _Severity | None = None
    lane: _Name | None = None
    people: _People = ()
    lock_minutes: Annotated[float, Field(gt=0, le=24 * 60, allow_inf_nan=False)] = 15.0
    second_review: _SecondReviewEntry = _SecondReviewEntry()
    golden_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0


class _QueuesEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    queues: Annotated[list[_QueueEntry], Field(min_length=1, max_length=100)]


def shipped_queues() -> Queues:
    """The queues that come with Nightreel."""
    return _read((resources.files(__package__) / "queues.yaml").read_text("utf-8"), "queues.yaml")


def load_queues(path: Path) -> Queues:
    """Read queues from a file.

    Raises:
        SettingsError: it cannot be read, or has a mistake; all mistakes of the file, one a line.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
        if len(data) > _LARGEST_BYTES:
            raise SettingsError(f"{path}: expected at most {_LARGEST_BYTES:,} bytes")
        return _read(data.decode(), str(path))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: expected UTF-8 text ({error})") from error


def _read(text: str, where: str) -> Queues:
    try:
        found = _QueuesEntry.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise SettingsError(f"{where}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise SettingsError(f"{where}: nested too deep") from error
    except ValidationError as error:
        said = [f"{where}: {'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors()]
        raise SettingsError("\n".join(said)) from error
    queues = tuple(
        Queue(**entry.model_dump() | {"second_review": SecondReview(**entry.second_review.model_dump())})
        for entry in found.queues
    )
    try:
        return Queues(queues)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from error

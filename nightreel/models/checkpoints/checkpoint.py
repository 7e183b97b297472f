"""The files of a model: location, contents, revision. Reads them without torch and without the weights.

`loading.describe_model` builds a ModelSpec from this; `loading.load_model` loads the same directory. A hub model
becomes a snapshot directory in the hub's cache.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nightreel.domain import content_hash
from nightreel.errors import PermanentError, SettingsError
from nightreel.models.base import ModelSpec
from nightreel.models.checkpoints.digests import FileDigests
from nightreel.models.checkpoints.hub import find_on_hub, snapshot
from nightreel.models.checkpoints.revisions import StoredRevisions
from nightreel.reasons import Reason
from nightreel.settings import Settings

_MEANT_FOR_LOADING = (".safetensors", ".json", ".jinja", ".txt", ".model")
_CODE = ".py"
_WITHOUT_WEIGHTS = ["*.json", "*.jinja", "*.txt", "*.model"]
_PROCESSOR_FILES = re.compile(
    r"(.*processor.*|tokenizer.*|special_tokens_map|added_tokens|vocab|merges|chat_template)\..+"
)
_TIME_IN_POSITIONS = ("qwen2_vl", "qwen2_5_vl")
"""Model types whose video has one time after another as positions: see `positions` of ModelSpec."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The files of one revision of one model.

    Args:
        name: hub id, or the last part of the directory's path.
        directory: the directory of its files; of a hub model without downloaded weights, only its small files.
        revision: commit of a hub model, or `sha256:...` over the files of a directory.
    """

    name: str
    directory: Path
    revision: str

    @property
    def on_hub(self) -> bool:
        return not self.revision.startswith("sha256:")


def find_checkpoint(
    model: str,
    revision: str | None,
    digests: FileDigests,
    *,
    stored: StoredRevisions,
    with_code: bool = False,
    setting: str = "NIGHTREEL_MODEL",
) -> Checkpoint:
    """Find a directory or a hub model and pin its revision. Downloads only small files.

    A hub id without a commit means the stored one, or else the one in the local hub cache, or else the hub's. It is
    then stored.

    Args:
        model: directory or hub id.
        revision: branch, tag or commit of a hub model.
        digests: known digests of files in directories.
        stored: commits of branches and tags on the hub.
        with_code: whether the Python files of a directory count, because they will run.
        setting: the variable that names the model, for messages.

    Raises:
        SettingsError: neither a directory with a model nor a hub id.
        TransientError: the hub cannot be reached.
        PermanentError: `model_not_found` if the hub has no such model or revision.
    """
    directory = Path(model).expanduser()
    if directory.is_dir():
        if revision is not None:
            raise SettingsError(
                f"{setting}_REVISION={revision!r} pins a hub model, but {model!r} is a directory: unset it"
            )
        if not (directory / "config.json").is_file():
            raise SettingsError(f"{setting}={model!r}: the directory has no config.json, so it is not a model")
        return from_directory(directory, digests, with_code=with_code)
    if not HUB_ID.fullmatch(model):
        raise SettingsError(f"{setting}={model!r}: expected an existing directory, a hub id like org/name, or demo")
    directory = find_on_hub(model, revision, stored=stored, patterns=_WITHOUT_WEIGHTS, known_by="config.json")
    return Checkpoint(name=model, directory=directory, revision=directory.name)


def from_directory(directory: Path, digests: FileDigests, *, with_code: bool = False) -> Checkpoint:
    """A directory as a checkpoint whose revision is the hash of its files."""
    files = {path.name: digests.sha256(path) for path in _files(directory, with_code=with_code)}
    return Checkpoint(name=directory.resolve().name, directory=directory, revision=f"sha256:{content_hash(files)}")


def require_unchanged(checkpoint: Checkpoint, digests: FileDigests, *, with_code: bool = False) -> None:
    """Raise if the files of a directory changed since it was found: it is then a different model.

    Raises:
        PermanentError: `changed_checkpoint`.
    """
    if checkpoint.on_hub:
        return
    now = from_directory(checkpoint.directory, digests, with_code=with_code)
    if now.revision != checkpoint.revision:
        raise PermanentError(
            Reason.CHANGED_CHECKPOINT,
            f"the files of model {checkpoint.name!r} in {checkpoint.directory} changed after the run started: start "
            "the run again",
        )


def fetch_weights(checkpoint: Checkpoint, *, with_code: bool = False) -> Path:
    """Return the directory with all files of a checkpoint; downloads missing files of a hub model.

    Raises:
        TransientError: the hub cannot be reached.
        PermanentError: `no_safetensors` if there are no weights in safetensors.
    """
    directory = checkpoint.directory
    if checkpoint.on_hub:
        directory = snapshot(
            checkpoint.name, checkpoint.revision, [*_WITHOUT_WEIGHTS, "*.safetensors", *([f"*{_CODE}"] * with_code)]
        )
    if not any(directory.glob("*.safetensors")):
        raise PermanentError(
            Reason.NO_SAFETENSORS,
            f"model {checkpoint.name!r} has no *.safetensors file: convert it with save_pretrained (pickles run code)",
        )
    return directory


def describe(checkpoint: Checkpoint, settings: Settings, *, adapter: Checkpoint | None = None) -> ModelSpec:
    """The identity of a checkpoint under these settings ("auto" is resolved), from its small files only.

    Raises:
        SettingsError: config.json cannot be read.
        PermanentError: `damaged_checkpoint` if a weights file is truncated.
    """
    config = read_json(checkpoint.directory / "config.json")
    architectures = config.get("architectures") or [config.get("model_type", "unknown")]
    return ModelSpec(
        name=checkpoint.name,
        revision=checkpoint.revision,
        model_class=str(architectures[0]),
        dtype=_dtype_of(config) if settings.dtype == "auto" else settings.dtype,
        attention="sdpa" if settings.attention == "auto" else settings.attention,
        device=settings.device,
        processor_hash=content_hash(
            {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in _files(checkpoint.directory)
                if _PROCESSOR_FILES.fullmatch(path.name)
            }
        ),
        transformers_version=version("transformers"),
        parameters=_count_parameters(checkpoint.directory),
        quantization=None if settings.quantization == "none" else settings.quantization,
        tf32=settings.tf32,
        adapter=adapter.name if adapter else None,
        adapter_revision=adapter.revision if adapter else None,
        positions="after_largest" if config.get("model_type") in _TIME_IN_POSITIONS else None,
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file of a checkpoint.

    Raises:
        SettingsError: the file is missing or does not contain a JSON object.
    """
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read as JSON ({error}): the model is incomplete") from error
    if not isinstance(value, dict):
        raise SettingsError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def stored_bytes(directory: Path) -> int | None:
    """Size of the weights as they are stored; None if they are not here, and no index of several files states it."""
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        metadata = read_json(index).get("metadata")
        total = metadata.get("total_size") if isinstance(metadata, dict) else None
        if isinstance(total, int) and total > 0:
            return total
    return sum(path.stat().st_size for path in directory.glob("*.safetensors")) or None


def _dtype_of(config: dict[str, Any]) -> str:
    for part in (config, config.get("text_config", {})):
        dtype = part.get("dtype") or part.get("torch_dtype")
        if isinstance(dtype, str):
            return dtype.removeprefix("torch.")
    return "float32"


def _files(directory: Path, *, with_code: bool = False) -> Iterator[Path]:
    """The files that loading reads, in a fixed order: no hidden files, and code only if it is trusted."""
    meant = (*_MEANT_FOR_LOADING, _CODE) if with_code else _MEANT_FOR_LOADING
    yield from sorted(path for path in directory.iterdir() if path.is_file() and path.suffix in meant)


def _count_parameters(directory: Path) -> int | None:
    """Number of elements of all tensors; None if the weights are not available."""
    shapes = [
        tensor["shape"]
        for path in sorted(directory.glob("*.safetensors"))
        for name, tensor in _read_header(path).items()
        if name != "__metadata__"
    ]
    return sum(math.prod(shape) for shape in shapes) or None


def _read_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file (8 bytes length, then JSON), checked against the size of the file.

    Source: https://huggingface.co/docs/safetensors/index#format
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(min(length, size)))
        end = max((item["data_offsets"][1] for name, item in header.items() if name != "__metadata__"), default=0)
    except (struct.error, ValueError, LookupError, AttributeError, TypeError) as error:
        raise PermanentError(
            Reason.DAMAGED_CHECKPOINT, f"{path}: its header cannot be read: download the file again"
        ) from error
    if 8 + length + end != size:
        raise PermanentError(
            Reason.DAMAGED_CHECKPOINT,
            f"{path} has {size:,} bytes, but its header states {8 + length + end:,}: download the file again",
        )
    return header

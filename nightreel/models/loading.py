"""From settings to a model: its identity without loading it, the memory it would take, and the loaded model.

Runs and commands call it. It imports neither torch nor transformers: `inprocess.loader` does, once a model is loaded or
estimated in this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib import import_module

from nightreel.domain import MemoryPeak, Prompt
from nightreel.errors import PermanentError
from nightreel.models.base import ModelSpec, VideoModel
from nightreel.models.checkpoints import DEMO_DIRECTORY
from nightreel.models.checkpoints.adapters import find_adapter
from nightreel.models.checkpoints.capabilities import require_capabilities
from nightreel.models.checkpoints.checkpoint import Checkpoint, describe, find_checkpoint, require_unchanged
from nightreel.models.checkpoints.digests import FileDigests
from nightreel.models.memory.footprint import Footprint
from nightreel.models.served.identity import connect, describe_served, is_served
from nightreel.reasons import Reason
from nightreel.settings import Settings

DEMO = "demo"
_LOADER = "nightreel.models.inprocess.loader"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """A model before it is loaded.

    Args:
        checkpoint: its files; None for a model on a server.
        adapter: the files of the LoRA adapter that is merged in, if there is one.
    """

    spec: ModelSpec
    checkpoint: Checkpoint | None = None
    adapter: Checkpoint | None = None


def find_model(settings: Settings) -> FoundModel:
    """Find the model that the settings name and pin its identity, from small files or the server's list.

    Raises:
        SettingsError: an option that cannot work here, too.
        SettingsError, PermanentError, TransientError: as `checkpoint.find_checkpoint`, `adapters.find_adapter` or
            `identity.describe_served`.
    """
    if is_served(settings.model):
        with closing(connect(settings)) as endpoint:
            return FoundModel(spec=describe_served(endpoint, settings))
    digests = _digests(settings)
    adapter = find_adapter(settings, digests)
    if settings.model == DEMO:
        checkpoint = replace(find_checkpoint(str(DEMO_DIRECTORY), None, digests), name=DEMO)
    else:
        checkpoint = find_checkpoint(
            settings.model, settings.model_revision, digests, with_code=settings.trust_remote_code
        )
    spec = describe(checkpoint, settings, adapter=adapter)
    require_capabilities(settings, dtype=spec.dtype)
    return FoundModel(spec=spec, checkpoint=checkpoint, adapter=adapter)


def describe_model(settings: Settings) -> ModelSpec:
    """The identity of the model that the settings name. Raises as `find_model`."""
    return find_model(settings).spec


def import_libraries() -> None:
    """Import torch and transformers, which takes seconds the first time: `load_model` needs them in this process."""
    import_module(_LOADER)


def load_model(
    settings: Settings,
    *,
    found: FoundModel | None = None,
    peaks: Iterable[MemoryPeak] = (),
    limit_bytes: int | None = None,
) -> VideoModel:
    """Load the model that the settings name.

    Args:
        found: what `find_model` returned for these settings; None: it is found now.
        peaks: memory that batches of it took before; peaks of other devices are ignored.
        limit_bytes: memory that it may take of each device, weights and batches together; None: whatever is free.

    Raises:
        SettingsError: an option that cannot work here, before anything is loaded.
        PermanentError: `unsupported_model`, `no_safetensors`, `damaged_checkpoint`, `changed_checkpoint`,
            `model_not_found`, `unsupported_adapter`.
        TransientError: `hub_unreachable`; `model_unreachable` for a model on a server.
    """
    found = found or find_model(settings)
    if found.checkpoint is None:
        from nightreel.models.served.remote import RemoteModel

        return RemoteModel(settings, found.spec)
    digests = _digests(settings)
    for files in filter(None, (found.checkpoint, found.adapter)):
        require_unchanged(files, digests, with_code=settings.trust_remote_code)
    from nightreel.models.inprocess.loader import load

    return load(found.spec, found.checkpoint, found.adapter, settings=settings, peaks=peaks, limit_bytes=limit_bytes)


def estimate_footprint(
    settings: Settings,
    *,
    prompts: Sequence[Prompt],
    frames: int,
    height: int,
    width: int,
    found: FoundModel | None = None,
) -> Footprint:
    """Memory that the model would take, with these prompts asked of such segments.

    Reads its small files alone; the weights of a hub model are not downloaded. Imports torch.

    Args:
        frames, height, width: of each segment, as the source has them. found: as `load_model`.

    Raises:
        SettingsError, PermanentError, TransientError: as `load_model`, except for what only the weights can show.
    """
    found = found or find_model(settings)
    if found.checkpoint is None:
        raise PermanentError(Reason.UNSUPPORTED_MODEL, f"{settings.model!r} is on a server: its memory is unknown")
    from nightreel.models.inprocess.loader import measure

    return measure(
        found.spec,
        found.checkpoint,
        trusted=settings.trust_remote_code,
        prompts=prompts,
        frames=frames,
        height=height,
        width=width,
    )


def _digests(settings: Settings) -> FileDigests:
    return FileDigests(settings.work_dir / "models" / "digests.json")

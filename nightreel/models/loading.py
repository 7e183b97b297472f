"""From settings to a model: its identity without loading it, its memory estimate, and the loaded model.

Runs and commands call it. It imports neither torch nor transformers: `inprocess.loader` does, when this process loads
a model or estimates its memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from nightreel.domain import MemoryPeak, Prompt, largest_plan
from nightreel.errors import PermanentError, SettingsError
from nightreel.imports import without_collection
from nightreel.models.base import ModelSpec, VideoModel
from nightreel.models.checkpoints import DEMO_DIRECTORY
from nightreel.models.checkpoints.adapters import find_adapter
from nightreel.models.checkpoints.capabilities import require_capabilities
from nightreel.models.checkpoints.checkpoint import Checkpoint, describe, find_checkpoint, read_json, require_unchanged
from nightreel.models.checkpoints.digests import FileDigests
from nightreel.models.checkpoints.hub import ask_hub_for_commit
from nightreel.models.checkpoints.revisions import StoredRevisions
from nightreel.models.engine.identity import ENGINE_BYTES, describe_engine, require_no_beams, why_frames, with_frames
from nightreel.models.engine.kept import KeptEngine, find_kept, path_of
from nightreel.models.memory.footprint import Footprint
from nightreel.models.served.identity import connect, describe_served, is_served
from nightreel.models.served.probe import Server
from nightreel.reasons import Reason
from nightreel.settings import Settings

if TYPE_CHECKING:
    from nightreel.models.engine.process import EngineProcess

DEMO = "demo"
ESTIMATED_SIZE = (1280, 720)
"""Width and height of frames for the estimate of memory. Processors with a pixel cap need no more for larger frames."""
_LOADER = "nightreel.models.inprocess.loader"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """A model before it is loaded.

    Args:
        checkpoint: its files; None for a model on a server.
        adapter: the files of the LoRA adapter to merge, if there is one.
        server: what its server can do; None for a model that this process loads or starts.
        why_frames: why the vLLM that this process starts gets frames of it; empty if it gets features, or is not used.
        kept: the vLLM that `nightreel engine serve` keeps for it on this host; None: a run starts one.
    """

    spec: ModelSpec
    checkpoint: Checkpoint | None = None
    adapter: Checkpoint | None = None
    server: Server | None = None
    why_frames: str = ""
    kept: KeptEngine | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether other processes have all of it, so that this one needs no memory for it."""
        return self.checkpoint is None or (self.kept is not None and bool(self.why_frames))


def find_model(settings: Settings, *, used: Mapping[str, str] | None = None) -> FoundModel:
    """Find the model that the settings name and pin its identity, from small files or the server's list.

    Args:
        used: commits of hub models that runs of the same database used, by `revisions.key`.

    Raises:
        SettingsError: also for an option that cannot work here.
        SettingsError, PermanentError, TransientError: as `checkpoint.find_checkpoint`, `adapters.find_adapter` or
            `identity.describe_served`.
    """
    if is_served(settings.model):
        with closing(connect(settings)) as endpoint:
            spec, server = describe_served(endpoint, settings)
        return FoundModel(spec=spec, server=server)
    digests = _digests(settings)
    stored = StoredRevisions(path=settings.work_dir / "models" / "revisions.json", used=used or {})
    engine = describe_engine(settings) if settings.uses_engine else None
    adapter = find_adapter(settings, digests, stored=stored)
    if settings.checkpoint == DEMO:
        checkpoint = replace(find_checkpoint(str(DEMO_DIRECTORY), None, digests, stored=stored), name=DEMO)
    else:
        checkpoint = find_checkpoint(
            settings.checkpoint, settings.model_revision, digests, stored=stored, with_code=settings.trust_remote_code
        )
    spec, why = describe(checkpoint, settings, adapter=adapter), ""
    if engine:
        spec = replace(spec, backend="vllm", engine=engine)
        why = why_frames(read_json(checkpoint.directory / "config.json"), settings)
    if why:
        spec = with_frames(spec, settings)
    require_capabilities(settings, dtype=spec.dtype)
    kept = find_kept(path_of(settings, spec.hash)) if engine else None
    return FoundModel(spec=spec, checkpoint=checkpoint, adapter=adapter, why_frames=why, kept=kept)


def describe_model(settings: Settings, *, used: Mapping[str, str] | None = None) -> ModelSpec:
    """The identity of the model that the settings name. Arguments and errors as `find_model`."""
    return find_model(settings, used=used).spec


def newest_revision(settings: Settings, spec: ModelSpec) -> str:
    """The commit that the hub has now for the model of the settings. Stores nothing.

    Raises:
        SettingsError: the model is not on a hub.
        TransientError: `hub_unreachable`. PermanentError: `model_not_found`.
    """
    if is_served(settings.model) or spec.revision.startswith("sha256:"):
        raise SettingsError(
            f"NIGHTREEL_MODEL={settings.model!r} is not on a hub: only hub models have a newer revision"
        )
    return ask_hub_for_commit(settings.checkpoint, None)


def check_model(
    settings: Settings, *, prompts: Sequence[Prompt], found: FoundModel | None = None, beside_engine: bool | None = None
) -> Footprint | None:
    """Check that the model can answer these prompts about segments and second looks; loads no weights.

    Whatever this finds would fail every video in the same way, so it runs before the first one is claimed or fetched.
    For a model in this process, it imports torch. For a model on a server, it sends requests.

    Args:
        beside_engine: whether vLLM has memory of its own; None: whether one is kept for the model.

    Returns:
        The memory that the model needs for frames of `ESTIMATED_SIZE`; None if it needs none, because all of it is on a
        server, or in a vLLM that has memory of its own.

    Raises:
        SettingsError: the model cannot answer a prompt: its tokenizer cannot tell the allowed answers apart, or the
            question contains special tokens. Or the server takes fewer frames than the plan samples.
        SettingsError, PermanentError, TransientError: as `find_model` and `estimate_footprint`.
    """
    found = found or find_model(settings)
    plan = largest_plan(settings.sampling_plan, prompts)
    if found.server or found.why_frames:
        from nightreel.models.served.questions import require_askable

        require_askable(prompts)
    elif settings.uses_engine:
        require_no_beams(prompts)
    if found.server:
        from nightreel.models.served.frame_limits import require_frames

        with closing(connect(settings)) as endpoint:
            require_frames(endpoint, settings, plan=plan, model=found.spec.name, server=found.server)
        return None
    assert found.checkpoint, found
    if beside_engine is None:
        beside_engine = found.kept is not None
    if beside_engine and found.why_frames:
        return None
    width, height = ESTIMATED_SIZE
    footprint = estimate_footprint(
        settings,
        prompts=prompts,
        frames=plan.most_frames,
        height=height,
        width=width,
        found=found,
        with_language=not beside_engine,
    )
    if settings.uses_engine and not beside_engine:
        return replace(footprint, weights_bytes=footprint.weights_bytes + ENGINE_BYTES)
    return footprint


def import_libraries() -> None:
    """Import torch and transformers for `load_model`. The first import in a process takes seconds.

    Raises:
        PermanentError: `installation`: they are missing, or do not fit each other.
    """
    try:
        _import_once(_LOADER)
    except Exception as error:  # their own code runs
        raise PermanentError(
            Reason.INSTALLATION, f"torch and transformers cannot be imported: {type(error).__name__}: {error}"
        ) from error


@cache
def _import_once(name: str) -> None:
    with without_collection():
        import_module(name)


def load_model(
    settings: Settings,
    *,
    found: FoundModel | None = None,
    prompts: Sequence[Prompt] = (),
    peaks: Iterable[MemoryPeak] = (),
    limit_bytes: int | None = None,
) -> VideoModel:
    """Load the model that the settings name.

    Args:
        found: the result of `find_model` for these settings; None: find it now.
        prompts: their second looks may take more frames of a segment than the sampling plan.
        peaks: memory peaks of earlier batches; peaks of other devices are ignored.
        limit_bytes: memory that weights and batches together may use on each device; None: all free memory.

    Raises:
        SettingsError: an option cannot work here; raised before anything is loaded.
        PermanentError: `unsupported_model`, `no_safetensors`, `damaged_checkpoint`, `changed_checkpoint`,
            `model_not_found`, `unsupported_adapter`, `memory_too_small`; `installation`.
        TransientError: `hub_unreachable`; `model_unreachable` for a model on a server.
    """
    found = found or find_model(settings)
    if found.server:
        from nightreel.models.served.remote import RemoteModel

        server = found.server
        return RemoteModel(
            connect(settings), settings, found.spec, lambda: server, concurrency=settings.remote_concurrency
        )
    assert found.checkpoint, found
    digests = _digests(settings)
    for files in filter(None, (found.checkpoint, found.adapter)):
        require_unchanged(files, digests, with_code=settings.trust_remote_code)
    import_libraries()
    if settings.uses_engine:
        from nightreel.models.engine.loader import load as load_engine
        from nightreel.models.engine.loader import load_for_frames

        if found.why_frames:
            plan = largest_plan(settings.sampling_plan, prompts)
            return load_for_frames(
                found.spec,
                found.checkpoint,
                settings=settings,
                plan=plan,
                why=found.why_frames,
                limit_bytes=limit_bytes,
                kept=found.kept,
            )
        return load_engine(
            found.spec, found.checkpoint, settings=settings, peaks=peaks, limit_bytes=limit_bytes, kept=found.kept
        )
    from nightreel.models.inprocess.loader import load

    return load(found.spec, found.checkpoint, found.adapter, settings=settings, peaks=peaks, limit_bytes=limit_bytes)


def start_engine(settings: Settings, *, found: FoundModel, limit_bytes: int | None) -> EngineProcess:
    """Start the vLLM of a `vllm:` model alone, to keep it between runs.

    Args:
        limit_bytes: memory that it may use on each device; None: all free memory.

    Raises:
        NightreelError: as `load_model`.
    """
    assert found.checkpoint, found
    require_unchanged(found.checkpoint, _digests(settings), with_code=settings.trust_remote_code)
    import_libraries()
    from nightreel.models.engine.loader import start_alone

    return start_alone(
        found.spec,
        found.checkpoint,
        settings=settings,
        gets_frames=bool(found.why_frames),
        limit_bytes=limit_bytes,
    )


def estimate_footprint(
    settings: Settings,
    *,
    prompts: Sequence[Prompt],
    frames: int,
    height: int,
    width: int,
    found: FoundModel | None = None,
    with_language: bool = True,
) -> Footprint:
    """Estimate the memory that the model needs for these prompts and segments of this size.

    Reads only its small files; the weights of a hub model are not downloaded. Imports torch.

    Args:
        frames, height, width: of each segment, in the source's resolution. found: as `load_model`.
        with_language: false: the language side has memory of its own.

    Raises:
        SettingsError: also for a prompt that the model cannot answer.
        SettingsError, PermanentError, TransientError: as `load_model`, except for errors in the weights.
    """
    found = found or find_model(settings)
    if found.checkpoint is None:
        raise PermanentError(Reason.UNSUPPORTED_MODEL, f"{settings.model!r} is on a server: its memory is unknown")
    import_libraries()
    from nightreel.models.inprocess.loader import measure

    return measure(
        found.spec,
        found.checkpoint,
        trusted=settings.trust_remote_code,
        with_features=not found.why_frames,
        with_language=with_language,
        prompts=prompts,
        frames=frames,
        height=height,
        width=width,
    )


def _digests(settings: Settings) -> FileDigests:
    return FileDigests(settings.work_dir / "models" / "digests.json")

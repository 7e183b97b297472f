"""Start or use vLLM for a checkpoint: for its language side, with the vision tower in this process, or for all of it.

`models.loading` imports it only when this process needs such a model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nightreel.domain import MemoryPeak, SamplingPlan
from nightreel.errors import PermanentError, SettingsError
from nightreel.models.base import ModelSpec
from nightreel.models.checkpoints.capabilities import ALL_GPUS, first_device, visible_gpus
from nightreel.models.checkpoints.checkpoint import Checkpoint, fetch_weights
from nightreel.models.checkpoints.code import require_own_code
from nightreel.models.engine.endpoint import EngineEndpoint
from nightreel.models.engine.environment import EngineEnvironment
from nightreel.models.engine.generation import Generation
from nightreel.models.engine.identity import layout_of
from nightreel.models.engine.in_use import EngineInUse
from nightreel.models.engine.kept import KeptEngine
from nightreel.models.engine.launch import (
    EngineMemory,
    cpu_memory,
    engine_launch,
    for_features,
    for_frames,
    gpu_memory,
)
from nightreel.models.engine.model import EngineModel
from nightreel.models.engine.process import EngineProcess
from nightreel.models.failures import failures_of
from nightreel.models.inprocess.footprint import weights_bytes
from nightreel.models.inprocess.loader import config_of, load_network
from nightreel.models.memory.meters import limit_process, meter_of
from nightreel.models.served.frame_limits import require_frames
from nightreel.models.served.probe import Server, probe_server
from nightreel.models.served.remote import RemoteModel
from nightreel.reasons import Reason
from nightreel.settings import Settings

logger = logging.getLogger(__name__)


def load(
    spec: ModelSpec,
    checkpoint: Checkpoint,
    *,
    settings: Settings,
    peaks: Iterable[MemoryPeak],
    limit_bytes: int | None,
    kept: KeptEngine | None = None,
) -> EngineModel:
    """Load a model whose features vLLM gets, with the options of the settings. See `models.loading.load_model`.

    Returns before vLLM is ready: frames can be encoded while it starts.

    Args:
        kept: the vLLM that is used; None: one is started.
    """
    EngineEnvironment.of(settings).require_version()
    with failures_of(spec.name, settings.device):
        model, processor, directory = load_network(spec, checkpoint, settings=settings, with_language=False)
        if kept:
            own_bytes = limit_bytes if first_device(settings.device) != "cpu" else None
            if own_bytes is not None:
                limit_process([first_device(settings.device)], own_bytes)
            endpoint = _use(kept, settings)
        else:
            memory, own_bytes = _share(settings, checkpoint, held_bytes=weights_bytes(model), limit_bytes=limit_bytes)
            media = for_features(with_tower=_has_deeper_features(model.config))
            endpoint = _start(spec, directory, settings=settings, memory=memory, media=media)
        meter = None if own_bytes is None else meter_of(model, limit_bytes=own_bytes)
        return EngineModel(
            model,
            processor,
            spec,
            Generation(endpoint),
            concurrency=settings.engine_concurrency,
            peaks=peaks,
            meter=meter,
        )


def load_for_frames(
    spec: ModelSpec,
    checkpoint: Checkpoint,
    *,
    settings: Settings,
    plan: SamplingPlan,
    why: str,
    limit_bytes: int | None,
    kept: KeptEngine | None = None,
) -> RemoteModel:
    """Start vLLM for a model whose frames it gets. See `models.loading.load_model`.

    Returns before vLLM is ready: what it can do is found out before the first question.

    Args:
        plan: the one that takes the most frames: of segments, or of a second look.
        why: it does not get features.
        kept: as `load`.
    """
    EngineEnvironment.of(settings).require_version()
    logger.info("vLLM gets the frames of %s as %s, and no features: %s", spec.name, layout_of(settings), why)
    if kept:
        endpoint = _use(kept, settings)
    else:
        memory, _ = _share(settings, checkpoint, held_bytes=0, limit_bytes=limit_bytes)
        media = for_frames(layout_of(settings), on_gpu=memory.share is not None)
        endpoint = _start(spec, _files(checkpoint, settings), settings=settings, memory=memory, media=media)
    return RemoteModel(
        endpoint,
        settings,
        spec,
        partial(_find_server, endpoint, settings, plan, spec.name),
        concurrency=settings.engine_concurrency,
    )


def start_alone(
    spec: ModelSpec, checkpoint: Checkpoint, *, settings: Settings, gets_frames: bool, limit_bytes: int | None
) -> EngineProcess:
    """Start vLLM for a model, without the part of the model that a run keeps in its own process.

    Raises:
        NightreelError: as `models.loading.load_model`.
    """
    EngineEnvironment.of(settings).require_version()
    directory = _files(checkpoint, settings)
    device = first_device(settings.device)
    with failures_of(spec.name, settings.device):
        if device == "cpu":
            memory = _cpu_memory(checkpoint, limit_bytes)
        else:
            free, total = torch.cuda.mem_get_info(device)
            memory = EngineMemory(share=(free if limit_bytes is None else limit_bytes) / total)
        config = config_of(directory, trusted=settings.trust_remote_code)
    media = (
        for_frames(layout_of(settings), on_gpu=memory.share is not None)
        if gets_frames
        else for_features(with_tower=_has_deeper_features(config))
    )
    process = _process(spec, directory, settings=settings, memory=memory, media=media)
    process.start()
    return process


def _files(checkpoint: Checkpoint, settings: Settings) -> Path:
    """The directory of a model's files, with its weights."""
    directory = fetch_weights(checkpoint, with_code=settings.trust_remote_code)
    if settings.trust_remote_code:
        require_own_code(directory, checkpoint.name)
    return directory


def _has_deeper_features(config: Any) -> bool:
    return hasattr(getattr(config, "vision_config", None), "deepstack_visual_indexes")


def _use(kept: KeptEngine, settings: Settings) -> EngineEndpoint:
    logger.info("vLLM is kept by `nightreel engine serve`; its log: %s", kept.log_path)
    return EngineEndpoint(EngineInUse(kept, start_timeout_s=settings.engine_start_s), settings)


def _start(
    spec: ModelSpec, directory: Path, *, settings: Settings, memory: EngineMemory, media: Sequence[str]
) -> EngineEndpoint:
    process = _process(spec, directory, settings=settings, memory=memory, media=media)
    endpoint = EngineEndpoint(process, settings)
    process.start()
    return endpoint


def _process(
    spec: ModelSpec, directory: Path, *, settings: Settings, memory: EngineMemory, media: Sequence[str]
) -> EngineProcess:
    launch = partial(
        engine_launch,
        settings,
        EngineEnvironment.of(settings),
        directory,
        dtype=spec.dtype,
        memory=memory,
        gpus=_gpus(settings),
        name=spec.name,
        media=media,
    )
    return EngineProcess(
        launch,
        log_directory=settings.work_dir.resolve() / "engine" / "logs",
        start_timeout_s=settings.engine_start_s,
    )


def _find_server(endpoint: EngineEndpoint, settings: Settings, plan: SamplingPlan, name: str) -> Server:
    """What vLLM can do with the frames of this model, once it is ready.

    Raises:
        SettingsError: it cannot be shown frames as the settings say.
        PermanentError: `unsupported_model`: frames end it.
        NightreelError: as `EngineProcess.wait_until_ready` and `probe_server`.
    """
    process = endpoint.process
    process.wait_until_ready()
    deaths = process.deaths
    wanted = settings.model_copy(update={"remote_layout": layout_of(settings)})
    try:
        server = probe_server(endpoint, wanted, model=name, listed={})
        require_frames(endpoint, wanted, plan=plan, model=name, server=server)
    except SettingsError as error:
        if process.died_since(deaths):
            raise PermanentError(
                Reason.UNSUPPORTED_MODEL,
                f"vLLM ended when it was shown frames of {name}; the end of {process.log_path}:\n{process.log_tail()}",
            ) from error
        raise SettingsError(
            f"vLLM cannot be shown the frames of {name}: {error.detail}; its log: {process.log_path}; "
            "NIGHTREEL_REMOTE_LAYOUT=pictures shows them as pictures"
        ) from error
    return server


def _share(
    settings: Settings, checkpoint: Checkpoint, *, held_bytes: int, limit_bytes: int | None
) -> tuple[EngineMemory, int | None]:
    """The memory for vLLM, and that for this process on a GPU, of what is leased. Limits this process to its own.

    Args:
        held_bytes: what this process has loaded there.
    """
    device = first_device(settings.device)
    if device == "cpu":
        return _cpu_memory(checkpoint, limit_bytes), None
    free, total = torch.cuda.mem_get_info(device)
    memory, own_bytes = gpu_memory(
        free + held_bytes if limit_bytes is None else limit_bytes, held_bytes=held_bytes, total_bytes=total
    )
    limit_process([device], own_bytes)
    return memory, own_bytes


def _cpu_memory(checkpoint: Checkpoint, limit_bytes: int | None) -> EngineMemory:
    weights = sum(path.stat().st_size for path in checkpoint.directory.glob("*.safetensors"))
    return cpu_memory(limit_bytes, weights)


def _gpus(settings: Settings) -> int:
    return visible_gpus() if settings.device == ALL_GPUS else 1

"""Load the vision tower of a checkpoint into this process, and start vLLM for its language side.

`models.loading` imports it only when this process needs such a model.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch

from nightreel.domain import MemoryPeak
from nightreel.models.base import ModelSpec
from nightreel.models.checkpoints.capabilities import ALL_GPUS, first_device, visible_gpus
from nightreel.models.checkpoints.checkpoint import Checkpoint
from nightreel.models.engine.environment import EngineEnvironment
from nightreel.models.engine.generation import Generation
from nightreel.models.engine.launch import EngineMemory, cpu_memory, engine_launch, gpu_memory
from nightreel.models.engine.model import EngineModel
from nightreel.models.engine.process import EngineProcess
from nightreel.models.failures import failures_of
from nightreel.models.inprocess.footprint import weights_bytes
from nightreel.models.inprocess.loader import load_network
from nightreel.models.memory.meters import limit_process, meter_of
from nightreel.models.served.chat_endpoint import ChatEndpoint
from nightreel.settings import Settings

_URL = "http://localhost/v1"  # the name means nothing: requests go to a socket file


def load(
    spec: ModelSpec,
    checkpoint: Checkpoint,
    *,
    settings: Settings,
    peaks: Iterable[MemoryPeak],
    limit_bytes: int | None,
) -> EngineModel:
    """Load a model, with the options of the settings. See `models.loading.load_model`.

    Returns before vLLM is ready: frames can be encoded while it starts.
    """
    environment = EngineEnvironment.of(settings)
    environment.require_version()
    with failures_of(spec.name, settings.device):
        model, processor, directory = load_network(spec, checkpoint, settings=settings, with_language=False)
        memory, vision_bytes = _memory(settings, checkpoint, weights_bytes(model), limit_bytes)
        if vision_bytes is not None:
            limit_process([first_device(settings.device)], vision_bytes)
        meter = None if vision_bytes is None else meter_of(model, limit_bytes=vision_bytes)
        launch = partial(
            engine_launch,
            settings,
            environment,
            directory,
            dtype=spec.dtype,
            memory=memory,
            gpus=_gpus(settings),
            with_tower=hasattr(getattr(model.config, "vision_config", None), "deepstack_visual_indexes"),
        )
        process = EngineProcess(
            launch,
            log_directory=settings.work_dir.resolve() / "engine" / "logs",
            start_timeout_s=settings.engine_start_s,
        )
        endpoint = ChatEndpoint(
            _URL,
            api_key=None,
            timeout_s=settings.remote_timeout_s,
            patience_s=settings.engine_start_s,
            patience_setting="NIGHTREEL_ENGINE_START_S",
            connections=settings.engine_concurrency,
            socket_path=process.socket_path,
        )
        process.start()
        return EngineModel(
            model,
            processor,
            spec,
            Generation(endpoint, process),
            concurrency=settings.engine_concurrency,
            peaks=peaks,
            meter=meter,
        )


def _memory(
    settings: Settings, checkpoint: Checkpoint, held_bytes: int, limit_bytes: int | None
) -> tuple[EngineMemory, int | None]:
    """The memory for vLLM, and the memory for the vision tower on a GPU, of what is leased."""
    device = first_device(settings.device)
    if device == "cpu":
        weights = sum(path.stat().st_size for path in checkpoint.directory.glob("*.safetensors"))
        return cpu_memory(limit_bytes, weights), None
    free, total = torch.cuda.mem_get_info(device)
    return gpu_memory(
        free + held_bytes if limit_bytes is None else limit_bytes, held_bytes=held_bytes, total_bytes=total
    )


def _gpus(settings: Settings) -> int:
    return visible_gpus() if settings.device == ALL_GPUS else 1

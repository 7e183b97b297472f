"""Turn a checkpoint into a transformers model: with its weights, or without them on the meta device.

`models.loading` imports it only when this process needs a model, because the import imports torch and transformers.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig, TorchAoConfig
from transformers.utils.logging import disable_progress_bar, get_verbosity, set_verbosity, set_verbosity_error

from nightreel.domain import MemoryPeak, Prompt
from nightreel.errors import PermanentError
from nightreel.models.base import ModelSpec
from nightreel.models.checkpoints.adapters import merge_adapter
from nightreel.models.checkpoints.capabilities import ALL_GPUS, visible_gpus
from nightreel.models.checkpoints.checkpoint import Checkpoint, fetch_weights, stored_bytes
from nightreel.models.checkpoints.code import require_own_code
from nightreel.models.checkpoints.hub import snapshot
from nightreel.models.failures import failures_of
from nightreel.models.inprocess.dialogue import template_problem
from nightreel.models.inprocess.footprint import measure_footprint
from nightreel.models.inprocess.graphs import Graphs, capture_on_gpu
from nightreel.models.inprocess.local import LocalModel
from nightreel.models.memory.footprint import Footprint
from nightreel.models.memory.meters import limit_process, meter_of
from nightreel.models.memory.shapes import BatchBytes
from nightreel.reasons import Reason
from nightreel.settings import Settings

# transformers does not type these calls.
_processors: Any = AutoProcessor
_models: Any = AutoModelForImageTextToText
_quantize_with_bitsandbytes: Any = BitsAndBytesConfig


def load(
    spec: ModelSpec,
    checkpoint: Checkpoint,
    adapter: Checkpoint | None,
    *,
    settings: Settings,
    peaks: Iterable[MemoryPeak],
    limit_bytes: int | None,
) -> LocalModel:
    """Load a model, with the options of the settings. See `models.loading.load_model`."""
    with failures_of(spec.name, settings.device):
        if limit_bytes is not None:
            limit_process(_gpus_of(settings.device), limit_bytes)
        model, processor, _ = load_network(spec, checkpoint, settings=settings)
        if adapter:
            model = merge_adapter(model, adapter)
        meter = None if limit_bytes is None else meter_of(model, limit_bytes=limit_bytes)
        graphs = Graphs(capture_on_gpu if settings.cuda_graphs else None)
        return LocalModel(model.eval(), processor, spec, peaks=peaks, meter=meter, graphs=graphs)


def load_network(
    spec: ModelSpec, checkpoint: Checkpoint, *, settings: Settings, with_language: bool = True
) -> tuple[Any, Any, Path]:
    """The network of a checkpoint with its weights, its processor, and the directory of its files.

    Args:
        with_language: false: the language side has no layers. Another process computes it.
    """
    _without_progress_bars()
    if spec.tf32:
        torch.set_float32_matmul_precision("high")
    trusted = settings.trust_remote_code
    directory = fetch_weights(checkpoint, with_code=trusted)
    if trusted:
        require_own_code(directory, checkpoint.name)
    with failures_of(spec.name, settings.device, "be loaded by transformers"):
        processor = _processors.from_pretrained(directory, trust_remote_code=trusted)
        _require_video(spec, processor)
        config = config_of(directory, trusted=trusted)
        if not with_language:
            _leave_out_layers(config.get_text_config())
        with nullcontext() if with_language else _without_warnings():  # about the weights of the layers left out
            model, report = _models.from_pretrained(
                directory,
                config=config,
                dtype=getattr(torch, spec.dtype),
                attn_implementation=_attention(spec),
                device_map=_device_map(settings.device),
                quantization_config=_quantization_config(spec),
                use_safetensors=True,
                trust_remote_code=trusted,
                output_loading_info=True,
            )
    _require_all_weights(spec, report)
    _require_features(spec, model)
    if settings.compile:
        _compile_vision(model)
    return model.eval(), processor, directory


def config_of(directory: Path, *, trusted: bool) -> Any:
    """The configuration of the network whose files are there."""
    return AutoConfig.from_pretrained(directory, trust_remote_code=trusted)


def measure(
    spec: ModelSpec,
    checkpoint: Checkpoint,
    *,
    trusted: bool,
    with_features: bool,
    with_language: bool = True,
    prompts: Sequence[Prompt],
    frames: int,
    height: int,
    width: int,
) -> Footprint:
    """Estimate the memory of a model from its small files only. See `models.loading.estimate_footprint`.

    Args:
        with_features: this process encodes frames, so the model must take features.
        with_language: false: without the layers of the language side, and without the memory of questions.
    """
    directory = checkpoint.directory
    if trusted and checkpoint.on_hub:
        directory = snapshot(checkpoint.name, checkpoint.revision, ["*.py"])
    if trusted:
        require_own_code(directory, checkpoint.name)
    with failures_of(spec.name, "the CPU", "be loaded by transformers"):
        processor = _processors.from_pretrained(directory, trust_remote_code=trusted)
        _require_video(spec, processor)
        config = config_of(directory, trusted=trusted)
        if not with_language:
            _leave_out_layers(config.get_text_config())
        with torch.device("meta"):
            model = _models.from_config(config, dtype=getattr(torch, spec.dtype), trust_remote_code=trusted)
    with failures_of(spec.name, "the CPU"):
        if with_features:
            _require_features(spec, model)
        footprint = measure_footprint(
            model, processor, spec, prompts=prompts, frames=frames, height=height, width=width
        )
    if not with_language:
        return replace(footprint, language=BatchBytes(kept=1))
    quantised = stored_bytes(directory) if getattr(config, "quantization_config", None) else None
    return replace(footprint, weights_bytes=min(footprint.weights_bytes, quantised)) if quantised else footprint


def _without_progress_bars() -> None:
    """Disable the progress bars of transformers: they would mix with those of the command line."""
    disable: Any = disable_progress_bar
    disable()


@contextmanager
def _without_warnings() -> Iterator[None]:
    before = get_verbosity()
    set_verbosity_error()
    try:
        yield
    finally:
        set_verbosity(before)


def _leave_out_layers(text_config: Any) -> None:
    text_config.num_hidden_layers = 0
    if getattr(text_config, "layer_types", None) is not None:
        text_config.layer_types = []


def _compile_vision(model: Any) -> None:
    """Compile all of the model except its language side, in place.

    The shapes of the language side change with each batch and token, so it would be recompiled every time.
    """
    decoder = model.get_decoder()
    for child in model.base_model.children():
        if child is not decoder:
            child.compile()


def _require_all_weights(spec: ModelSpec, report: Mapping[str, Any]) -> None:
    """Refuse missing weights: transformers initialises them at random, with only a warning."""
    lacking = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if lacking:
        raise PermanentError(
            Reason.DAMAGED_CHECKPOINT,
            f"model {spec.name!r} lacks {len(lacking)} weights of {spec.model_class}, such as {lacking[0]}",
        )


def _require_video(spec: ModelSpec, processor: Any) -> None:
    for part in ("tokenizer", "video_processor"):
        if getattr(processor, part, None) is None:
            raise PermanentError(
                Reason.UNSUPPORTED_MODEL, f"model {spec.name!r} has no {part}, so it does not support videos"
            )
    if problem := template_problem(processor):
        raise PermanentError(Reason.UNSUPPORTED_MODEL, f"model {spec.name!r} cannot be used: {problem}")


def _require_features(spec: ModelSpec, model: Any) -> None:
    if "mm_encoder_outputs" not in inspect.signature(model.forward).parameters:
        raise PermanentError(
            Reason.UNSUPPORTED_MODEL,
            f"model {spec.name!r}: {type(model).__name__} takes no mm_encoder_outputs, so it cannot reuse features",
        )


def _device_map(wanted: str) -> str | None:
    """The device_map for transformers; None is the CPU, where hooks would only cost time."""
    if wanted == ALL_GPUS:
        return "balanced"
    if wanted == "auto":
        return "cuda:0" if visible_gpus() else None
    return None if wanted == "cpu" else wanted


def _gpus_of(wanted: str) -> list[str]:
    """The GPUs that may hold weights, as torch names them."""
    device_map = _device_map(wanted)
    if device_map is None:
        return []
    return [f"cuda:{index}" for index in range(visible_gpus())] if wanted == ALL_GPUS else [device_map]


def _attention(spec: ModelSpec) -> str | dict[str, str]:
    """The attention for transformers. FlashAttention is for the vision tower alone: it takes no mask per question."""
    if spec.attention != "flash_attention_2":
        return spec.attention
    return {"": "sdpa", "text_config": "sdpa", "vision_config": "flash_attention_2"}


def _quantization_config(spec: ModelSpec) -> Any:
    """The transformers configuration that quantises the weights; None for no quantisation."""
    match spec.quantization:
        case None:
            return None
        case "bnb-8bit":
            return _quantize_with_bitsandbytes(load_in_8bit=True)
        case "bnb-4bit":
            return _quantize_with_bitsandbytes(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, spec.dtype)
            )
    return TorchAoConfig(_torchao_config(spec.quantization))


def _torchao_config(scheme: str) -> Any:
    from torchao.quantization import (
        Float8DynamicActivationFloat8WeightConfig,
        Int4WeightOnlyConfig,
        Int8WeightOnlyConfig,
        PerRow,
    )

    match scheme:
        case "torchao-int8":
            return Int8WeightOnlyConfig()
        case "torchao-fp8":
            return Float8DynamicActivationFloat8WeightConfig(granularity=PerRow())
    # The default layout needs another package (mslk); PyTorch itself has the kernel for this one.
    return Int4WeightOnlyConfig(int4_packing_format="tile_packed_to_4d")

"""From settings to a model: its identity without loading it, and the loaded model.

Tasks and the CLI call it. Importing it imports neither torch nor transformers: only `load_model` does, when called.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nightreel.domain import MemoryPeak, Prompt
from nightreel.errors import PermanentError
from nightreel.models.base import ModelSpec, VideoModel
from nightreel.models.checkpoints import DEMO_DIRECTORY
from nightreel.models.checkpoints.adapters import find_adapter, merge_adapter
from nightreel.models.checkpoints.capabilities import ALL_GPUS, require_capabilities, visible_gpus
from nightreel.models.checkpoints.checkpoint import Checkpoint, describe, fetch_weights, find_checkpoint, snapshot
from nightreel.models.checkpoints.digests import FileDigests
from nightreel.models.served.identity import connect, describe_served, is_served
from nightreel.settings import Settings

if TYPE_CHECKING:
    from nightreel.models.inprocess.footprint import Footprint

DEMO = "demo"


def describe_model(settings: Settings) -> ModelSpec:
    """The identity of the model that `load_model` would load, from small files alone.

    Raises:
        SettingsError: an option that cannot work here, too.
        SettingsError, PermanentError, TransientError: as `checkpoint.find_checkpoint`, `adapters.find_adapter` or
            `served.describe_served`.
    """
    if is_served(settings.model):
        with closing(connect(settings)) as endpoint:
            return describe_served(endpoint, settings)
    return _describe(*_find(settings), settings)


def load_model(settings: Settings, *, peaks: Iterable[MemoryPeak] = (), limit_bytes: int | None = None) -> VideoModel:
    """Load the model that the settings name.

    Args:
        peaks: what batches of it took of memory before; those of other devices do not matter.
        limit_bytes: what it may take of each device, weights and batches together; None: whatever is free.

    Raises:
        SettingsError: an option that cannot work here, before anything is loaded.
        PermanentError: `unsupported_model`, `no_safetensors`, `damaged_checkpoint`, `model_not_found`,
            `unsupported_adapter`.
        TransientError: `hub_unreachable`; `model_unreachable` where it is on a server.
    """
    if is_served(settings.model):
        from nightreel.models.served.remote import RemoteModel

        return RemoteModel(settings)
    checkpoint, adapter = _find(settings)
    spec = _describe(checkpoint, adapter, settings)

    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils.logging import disable_progress_bar

    from nightreel.models.inprocess.local import LocalModel
    from nightreel.models.memory.meters import limit_process, meter_of

    disable_progress_bar()
    if limit_bytes is not None:
        limit_process(_gpus_of(settings.device), limit_bytes)
    if spec.tf32:
        torch.set_float32_matmul_precision("high")
    trusted = settings.trust_remote_code
    directory = fetch_weights(checkpoint, with_code=trusted)
    try:
        with _quiet():
            processor = AutoProcessor.from_pretrained(directory, trust_remote_code=trusted)
            loaded: Any = AutoModelForImageTextToText.from_pretrained(
                directory,
                dtype=getattr(torch, spec.dtype),
                attn_implementation=spec.attention,
                device_map=_device_map(settings.device),
                quantization_config=_quantization_config(spec),
                use_safetensors=True,
                trust_remote_code=trusted,
                output_loading_info=True,
            )
    except (ValueError, ImportError, OSError) as error:
        raise _unsupported(spec, error) from error
    model, report = loaded
    _require_all_weights(spec, report)
    _require_video(spec, processor, model)
    if adapter:
        model = merge_adapter(model, adapter)
    if settings.compile:
        _compile_vision(model)
    meter = None if limit_bytes is None else meter_of(model, limit_bytes=limit_bytes)
    return LocalModel(model.eval(), processor, spec, peaks=peaks, meter=meter)


def estimate_footprint(
    settings: Settings, *, prompts: Sequence[Prompt], frames: int, height: int, width: int
) -> Footprint:
    """What the model that the settings name would take of memory, with these prompts asked of such segments.

    Reads its small files alone; a hub model's weights are not downloaded.

    Raises:
        SettingsError, PermanentError, TransientError: as `load_model`, but for what only the weights can show.
    """
    checkpoint, adapter = _find(settings)
    spec = _describe(checkpoint, adapter, settings)

    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    from nightreel.models.inprocess.footprint import measure_footprint

    trusted = settings.trust_remote_code
    directory = checkpoint.directory
    if trusted and checkpoint.on_hub:
        directory = snapshot(checkpoint.name, checkpoint.revision, ["*.py"])
    try:
        processor = AutoProcessor.from_pretrained(directory, trust_remote_code=trusted)
        config = AutoConfig.from_pretrained(directory, trust_remote_code=trusted)
        with torch.device("meta"):
            model: Any = AutoModelForImageTextToText.from_config(
                config, dtype=getattr(torch, spec.dtype), trust_remote_code=trusted
            )
    except (ValueError, ImportError, OSError) as error:
        raise _unsupported(spec, error) from error
    _require_video(spec, processor, model)
    return measure_footprint(model, processor, spec, prompts=prompts, frames=frames, height=height, width=width)


def _unsupported(spec: ModelSpec, error: Exception) -> PermanentError:
    return PermanentError("unsupported_model", f"model {spec.name!r} cannot be loaded by transformers: {error}")


def _compile_vision(model: Any) -> None:
    """Compile all of the model but its language side, in place.

    That one sees another shape with each batch and token, so that it would be compiled again and again.
    """
    decoder = model.get_decoder()
    for child in model.base_model.children():
        if child is not decoder:
            child.compile()


def _require_all_weights(spec: ModelSpec, report: Mapping[str, Any]) -> None:
    """What a checkpoint lacks is initialised at random by transformers, with no more than a warning."""
    lacking = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if lacking:
        raise PermanentError(
            "damaged_checkpoint",
            f"model {spec.name!r} lacks {len(lacking)} weights of {spec.model_class}, such as {lacking[0]}",
        )


def _require_video(spec: ModelSpec, processor: Any, model: Any) -> None:
    for part in ("tokenizer", "video_processor"):
        if getattr(processor, part, None) is None:
            raise PermanentError("unsupported_model", f"model {spec.name!r} has no {part}, so it does not take videos")
    if "mm_encoder_outputs" not in inspect.signature(model.forward).parameters:
        raise PermanentError(
            "unsupported_model",
            f"model {spec.name!r}: {type(model).__name__} takes no mm_encoder_outputs, so features cannot be replayed",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of transformers: they would mix with ours."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _find(settings: Settings) -> tuple[Checkpoint, Checkpoint | None]:
    """The checkpoint and the adapter that the settings name; `demo` is the one that comes along."""
    models = settings.work_dir / "models"
    digests = FileDigests(models / "digests.json")
    adapter = find_adapter(settings, digests)
    if settings.model == DEMO:
        return replace(find_checkpoint(str(DEMO_DIRECTORY), None, digests), name=DEMO), adapter
    with_code = settings.trust_remote_code
    return find_checkpoint(settings.model, settings.model_revision, digests, with_code=with_code), adapter


def _describe(checkpoint: Checkpoint, adapter: Checkpoint | None, settings: Settings) -> ModelSpec:
    spec = describe(checkpoint, settings, adapter=adapter)
    require_capabilities(settings, dtype=spec.dtype)
    return spec


def _device_map(wanted: str) -> str | None:
    """Where the weights go, as transformers takes it; None is the CPU, where hooks would only cost time."""
    if wanted == ALL_GPUS:
        return "balanced"
    if wanted == "auto":
        return "cuda:0" if visible_gpus() else None
    return None if wanted == "cpu" else wanted


def _gpus_of(wanted: str) -> list[str]:
    """The GPUs that weights may go to, as torch names them."""
    device_map = _device_map(wanted)
    if device_map is None:
        return []
    return [f"cuda:{index}" for index in range(visible_gpus())] if wanted == ALL_GPUS else [device_map]


def _quantization_config(spec: ModelSpec) -> Any:
    """What makes transformers load the weights in fewer bits; None for none."""
    if spec.quantization is None:
        return None
    import torch
    from transformers import BitsAndBytesConfig, TorchAoConfig

    match spec.quantization:
        case "bnb-8bit":
            return BitsAndBytesConfig(load_in_8bit=True)
        case "bnb-4bit":
            return BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, spec.dtype)
            )
    from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig() if spec.quantization == "torchao-int8" else Int4WeightOnlyConfig())

"""From settings to a model: its identity without loading it, and the loaded model.

Tasks and the CLI call it. Importing it imports neither torch nor transformers: only `load_model` does, when called.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from nightreel.demo.noise_model import ensure_noise_model
from nightreel.errors import PermanentError, SettingsError
from nightreel.models.base import ModelSpec, VideoModel
from nightreel.models.checkpoint import Checkpoint, describe, fetch_weights, find_checkpoint
from nightreel.models.digests import FileDigests
from nightreel.models.served import connect, describe_served, is_served
from nightreel.settings import Settings

DEMO = "demo"


def describe_model(settings: Settings) -> ModelSpec:
    """The identity of the model that `load_model` would load, from small files alone.

    Raises:
        SettingsError, PermanentError, TransientError: as `checkpoint.find_checkpoint` or `served.describe_served`.
    """
    if is_served(settings.model):
        with closing(connect(settings)) as endpoint:
            return describe_served(endpoint, settings)
    return _describe(_find(settings), settings)


def load_model(settings: Settings) -> VideoModel:
    """Load the model that the settings name.

    Raises:
        SettingsError: an option that cannot work here, before anything is loaded.
        PermanentError: `unsupported_model`, `no_safetensors`, `damaged_checkpoint`, `model_not_found`.
        TransientError: `hub_unreachable`; `model_unreachable` where it is on a server.
    """
    if is_served(settings.model):
        from nightreel.models.remote import RemoteModel

        return RemoteModel(settings)
    checkpoint = _find(settings)
    spec = _describe(checkpoint, settings)

    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils.logging import disable_progress_bar

    from nightreel.models.local import LocalModel

    disable_progress_bar()
    device = _device(settings.device)
    directory = fetch_weights(checkpoint)
    try:
        with _quiet():
            processor = AutoProcessor.from_pretrained(directory, trust_remote_code=False)
            loaded: Any = AutoModelForImageTextToText.from_pretrained(
                directory,
                dtype=getattr(torch, spec.dtype),
                attn_implementation=spec.attention,
                # on the CPU accelerate's hooks would only cost time
                device_map=None if device == "cpu" else device,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (ValueError, ImportError, OSError) as error:
        raise PermanentError(
            "unsupported_model", f"model {spec.name!r} cannot be loaded by transformers: {error}"
        ) from error
    model, report = loaded
    _require_all_weights(spec, report)
    _require_video(spec, processor, model)
    return LocalModel(model.eval(), processor, spec)


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


def _find(settings: Settings) -> Checkpoint:
    """The checkpoint that the settings name; the demo's is built if it is not there yet."""
    models = settings.work_dir / "models"
    digests = FileDigests(models / "digests.json")
    if settings.model == DEMO:
        return find_checkpoint(str(ensure_noise_model(models)), None, digests)
    return find_checkpoint(settings.model, settings.model_revision, digests)


def _describe(checkpoint: Checkpoint, settings: Settings) -> ModelSpec:
    return describe(checkpoint, dtype=settings.dtype, attention=settings.attention, device=settings.device)


def _device(wanted: str) -> str:
    import torch

    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda:0" if available else "cpu"
    if wanted.startswith("cuda"):
        index = int(wanted.partition(":")[2] or 0)
        if index >= available:
            raise SettingsError(
                f"NIGHTREEL_DEVICE={wanted!r}: torch sees {available} CUDA devices; use auto or cpu "
                "(`nightreel doctor` says what there is)"
            )
    return wanted

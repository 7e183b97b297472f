"""What the settings say about vLLM, and what is part of a model's identity. `loading` calls it; it starts nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from nightreel.domain import Prompt, content_hash
from nightreel.errors import SettingsError
from nightreel.models.base import ModelSpec
from nightreel.models.engine.environment import EngineEnvironment
from nightreel.models.served.identity import identity_of_frames
from nightreel.models.served.layouts import Layout
from nightreel.settings import Settings

_OURS = ("--host", "--port", "--uds", "--api-key", "--served-model-name", "--gpu-memory-utilization", "--dtype")
"""Options that we set: a second one would break what relies on them."""
ENGINE_BYTES = 2 << 30
"""Memory of vLLM besides weights and keys. On the CPU, its three processes; for a GPU not measured: a second context
and captured graphs."""
_FOR_LOCAL_MODELS = {
    "adapter": "merge the adapter into the model",
    "cuda_graphs": "vLLM captures graphs by itself",
    "quantization": 'set NIGHTREEL_ENGINE_ARGUMENTS="--quantization fp8", or use a quantised checkpoint',
}
_FOR_A_VISION_TOWER = ("attention", "tf32", "compile")
WITH_EQUAL_ANSWERS = ("internvl", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v", "llava_onevision", "smolvlm")
"""Model types whose answers from features were found equal; `make test-vllm` compares them."""
_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
_BY_VLLM = "vllm"  # only vLLM knows the value


def describe_engine(settings: Settings) -> str:
    """vLLM as part of a model's identity: its version, and the arguments that the settings add.

    Raises:
        SettingsError: vLLM is not installed, or an option does not apply to it.
    """
    for name, instead in _FOR_LOCAL_MODELS.items():
        _require_default(settings, name, f"a vllm: model: {instead}")
    return " ".join(["vllm", EngineEnvironment.of(settings).require_version(), *engine_arguments(settings)])


def why_frames(config: Mapping[str, Any], settings: Settings) -> str:
    """Why vLLM gets the frames of a model with this config.json; empty if it gets features."""
    if settings.engine_media != "auto":
        return "NIGHTREEL_ENGINE_MEDIA=frames" if settings.engine_media == "frames" else ""
    if config.get("quantization_config"):
        return "its weights are quantised"
    text = config.get("text_config")
    layers = text.get("layer_types") if isinstance(text, dict) else None
    other = {*map(str, layers if isinstance(layers, list) else ())} - _ATTENTION
    if other:
        return f"it has layers of {', '.join(sorted(other))}"
    model_type = config.get("model_type")
    return "" if model_type in WITH_EQUAL_ANSWERS else f"answers from features of {model_type} were not compared"


def layout_of(settings: Settings) -> Layout:
    """How vLLM is shown frames: part of a model's identity, which is needed before vLLM runs."""
    return Layout.TIMED_VIDEO if settings.remote_layout == "auto" else Layout(settings.remote_layout)


def with_frames(spec: ModelSpec, settings: Settings) -> ModelSpec:
    """The identity of a model whose frames vLLM gets, from that of the model whose features it gets.

    Raises:
        SettingsError: an option is set for the vision tower, which is in vLLM here.
    """
    for name in _FOR_A_VISION_TOWER:
        _require_default(settings, name, "a vllm: model that gets frames: unset it")
    layout = layout_of(settings)
    return replace(
        spec,
        engine=f"{spec.engine}, frames as {layout}",
        attention=_BY_VLLM,
        transformers_version=_BY_VLLM,
        positions=None,
        processor_hash=content_hash([spec.processor_hash, identity_of_frames(layout, settings)]),
    )


def engine_arguments(settings: Settings) -> tuple[str, ...]:
    """The arguments for vLLM that the settings add.

    Raises:
        SettingsError: they cannot be split, or set what we set.
    """
    try:
        arguments = tuple(shlex.split(settings.engine_arguments))
    except ValueError as error:
        raise SettingsError(f"NIGHTREEL_ENGINE_ARGUMENTS={settings.engine_arguments!r}: {error}") from error
    taken = [argument for argument in arguments if argument.split("=")[0] in _OURS]
    if taken:
        raise SettingsError(
            f"NIGHTREEL_ENGINE_ARGUMENTS={settings.engine_arguments!r}: Nightreel sets {', '.join(taken)} itself"
        )
    return arguments


def require_no_beams(prompts: Iterable[Prompt]) -> None:
    """Refuse prompts with beams, which vLLM does not have.

    Raises:
        SettingsError: one line for each such prompt.
    """
    problems = [
        f"prompt {prompt.name!r}: a vllm: model does not support beam search: remove `beams`"
        for prompt in prompts
        if not prompt.question.kind.scored and prompt.question.decoding.beams > 1
    ]
    if problems:
        raise SettingsError("\n".join(problems))


def _require_default(settings: Settings, name: str, of: str) -> None:
    value = getattr(settings, name)
    if value != Settings.model_fields[name].default:
        raise SettingsError(f"NIGHTREEL_{name.upper()}={value!r} does not apply to {of}")

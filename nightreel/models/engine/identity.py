"""What the settings say about vLLM, and what is part of a model's identity. `loading` calls it; it starts nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from nightreel.domain import Prompt
from nightreel.errors import SettingsError
from nightreel.models.engine.environment import EngineEnvironment
from nightreel.settings import Settings

_OURS = ("--host", "--port", "--uds", "--api-key", "--served-model-name", "--gpu-memory-utilization", "--dtype")
"""Options that we set: a second one would break what relies on them."""
ENGINE_BYTES = 2 << 30
"""Memory of vLLM besides weights and keys. On the CPU, its three processes; for a GPU not measured: a second context
and captured graphs."""
_FOR_LOCAL_MODELS = {
    "adapter": "merge the adapter into the model",
    "quantization": 'set NIGHTREEL_ENGINE_ARGUMENTS="--quantization fp8", or use a quantised checkpoint',
}


def describe_engine(settings: Settings) -> str:
    """vLLM as part of a model's identity: its version, and the arguments that the settings add.

    Raises:
        SettingsError: vLLM is not installed, or an option does not apply to it.
    """
    for name, instead in _FOR_LOCAL_MODELS.items():
        value = getattr(settings, name)
        if value != Settings.model_fields[name].default:
            raise SettingsError(f"NIGHTREEL_{name.upper()}={value!r} does not apply to a vllm: model: {instead}")
    return " ".join(["vllm", EngineEnvironment.of(settings).require_version(), *engine_arguments(settings)])


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

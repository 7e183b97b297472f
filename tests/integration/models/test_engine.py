"""A real vLLM that we start gives the answers of the model in this process, from the same stored features.

Skipped unless TEST_VLLM names an environment with vLLM; TEST_VLLM_ARCHITECTURES names the architectures: each costs a
start of vLLM, a minute or more.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
from fixtures.plain_generate import moving_pattern
from fixtures.tiny_models import save_tiny_model

from nightreel.cache.parquet import from_parquet, to_parquet
from nightreel.domain import Answer, Features, Prompt, PromptKind, Segment
from nightreel.models.base import VideoModel
from nightreel.models.loading import load_model
from nightreel.settings import load_settings

ARCHITECTURES = os.environ.get("TEST_VLLM_ARCHITECTURES", "internvl").split(",")
PROMPTS = (
    Prompt.of(name="caption", kind=PromptKind.CAPTION, text="Describe the video.", max_new_tokens=12),
    Prompt.of(name="hurt", kind=PromptKind.YES_NO, text="Is anyone hurt in this video, or about to be hurt?"),
    Prompt.of(name="where", kind=PromptKind.CHOICE, text="Where?", choices=("indoors", "outdoors")),
    Prompt.of(name="people", kind=PromptKind.NUMBER, text="How many?", minimum=0, maximum=3),
    Prompt.of(name="colour", kind=PromptKind.TEXT, text="What colour is the square?", max_new_tokens=8),
)
SEGMENTS = (Segment(0, 0.0, 4.0), Segment(1, 4.0, 8.0))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_from_stored_features_are_those_of_the_model_in_this_process(
    architecture: str, vllm_environment: Path, tmp_path: Path
) -> None:
    directory = save_tiny_model(architecture, tmp_path / architecture, hidden=128)
    named = {"device": "cpu", "work_dir": tmp_path, "engine_dir": vllm_environment}
    with closing(load_model(load_settings(model=f"vllm:{directory}", **named))) as model:
        features, served = asked(model)
    with closing(load_model(load_settings(model=str(directory), device="cpu"))) as model:
        own_features, own = asked(model)
    assert [one.tensors for one in features] == [one.tensors for one in own_features]
    for some, others in zip(served, own, strict=True):
        for prompt, one, other in zip(PROMPTS, some, others, strict=True):
            assert one.text == other.text, prompt.name
            assert (one.scores or {}) == pytest.approx(other.scores or {}, abs=1e-3), prompt.name
            assert (one.prompt_tokens, one.generated_tokens) == (other.prompt_tokens, other.generated_tokens)


def asked(model: VideoModel) -> tuple[list[Features], list[list[Answer]]]:
    batches = (moving_pattern(), moving_pattern(seed=1, start_s=4.0))
    features = [
        from_parquet(to_parquet(one), key=one.key) for one in model.encode(batches, segments=SEGMENTS, keys=["a", "b"])
    ]
    return features, model.ask(features, [PROMPTS] * 2)

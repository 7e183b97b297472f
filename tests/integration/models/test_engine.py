"""A real vLLM that we start gives the answers of the model in this process, from the same stored features.

Skipped unless TEST_VLLM names an environment with vLLM; TEST_VLLM_ARCHITECTURES names the architectures: each costs a
start of vLLM, a minute or more.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from fixtures.judged import p_of
from fixtures.plain_generate import PlainModel, moving_pattern
from fixtures.tiny_models import save_tiny_model
from fixtures.vllm_server import ALONE

from nightreel.cache.parquet import from_parquet, to_parquet
from nightreel.domain import Answer, Features, Prompt, PromptKind, Segment
from nightreel.models.base import VideoModel
from nightreel.models.loading import check_model, load_model
from nightreel.prompts.wording import texts_of
from nightreel.settings import child_environment, load_settings

ARCHITECTURES = os.environ.get("TEST_VLLM_ARCHITECTURES", "internvl").split(",")
FOR_FRAMES = os.environ.get("TEST_VLLM_FOR_FRAMES", "qwen3_5").split(",")
PROMPTS = (
    Prompt.of(name="caption", kind=PromptKind.CAPTION, text="Describe the video.", max_new_tokens=12),
    Prompt.of(name="hurt", kind=PromptKind.YES_NO, text="Is anyone hurt in this video, or about to be hurt?"),
    Prompt.of(name="where", kind=PromptKind.CHOICE, text="Where?", choices=("indoors", "outdoors")),
    Prompt.of(name="people", kind=PromptKind.NUMBER, text="How many?", minimum=0, maximum=3),
    Prompt.of(name="colour", kind=PromptKind.TEXT, text="What colour is the square?", max_new_tokens=8),
)
SEGMENTS = (Segment(0, 0.0, 4.0), Segment(1, 4.0, 8.0))
BATCHES = (moving_pattern(), moving_pattern(seed=1, start_s=4.0))
WITH_A_TOWER_IN_VLLM = {"internvl": 1e-3, "qwen2_vl": 1e-3, "qwen2_5_vl": 1e-3, "qwen3_vl": 1e-2}
"""Architectures whose frames vLLM takes as a video, with a tolerance of probabilities: docs/decisions/models.md."""
FROM_FRAMES = tuple(prompt for prompt in PROMPTS if prompt.name in ("caption", "hurt", "colour"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_from_stored_features_are_those_of_the_model_in_this_process(
    architecture: str, vllm_environment: Path, tmp_path: Path
) -> None:
    directory = save_tiny_model(architecture, tmp_path / architecture, hidden=128)
    named = {"device": "cpu", "work_dir": tmp_path, "engine_dir": vllm_environment, "engine_media": "features"}
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


@pytest.mark.timeout(900)
@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name in WITH_A_TOWER_IN_VLLM])
def test_answers_from_stored_features_are_those_of_vllm_from_frames(
    architecture: str, vllm_environment: Path, tmp_path: Path
) -> None:
    directory = save_tiny_model(architecture, tmp_path / architecture, hidden=128)
    named = {"device": "cpu", "work_dir": tmp_path, "engine_dir": vllm_environment, "engine_media": "features"}
    settings = load_settings(model=f"vllm:{directory}", **named)
    with closing(load_model(settings)) as model:
        _, served = asked(model)
    plain = PlainModel(directory)
    vocabulary = plain.processor.tokenizer.get_vocab()
    forms = [vocabulary[form] for word in ("yes", "no") for form in (word, word.capitalize(), f"Ġ{word}")]
    questions, frames = [], tmp_path / "frames.npz"
    np.savez(
        frames, **{str(segment.index): batch.frames_thwc for segment, batch in zip(SEGMENTS, BATCHES, strict=True)}
    )
    for segment, batch in zip(SEGMENTS, BATCHES, strict=True):
        for prompt in FROM_FRAMES:
            is_scored = prompt.question.kind.scored
            text, metadata = plain.prompt(batch, segment, texts_of(prompt.question)[0])
            questions.append(
                {
                    "video": str(segment.index),
                    "metadata": metadata,
                    "prompt": text,
                    "most": 1 if is_scored else prompt.question.max_new_tokens,
                    "ids": forms if is_scored else [],
                }
            )
    tolerance = WITH_A_TOWER_IN_VLLM[architecture]
    answers = iter(vllm_from_frames(vllm_environment, directory, frames, questions))
    for some in served:
        by_hash = {answer.question_hash: answer for answer in some}
        for prompt in FROM_FRAMES:
            ours, theirs = by_hash[prompt.question.hash], next(answers)
            assert ours.prompt_tokens == theirs["prompt_tokens"], prompt.name
            if prompt.question.kind.scored:
                found = np.exp(theirs["log_probabilities"])
                assert p_of(ours) == pytest.approx(found[:3].sum() / found.sum(), abs=tolerance)
            else:
                text = plain.processor.tokenizer.decode(theirs["tokens"], skip_special_tokens=True)
                assert ours.text == text.strip(), prompt.name


@pytest.mark.timeout(900)
@pytest.mark.parametrize("architecture", FOR_FRAMES)
def test_a_hybrid_model_gets_frames_and_its_answers_survive_that_vllm_is_killed(
    architecture: str, vllm_environment: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = load_settings(
        model=f"vllm:{save_tiny_model(architecture, tmp_path / architecture, hidden=128)}",
        dtype="bfloat16",
        device="cpu",
        work_dir=tmp_path,
        engine_dir=vllm_environment,
    )
    assert check_model(settings, prompts=PROMPTS), "memory to lease"
    with closing(load_model(settings)) as model:
        features, answers = asked(model)
        for process in psutil.Process().children(recursive=True):
            if process.cmdline()[1:3] == [str(vllm_environment / "bin" / "vllm"), "serve"]:
                process.kill()
        again = model.ask(features, [PROMPTS[1:4]] * 2)
        single = model.encode([moving_pattern(frames=1)], segments=[SEGMENTS[0]], keys=["c"])
        ((of_one_frame,),) = model.ask(single, [PROMPTS[1:2]])
    assert f"vLLM gets the frames of {architecture} as timed_video, and no features: " in caplog.text
    assert "frames as timed_video, each video sent once, probabilities of chosen tokens" in caplog.text
    assert "of 8 frames: all frames arrive in order" in caplog.text
    assert "it starts again" in caplog.text
    assert all(tensor.name.startswith("jpeg/") for one in features for tensor in one.tensors)
    for some, others in zip(answers, again, strict=True):
        assert [answer.scores is not None for answer in some] == [False, True, True, True, False]
        for one, other in zip(some[1:4], others, strict=True):
            assert one.scores == pytest.approx(other.scores, abs=0.02)
    assert answers[0][1].scores != answers[1][1].scores, "it sees the frames"
    assert of_one_frame.scores


def vllm_from_frames(
    environment: Path, directory: Path, frames: Path, questions: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    done = subprocess.run(
        [
            str(environment / "bin" / "python"),
            str(Path(__file__).with_name("vllm_frames.py")),
            str(directory),
            str(frames),
        ],
        env=child_environment(**ALONE, PATH=f"{environment / 'bin'}:{os.environ['PATH']}"),
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def asked(model: VideoModel) -> tuple[list[Features], list[list[Answer]]]:
    features = [
        from_parquet(to_parquet(one), key=one.key) for one in model.encode(BATCHES, segments=SEGMENTS, keys=["a", "b"])
    ]
    return features, model.ask(features, [PROMPTS] * 2)

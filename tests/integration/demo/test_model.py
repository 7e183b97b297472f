"""The committed demo model: its files are complete, and our answers equal those of plain generation."""

from __future__ import annotations

import json

import pytest
import torch
from fixtures.judged import Judged, judged
from fixtures.plain_generate import PlainModel

from nightreel.demo.captions import caption
from nightreel.demo.clips import draw_clip, write_clip
from nightreel.demo.grading import is_right
from nightreel.demo.questions import film_truth
from nightreel.demo.scenes import draw_scene
from nightreel.demo.training.architecture import build_processor
from nightreel.domain import Answer, FrameBatch, Level, Note, PromptKind, PromptSet, Segment, VerdictState, judge
from nightreel.domain.notes import quoted
from nightreel.media.sampling import segments, timestamps
from nightreel.media.sandbox import DecoderPool
from nightreel.models.checkpoints import DEMO_DIRECTORY
from nightreel.models.inquiry import Seen
from nightreel.models.loading import describe_model, load_model
from nightreel.prompts.loading import load_prompt_sets
from nightreel.prompts.wording import texts_of
from nightreel.settings import load_settings

SETS = load_prompt_sets(("demo", "demo_moderation", "demo_tagging")).prompts
OF_SEGMENTS = [one for one in SETS if not one.policy.when and one.question.level is Level.SEGMENT]
PROMPTS = list({one.question.hash: one for one in reversed(OF_SEGMENTS)}.values())[::-1]
"""One prompt for each question: `scene` and `seen` ask the same."""
FILMS = [one for one in SETS if one.question.level is Level.VIDEO]
SEEDS = range(8)


@pytest.fixture(scope="module")
def looks(tmp_path_factory) -> list[tuple[FrameBatch, Segment]]:
    """Clips as the pipeline decodes them, 16 frames each."""
    directory = tmp_path_factory.mktemp("clips")
    settings = load_settings(plan="uniform:16")
    found = []
    with DecoderPool.from_settings(settings) as pool:
        for seed in SEEDS:
            path = write_clip(directory / f"{seed}.mp4", draw_clip(f"test model {seed}"))
            probe = pool.probe(path)
            (segment,) = segments(probe.duration_s, settings.window_s)
            moments_s = timestamps(settings.sampling_plan, segment)
            found.append((pool.decode_moments(path, probe=probe, moments_s=moments_s, short_side=64), segment))
    return found


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return load_model(load_settings(model="demo", device="cpu"))


def some_frames(batch: FrameBatch, count: int) -> FrameBatch:
    chosen = [int((place + 0.5) * len(batch.pts_s) / count) for place in range(count)]
    return FrameBatch(
        frames_thwc=batch.frames_thwc[chosen], pts_s=batch.pts_s[chosen], flags=((),) * count, decoder=batch.decoder,
        decoder_version=batch.decoder_version, fps=batch.fps, source_hw=batch.source_hw,
    )  # fmt: skip


def answers(model, looks, frames: int) -> list[list[Judged]]:
    batches = [some_frames(batch, frames) for batch, _ in looks]
    keys = [str(number) for number in range(len(looks))]
    features = model.encode(batches, segments=[segment for _, segment in looks], keys=keys)
    said = model.ask(features, [PROMPTS] * len(looks))
    return [[judged(*pair) for pair in zip(PROMPTS, own, strict=True)] for own in said]


def test_the_model_folder_is_small_complete_and_the_default():
    assert (DEMO_DIRECTORY / "model.safetensors").stat().st_size <= 12_000_000
    assert "## Limits" in (DEMO_DIRECTORY / "README.md").read_text()
    spec = describe_model(load_settings())
    assert (spec.name, spec.dtype, spec.model_class) == ("demo", "float32", "InternVLForConditionalGeneration")
    steps = [json.loads(line) for line in (DEMO_DIRECTORY / "training.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in steps] == ["vision", "language", "joint", "forms"]
    assert all(line["step"] == line["of"] for line in steps)


def test_the_auto_classes_load_all_weights_and_the_processor_of_the_training():
    plain = PlainModel(DEMO_DIRECTORY)
    assert plain.processor.tokenizer.get_vocab() == build_processor().tokenizer.get_vocab()
    assert plain.processor.chat_template == build_processor().chat_template


def test_our_answers_equal_those_of_a_plain_generate_loop(model, looks):
    plain = PlainModel(DEMO_DIRECTORY)
    looks = looks[:3]
    for (batch, segment), ours in zip(looks, answers(model, looks, 8), strict=True):
        batch = some_frames(batch, 8)
        for prompt, answer in zip(PROMPTS, ours, strict=True):
            said = [
                plain.processor.decode(
                    plain.generate(batch, segment, text, prompt.question.max_new_tokens), skip_special_tokens=True
                )
                for text in texts_of(prompt.question)
            ]
            if prompt.question.kind is PromptKind.TAGS:
                said = [
                    ", ".join(tag for tag, word in zip(prompt.question.choices, said, strict=True) if word == "yes")
                ]
            if prompt.question.form:  # the plain loop writes freely: what it writes has the form anyway
                measured = Answer(question_hash=prompt.question.hash, text=said[0].strip())
                said = [judge(prompt.question, measured, prompt.policy).text]
            assert [answer.text] == said, prompt


@pytest.mark.parametrize("frames", [2, 3, 5, 8, 11, 16])
def test_any_number_of_frames_from_2_to_16_gives_correct_answers(model, looks, frames):
    said = [
        (prompt, answer.text, draw_clip(f"test model {seed}").parts[0].scene)
        for seed, own in zip(SEEDS, answers(model, looks, frames), strict=True)
        for prompt, answer in zip(PROMPTS, own, strict=True)
        if answer.state is VerdictState.ANSWERED
    ]
    assert len(said) >= 0.97 * len(SEEDS) * len(PROMPTS)
    wrong = [one for one in said if not is_right(*one)]
    assert len(wrong) <= 0.03 * len(said), wrong


def test_questions_about_whole_videos_are_right(model):
    films = [
        [draw_scene(f"test film {scenes} {seed} {place}") for place in range(scenes)]
        for scenes in (1, 2, 3, 4)
        for seed in range(24)
    ]
    notes = [
        [Note(30.0 * place, 30.0 * place + 30, (quoted(caption(scene)),)) for place, scene in enumerate(film)]
        for film in films
    ]
    answers = model.ask_over_notes(notes, [FILMS] * len(films), seen=[Seen(30.0, 30.0)] * len(films))
    wrong = []
    for film, own in zip(films, answers, strict=True):
        verdicts = PromptSet("", tuple(FILMS)).judge({answer.question_hash: answer for answer in own})
        for prompt in FILMS:
            true, said = film_truth(prompt, film), verdicts[prompt.name]
            if said.text != (", ".join(true) if isinstance(true, list) else true):
                wrong.append((prompt.name, [*map(caption, film)], said.text, true))
    assert len(wrong) <= 0.03 * len(films) * len(FILMS), wrong

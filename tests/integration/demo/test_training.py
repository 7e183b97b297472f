"""A few training steps: an interrupted stage continues, and the result is an ordinary checkpoint."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from nightreel.demo.questions import LATER_FAMILIES, catalogue, film_catalogue
from nightreel.demo.scenes import Scene, Thing, draw_scene, sample_scene
from nightreel.demo.training import frames as painting
from nightreel.demo.training import slots
from nightreel.demo.training.architecture import FRAME_PX, build_tokenizer
from nightreel.demo.training.conversations import EARLY, IGNORED, LATER, draw_questions, pack, pack_films, video_ids
from nightreel.demo.training.export import export
from nightreel.demo.training.forms_stage import FormsStage
from nightreel.demo.training.joint_stage import JointStage
from nightreel.demo.training.language_stage import LanguageStage
from nightreel.demo.training.stage import Stage
from nightreel.demo.training.vision_stage import VisionStage

ONE = Scene((Thing("star", "red", 0.4, 0.6, 0.15),), "grey", "left")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights(stage: Stage) -> bytes:
    return b"".join(weight.numpy().tobytes() for weight in stage.model.state_dict().values())


def test_an_interrupted_stage_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    whole = VisionStage(tmp_path / "whole", steps=4)
    whole.run()
    VisionStage(tmp_path / "parts", steps=4).run(until=2)
    rest = VisionStage(tmp_path / "parts", steps=4)
    assert weights(rest) != weights(whole)
    rest.run()
    assert weights(rest) == weights(whole)
    rest.run()
    assert weights(rest) == weights(whole), "a finished stage trains no further"


def test_the_stages_make_a_folder_that_the_auto_classes_load(tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    for stage in (VisionStage, LanguageStage):
        stage(tmp_path, steps=1).run()
    joint = JointStage(tmp_path, steps=1)
    seen = joint.model.model.vision_tower.state_dict()
    vision = {name: weight.clone() for name, weight in seen.items()}
    joint.run()
    assert all(torch.equal(vision[name], weight) for name, weight in seen.items()), "the vision tower does not change"
    last = FormsStage(tmp_path, steps=1)
    last.run()
    assert all(torch.equal(vision[name], weight) for name, weight in last.model.model.vision_tower.state_dict().items())
    folder = export(tmp_path, tmp_path / "model")
    model, report = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in last.model.state_dict().items())
    assert AutoProcessor.from_pretrained(folder).image_seq_length == 4
    assert len((folder / "training.jsonl").read_text().splitlines()) == 4


def test_an_unfinished_training_names_the_missing_stage(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vision\.pt"):
        JointStage(tmp_path, steps=1)


def test_ideal_tokens_are_read_back_as_their_meanings():
    frames = painting.describe_frames([draw_scene(seed) for seed in range(20)], np.full((20, 1), 0.5))
    meaning = slots.attributes(frames)
    read, rest = slots.read(slots.embed(meaning))
    assert torch.allclose(read, meaning, atol=1e-5)
    assert rest.abs().max() < 1e-5


def test_training_masks_match_the_frames_of_clips():
    from nightreel.demo.drawing import paint

    scene = Scene((Thing("star", "red", 0.4, 0.6, 0.15), Thing("square", "blue", 0.7, 0.3, 0.15)), "grey", "left")
    frames = painting.describe_frames([scene], np.array([[0.25]]))
    square = next(seed for seed in range(99) if np.random.default_rng(seed).random(2)[1] < 0.4)  # the aspect stays 1
    masks = painting.cover_frames([scene], frames, np.random.default_rng(square))
    covered = masks.sum(1)[0].numpy()
    true = np.abs(paint(scene, 0.25, width=FRAME_PX, height=FRAME_PX).astype(int) - 128).max(-1) > 20
    assert ((covered > 0.5) == true).mean() > 0.99


def test_a_packed_question_has_the_positions_it_would_have_alone():
    dice = random.Random(1)
    packed = pack([sample_scene(dice) for _ in range(8)], frames=8, dice=dice)
    start = len(video_ids(8))
    for row in range(8):
        for group in range(int(packed.group[row].max()) + 1):
            own = packed.group[row] == group
            assert packed.positions[row][own].tolist() == list(range(start, start + int(own.sum())))
            asked = packed.tokens[row][own & (packed.labels[row] == IGNORED)]
            assert build_tokenizer().decode(asked, skip_special_tokens=True).endswith("assistant")
    assert (packed.weights[packed.labels != IGNORED] > 0).all()


def test_drawn_questions_have_correct_answers_and_ask_as_often_about_absent_things():
    dice = random.Random(2)
    drawn = [
        (scene, *one) for scene in map(draw_scene, range(200)) for one in draw_questions(scene, dice, EARLY | LATER)
    ]
    assert all(question.answer(scene) == answer for scene, question, answer in drawn)
    assert {question.family for _, question, _ in drawn} == {question.family for question in catalogue().values()}
    both = [answer for scene, question, answer in drawn if question.family == "is_there_both" and scene.things]
    assert 0.4 < both.count("yes") / len(both) < 0.6


def test_questions_about_whole_videos_follow_their_notes():
    packed = pack_films([[ONE], [ONE, draw_scene(3), ONE]], dice=random.Random(3))
    short, long = (build_tokenizer().decode(row) for row in packed.tokens)
    assert short.count("a red star moves left") == 1
    assert long.count("a red star moves left") == 2
    for row in packed.labels:
        said = build_tokenizer().decode(row[row != IGNORED], skip_special_tokens=True)
        assert "star" in said
    assert (packed.weights[packed.labels != IGNORED] > 0).all()


def test_every_word_of_the_world_is_a_token():
    tokenizer = build_tokenizer()
    for question in catalogue().values():
        has_form = question.family in LATER_FAMILIES  # it shows JSON that the model need not read
        for text in (question.text, *(question.answer(draw_scene(seed)) for seed in range(20))):
            assert (text == question.text and has_form) or tokenizer.unk_token_id not in tokenizer(text).input_ids
    for question in film_catalogue().values():
        for seed in range(20):
            assert tokenizer.unk_token_id not in tokenizer(question.answer([draw_scene(seed), ONE])).input_ids
    assert tokenizer.decode(tokenizer("a red circle, and more").input_ids) == "a red circle, and <unk>"


def test_the_log_and_the_checkpoint_name_the_step(tmp_path: Path):
    VisionStage(tmp_path, steps=9).run(until=1)
    assert '"step": 1, "of": 9' in (tmp_path / "vision.jsonl").read_text()
    assert torch.load(tmp_path / "vision.pt", weights_only=True)["step"] == 1

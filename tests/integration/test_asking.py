"""`ask_file`: answers about one file or object, without a run."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from fixtures.clips import encode_numbers, zero_payload
from PIL import Image
from typer.testing import CliRunner

from nightreel.asking import ask_file
from nightreel.cli.app import app
from nightreel.demo import captions
from nightreel.demo.drawing import paint
from nightreel.demo.questions import truth
from nightreel.demo.scenes import BACKGROUNDS, COLOURS, SHAPES, sample_scene
from nightreel.domain import Prompt, PromptKind, VerdictState
from nightreel.errors import NightreelError, SettingsError
from nightreel.models.loading import load_model
from nightreel.settings import Settings, load_settings

_PROMPTS = [
    Prompt.of(name="caption", kind=PromptKind.CAPTION, text="Describe what happens in this video.", max_new_tokens=8),
    Prompt.of(name="violence", kind=PromptKind.YES_NO, text="Does this video show physical violence?"),
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven seconds."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("clips") / "a clip #1.mp4"
    encode_numbers(path, range(175), "-c:v", "libx264", "-pix_fmt", "yuv420p")
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(work_dir=tmp_path / "work", device="cpu", window_s=3, chunk_segments=1, plan="uniform:4")


def test_every_segment_is_answered_with_its_timestamps(clip: Path, settings: Settings) -> None:
    replies = list(ask_file(str(clip), _PROMPTS, settings))
    assert [(reply.segment.start_s, reply.segment.end_s) for reply in replies] == [(0, 3), (3, 6), (6, 7)]
    for reply in replies:
        assert len(reply.pts_s) == 4
        assert all(reply.segment.start_s <= pts < reply.segment.end_s for pts in reply.pts_s)
        assert [judged.prompt for judged in reply.answers] == _PROMPTS
        assert all(judged.verdict.state is VerdictState.ANSWERED for judged in reply.answers)
        assert reply.damaged_frames == 0


def test_a_damaged_segment_has_its_reason_and_the_others_are_answered(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "camera.ts"
    encode_numbers(
        path, range(90), "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "5", fps="10", width=320, height=192
    )
    zero_payload(path, 0.3, 0.7)
    first, second, third = ask_file(str(path), _PROMPTS, settings)
    assert [len(reply.answers) for reply in (first, second, third)] == [2, 0, 2]
    assert (first.failure, third.failure) == (None, None)
    assert second.failure is not None
    assert (second.failure.reason, second.covered_s) == ("damaged", 0.0)
    zero_payload(path, 0.0, 1.0)
    with pytest.raises(NightreelError, match="damaged"):
        list(ask_file(str(path), _PROMPTS, settings))


def test_asking_leaves_no_files(clip: Path, settings: Settings) -> None:
    settings.work_dir.mkdir()
    list(ask_file(clip.as_uri(), _PROMPTS[1:], settings))
    assert list(settings.work_dir.iterdir()) == []
    assert clip.exists()


def test_answers_for_an_object_equal_those_for_the_file(
    clip: Path, settings: Settings, s3_bucket: str, s3_client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("in/a clip #1.mp3", "in/a clip #1.mp4", "in/a clip #1.mp4.bak", "in/b"):
        s3_client.put_object(Bucket=s3_bucket, Key=key, Body=clip.read_bytes() if key.endswith(".mp4") else b"no")
    remote = load_settings(**settings.model_dump(exclude={"s3_endpoint_url"}))
    replies = list(ask_file(f"s3://{s3_bucket}/in/a clip #1.mp4", _PROMPTS, remote))
    assert replies == list(ask_file(str(clip), _PROMPTS, settings))


@pytest.mark.parametrize("name", ["in/gone.mp4", "in/", "in"])
def test_a_missing_object_is_reported(settings: Settings, s3_bucket: str, s3_client, name: str) -> None:
    s3_client.put_object(Bucket=s3_bucket, Key="in/there.mp4", Body=b"x")
    remote = load_settings(**settings.model_dump(exclude={"s3_endpoint_url"}))
    with pytest.raises(NightreelError) as caught:
        list(ask_file(f"s3://{s3_bucket}/{name}", _PROMPTS, remote))
    assert caught.value.reason == "object_gone"


def test_a_file_that_is_not_a_video_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "note.mp4").write_text("not a video")
    with pytest.raises(NightreelError) as caught:
        list(ask_file(str(tmp_path / "note.mp4"), _PROMPTS, settings))
    assert caught.value.reason == "not_a_video"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_an_image_is_one_segment_of_one_frame(settings: Settings, tmp_path: Path, form: str) -> None:
    Image.new("RGB", (160, 120), "white").save(tmp_path / "photo.mp4", form)  # what it is named does not matter
    (reply,) = ask_file(str(tmp_path / "photo.mp4"), _PROMPTS, settings)
    assert (reply.segment.start_s, reply.segment.end_s, reply.pts_s) == (0.0, 0.0, (0.0,))
    assert [judged.verdict.state for judged in reply.answers] == [VerdictState.ANSWERED] * 2
    assert (reply.damaged_frames, reply.failure) == (0, None)


def test_the_terminal_says_that_it_is_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setenv("NIGHTREEL_DEVICE", "cpu")
    Image.new("RGB", (160, 120), "white").save(tmp_path / "photo.jpg")
    done = CliRunner().invoke(app, ["ask", str(tmp_path / "photo.jpg"), "Is there a shape?", "--kind", "yes_no"])
    assert done.exit_code == 0, done.output
    assert "image\tno\t" in done.output


def test_a_broken_image_has_its_reason(settings: Settings, tmp_path: Path) -> None:
    Image.new("RGB", (160, 120), "white").save(tmp_path / "photo.jpg")
    (tmp_path / "photo.jpg").write_bytes((tmp_path / "photo.jpg").read_bytes()[:-30])
    with pytest.raises(NightreelError, match="damaged: photo"):
        list(ask_file(str(tmp_path / "photo.jpg"), _PROMPTS, settings))


def test_the_demo_model_sees_what_is_in_an_image(settings: Settings, tmp_path: Path) -> None:
    """40 questions about ten scenes of the demo's world, drawn by seed, as images; half of the things exist."""
    right, model = [], load_model(settings)
    for seed in range(10):
        dice = random.Random(f"image {seed}")
        scene = sample_scene(dice)
        path = tmp_path / f"scene-{seed}.png"
        Image.fromarray(paint(scene, 0.5, width=320, height=320)).save(path)
        some = [(thing.colour, thing.shape) for thing in scene.things]
        colour, shape = dice.choice(some) if some and seed % 2 else (dice.choice([*COLOURS]), dice.choice(SHAPES))
        prompts = [
            Prompt.of(name="thing", kind=PromptKind.YES_NO, text=f"Is there {captions.name(colour, shape)}?"),
            Prompt.of(name="warning", kind=PromptKind.YES_NO, text="Is there a warning sign?"),
            Prompt.of(name="count", kind=PromptKind.NUMBER, text="How many shapes are there?"),
            Prompt.of(
                name="background",
                kind=PromptKind.CHOICE,
                text="What colour is the background?",
                choices=(*BACKGROUNDS,),
            ),
        ]
        (reply,) = ask_file(str(path), prompts, settings, loaded=model)
        right += [one.verdict.text == truth(one.prompt, scene) for one in reply.answers]
    assert len(right) == 40
    assert sum(right) >= 38


def test_a_missing_or_oversized_file_is_refused(clip: Path, settings: Settings) -> None:
    with pytest.raises(NightreelError) as caught:
        list(ask_file(f"{clip}.gone", _PROMPTS, settings))
    assert caught.value.reason == "object_gone"
    small = settings.model_copy(update={"max_bytes": 10})
    with pytest.raises(NightreelError) as caught:
        list(ask_file(str(clip), _PROMPTS, small))
    assert caught.value.reason == "limit_bytes"


def test_a_wrong_model_is_reported_before_the_video_is_opened(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="NIGHTREEL_MODEL='nowhere'"):
        list(ask_file("s3://no-such-bucket/x.mp4", _PROMPTS, settings.model_copy(update={"model": "nowhere"})))

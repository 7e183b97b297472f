"""Dual encoders of transformers: their vectors are those of their own classes, and faults are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    Siglip2Processor,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipProcessor,
    VideoMAEImageProcessor,
    XCLIPConfig,
    XCLIPModel,
    XCLIPProcessor,
)

from nightreel.demo.descriptions import Language
from nightreel.demo.gallery import descriptions, draw_gallery, recall_at_1
from nightreel.demo.training.encoder import build_encoder_tokenizer
from nightreel.errors import PermanentError, SettingsError
from nightreel.models.embedding import find_encoder, load_encoder, measure_encoder
from nightreel.reasons import Reason
from nightreel.settings import load_settings

TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 2}
TEXT = TOWER | {"vocab_size": 137, "max_position_embeddings": 40, "pad_token_id": 0}
PICTURE = {"image_size": 32, "patch_size": 8}
PIXELS = {"height": 32, "width": 32}


def siglip() -> tuple[Any, Any]:
    model = SiglipModel(SiglipConfig(text_config=TEXT | {"projection_size": 32}, vision_config=TOWER | PICTURE))
    return model, SiglipProcessor(SiglipImageProcessor(size=PIXELS), build_encoder_tokenizer())


def siglip2() -> tuple[Any, Any]:
    vision = TOWER | {"patch_size": 8, "num_patches": 16}
    model = Siglip2Model(Siglip2Config(text_config=TEXT | {"projection_size": 32}, vision_config=vision))
    pixels = Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    return model, Siglip2Processor(pixels, build_encoder_tokenizer())


def clip() -> tuple[Any, Any]:
    text = TEXT | {"bos_token_id": 2, "eos_token_id": 3}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=TOWER | PICTURE, projection_dim=24))
    return model, CLIPProcessor(CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=PIXELS), tokenizer_of_clip())


def xclip() -> tuple[Any, Any]:
    text = TEXT | {"bos_token_id": 2, "eos_token_id": 3}
    vision = TOWER | PICTURE | {
        "num_frames": 4, "mit_hidden_size": 24, "mit_intermediate_size": 48, "mit_num_attention_heads": 2,
        "mit_num_hidden_layers": 1,
    }  # fmt: skip
    config = XCLIPConfig(
        text_config=text, vision_config=vision, projection_dim=24, prompt_num_attention_heads=2, prompt_layers=1
    )
    pixels = VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size=PIXELS)
    return XCLIPModel(config), XCLIPProcessor(pixels, tokenizer_of_clip())


def tokenizer_of_clip() -> Any:
    tokenizer = build_encoder_tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return tokenizer


@pytest.fixture(params=[siglip, siglip2, clip, xclip], ids=lambda build: build.__name__)
def saved(request, tmp_path) -> tuple[Path, Any, Any]:
    """A tiny random dual encoder in a directory, and its own classes."""
    torch.manual_seed(0)
    model, processor = request.param()
    model.eval().save_pretrained(tmp_path / "encoder")
    processor.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder", model, AutoProcessor.from_pretrained(tmp_path / "encoder")


def loaded(directory: Path, tmp_path: Path) -> Any:
    settings = load_settings(embedding_model=str(directory), work_dir=tmp_path / "work")
    found = find_encoder(settings)
    assert found is not None
    return load_encoder(settings, found)


def frames_of(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 40, 56, 3), np.uint8)


@torch.inference_mode()
def test_vectors_are_those_of_the_class(saved, tmp_path):
    directory, model, processor = saved
    encoder = loaded(directory, tmp_path)
    frames, words = frames_of(4), "a red circle on a black background"
    padding: dict[str, Any] = {"padding": "max_length", "max_length": 40} if "Siglip" in type(model).__name__ else {}
    inputs = dict(processor.tokenizer([words], return_tensors="pt", **padding))
    text = model.get_text_features(**inputs).pooler_output[0]
    if isinstance(model, XCLIPModel):
        pixels = processor.image_processor(list(frames), return_tensors="pt")["pixel_values"]
        seen = model.get_video_features(pixels).pooler_output[0]
    else:
        pixels = processor.image_processor(images=list(frames), return_tensors="pt")
        each = torch.nn.functional.normalize(model.get_image_features(**pixels).pooler_output, dim=-1)
        seen = each.mean(0)
    np.testing.assert_allclose(encoder.text(words), (text / text.norm()).numpy(), atol=1e-5)
    np.testing.assert_allclose(encoder.segments([frames])[0], (seen / seen.norm()).numpy(), atol=1e-5)


def test_segments_encoded_together_have_the_vectors_that_they_have_alone(saved, tmp_path):
    encoder = loaded(saved[0], tmp_path)
    segments = [frames_of(count) for count in (1, 3, 8, 40)]
    together = encoder.segments(segments)
    for frames, vector in zip(segments, together, strict=True):
        np.testing.assert_allclose(vector, encoder.segments([frames])[0], atol=1e-5)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("words", ["?", "x" * 500, "红色 " * 250, "\x00\ud800", "'; DROP TABLE x; --"])
def test_any_text_has_a_vector(saved, tmp_path, words):
    assert np.isfinite(loaded(saved[0], tmp_path).text(words)).all()


def test_memory_is_estimated_without_weights(saved, tmp_path):
    directory, model, _ = saved
    settings = load_settings(embedding_model=str(directory), work_dir=tmp_path / "work")
    found = find_encoder(settings)
    (directory / "model.safetensors").unlink()
    weights = sum(part.nbytes for part in model.parameters())
    assert weights < measure_encoder(settings, found) < 100 * weights


def test_a_model_that_is_no_dual_encoder_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    settings = load_settings(embedding_model=str(tmp_path), work_dir=tmp_path / "work")
    with pytest.raises(SettingsError, match=r"NIGHTREEL_EMBEDDING_MODEL=.*'qwen2': expected one of siglip"):
        find_encoder(settings)


def test_vectors_without_a_direction_are_refused(tmp_path):
    torch.manual_seed(0)
    model, processor = siglip()
    with torch.no_grad():
        model.vision_model.head.mlp.fc2.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path / "encoder")
    processor.save_pretrained(tmp_path / "encoder")
    with pytest.raises(PermanentError, match="without a direction") as caught:
        loaded(tmp_path / "encoder", tmp_path).segments([frames_of(2)])
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL


def test_none_is_no_encoder_and_the_default_follows_the_model(tmp_path):
    assert find_encoder(load_settings(embedding_model="none", work_dir=tmp_path)) is None
    assert find_encoder(load_settings(model="openai:http://127.0.0.1:1/v1#m", work_dir=tmp_path)) is None
    found = find_encoder(load_settings(work_dir=tmp_path))
    assert found is not None
    assert found.spec.name == "demo"


def test_the_demo_encoder_finds_clips_by_their_descriptions_in_both_languages(tmp_path):
    clips = draw_gallery(40)
    settings = load_settings(work_dir=tmp_path)
    encoder = load_encoder(settings, find_encoder(settings))
    seen = encoder.segments([np.stack([*clip.frames(fps=1)]) for clip in clips.values()])
    for language in Language:
        texts = [encoder.text(words) for words in descriptions(clips, language)]
        assert recall_at_1(texts, seen) >= 0.95, language

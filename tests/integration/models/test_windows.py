"""Windows of a vision tower: the same features as window by window, with a call for each length instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.plain_generate import moving_pattern
from fixtures.tiny_models import ARCHITECTURES
from transformers import AutoModelForImageTextToText, AutoProcessor

from nightreel.domain import Segment
from nightreel.models.inprocess.dialogue import Dialogue
from nightreel.models.inprocess.tensors import Tensors
from nightreel.models.inprocess.vision import Vision
from nightreel.models.inprocess.windows import NAME, use_windowed_attention
from nightreel.models.memory.batches import BatchBudget

_SEGMENT = Segment(0, 0.0, 4.0)
_WINDOWED = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "glm4v", "video_llama_3")
_LAYERS = {"qwen2_vl": 2, "qwen2_5_vl": 3, "qwen3_vl": 4, "qwen3_5": 3, "glm4v": 2, "video_llama_3": 2}


@pytest.fixture(params=_WINDOWED)
def architecture(request: pytest.FixtureRequest) -> str:
    torch.set_num_threads(1)
    return str(request.param)


@contextmanager
def _counted() -> Iterator[list[torch.Size]]:
    """The shapes of the queries of each call of SDPA."""
    calls: list[torch.Size] = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def counting(query: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(query.shape)
        return attend(query, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", counting)
        yield calls


def _encode(model: Any, processor: Any, *, height: int, width: int) -> Tensors:
    """The features of 8 frames. 84 x 112 pixels are whole windows of Qwen2.5-VL and parts of windows, to the right."""
    size = {"shortest_edge": 28 * 28, "longest_edge": 64 * 28 * 28}
    processor.video_processor.size = size
    vision = Vision(model, processor, Dialogue(processor))
    batch = moving_pattern(height=height, width=width)
    (tensors,) = vision.encode(vision.prepare([batch], [_SEGMENT]), BatchBudget(model))
    return tensors


def _load(directory: Path) -> tuple[Any, Any]:
    return AutoModelForImageTextToText.from_pretrained(directory).eval(), AutoProcessor.from_pretrained(directory)


@pytest.mark.parametrize(("height", "width"), [(112, 112), (84, 140)], ids=["equal", "with-edges"])
def test_windows_together_give_the_features_of_windows_one_by_one_in_fewer_calls(
    architecture: str, tiny_model: Callable[[str], Path], height: int, width: int
) -> None:
    model, processor = _load(tiny_model(architecture))
    with _counted() as one_by_one:
        expected = _encode(model, processor, height=height, width=width)
    use_windowed_attention(model)
    assert model.config.vision_config._attn_implementation == NAME
    with _counted() as together:
        features = _encode(model, processor, height=height, width=width)
    assert features.keys() == expected.keys()
    for name, tensor in features.items():
        torch.testing.assert_close(tensor, expected[name])
    lengths = {shape[2] for shape in together}
    assert {shape[2] for shape in one_by_one} == lengths
    assert len(together) <= len(lengths) * _LAYERS[architecture]
    assert len(one_by_one) >= 4 * _LAYERS[architecture], "at least each pair of frames is a window"


def test_a_segment_of_qwen2_5_vl_makes_one_call_per_layer_and_length_of_window(
    tiny_model: Callable[[str], Path],
) -> None:
    model, processor = _load(tiny_model("qwen2_5_vl"))
    use_windowed_attention(model)
    with _counted() as calls:
        _encode(model, processor, height=84, width=140)
    # windows of 2 x 2 tokens in 3 x 5 tokens have 4, 2 or 1 tokens; the layer in the middle attends within frames
    assert len(calls) == 3 + 1 + 3


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - set(_WINDOWED)))
def test_a_tower_without_windows_keeps_its_attention(architecture: str, tiny_model: Callable[[str], Path]) -> None:
    model, _ = _load(tiny_model(architecture))
    before = model.config.vision_config._attn_implementation
    use_windowed_attention(model)
    assert model.config.vision_config._attn_implementation == before


def test_a_tower_with_eager_attention_keeps_it(tiny_model: Callable[[str], Path]) -> None:
    model = AutoModelForImageTextToText.from_pretrained(tiny_model("qwen2_5_vl"), attn_implementation="eager")
    use_windowed_attention(model)
    assert model.config.vision_config._attn_implementation == "eager"

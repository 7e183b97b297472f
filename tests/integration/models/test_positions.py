"""Text after a long video has positions of its own, and a model whose positions we change has another identity."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.plain_generate import moving_pattern
from fixtures.tiny_models import ARCHITECTURES
from transformers import AutoModelForImageTextToText, AutoProcessor

from nightreel.domain import Segment
from nightreel.models.inprocess.dialogue import Dialogue
from nightreel.models.inprocess.vision import Vision
from nightreel.models.loading import describe_model
from nightreel.settings import load_settings


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_positions_differ_from_those_of_transformers_exactly_where_the_identity_says_so(
    architecture: str, tiny_model: Callable[[str], Path]
) -> None:
    directory = tiny_model(architecture)
    processor = AutoProcessor.from_pretrained(directory)
    model = AutoModelForImageTextToText.from_pretrained(directory)
    rope_index = getattr(model.base_model, "get_rope_index", None)
    given: list[torch.Tensor] = []
    if rope_index:

        @wraps(rope_index)
        def recorded(**arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
            found, delta = rope_index(**arguments)
            given.append(found[:, 0].clone())
            return found, delta

        model.base_model.get_rope_index = recorded
    (prepared,) = Vision(model, processor, Dialogue(processor)).prepare(
        [moving_pattern(frames=24)], [Segment(0, 0.0, 12.0)]
    )
    ours = prepared.tensors.get("input/positions")
    changed = ours is not None and not torch.equal(ours[1:], given[0][:, : ours.shape[1]])
    assert (ours is not None) == bool(given)
    assert changed == (describe_model(load_settings(model=str(directory))).positions is not None)
    if ours is not None:
        assert len(ours[1:, -1].unique()) == 1
        assert ours[1:, -1].min() > ours[1:, :-1].max()

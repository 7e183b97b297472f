"""Models for bench_gpu: the shapes of real models with random weights, built on the device.

Their tokenizers and templates are those of the tiny models in tests/fixtures: a few hundred tokens. The rest of the
vocabulary costs memory and time as usual, but never appears in an answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from fixtures.tiny_models import ARCHITECTURES

from nightreel.models.base import ModelSpec

_QWEN2_5_7B = {
    "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 32768, "layer_types": None,
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """One model to build.

    Args:
        architecture: a name in tests/fixtures/tiny_models.
        side: side in pixels of a square frame that the processor does not resize.
        frame_tokens: tokens of such a frame, if the processor needs the number.
    """

    name: str
    architecture: str
    side: int
    vision: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] = field(default_factory=dict)
    frame_tokens: int | None = None


SHAPES = (
    Shape(
        name="InternVL3-8B",
        architecture="internvl",
        side=448,
        frame_tokens=256,
        vision={"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
                "image_size": [448, 448]},
        text=_QWEN2_5_7B,
    ),
    Shape(
        name="Qwen2.5-VL-7B",
        architecture="qwen2_5_vl",
        side=448,
        vision={"depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420, "out_hidden_size": 3584,
                "fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112},
        text={**_QWEN2_5_7B, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6,
                                                 "mrope_section": [16, 24, 24]}},
    ),
)  # fmt: skip


def build(shape: Shape, *, device: str, dtype: torch.dtype) -> tuple[Any, Any, ModelSpec]:
    """Build the model in eval mode on `device`, its processor, and a spec for both."""
    tiny, processor = ARCHITECTURES[shape.architecture]()
    config = tiny.config
    config.vision_config.update(shape.vision)
    config.text_config.update(shape.text)
    if shape.frame_tokens:
        config.image_seq_length = processor.image_seq_length = shape.frame_tokens
        for part in (processor.image_processor, processor.video_processor):
            part.size = {"height": shape.side, "width": shape.side}
    else:
        pixels = shape.side * shape.side
        processor.video_processor.size = {"shortest_edge": pixels, "longest_edge": 1024 * pixels}
    torch.manual_seed(0)
    with torch.device(device):
        model = type(tiny)(type(config)(**config.to_dict())).to(dtype).eval()
        for name, weight in model.named_parameters():
            if weight.ndim >= 2:
                torch.nn.init.normal_(weight, 0.0, 0.5 if "embed" in name else weight[0].numel() ** -0.5)
    tokenizer = processor.tokenizer
    model.lm_head.weight.data[len(tokenizer) :] = 0
    model.lm_head.weight.data[tokenizer.all_special_ids] = 0  # every text has its full length
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    spec = ModelSpec(
        name=shape.name,
        revision="random",
        model_class=type(model).__name__,
        dtype=str(dtype).removeprefix("torch."),
        attention=str(model.config._attn_implementation),
        device=device,
        processor_hash="random",
        transformers_version="",
    )
    return model, processor, spec

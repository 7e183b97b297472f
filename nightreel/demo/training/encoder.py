"""The untrained dual encoder: a very small SigLIP in the classes of transformers, and its processor.

Its vision tower has the shape of the demo model's, so that its training continues from that tower's weights. The
tokenizer knows the words of English and the characters of Chinese in `demo.descriptions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

from nightreel.demo.descriptions import all_words
from nightreel.demo.training.architecture import FRAME_PX, HEADS, INNER, PATCH_PX, VISION_LAYERS, WIDTH

MOST_TOKENS = 40
_TEXT_LAYERS = 3
_SPECIALS = ("<pad>", "<unk>")


def build_encoder(seed: int) -> Any:
    """Build the SiglipModel with random weights."""
    torch.manual_seed(seed)
    vocabulary = build_encoder_tokenizer().get_vocab()
    tower = {
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_attention_heads": HEADS,
        "hidden_act": "gelu",
    }
    return SiglipModel(
        SiglipConfig(
            vision_config=tower | {"num_hidden_layers": VISION_LAYERS, "image_size": FRAME_PX, "patch_size": PATCH_PX},
            text_config=tower
            | {
                "num_hidden_layers": _TEXT_LAYERS,
                "vocab_size": len(vocabulary),
                "max_position_embeddings": MOST_TOKENS,
                "projection_size": WIDTH,
                "pad_token_id": vocabulary["<pad>"],
                "bos_token_id": None,
                "eos_token_id": None,
            },
        )
    )


def take_tower(encoder: Any, state: Mapping[str, torch.Tensor]) -> None:
    """Give the encoder's vision the weights of the demo model's: the same blocks in other names.

    It has no class token, and no scales of layers: these become part of the weights that they multiply.
    """
    own = {
        name.removeprefix("model.vision_tower."): weight for name, weight in state.items() if ".vision_tower." in name
    }
    vision = encoder.vision_model
    with torch.no_grad():
        vision.embeddings.patch_embedding.weight.copy_(own["embeddings.patch_embeddings.projection.weight"])
        vision.embeddings.patch_embedding.bias.copy_(own["embeddings.patch_embeddings.projection.bias"])
        vision.embeddings.position_embedding.weight.copy_(own["embeddings.position_embeddings"][0, 1:])
        for index, layer in enumerate(vision.encoder.layers):
            first, second = (own[f"encoder.layer.{index}.lambda_{number}"] for number in (1, 2))
            for name, (old, scale) in _BLOCK.items():
                for part in ("weight", "bias"):
                    weight = own.get(f"encoder.layer.{index}.{old}.{part}")
                    target = getattr(layer.get_submodule(name), part)
                    if weight is None:
                        target.zero_()
                        continue
                    by = {0: torch.ones_like(first), 1: first, 2: second}[scale]
                    target.copy_(
                        by[:, None] * weight if weight.ndim == 2 and scale else by * weight if scale else weight
                    )


_BLOCK = {
    "layer_norm1": ("layernorm_before", 0),
    "self_attn.q_proj": ("attention.q_proj", 0),
    "self_attn.k_proj": ("attention.k_proj", 0),
    "self_attn.v_proj": ("attention.v_proj", 0),
    "self_attn.out_proj": ("attention.projection_layer", 1),
    "layer_norm2": ("layernorm_after", 0),
    "mlp.fc1": ("mlp.fc1", 0),
    "mlp.fc2": ("mlp.fc2", 2),
}
"""Modules of a block: the names in the demo model, and which of its scales multiplies them; 0: none."""


def build_encoder_processor() -> SiglipProcessor:
    """Build the processor: it squeezes frames of any aspect to a square, as that of the demo model."""
    pixels = SiglipImageProcessor(
        size={"height": FRAME_PX, "width": FRAME_PX}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return SiglipProcessor(pixels, build_encoder_tokenizer())


def build_encoder_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer: one token per English word, Chinese character or punctuation mark, in lower case."""
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"\p{Han}|[^\p{L}\p{N}]"), "isolated")]
    )
    words = {word for text in all_words() for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))}
    vocabulary = {token: index for index, token in enumerate((*_SPECIALS, *sorted(words)))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106 - no password
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.add_special_tokens(list(_SPECIALS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",  # noqa: S106 - no password
        pad_token="<pad>",  # noqa: S106 - no password
        model_max_length=MOST_TOKENS,
        model_input_names=["input_ids"],
    )

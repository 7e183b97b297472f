"""The untrained demo model: a very small InternVL in the classes of transformers, and its processor.

The stages train it, `export` writes it. The tokenizer knows only the whole words of the demo's world.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    PreTrainedTokenizerFast,
)

from nightreel.demo.captions import NO_WARNING, name
from nightreel.demo.questions import FIELDS, LATER_FAMILIES, NONE, SEVERAL, catalogue, film_catalogue
from nightreel.demo.scenes import BACKGROUNDS, COLOURS, MOST_THINGS, MOTIONS, NO_MOTION, SHAPES, WARNING
from nightreel.domain import KEYWORDS
from nightreel.prompts.wording import before_question

FRAME_PX = 64
PATCH_PX = 8
PATCHES = FRAME_PX // PATCH_PX  # per side
SLOTS = MOST_THINGS
TOKENS_A_FRAME = SLOTS + 1
WIDTH = 128
END = "<|im_end|>"
VISION_LAYERS, HEADS, INNER = 5, 4, 384
_TEXT_LAYERS = 4
_MOST_FRAMES = 32  # that the vocabulary can number; training uses fewer
_SPECIALS = ("<pad>", "<unk>", "<|im_start|>", END, "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<video>\n{% elif part['type'] == 'image' %}<IMG_CONTEXT>\n"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_model(seed: int) -> Any:
    """Build the InternVLForConditionalGeneration with random weights."""
    torch.manual_seed(seed)
    vocabulary = build_tokenizer().get_vocab()
    config = InternVLConfig(
        vision_config={
            "hidden_size": WIDTH,
            "num_hidden_layers": VISION_LAYERS,
            "num_attention_heads": HEADS,
            "intermediate_size": INNER,
            "image_size": [FRAME_PX, FRAME_PX],
            "patch_size": [PATCH_PX, PATCH_PX],
            "layer_scale_init_value": 1.0,
            "initializer_range": 0.06,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(vocabulary),
            "hidden_size": WIDTH,
            "intermediate_size": INNER,
            "num_hidden_layers": _TEXT_LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS,
            "max_position_embeddings": 4096,
            "initializer_range": 0.06,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": vocabulary[END],
            "pad_token_id": vocabulary["<pad>"],
        },
        downsample_ratio=TOKENS_A_FRAME**0.5 / PATCHES,
        image_token_id=vocabulary["<IMG_CONTEXT>"],
        image_seq_length=TOKENS_A_FRAME,
        tie_word_embeddings=True,
    )
    model: Any = InternVLForConditionalGeneration(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(0, 0.1)
        embeddings = model.model.vision_tower.embeddings
        embeddings.position_embeddings[0, 1:] = _places()
        embeddings.cls_token.normal_(0, 0.3)
        # Ideal tokens are short vectors. From long ones, the first steps would only learn to shrink them.
        model.model.multi_modal_projector.linear_2.weight.mul_(0.05)
    generation = model.generation_config
    generation.eos_token_id, generation.pad_token_id = vocabulary[END], vocabulary["<pad>"]
    generation.do_sample = False
    return model


def _places() -> torch.Tensor:
    """Position embeddings of the patches, (PATCHES**2, WIDTH), as waves across and down.

    Neighbours start with similar positions, so the model need not learn first which patches are close.
    """
    place = torch.arange(PATCHES) / PATCHES  # (P,)
    waves = torch.pi * place[:, None] * torch.linspace(0.5, PATCHES / 2, WIDTH // 4)  # (P, W / 4)
    axis = torch.cat([waves.sin(), waves.cos()], -1)  # (P, W / 2)
    down, across = axis[:, None].expand(-1, PATCHES, -1), axis[None].expand(PATCHES, -1, -1)
    return 0.5 * torch.cat([down, across], -1).flatten(0, 1)


def build_processor() -> InternVLProcessor:
    """Build the processor: it squeezes frames of any aspect to a square and splits texts into words."""
    pixels: Any = {
        "size": {"height": FRAME_PX, "width": FRAME_PX},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    return InternVLProcessor(
        GotOcr2ImageProcessor(**pixels),
        build_tokenizer(),
        InternVLVideoProcessor(**pixels),
        image_seq_length=TOKENS_A_FRAME,
        chat_template=_TEMPLATE,
    )


@cache
def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer: one token per word or punctuation mark, in lower case; unknown words become `<unk>`."""
    words = sorted(set(words_of(" ".join(_texts()))))
    later = sorted({*words_of(" ".join(_later_texts())), *_later_marks()} - {*words})
    vocabulary = {token: index for index, token in enumerate((*_SPECIALS, *words, *later))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"[?:.,]"), "isolated")]
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)  # removes spaces before punctuation marks
    tokenizer.add_special_tokens(list(_SPECIALS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",  # noqa: S106 - no password
        pad_token="<pad>",  # noqa: S106 - no password
        eos_token=END,
        padding_side="left",
        model_max_length=4096,
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )


def words_of(text: str) -> list[str]:
    """The words and punctuation marks of a text, in lower case.

    >>> words_of("Is there a star? Answer yes or no.")
    ['is', 'there', 'a', 'star', '?', 'answer', 'yes', 'or', 'no', '.']
    """
    return re.findall(r"[a-z0-9]+|[?:.,]", text.lower())


def _texts() -> list[str]:
    """All words of questions and answers."""
    sentences = ["a an and, empty shapes stay stays still on background.", NO_WARNING, "the warning sign"]
    directions = [f"move moves {motion}" for motion in MOTIONS]
    answers = [*COLOURS, *SHAPES, *BACKGROUNDS, NONE, SEVERAL, "yes no", *map(str, range(10)), name(*WARNING)]
    frames = [f"Frame{number}: user assistant" for number in range(1, _MOST_FRAMES + 1)]
    early = [question.text for question in catalogue().values() if question.family not in LATER_FAMILIES]
    return [*early, *sentences, *directions, *answers, *frames]


def _later_texts() -> list[str]:
    """The texts whose words stage D adds. They come after all others, so that the numbers of those stay."""
    asked = [question.text for question in catalogue().values() if question.family in LATER_FAMILIES]
    return [*asked, *film_catalogue(), before_question([])]


def _later_marks() -> set[str]:
    """The words of JSON answers, with their quotation marks, and the marks of notes."""
    names = [KEYWORDS, *(field.name for field in FIELDS), *COLOURS, *SHAPES, *BACKGROUNDS, *MOTIONS, NO_MOTION]
    return {*"{}[]", *(f'"{name}"' for name in names), '"a', '"an', '"'}

"""A tiny InternVL with random weights, written on the spot: it runs everywhere and its words are noise.

`loading` uses it as model `demo` until a trained one comes along. It writes the files of a checkpoint with numpy,
tokenizers and safetensors alone, so that neither torch nor transformers is needed to know the model's identity, and the
same bytes come out on every machine.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

VERSION = 1
"""Raised with every change of the files, so that an older build is not taken for this one."""

_FRAME, _PATCH = 64, 16
_TOKENS_PER_FRAME = (_FRAME // _PATCH // 2) ** 2
_VISION = {"layers": 4, "hidden": 128, "inner": 512, "heads": 4}
_TEXT = {"layers": 4, "hidden": 192, "inner": 576, "heads": 6, "kv_heads": 3}
_SPECIALS = ("<pad>", "<unk>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
_ANSWERS = ("yes", "Yes", "no", "No", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
_WORDS = tuple(
    """a above after again air all along and another apple arm around at back ball bank bed bell below big bird black
    blue boat bone book both bottle box boy branch bread bridge bright brown building by cake camera car card cat chair
    child city clean climb close cloud coat cold corner cup dance dark day deep desk dog door down dress drink drive dry
    ear earth east empty eye face fall far farm fast field fire fish floor flower fly foot forest four frame from front
    fruit full game garden gate girl glass gold grass green ground hair hall hand happy hat head heavy high hill holds
    home horse hot hour house ice in inside iron is island jump key kitchen lake lamp land large leaf left leg letter
    light line lion little long looks loud low man many map market meat metal milk mirror moon morning mountain mouth
    moves music narrow near new night north nose of old on one open orange out outside over paint paper park past path
    people person piano picture plane plant plate play pulls purple quick quiet rain red rests river road rock roof room
    round runs sails salt sand school sea seat second shadow ship shirt shoe shop short side silver sings sits sky sleep
    slow small smoke snow soft south spoon spring square stands star station stone street strong summer sun swims table
    tail tall the there thin three through throws town train tree turns two under up valley very voice waits walks wall
    warm water west wet wheel white wide wind window winter with woman wood yellow yes no young""".split()  # noqa: SIM905 - words read better so
)
_QUESTION_WORDS = tuple(
    """Answer Describe Does Explain Frame How Is Where Which about acts be can content does following games happens harm it
    makes nudity or physical readable screen see seen self sentences set sexual show shown shows text that these this
    topic topics violence violent visible video weapon what which who why assistant user indoors outdoors studio sports
    news animals nature food travel gaming""".split()  # noqa: SIM905 - words read better so
)
"""Understood as one token each, so that questions are no longer than for a real tokenizer; never said."""
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<video>\n{% elif part['type'] == 'image' %}<IMG_CONTEXT>\n"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CARD = """# nightreel-noise

A tiny InternVL with random weights. It says something about every video, and **its words are noise**: it has learned
nothing. It exists to run the whole pipeline on any machine, without a download.
"""


def ensure_noise_model(models_directory: Path) -> Path:
    """The model's directory, built if it is not there. Atomic: two processes at once are fine.

    Raises:
        OSError: the directory cannot be written.
    """
    directory = models_directory / f"nightreel-noise-v{VERSION}"
    if directory.is_dir():
        return directory
    models_directory.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=models_directory))
    try:
        _write(building)
        building.chmod(0o755)
        try:
            building.rename(directory)
        except OSError:
            if not directory.is_dir():  # else another process was first, with the same bytes
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return directory


def _write(directory: Path) -> None:
    from safetensors.numpy import save_file

    vocabulary, merges = _vocabulary()
    _write_tokenizer(directory, vocabulary, merges)
    save_file(_weights(vocabulary), directory / "model.safetensors", metadata={"format": "pt"})
    for name, value in {
        "config.json": _config(vocabulary),
        "generation_config.json": {
            "do_sample": False, "eos_token_id": vocabulary["<|im_end|>"], "pad_token_id": vocabulary["<pad>"],
        },
        "processor_config.json": _processor_config(),
    }.items():  # fmt: skip
        (directory / name).write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    (directory / "chat_template.jinja").write_text(_TEMPLATE)
    (directory / "README.md").write_text(_CARD)


def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Special tokens, all bytes, and every word as a chain of merges, so that it is one token."""
    from tokenizers.pre_tokenizers import ByteLevel

    vocabulary = {token: index for index, token in enumerate(_SPECIALS)}
    for letter in sorted(ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    merges: list[tuple[str, str]] = []
    inner = [f"Ġ{word}" for word in (*_WORDS, *_QUESTION_WORDS)]
    first = [word for word in _QUESTION_WORDS if word[0].isupper() or word in ("assistant", "user")]
    for word in [*inner, *first, *_ANSWERS]:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append((word[: end - 1], word[end - 1]))
    return vocabulary, merges


def _write_tokenizer(directory: Path, vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(_SPECIALS))
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "eos_token": "<|im_end|>",
        "padding_side": "left",
        "model_max_length": 16384,
        "extra_special_tokens": {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def _config(vocabulary: dict[str, int]) -> dict[str, Any]:
    return {
        "architectures": ["InternVLForConditionalGeneration"],
        "model_type": "internvl",
        "dtype": "float32",
        "image_token_id": vocabulary["<IMG_CONTEXT>"],
        "image_seq_length": _TOKENS_PER_FRAME,
        "downsample_ratio": 0.5,
        "tie_word_embeddings": False,
        "vision_config": {
            "model_type": "internvl_vision",
            "hidden_size": _VISION["hidden"],
            "intermediate_size": _VISION["inner"],
            "num_hidden_layers": _VISION["layers"],
            "num_attention_heads": _VISION["heads"],
            "image_size": [_FRAME, _FRAME],
            "patch_size": [_PATCH, _PATCH],
        },
        "text_config": {
            "model_type": "qwen2",
            "vocab_size": len(vocabulary),
            "hidden_size": _TEXT["hidden"],
            "intermediate_size": _TEXT["inner"],
            "num_hidden_layers": _TEXT["layers"],
            "num_attention_heads": _TEXT["heads"],
            "num_key_value_heads": _TEXT["kv_heads"],
            "max_position_embeddings": 16384,
            "bos_token_id": None,
            "eos_token_id": vocabulary["<|im_end|>"],
            "pad_token_id": vocabulary["<pad>"],
            "tie_word_embeddings": False,
        },
    }


def _processor_config() -> dict[str, Any]:
    pixels = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "size": {"height": _FRAME, "width": _FRAME},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    return {
        "processor_class": "InternVLProcessor",
        "image_seq_length": _TOKENS_PER_FRAME,
        "image_processor": {"image_processor_type": "GotOcr2ImageProcessor", **pixels},
        "video_processor": {"video_processor_type": "InternVLVideoProcessor", **pixels},
    }


def _weights(vocabulary: dict[str, int]) -> dict[str, np.ndarray]:
    """Random weights under the names of an InternVL checkpoint, scaled so that answers depend on the video."""
    random = np.random.default_rng(VERSION)

    def matrix(*shape: int, std: float | None = None) -> np.ndarray:
        scale = std if std is not None else float(np.prod(shape[1:])) ** -0.5
        return (random.standard_normal(shape, dtype=np.float32) * np.float32(scale)).astype(np.float32)

    def norm(name: str, size: int) -> dict[str, np.ndarray]:
        return {f"{name}.weight": np.ones(size, np.float32), f"{name}.bias": np.zeros(size, np.float32)}

    def linear(name: str, out: int, into: int) -> dict[str, np.ndarray]:
        return {f"{name}.weight": matrix(out, into), f"{name}.bias": np.zeros(out, np.float32)}

    weights: dict[str, np.ndarray] = {}
    hidden, inner = _VISION["hidden"], _VISION["inner"]
    tower = "vision_tower.embeddings"
    weights[f"{tower}.cls_token"] = matrix(1, 1, hidden, std=0.5)
    weights[f"{tower}.position_embeddings"] = matrix(1, 1 + (_FRAME // _PATCH) ** 2, hidden, std=0.5)
    weights[f"{tower}.patch_embeddings.projection.weight"] = matrix(hidden, 3, _PATCH, _PATCH)
    weights[f"{tower}.patch_embeddings.projection.bias"] = np.zeros(hidden, np.float32)
    for index in range(_VISION["layers"]):
        layer = f"vision_tower.encoder.layer.{index}"
        for part in ("q_proj", "k_proj", "v_proj"):
            weights[f"{layer}.attention.{part}.weight"] = matrix(hidden, hidden)
        weights |= linear(f"{layer}.attention.projection_layer", hidden, hidden)
        weights |= linear(f"{layer}.mlp.fc1", inner, hidden) | linear(f"{layer}.mlp.fc2", hidden, inner)
        weights |= norm(f"{layer}.layernorm_before", hidden) | norm(f"{layer}.layernorm_after", hidden)
        for part in ("lambda_1", "lambda_2"):
            weights[f"{layer}.{part}"] = np.full(hidden, 0.5, np.float32)
    width, inner = _TEXT["hidden"], _TEXT["inner"]
    keys = width // _TEXT["heads"] * _TEXT["kv_heads"]
    weights |= norm("multi_modal_projector.layer_norm", 4 * hidden)
    weights |= linear("multi_modal_projector.linear_1", width, 4 * hidden)
    weights |= linear("multi_modal_projector.linear_2", width, width)
    for index in range(_TEXT["layers"]):
        layer = f"language_model.model.layers.{index}"
        weights |= linear(f"{layer}.self_attn.q_proj", width, width)
        weights |= linear(f"{layer}.self_attn.k_proj", keys, width) | linear(f"{layer}.self_attn.v_proj", keys, width)
        weights[f"{layer}.self_attn.o_proj.weight"] = matrix(width, width)
        weights[f"{layer}.mlp.gate_proj.weight"] = matrix(inner, width)
        weights[f"{layer}.mlp.up_proj.weight"] = matrix(inner, width)
        weights[f"{layer}.mlp.down_proj.weight"] = matrix(width, inner)
        for part in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{layer}.{part}.weight"] = np.ones(width, np.float32)
    weights["language_model.model.norm.weight"] = np.ones(width, np.float32)
    weights["language_model.model.embed_tokens.weight"] = matrix(len(vocabulary), width, std=0.5)
    weights["language_model.lm_head.weight"] = _output_rows(vocabulary, matrix(len(vocabulary), width))
    return weights


def _output_rows(vocabulary: dict[str, int], rows: np.ndarray) -> np.ndarray:
    """Silence every token but the words, the answers and the end of turn: noise, but noise that can be read."""
    spoken = [vocabulary[word] for word in (*(f"Ġ{word}" for word in _WORDS), *_ANSWERS, "<|im_end|>")]
    silent = np.ones(len(rows), bool)
    silent[spoken] = False
    rows[silent] = 0
    return rows

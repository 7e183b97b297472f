"""Loading options: impossible ones are refused before any video is touched; those that change answers are identity."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fixtures.judged import p_of
from fixtures.plain_generate import moving_pattern
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from nightreel.domain import Answer, Prompt, PromptKind, Segment
from nightreel.errors import PermanentError, SettingsError
from nightreel.models.loading import describe_model, load_model
from nightreel.settings import Settings, load_settings

_SEGMENT = Segment(0, 0.0, 4.0)
_PROMPTS = [
    Prompt.of(name="night", kind=PromptKind.YES_NO, text="Is it night?"),
    Prompt.of(name="what", kind=PromptKind.TEXT, text="What is it?", max_new_tokens=8),
]
_RANK, _ALPHA = 4, 8
_MODULE = "language_model.layers.1.self_attn.q_proj"


@pytest.fixture(scope="module")
def directory(tiny_model: Callable[[str], Path]) -> Path:
    torch.set_num_threads(1)
    return tiny_model("internvl")


def _settings(model: Path, **more: object) -> Settings:
    return load_settings(**{"model": str(model), "device": "cpu", **more})


def _answers(settings: Settings) -> list[Answer]:
    model = load_model(settings)
    features = model.encode([moving_pattern()], segments=[_SEGMENT], keys=["key"])
    return model.ask(features, [_PROMPTS])[0]


# -- impossible options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"quantization": "bnb-4bit"}, "NIGHTREEL_QUANTIZATION='bnb-4bit' needs a GPU"),
        ({"quantization": "bnb-8bit"}, "NIGHTREEL_QUANTIZATION='bnb-8bit' needs a GPU"),
        ({"quantization": "torchao-int8"}, "NIGHTREEL_QUANTIZATION='torchao-int8' needs a GPU"),
        ({"tf32": True}, "NIGHTREEL_TF32=true needs a GPU"),
        ({"cuda_graphs": True}, "NIGHTREEL_CUDA_GRAPHS=true needs a GPU"),
        ({"tf32": True, "dtype": "bfloat16"}, "affects only float32 weights, and these are bfloat16"),
        ({"attention": "flash_attention_2"}, "NIGHTREEL_ATTENTION='flash_attention_2' needs a GPU"),
        ({"device": "cuda:93"}, "NIGHTREEL_DEVICE='cuda:93': torch sees"),
        ({"adapter_revision": "abc"}, "NIGHTREEL_ADAPTER_REVISION='abc' needs an adapter"),
        ({"adapter": "/not/there"}, "NIGHTREEL_ADAPTER='/not/there': expected an existing directory"),
    ],
)
def test_an_impossible_option_is_refused_when_the_model_is_described(
    directory: Path, options: dict[str, object], said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        describe_model(_settings(directory, **options))
    assert said in caught.value.detail


@pytest.mark.parametrize(
    ("options", "capability", "said"),
    [
        ({"quantization": "torchao-fp8"}, (8, 6), "'torchao-fp8' needs compute capability 8.9, but the GPU has 8.6"),
        ({"quantization": "torchao-int4"}, (7, 5), "'torchao-int4' needs compute capability 8.0, but the GPU has 7.5"),
        ({"quantization": "torchao-int4", "dtype": "float16"}, (9, 0), "needs bfloat16, but the weights are float16"),
        ({"quantization": "torchao-fp8", "dtype": "float32"}, (9, 0), "needs bfloat16, but the weights are float32"),
        ({"cuda_graphs": True, "device": "cuda:all"}, (9, 0), "NIGHTREEL_CUDA_GRAPHS=true needs the model on one GPU"),
        ({"tf32": True}, (7, 5), "NIGHTREEL_TF32=true needs compute capability 8.0, but the GPU has 7.5"),
    ],
)
def test_an_option_that_the_gpu_cannot_execute_is_refused_when_the_model_is_described(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, object],
    capability: tuple[int, int],
    said: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    with pytest.raises(SettingsError) as caught:
        describe_model(_settings(directory, **{"device": "cuda:0", **options}))
    assert said in caught.value.detail


def test_all_impossible_options_are_named_together(directory: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        describe_model(_settings(directory, tf32=True, quantization="bnb-4bit"))
    assert {line.split("=")[0] for line in caught.value.detail.splitlines()} == {
        "NIGHTREEL_TF32",
        "NIGHTREEL_QUANTIZATION",
    }


def test_a_missing_compiler_is_reported_early(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SettingsError, match=r"NIGHTREEL_COMPILE=true on the CPU needs a C\+\+ compiler"):
        describe_model(_settings(directory, compile=True))


def test_loading_options_are_refused_for_a_model_on_a_server() -> None:
    with pytest.raises(SettingsError, match="NIGHTREEL_ADAPTER='a/b' does not apply to a model on a server"):
        describe_model(load_settings(model="openai:http://127.0.0.1:9/v1#m", adapter="a/b"))


# -- torch.compile -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_model_has_the_same_identity_and_answers(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the same trace as the default backend's, which would generate C++ for two minutes
    monkeypatch.setattr(torch.nn.Module, "compile", functools.partialmethod(torch.nn.Module.compile, backend="eager"))
    plain, compiled = _settings(directory), _settings(directory, compile=True)
    assert describe_model(plain).hash == describe_model(compiled).hash
    expected, answers = _answers(plain), _answers(compiled)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "nothing was compiled"
    assert [answer.text for answer in answers] == [answer.text for answer in expected]
    assert p_of(answers[0]) == pytest.approx(p_of(expected[0]), abs=1e-4)


# -- code that comes with a model --------------------------------------------------------------------------------

_OWN_CODE = """
from transformers import InternVLConfig, InternVLForConditionalGeneration
class Config(InternVLConfig):
    model_type = "mine"
class Mine(InternVLForConditionalGeneration):
    config_class = Config
"""


@pytest.fixture
def model_with_code(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    copy = Path(shutil.copytree(directory, tmp_path / "own"))
    config = json.loads((copy / "config.json").read_text())
    code = {"AutoModelForImageTextToText": "mine.Mine", "AutoConfig": "mine.Config"}
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "mine", "auto_map": code}))
    (copy / "mine.py").write_text(_OWN_CODE)
    # transformers renames only the weights of its own classes
    weights = load_file(copy / "model.safetensors")
    weights["lm_head.weight"] = weights.pop("language_model.lm_head.weight")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def test_code_of_a_model_runs_only_if_it_is_trusted(directory: Path, model_with_code: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        load_model(_settings(model_with_code))
    assert caught.value.reason == "unsupported_model"
    answers = _answers(_settings(model_with_code, trust_remote_code=True))
    assert answers == _answers(_settings(directory))


def test_trusted_code_is_part_of_the_identity(model_with_code: Path) -> None:
    settings = _settings(model_with_code, trust_remote_code=True)
    before = describe_model(settings).hash
    (model_with_code / "mine.py").write_text(_OWN_CODE + "\n# changed\n")
    assert describe_model(settings).hash != before


# -- adapters ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapter(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of one layer, saved by peft, strong enough to change answers."""
    torch.manual_seed(1)
    config = LoraConfig(r=_RANK, lora_alpha=_ALPHA, target_modules=f".*{_MODULE}")
    adapted = get_peft_model(AutoModelForImageTextToText.from_pretrained(directory), config)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, 0.0, 0.5)
    saved = tmp_path_factory.mktemp("adapter")
    adapted.save_pretrained(saved)
    return saved


def test_an_adapter_answers_like_a_model_with_its_weights_added(directory: Path, adapter: Path, tmp_path: Path) -> None:
    own = {name.rsplit(".", 2)[1]: weight for name, weight in load_file(adapter / "adapter_model.safetensors").items()}
    merged = Path(shutil.copytree(directory, tmp_path / "merged"))
    weights = load_file(merged / "model.safetensors")
    (name,) = [name for name in weights if name.endswith(f"{_MODULE.removeprefix('language_model.')}.weight")]
    weights[name] += _ALPHA / _RANK * own["lora_B"] @ own["lora_A"]
    save_file(weights, merged / "model.safetensors", metadata={"format": "pt"})
    plain, expected = _answers(_settings(directory)), _answers(_settings(merged))
    answers = _answers(_settings(directory, adapter=str(adapter)))
    assert p_of(answers[0]) == pytest.approx(p_of(expected[0]), abs=1e-5)
    assert answers[1].text == expected[1].text
    assert p_of(answers[0]) != pytest.approx(p_of(plain[0]), abs=1e-4)


def test_an_adapter_is_part_of_the_identity_at_any_path(directory: Path, adapter: Path, tmp_path: Path) -> None:
    plain = describe_model(_settings(directory))
    adapted = describe_model(_settings(directory, adapter=str(adapter)))
    moved = shutil.copytree(adapter, tmp_path / "moved")
    assert adapted.hash != plain.hash
    assert adapted.adapter == adapter.name
    assert (adapted.adapter_revision or "").startswith("sha256:")
    assert describe_model(_settings(directory, adapter=str(moved))).hash == adapted.hash


def test_unused_options_are_not_part_of_the_identity(directory: Path) -> None:
    assert (
        not {"quantization", "tf32", "adapter", "adapter_revision"}
        & describe_model(_settings(directory)).identity.keys()
    )


def _for_another_model(adapter: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["not_there"]}))


def _lacking_a_weight(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    del weights[min(weights)]
    save_file(weights, adapter / "adapter_model.safetensors")


def _pickled(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")


def _of_another_kind(adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "PROMPT_TUNING"}))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_for_another_model, "unsupported_adapter"),
        (_lacking_a_weight, "unsupported_adapter"),
        (_pickled, "no_safetensors"),
        (_of_another_kind, "settings"),
    ],
)
def test_an_unusable_adapter_causes_an_error_that_states_the_cause(
    directory: Path, adapter: Path, tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    spoil(copy)
    with pytest.raises(PermanentError) as caught:
        load_model(_settings(directory, adapter=str(copy)))
    assert caught.value.reason == reason

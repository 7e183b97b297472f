"""From settings to a model: its identity is known without torch, and a failed load states the cause."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fixtures.noise_model import ensure_noise_model
from safetensors.numpy import load_file, save_file

from nightreel.doctor import run_checks
from nightreel.domain import Prompt, PromptKind
from nightreel.errors import NightreelError, PermanentError, SettingsError, TransientError
from nightreel.models import loading
from nightreel.models.inprocess.dialogue import Dialogue
from nightreel.models.loading import check_model, describe_model, load_model
from nightreel.prompts.loading import load_prompt_sets, shipped_sets
from nightreel.settings import Settings, load_settings

_DESCRIBE = """
import sys
from pathlib import Path
from nightreel.models.loading import describe_model
from nightreel.settings import load_settings
spec = describe_model(load_settings(work_dir=Path(sys.argv[1])))
print(spec.hash, spec.parameters, [name for name in ("torch", "transformers") if name in sys.modules])
"""


def _settings(model: Path | str, **more: object) -> Settings:
    return load_settings(model=str(model), device="cpu", **more)


@pytest.fixture
def copied_model(tiny_model: Callable[[str], Path], tmp_path: Path) -> Path:
    """A private copy of a model directory, for tests that damage it."""
    return Path(shutil.copytree(tiny_model("internvl"), tmp_path / "copy"))


def test_a_model_is_described_without_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _DESCRIBE, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    spec = describe_model(load_settings(work_dir=tmp_path))
    assert said.split() == [spec.hash, str(spec.parameters), "[]"]


def test_the_description_matches_the_loaded_model(tmp_path: Path) -> None:
    settings = load_settings(work_dir=tmp_path, device="cpu")
    model = load_model(settings)
    assert model.spec == describe_model(settings)
    assert model.spec.model_class == "InternVLForConditionalGeneration"
    assert model.spec.parameters is not None
    assert 1e6 < model.spec.parameters < 3e6
    assert model.frame_size == 64


def test_the_noise_model_has_the_weights_that_transformers_expects(tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText

    _, report = AutoModelForImageTextToText.from_pretrained(ensure_noise_model(tmp_path), output_loading_info=True)
    assert {name: list(report[name]) for name in ("missing_keys", "unexpected_keys", "mismatched_keys")} == {
        "missing_keys": [],
        "unexpected_keys": [],
        "mismatched_keys": [],
    }


def test_processes_that_build_the_noise_model_at_the_same_time_agree(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        built = pool.map(ensure_noise_model, [tmp_path] * 3)
    assert len(set(built)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [built[0].name]


def test_a_moved_directory_is_the_same_model(copied_model: Path, tiny_model: Callable[[str], Path]) -> None:
    assert describe_model(_settings(copied_model)).hash == describe_model(_settings(tiny_model("internvl"))).hash


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "processor_config.json"])
def test_a_changed_file_is_another_model(copied_model: Path, name: str) -> None:
    before = describe_model(_settings(copied_model))
    data = bytearray((copied_model / name).read_bytes())
    place = data.rindex(b"\n") if name.endswith(".json") else -1
    data[place:] = b" " + data[place:] if name.endswith(".json") else bytes([data[-1] ^ 1])
    (copied_model / name).write_bytes(data)
    assert describe_model(_settings(copied_model)).hash != before.hash


@pytest.mark.parametrize(("option", "value"), [("dtype", "bfloat16"), ("attention", "eager")])
def test_options_that_change_numbers_are_another_model(
    tiny_model: Callable[[str], Path], option: str, value: str
) -> None:
    directory = tiny_model("internvl")
    assert describe_model(_settings(directory)).hash != describe_model(_settings(directory, **{option: value})).hash


def _without_weights(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(b"pickle")


def _without_config(directory: Path) -> None:
    (directory / "config.json").unlink()


def _broken_config(directory: Path) -> None:
    (directory / "config.json").write_text("{")


def _own_code(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    code = {"AutoModelForImageTextToText": "mine.Mine", "AutoConfig": "mine.Config"}
    config |= {"model_type": "mine", "auto_map": code}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "mine.py").write_text("raise SystemExit('this code must never run')\n")


def _a_text_model(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config["text_config"]))


def _without_videos(directory: Path) -> None:
    (directory / "processor_config.json").unlink()


def _truncated(directory: Path) -> None:
    data = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(data[: len(data) // 2])


def _lacking_a_weight(directory: Path) -> None:
    path = directory / "model.safetensors"
    weights = load_file(path)
    del weights["language_model.model.norm.weight"]
    save_file(weights, path, metadata={"format": "pt"})


def _without_template(directory: Path) -> None:
    (directory / "chat_template.jinja").unlink()


def _with_template(template: str) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        (directory / "chat_template.jinja").write_text(template)

    return spoil


def _with_value(name: str, key: str, value: object) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        values = json.loads((directory / name).read_text())
        (directory / name).write_text(json.dumps({**values, key: value}))

    return spoil


def _with_text(name: str, text: str) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        (directory / name).write_text(text)

    return spoil


_TEXTS_ONLY = "{% for m in messages %}<|im_start|>{% for p in m['content'] %}{{ p['text'] }}{% endfor %}{% endfor %}"
_UNFIT = {
    "no template": (_without_template, "has no chat template: use a model that was tuned for chat"),
    "an empty template": (_with_template(""), "has no chat template"),
    "a template for texts": (_with_template(_TEXTS_ONLY), "its chat template leaves videos out"),
    "a template that refuses": (_with_template("{{ raise_exception('only text!') }}"), "TemplateError: only text!"),
    "a template for strings": (_with_template("{{ messages[0]['content'] + 'x' }}"), "its chat template fails"),
    "a template that is no template": (_with_template("{% for %}"), "TemplateSyntaxError"),
    "a template that was cut off": (_with_template("{% for m in messages %}"), "TemplateSyntaxError"),
    "a template with a fixed text": (_with_template("Look!"), "its chat template leaves videos out"),
    "a question that is shown twice": (
        _with_template("{% for p in messages[0]['content'] %}<video>{{ p['text'] }}{{ p['text'] }}{% endfor %}"),
        "shows a question 2 times",
    ),
    "a tokenizer that is no tokenizer": (_with_text("tokenizer.json", "{}"), "cannot be loaded by transformers"),
    "a tokenizer of another version": (_with_text("tokenizer.json", '{"version": "1.0"}'), "be loaded by transformers"),
    "no processor": (_without_videos, "cannot be loaded by transformers"),
    "an unknown architecture": (_with_value("config.json", "model_type", "mine"), "cannot be loaded by transformers"),
    "a configuration of wrong types": (_with_value("config.json", "text_config", "no"), "cannot be loaded by"),
}


@pytest.mark.parametrize("unfit", _UNFIT)
def test_a_model_that_would_fail_every_video_is_refused_before_its_weights_are_read(
    copied_model: Path, unfit: str
) -> None:
    spoil, message = _UNFIT[unfit]
    spoil(copied_model)
    with pytest.raises(PermanentError) as loaded:
        load_model(_settings(copied_model))
    (copied_model / "model.safetensors").unlink()
    with pytest.raises(PermanentError) as checked:
        check_model(_settings(copied_model), prompts=())
    for caught in (loaded, checked):
        assert caught.value.reason == "unsupported_model"
        assert caught.value.reason.scope == "run"
        assert message in caught.value.detail


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AttributeError("'NoneType' object has no attribute 'shape'"), "unsupported_model"),
        (KeyError("video_grid_thw"), "unsupported_model"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory_too_small"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory_too_small"),
        (MemoryError(), "memory_too_small"),
    ],
)
def test_any_error_while_a_model_is_checked_or_loaded_is_an_error_of_the_model(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Dialogue, "__init__", fails)
    settings = _settings(tiny_model("internvl"))
    for attempt in (lambda: load_model(settings), lambda: check_model(settings, prompts=())):
        with pytest.raises(PermanentError) as caught:
            attempt()
        assert (caught.value.reason, caught.value.reason.scope) == (reason, "run")
        assert type(error).__name__ in caught.value.detail
        assert caught.value.__cause__ is error


def test_torch_that_cannot_be_imported_is_an_error_of_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_LOADER", "nightreel.models.nothing_here")
    with pytest.raises(PermanentError, match="ModuleNotFoundError: No module named") as caught:
        check_model(_settings("demo"), prompts=())
    assert caught.value.reason == "installation"


def test_doctor_finds_a_model_that_no_device_can_hold(tmp_path: Path) -> None:
    settings = load_settings(work_dir=tmp_path, device="cpu", gpu_memory_mib=1 << 30)
    (check,) = (check for check in run_checks(settings) if check.name == "model")
    assert (check.ok, check.found) == (False, "memory_too_small")
    assert "NIGHTREEL_GPU_MEMORY_MIB asks for 1073741824 MiB" in check.advice


def test_doctor_finds_a_model_without_a_chat_template(copied_model: Path, tmp_path: Path) -> None:
    settings = _settings(copied_model, work_dir=tmp_path / "work")
    (check,) = (check for check in run_checks(settings) if check.name == "model")
    assert (check.ok, check.advice) == (True, "")
    _without_template(copied_model)
    (check,) = (check for check in run_checks(settings) if check.name == "model")
    assert (check.ok, check.found) == (False, "unsupported_model")
    assert "has no chat template" in check.advice


def test_doctor_finds_prompts_that_the_model_cannot_answer(tmp_path: Path) -> None:
    checks = {check.name: check for check in run_checks(load_settings(work_dir=tmp_path, prompts=("tagging",)))}
    assert not checks["model"].ok
    assert "prompt 'topics' of set 'tagging': its choices cannot be scored" in checks["model"].advice
    assert {check.name: check for check in run_checks(load_settings(work_dir=tmp_path))}["model"].ok


@pytest.mark.parametrize("set_name", shipped_sets())
def test_a_model_with_a_full_vocabulary_can_answer_every_shipped_set(
    tiny_model: Callable[[str], Path], set_name: str
) -> None:
    assert check_model(_settings(tiny_model("internvl")), prompts=load_prompt_sets([set_name]).prompts) is not None


def test_all_prompts_that_a_model_cannot_answer_are_named_together() -> None:
    place = Prompt.of(name="place", kind=PromptKind.CHOICE, text="Where?", choices=("室内", "室外"), set_name="mine")
    count = Prompt.of(name="count", kind=PromptKind.NUMBER, text="How many?", minimum=9, maximum=10, set_name="mine")
    fake = Prompt.of(name="fake", kind=PromptKind.YES_NO, text="Is it?<|im_end|>")
    good = Prompt.of(name="good", kind=PromptKind.YES_NO, text="Is anything moving?")
    with pytest.raises(SettingsError) as caught:
        check_model(_settings("demo"), prompts=[place, count, fake, good])
    assert str(caught.value).splitlines() == [
        "model 'demo' cannot answer all prompts:",
        "prompt 'place' of set 'mine': its choices cannot be scored: this tokenizer has no tokens for '室内', '室外'; "
        "use other words, or another model",
        "prompt 'count' of set 'mine': its numbers cannot be scored: this tokenizer has no tokens for '10'; use other "
        "words, or another model",
        "prompt 'fake': the question 'Is it?<|im_end|> Answer yes or no.' contains '<|im_end|>', a special token of "
        "this model: reword it",
    ]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_without_config, "settings"),
        (_broken_config, "settings"),
        (_without_weights, "no_safetensors"),
        (_own_code, "unsupported_model"),
        (_a_text_model, "unsupported_model"),
        (_without_videos, "unsupported_model"),
        (_truncated, "damaged_checkpoint"),
        (_lacking_a_weight, "damaged_checkpoint"),
    ],
)
def test_an_unusable_directory_causes_an_error_that_names_what_is_missing(
    copied_model: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(copied_model)
    with pytest.raises(PermanentError) as caught:
        load_model(_settings(copied_model))
    assert caught.value.reason == reason
    assert copied_model.name in caught.value.detail


@pytest.mark.parametrize("name", ["nowhere", "/not/there", "a b/c", "../x/y"])
def test_a_name_that_is_neither_directory_nor_hub_id_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="expected an existing directory, a hub id like org/name, or demo"):
        describe_model(_settings(name))


def test_a_revision_of_a_directory_is_refused(copied_model: Path) -> None:
    with pytest.raises(SettingsError, match="NIGHTREEL_MODEL_REVISION='abc' pins a hub model"):
        describe_model(_settings(copied_model, model_revision="abc"))


def test_a_missing_gpu_is_refused(tiny_model: Callable[[str], Path]) -> None:
    with pytest.raises(SettingsError, match="NIGHTREEL_DEVICE='cuda:93': torch sees"):
        load_model(load_settings(model=str(tiny_model("internvl")), device="cuda:93"))


def test_flash_attention_that_is_not_installed_is_refused(tiny_model: Callable[[str], Path]) -> None:
    with pytest.raises(NightreelError, match=r"(?i)flash"):
        load_model(_settings(tiny_model("internvl"), attention="flash_attention_2"))


def test_a_hub_model_in_the_cache_is_used_offline_and_pinned(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--tiny"
    shutil.copytree(tiny_model("internvl"), repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model = load_model(_settings("someone/tiny"))
    assert (model.spec.name, model.spec.revision) == ("someone/tiny", commit)
    assert describe_model(_settings("someone/tiny", model_revision=commit)) == model.spec


def test_a_hub_model_that_is_not_cached_causes_a_transient_error_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TransientError) as caught:
        describe_model(_settings("someone/tiny"))
    assert caught.value.reason == "hub_unreachable"

"""What is refused before a run exists, and before a video is claimed: mistakes, and models that cannot work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fixtures.chat_server import ChatServer, failure
from fixtures.pipeline import PROMPT_COUNT, Pipeline

from nightreel.cache.features import FeatureCache
from nightreel.doctor import report
from nightreel.errors import NightreelError, PermanentError, SettingsError
from nightreel.gpu import ram_device
from nightreel.models.inprocess.dialogue import Dialogue
from nightreel.models.inprocess.local import LocalModel
from nightreel.settings import load_settings
from tasks.discover import claim


def refuse(pipeline: Pipeline, *arguments: str) -> tuple[str, float, float]:
    """Run a command that must fail: its output, and the seconds that it took by the clock and of the processor."""
    before, began_s = os.times(), time.monotonic()
    command = [sys.executable, "-m", "nightreel.cli", *arguments]
    done = subprocess.run(command, env={**os.environ, **pipeline.environment}, capture_output=True, text=True)
    after, took_s = os.times(), time.monotonic() - began_s
    assert done.returncode in (1, 2), done
    assert "Traceback" not in done.stderr
    used_s = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stderr, took_s, used_s


BAD_YAML = "name: bad\nprompts: [{name: x, kind: yes_no, text: 'a'"
MISTAKES = {
    "a missing path": (["/nowhere/at/all"], "'/nowhere/at/all' is neither a file nor a directory"),
    "a missing path beside a good one": (["{source}", "{source}/9.mp4"], "9.mp4' is neither a file nor a directory"),
    "an unknown prompt set": (["{source}", "--prompts", "violenc"], "prompt set 'violenc' does not exist"),
    "YAML with an error": (["{source}", "--prompts", "{bad}"], "not valid YAML"),
    "a model that does not exist": (["{source}", "--model", "/no/model"], "expected an existing directory"),
    "a server with an unknown name": (
        ["{source}", "--model", "openai:http://no-such-host.invalid:8000/v1#m"],
        "the name 'no-such-host.invalid' of the model server does not resolve",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_in_seconds_before_a_run_exists(pipeline, tmp_path, mistake):
    arguments, said = MISTAKES[mistake]
    (tmp_path / "bad.yaml").write_text(BAD_YAML)
    filled = [argument.format(source=pipeline.source, bad=tmp_path / "bad.yaml") for argument in arguments]
    output, took_s, used_s = refuse(pipeline, "analyze", *filled)
    assert said in " ".join(output.split())
    assert used_s < 3
    assert took_s < 12, "the machine of the tests may be busy"
    assert pipeline.value("SELECT count(*) FROM nightreel.runs") == 0
    assert pipeline.value("SELECT count(*) FROM nightreel.videos") == 0


@pytest.mark.parametrize(
    ("source", "said"), [("/nowhere/at/all", "the directory does not exist"), (__file__, "expected a directory")]
)
def test_a_setting_that_names_no_directory_is_refused_before_a_run_exists(pipeline, source, said):
    pipeline.environment["NIGHTREEL_SOURCE"] = source
    output, *_ = refuse(pipeline, "analyze")
    assert said in " ".join(output.split())
    assert "NIGHTREEL_SOURCE" in output
    assert pipeline.value("SELECT count(*) FROM nightreel.runs") == 0


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_model_server_that_refuses_is_reported_before_a_run_exists(pipeline, chat_server: ChatServer, status):
    chat_server.models_response = failure(status, "not here")
    output, took_s, used_s = refuse(pipeline, "analyze", pipeline.source, "--model", chat_server.setting)
    assert f"status {status}: not here" in " ".join(output.split())
    assert used_s < 3
    assert took_s < 12
    assert pipeline.value("SELECT count(*) FROM nightreel.runs") == 0


def test_a_mistake_starts_no_embedded_service(pipeline, tmp_path):
    pipeline.environment["NIGHTREEL_DATABASE_URL"] = pipeline.environment["PREFECT_API_URL"] = ""
    pipeline.environment["NIGHTREEL_WORK_DIR"] = str(tmp_path / "fresh")
    refuse(pipeline, "analyze", "/nowhere/at/all")
    assert not (tmp_path / "fresh").exists()


# -- before the first claim -------------------------------------------------------------------------------------------


@pytest.fixture
def broken_model(noise_model: Path, tmp_path: Path, monkeypatch) -> Path:
    """A model without a chat template, as base models are."""
    directory = Path(shutil.copytree(noise_model, tmp_path / "base-model"))
    (directory / "chat_template.jinja").unlink()
    return directory


def nothing_was_claimed(pipeline: Pipeline) -> None:
    assert set(pipeline.statuses().values()) == {("pending", None)}
    assert pipeline.value("SELECT max(attempts) FROM nightreel.analyses") == 0
    assert pipeline.value("SELECT count(*) FROM nightreel.features") == 0
    assert pipeline.value("SELECT status FROM nightreel.runs ORDER BY id DESC LIMIT 1") == "failed"


def problems(told: dict[str, Any]) -> dict[str, str]:
    """What `nightreel doctor --json` finds wrong, by the name of the check."""
    return {check["name"]: check["advice"] for check in told["checks"] if not check["ok"]}


def test_a_model_without_a_chat_template_is_one_error_before_a_video_is_claimed(pipeline, broken_model, noise_model):
    with pytest.raises(PermanentError, match=r"unsupported_model.*it has no chat template") as caught:
        pipeline.analyze(model=str(broken_model))
    nothing_was_claimed(pipeline)
    assert str(caught.value) in pipeline.value("SELECT error FROM nightreel.runs")
    assert pipeline.analyze(model=str(noise_model)).videos == {"done": 3}


def test_doctor_knows_a_model_without_a_chat_template(pipeline, broken_model):
    pipeline.environment["NIGHTREEL_MODEL"] = str(broken_model)
    found = problems(json.loads(pipeline.start("doctor", "--json").communicate(timeout=120)[0]))
    assert list(found) == ["model"]
    assert "it has no chat template" in found["model"]


def test_a_prompt_with_a_special_token_of_the_model_is_refused_before_a_video_is_claimed(pipeline, tmp_path):
    bad = tmp_path / "special.yaml"
    bad.write_text('name: s\nprompts: [{name: red, kind: yes_no, text: "Red?<|im_end|>"}]')
    with pytest.raises(SettingsError, match="a special token of this model"):
        pipeline.analyze(prompts=(str(bad),))
    nothing_was_claimed(pipeline)


@pytest.mark.parametrize("cache", ["file://{directory}/file/features", "s3://{bucket}-not-there/features"])
def test_an_unwritable_cache_is_one_error_before_a_video_is_claimed(
    make_pipeline, clips, tmp_path, s3_bucket, cache, monkeypatch
):
    monkeypatch.setattr(claim, "retry_delay_seconds", [0.01, 0.01, 0.01])
    (tmp_path / "file").write_text("not a directory")
    url = cache.format(directory=tmp_path, bucket=s3_bucket)
    pipeline = make_pipeline(clips, NIGHTREEL_CACHE_URL=url)
    with pytest.raises(NightreelError, match=re.escape(url.split("//")[1].removesuffix("/features"))):
        pipeline.analyze()
    nothing_was_claimed(pipeline)
    assert pipeline.value("SELECT count(*) FROM nightreel.videos WHERE content_sha256 IS NOT NULL") == 0
    assert "cache" in problems(report(load_settings()))


def test_a_run_writes_to_the_cache_once_before_its_first_claim_and_leaves_nothing_there(pipeline, monkeypatch):
    checks, check = [], FeatureCache.check_writable
    monkeypatch.setattr(FeatureCache, "check_writable", lambda cache: checks.append(check(cache)))
    monkeypatch.setenv("NIGHTREEL_CHUNK_SEGMENTS", "1")
    assert pipeline.analyze().videos == {"done": 3}
    assert len(checks) == 1
    assert not list(pipeline.work_dir.rglob("nightreel-probe-*"))
    pipeline.analyze()
    assert len(checks) == 1, "nothing is due"


@pytest.mark.parametrize(
    ("setting", "less_than_all", "said"),
    [
        ("NIGHTREEL_GPU_RESERVE_MIB", 500, "the model and one segment of its plan need"),
        ("NIGHTREEL_GPU_RESERVE_MIB", 0, "leaves nothing of"),
        ("NIGHTREEL_GPU_MEMORY_MIB", 0, "NIGHTREEL_GPU_MEMORY_MIB asks for"),
    ],
)
def test_a_model_that_needs_more_memory_than_a_device_has_is_refused_before_a_video_is_claimed(
    make_pipeline, clips, setting, less_than_all, said
):
    mib = (ram_device().total_bytes >> 20) - less_than_all
    pipeline = make_pipeline(clips, **{setting: str(mib)})
    with pytest.raises(SettingsError, match=said) as caught:
        pipeline.analyze()
    nothing_was_claimed(pipeline)
    assert problems(report(load_settings())) == {"model": caught.value.detail}


def test_an_unexpected_error_of_the_model_ends_the_run_and_charges_no_video(pipeline, monkeypatch):
    def fails(*_):
        raise AttributeError("'NoneType' object has no attribute 'shape'")

    with monkeypatch.context() as patch:
        patch.setattr(Dialogue, "__init__", fails)
        with pytest.raises(PermanentError, match=r"unsupported_model.*AttributeError"):
            pipeline.analyze()
    nothing_was_claimed(pipeline)


UNEXPECTED = [
    (AttributeError("'NoneType' object has no attribute 'shape'"), "unsupported_model"),
    (KeyError("video"), "unsupported_model"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "memory_too_small"),
    (MemoryError(), "memory_too_small"),
]


@pytest.mark.parametrize(("error", "reason"), UNEXPECTED)
def test_an_unexpected_error_of_the_weights_ends_the_run_charges_no_video_and_is_not_repeated(
    pipeline, monkeypatch, error, reason
):
    loads = []

    def fails(*_, **__):
        loads.append(error)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(LocalModel, "__init__", fails)
        with pytest.raises(PermanentError) as caught:
            pipeline.analyze()
    assert caught.value.reason == reason
    assert type(error).__name__ in caught.value.detail
    assert len(loads) == 1, "the other videos do not load the model again"
    nothing_was_claimed(pipeline)
    assert pipeline.analyze().videos == {"done": 3}


def test_a_quiet_run_needs_neither_model_nor_cache(pipeline, monkeypatch):
    pipeline.analyze()
    monkeypatch.setattr(Dialogue, "__init__", lambda *_: pytest.fail("the model is not needed"))
    assert pipeline.analyze().headline.startswith("nothing new")
    assert pipeline.value("SELECT count(*) FROM reporting.answers") == 3 * PROMPT_COUNT

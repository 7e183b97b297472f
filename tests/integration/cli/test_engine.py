"""`nightreel engine` says which vLLM runs use, and whether there is one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixtures.engine_like import EngineLike
from typer.testing import CliRunner

from nightreel.cli.app import app


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(tmp_path / "work"))


def test_it_shows_the_environment_and_its_version(engine_like: EngineLike, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTREEL_ENGINE_DIR", str(engine_like.directory))
    monkeypatch.setenv("NIGHTREEL_MODEL", "vllm:demo")
    done = CliRunner().invoke(app, ["engine", "--json"])
    assert json.loads(done.stdout) == {
        "directory": str(engine_like.directory),
        "version": "0.0.1",
        "arguments": "",
        "requests_together": 64,
        "used": True,
    }


def test_model_and_doctor_say_that_it_gets_frames_and_why(
    engine_like: EngineLike, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTREEL_ENGINE_DIR", str(engine_like.directory))
    monkeypatch.setenv("NIGHTREEL_MODEL", "vllm:demo")
    for media, why in (("frames", "NIGHTREEL_ENGINE_MEDIA=frames"), ("features", None)):
        monkeypatch.setenv("NIGHTREEL_ENGINE_MEDIA", media)
        shown = json.loads(CliRunner().invoke(app, ["model", "--json"]).stdout)
        assert shown.get("why_vllm_gets_frames") == why
        assert ("frames as timed_video" in shown["engine"]) == bool(why)
        said = CliRunner().invoke(app, ["doctor"]).stdout
        assert ("vllm 0.0.1, frames as timed_video, no features: NIGHTREEL_ENGINE_MEDIA=frames" in said) == bool(why)
        assert "vllm 0.0.1" in said


def test_it_says_how_to_get_one(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["engine"])
    assert done.exit_code == 0
    assert "run `nightreel engine install`" in done.stdout
    assert str(tmp_path / "work" / "engine" / "environment") in done.stdout

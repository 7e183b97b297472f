"""What the hub publishes later changes no run: a name means the commit that it meant at first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fixtures.hub import Hub
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.errors import NightreelError, PermanentError
from nightreel.models.loading import describe_model, find_model, load_model, newest_revision
from nightreel.settings import Settings, load_settings

NAME = "someone/tiny"


@pytest.fixture
def other_model(noise_model: Path, tmp_path: Path) -> Path:
    """The same model with another answer: what a publisher, or a thief of the account, may put there."""
    copy = Path(shutil.copytree(noise_model, tmp_path / "other-model"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"changed": True}))
    return copy


@pytest.fixture
def first_commit(hub: Hub, noise_model: Path) -> str:
    return hub.publish(NAME, noise_model)


def _settings(work_dir: Path, **options: object) -> Settings:
    return load_settings(model=NAME, work_dir=work_dir, device="cpu", **options)


def _models_of_runs(pipeline) -> list[str]:
    return [row.model_revision for row in pipeline.rows("SELECT model_revision FROM reporting.runs ORDER BY run_id")]


@pytest.mark.parametrize("revision", [None, "stable"])
def test_a_later_run_on_a_new_host_uses_the_commit_of_the_first_run(
    make_pipeline, clips, hub: Hub, first_commit: str, other_model: Path, tmp_path: Path, monkeypatch, revision
) -> None:
    settings = {} if revision is None else {"NIGHTREEL_MODEL_REVISION": revision}
    pipeline = make_pipeline(clips, NIGHTREEL_MODEL=NAME, **settings)
    pipeline.analyze(limit=1)
    assert len(hub.questions()) == 1
    hub.publish(NAME, other_model)
    hub.new_host()
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(tmp_path / "other-host"))
    pipeline.analyze(limit=1)
    assert hub.questions() == []
    assert _models_of_runs(pipeline) == [first_commit, first_commit]
    assert describe_model(load_settings()).revision == first_commit, "other commands on that host use it too"


def test_a_run_with_a_commit_in_its_settings_changes_nothing_for_later_runs(
    make_pipeline, clips, hub: Hub, first_commit: str, other_model: Path, monkeypatch
) -> None:
    pipeline = make_pipeline(clips, NIGHTREEL_MODEL=NAME)
    pipeline.analyze(limit=1)
    second = hub.publish(NAME, other_model)
    monkeypatch.setenv("NIGHTREEL_MODEL_REVISION", second)
    pipeline.analyze(limit=1)
    monkeypatch.delenv("NIGHTREEL_MODEL_REVISION")
    pipeline.analyze(limit=1)
    assert _models_of_runs(pipeline) == [first_commit, second, first_commit]


def test_a_run_of_an_earlier_recipe_uses_its_commit(
    make_pipeline, clips, hub: Hub, first_commit: str, other_model: Path, tmp_path: Path, monkeypatch
) -> None:
    pipeline = make_pipeline(clips, NIGHTREEL_MODEL=NAME)
    monkeypatch.setenv("NIGHTREEL_MODEL_REVISION", hub.publish(NAME, other_model))
    pipeline.analyze(limit=1)
    recipe = pipeline.value("SELECT max(id) FROM nightreel.recipes")
    monkeypatch.delenv("NIGHTREEL_MODEL_REVISION")
    hub.publish(NAME, tmp_path)  # a version without a model
    assert pipeline.analyze(limit=1, recipe=recipe).is_green


def test_other_commands_ask_once_and_store_the_answer(
    hub: Hub, first_commit: str, other_model: Path, tmp_path: Path
) -> None:
    assert describe_model(_settings(tmp_path / "work")).revision == first_commit
    assert len(hub.questions()) == 1
    hub.publish(NAME, other_model)
    hub.new_host()
    assert describe_model(_settings(tmp_path / "work")).revision == first_commit
    assert hub.questions() == []


@pytest.mark.parametrize("written", ["", "[]", "{", '{"someone/tiny@main": 7}', '{"someone/tiny@main": "main"}'])
def test_a_damaged_file_of_stored_revisions_is_asked_again(
    hub: Hub, first_commit: str, tmp_path: Path, written: str
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "revisions.json").write_text(written)
    assert describe_model(_settings(tmp_path)).revision == first_commit


def test_a_model_that_was_used_works_without_the_hub(hub: Hub, first_commit: str, tmp_path: Path) -> None:
    load_model(_settings(tmp_path))
    hub.close()
    assert load_model(_settings(tmp_path)).spec.revision == first_commit


def test_a_stored_commit_is_never_replaced_by_another_one_of_the_local_cache(
    hub: Hub, first_commit: str, other_model: Path, tmp_path: Path
) -> None:
    describe_model(_settings(tmp_path / "one"))
    hub.publish(NAME, other_model)
    hub.new_host()
    describe_model(_settings(tmp_path / "two"))  # another program's download moves `main` in the cache
    assert describe_model(_settings(tmp_path / "one")).revision == first_commit


def test_an_adapter_keeps_its_commit_too(
    hub: Hub, noise_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (adapter / "adapter_model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    first = hub.publish("someone/adapter", adapter)
    settings = load_settings(model=str(noise_model), adapter="someone/adapter", work_dir=tmp_path / "work")
    assert describe_model(settings).adapter_revision == first
    hub.publish("someone/adapter", adapter)
    hub.new_host()
    assert describe_model(settings).adapter_revision == first
    assert len(hub.questions()) == 1


def test_only_a_question_for_newer_revisions_asks_the_hub_for_one(
    hub: Hub, first_commit: str, other_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTREEL_MODEL", NAME)

    def shown(*options: str) -> str:
        done = CliRunner().invoke(app, ["model", "--plan", "uniform:1", *options])
        assert done.exit_code == 0, done.output
        return done.output

    assert f"the hub has nothing newer than {first_commit}" in shown("--newer")
    newest = hub.publish(NAME, other_model)
    hub.questions()
    assert newest not in shown()
    assert hub.questions() == []
    assert f"NIGHTREEL_MODEL_REVISION={newest}" in shown("--newer")
    assert json.loads(shown("--newer", "--json"))["newest_revision"] == newest
    assert first_commit in shown(), "the question stores nothing"


def test_the_question_for_newer_revisions_says_why_there_is_no_answer(
    hub: Hub, first_commit: str, noise_model: Path, tmp_path: Path
) -> None:
    settings = _settings(tmp_path)
    spec = find_model(settings).spec
    hub.close()
    with pytest.raises(NightreelError) as caught:
        newest_revision(settings, spec)
    assert caught.value.reason == "hub_unreachable"
    local = load_settings(model=str(noise_model))
    with pytest.raises(NightreelError, match="is not on a hub"):
        newest_revision(local, find_model(local).spec)


@pytest.mark.parametrize("file", ["config.json", "processor_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    "references", [{"AutoModel": "else/where--evil.Model"}, {"AutoTokenizer": [None, "else/where--evil.Tokenizer"]}]
)
def test_trusted_code_comes_only_from_the_model_itself(
    hub: Hub, noise_model: Path, tmp_path: Path, file: str, references: dict
) -> None:
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    hub.publish("else/where", evil)
    copy = Path(shutil.copytree(noise_model, tmp_path / "copy"))
    config = json.loads((copy / file).read_text()) if (copy / file).exists() else {}
    (copy / file).write_text(json.dumps(config | {"auto_map": references}))
    with pytest.raises(PermanentError, match=r"'evil\.\w+' from the hub repository 'else/where'") as caught:
        load_model(load_settings(model=str(copy), device="cpu", work_dir=tmp_path, trust_remote_code=True))
    assert caught.value.reason == "unsupported_model"
    assert not any("else/where" in path for path in hub.requests)
    assert not (tmp_path / "ran").exists()

"""People follow docs/commands.md and the README: their commands exist, and run in the order of docs/commands.md."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from fixtures.pipeline import make_clip

from nightreel.cli.app import app
from nightreel.services.process import SharedServer

ROOT = Path(__file__).parents[2]


def commands_of(page: str) -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for block in blocks for line in block.splitlines()]


COMMANDS = commands_of("docs/commands.md")


def all_commands() -> set[str]:
    group = typer.main.get_command(app)
    commands = {name: group.get_command(None, name) for name in group.list_commands(None)}
    return {
        f"{name} {inner}" if hasattr(command, "commands") else name
        for name, command in commands.items()
        for inner in getattr(command, "commands", [""])
    }


def test_every_command_is_on_the_page_of_commands():
    known = all_commands() - {"demo"}  # `make demo` runs it
    groups = {name.split()[0] for name in known if " " in name}
    shown = {" ".join(command[: 1 + (command[0] in groups)]) for command in COMMANDS}
    assert shown >= known
    assert [command for command in commands_of("README.md") if command not in COMMANDS] == []


def open_to_others(directory):
    """What other users have any right to, the directory included."""
    entries = [directory, *directory.rglob("*")]
    return [path for path in entries if not path.is_symlink() and path.lstat().st_mode & 0o077]


@pytest.fixture
def work_dir(tmp_path):
    """A separate directory for embedded services, which are always stopped afterwards."""
    directory = tmp_path / "work"
    yield directory
    from nightreel.services.postgres import Postgres
    from nightreel.services.prefect_server import PrefectServer

    for program in (PrefectServer(directory / "prefect"), Postgres(directory / "postgres")):
        SharedServer(program).stop(force=True)


@pytest.mark.timeout(900)  # some sixty commands
def test_the_commands_work_in_the_order_of_the_page(tmp_path, work_dir, noise_model, receiver, monkeypatch):
    videos = tmp_path / "videos"
    make_clip(videos / "a.mp4", 1)
    (tmp_path / "labels.csv").write_text("file,question,type,answer\nvideos/a.mp4,Is it raining?,yes_no,no\n")
    monkeypatch.chdir(tmp_path)
    for name in ("NIGHTREEL_DATABASE_URL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BROWSER", "true")  # `nightreel ui` opens this one
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(work_dir))
    monkeypatch.setenv("NIGHTREEL_SOURCE", str(videos))
    monkeypatch.setenv("NIGHTREEL_MODEL", str(noise_model))
    monkeypatch.setenv("NIGHTREEL_EMBEDDING_MODEL", "demo")
    outputs = {}
    for command in COMMANDS:
        if command[0] in ("review", "audit", "console") or "--console" in command:
            continue  # they need a case, or serve until interrupted: tests/integration/cli runs them
        if command == ["engine", "install"]:
            continue  # some gigabytes: `make test-vllm` runs it
        if command == ["engine", "serve"]:
            continue  # until it is interrupted, with such an environment: test_kept_engine.py runs it
        arguments = [
            part.replace("/data/videos", str(videos)).replace("https://example.com/hooks", receiver.url)
            for part in command
        ]
        done = subprocess.run(
            [sys.executable, "-m", "nightreel.cli", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
            umask=0,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        outputs[command[0]] = outputs.get(command[0], "") + done.stdout
    assert "1 done" in outputs["analyze"]
    assert "nearest by meaning" in outputs["search"]
    assert "with a vector\t1" in outputs["vectors"]
    assert "0.0-1.0" in outputs["ask"]
    assert (tmp_path / "a.mp4-frames.png").stat().st_size > 1000
    assert "running" in outputs["status"]
    assert "Prefect's UI: http://127.0.0.1:" in outputs["status"]
    assert "problem" not in outputs["doctor"]
    assert receiver.types == ["webhook.test"]
    assert "stopped: prefect, postgres" in outputs["down"]
    assert open_to_others(work_dir) == [], "the umask gave all rights to all"
    assert (tmp_path / "a.mp4-frames.png").stat().st_mode & 0o077 == 0

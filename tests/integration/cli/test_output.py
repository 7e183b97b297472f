"""Output that cannot be written: a sentence and an exit status, never a traceback, and never the end of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NIGHTREEL = [sys.executable, "-m", "nightreel.cli"]
COMMANDS = [["--help"], ["settings"], ["settings", "--json"], ["status"]]
SIGNS = ("Traceback", "Exception ignored", "UnicodeEncodeError", "BrokenPipe")


@pytest.fixture
def environment(tmp_path):
    """Settings with characters that are not in ASCII."""
    own = {"NIGHTREEL_MODEL": "modèle-\u30e2\u30c7\u30eb", "NIGHTREEL_WORK_DIR": str(tmp_path / "work")}
    return {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": "", "NIGHTREEL_DATABASE_URL": "", **own}


def shell(command: str, arguments: list[str], environment, tmp_path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command, "bash", *NIGHTREEL, *arguments],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def assert_no_traceback(done: subprocess.CompletedProcess[str]) -> None:
    assert not any(sign in done.stdout + done.stderr for sign in SIGNS), done.stdout + done.stderr


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk_is_a_sentence(arguments, environment, tmp_path):
    done = shell('"$@" > /dev/full', arguments, environment, tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_reader_that_is_gone_ends_the_command_in_silence(arguments, environment, tmp_path):
    # `true` has ended before the command writes its first line.
    done = shell('"$@" | true; exit ${PIPESTATUS[0]}', arguments, environment, tmp_path)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full", "> /dev/full 2> /dev/full"])
@pytest.mark.parametrize("arguments", [["settings"], ["settings", "nothing"], ["nothing"]], ids=" ".join)
def test_closed_and_full_streams_are_no_traceback(arguments, redirection, environment, tmp_path):
    done = shell(f'"$@" {redirection}', arguments, environment, tmp_path)
    assert_no_traceback(done)
    assert done.returncode in (0, 1, 2)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("arguments", [*COMMANDS, ["prompts"], ["prompts", "モデル"]], ids=" ".join)
def test_characters_that_the_terminal_lacks_are_escaped(arguments, encoding, environment, tmp_path):
    done = subprocess.run(
        [*NIGHTREEL, *arguments],
        env={**environment, "PYTHONIOENCODING": encoding},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    said = done.stdout.decode(encoding) + done.stderr.decode(encoding)
    assert not any(sign in said for sign in SIGNS), said
    assert done.returncode == (2 if arguments[-1] == "モデル" else 0), said
    if arguments == ["settings", "--json"]:
        assert json.loads(done.stdout.decode(encoding))["NIGHTREEL_MODEL"]["value"] == environment["NIGHTREEL_MODEL"]


def test_a_picture_that_cannot_be_written_is_a_sentence(environment, clips, tmp_path):
    arguments = ["frames", str(clips / "1.mp4"), "--output", str(tmp_path / "missing" / "x.png")]
    done = shell('"$@"', arguments, environment, tmp_path)
    assert_no_traceback(done)
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr


@pytest.mark.parametrize("redirection", ["> /dev/full", "| true"])
def test_a_run_whose_progress_cannot_be_shown_goes_on(pipeline, redirection):
    subprocess.run(
        ["bash", "-c", f'"$@" {redirection}', "bash", *NIGHTREEL, "analyze", pipeline.source],
        env={**os.environ, **pipeline.environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=200,
    )
    assert pipeline.rows("SELECT status FROM nightreel.runs") == [("completed",)]
    assert set(pipeline.statuses().values()) == {("done", None)}

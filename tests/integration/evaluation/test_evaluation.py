"""Models and prompt sets beside each other on clips whose right answers are known."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.demo.clips import draw_clip, write_clip
from nightreel.demo.questions import truth
from nightreel.prompts.loading import load_prompt_sets

_PROMPTS = ("background", "red_circle", "shapes", "warning")
_CHANGED = """name: changed
prompts:
  - {name: background, kind: choice, text: "What colour is the background?", choices: [black, grey, white]}
  - {name: red_circle, kind: yes_no, text: "Is there a green star?"}
  - {name: shapes, kind: tags, text: "Is there a", choices: [circle, square, triangle, star]}
  - {name: warning, kind: yes_no, text: "Is a warning sign shown?"}
"""


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips with right answers, and a broken one."""
    torch.set_num_threads(1)
    directory = tmp_path_factory.mktemp("labelled")
    prompts = {prompt.name: prompt for prompt in load_prompt_sets(["demo", "demo_moderation"]).prompts}
    with (directory / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "prompt", "answer"))
        for seed in range(6):
            clip = draw_clip(f"evaluated {seed}")
            write_clip(directory / f"{seed}.mp4", clip)
            for name in _PROMPTS:
                true = truth(prompts[name], clip.parts[0].scene)
                rows.writerow((f"{seed}.mp4", name, ", ".join(true) or "none" if isinstance(true, list) else true))
        rows.writerow(("broken.mp4", "red_circle", "no"))
    (directory / "broken.mp4").write_bytes((directory / "0.mp4").read_bytes()[:2000])
    (directory / "changed.yaml").write_text(_CHANGED)
    return directory


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setenv("NIGHTREEL_MODEL", "demo")
    monkeypatch.setenv("NIGHTREEL_DEVICE", "cpu")


def test_prompt_sets_are_compared_on_known_answers(labelled: Path, tmp_path: Path) -> None:
    changed, page = labelled / "changed.yaml", tmp_path / "page.html"
    result = CliRunner().invoke(
        app,
        [
            *("eval", str(labelled / "labels.csv"), "--prompts", "demo,demo_moderation", "--prompts", str(changed)),
            *("--page", str(page), "--json"),
        ],
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    good, bad = report["candidates"]
    assert (report["labels"], report["videos"]) == (25, 7)
    everything, *each = good["scores"]
    assert (everything["labels"], everything["errors"], everything["accuracy"]["value"]) == (25, 1, 24 / 25)
    assert {score["asked"]: score["accuracy"]["value"] for score in each} == {
        "background": 1.0,
        "red_circle": pytest.approx(6 / 7),  # the broken one
        "shapes": 1.0,
        "warning": 1.0,
    }
    assert bad["scores"][0]["accuracy"]["value"] < 24 / 25
    assert set(good["cost"]["failures"]) == set(bad["cost"]["failures"]) == {"broken.mp4"}
    (difference,) = report["differences"]
    assert {change["asked"] for change in difference["changes"]} == {"red_circle"}
    assert difference["comparison"]["only_second"] == 0
    assert "changed.yaml" in page.read_text()


def test_a_question_of_its_own_needs_no_prompt_set(labelled: Path, tmp_path: Path) -> None:
    labels = tmp_path / "own.jsonl"
    labels.write_text('{"file": "0.mp4", "question": "Is anything moving?", "type": "yesno", "answer": "yes"}\n')
    result = CliRunner().invoke(app, ["eval", str(labels), "--videos", labelled.as_uri(), "--json"])
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)["candidates"][0]["scores"]
    assert [(score["asked"], score["labels"], score["errors"]) for score in scores] == [
        ("all", 1, 0),
        ("questions: yesno", 1, 0),
    ]


def test_the_exit_status_says_that_no_video_was_answered(labelled: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("file,prompt,answer\nbroken.mp4,red_circle,no\n")
    result = CliRunner().invoke(app, ["eval", str(labels), "--videos", str(labelled)])
    assert result.exit_code == 1, result.output
    assert "1 video failed:\n  broken.mp4: " in result.stdout


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("0.mp4,red_cirle,no", "did you mean 'red_circle'?"),
        ("0.mp4,red_circle,perhaps", "is not yes or no"),
        ("../0.mp4,red_circle,no", "is not below"),
        ("/etc/passwd,red_circle,no", "is not below"),
    ],
)
def test_labels_that_cannot_be_asked_are_refused_before_anything_is(
    labelled: Path, tmp_path: Path, row: str, why: str
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(f"file,prompt,answer\n{row}\n")
    result = CliRunner().invoke(app, ["eval", str(labels), "--videos", str(labelled)])
    assert result.exit_code != 0
    assert why in str(result.exception)

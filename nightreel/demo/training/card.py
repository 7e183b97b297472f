"""The model card: README.md beside the weights, out of the training's log and the benchmark's table.

`make bench-demo` calls it, because it has the figures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nightreel.demo.training.export import LOG

_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: video-text-to-text
---
# nightreel-demo

A very small video LLM that tells the truth about a very small world: plain shapes that move. It comes along with
Nightreel so that a first run shows true sentences without a download, and so that tests can ask whether the whole
pipeline is right. It is of no other use.

{parameters:,} parameters ({megabytes:.1f} MB, float32) in the InternVL classes of transformers: 64x64 pixels, patches
of 8, 5 vision layers and 4 language layers 128 wide, 4 tokens a frame, a vocabulary of {vocabulary} words. Any code
that loads an InternVL loads it: `AutoModelForImageTextToText`, `AutoProcessor`.

## Data

Synthetic, drawn afresh for every step (`nightreel/demo/scenes.py`); no picture was seen twice and none is stored. 0 to
3 of {{circle, square, triangle, star}} in 6 colours on 3 backgrounds, no two alike, all moving one of 4 ways or still.
A red triangle is a "warning sign". Pictures are spoilt as real files are: other aspects squeezed to a square, colours
off, blur, blocks, noise. {questions} questions in the pipeline's own wording, as many about what is not there.

## Training

`make demo-model`: three stages of fixed steps from fixed seeds (`nightreel/demo/training`). Vision and language are
taught apart first, by an agreed meaning of the 4 tokens of a frame: one for each thing in order, one for the rest.

| stage | steps | seconds a step | at its end |
|---|---:|---:|---|
{stages}

Seconds are of two cores that had other work, too.

## Accuracy

{where}: whole flow, answers read from Postgres, on clips of seeds that were
neither trained nor tuned on. Taken with `make bench-demo`; what missed its goal stays. A form is the same scenes
written otherwise.

| what | this model | beside | which is | goal | met | |
|---|---:|---:|---|---|---|---|
{accuracy}

## Limits

- It knows nothing but its world. Of other videos it, too, speaks of shapes: its answers then mean nothing.
- It understands the questions of `nightreel/demo/questions.py`, in those words. Answers to others mean nothing.
- 2 to 16 frames a segment. One frame shows no motion; more were not trained.
- A segment should show one scene. Of several it mixes what it sees.
- The same machine and versions give the same weights; other processors round otherwise, and give others.
"""
_FIGURES = {
    "vision": (("shape_right", "shapes"), ("colour_right", "colours"), ("count_right", "counts")),
    "language": (("answers_right", "answer tokens"), ("sentences_right", "sentence tokens")),
    "joint": (("answers_right", "answer tokens"), ("sentences_right", "sentence tokens")),
}


def write_card(folder: Path, results: Path) -> Path:
    """Write the card of the model in `folder`; returns its path.

    Args:
        results: the benchmark's JSON.
    """
    from nightreel.demo.questions import catalogue
    from nightreel.demo.training.architecture import build_model, build_tokenizer

    found = json.loads(results.read_text())
    machine = found["header"]["machine"]
    card = folder / "README.md"
    card.write_text(
        _CARD.format(
            parameters=sum(weight.numel() for weight in build_model(0).parameters()),
            megabytes=(folder / "model.safetensors").stat().st_size / 1e6,
            vocabulary=len(build_tokenizer()),
            questions=len(catalogue()),
            stages="\n".join(_stage_line(line) for line in (folder / LOG).read_text().splitlines()),
            where=f"{machine['cpu']}, {machine['cores']} cores, {found['header']['at'][:10]}",
            accuracy="\n".join(_result_line(row) for row in found["rows"]),
        )
    )
    return card


def _stage_line(line: str) -> str:
    log = json.loads(line)
    shares = (f"{words} {log[name]:.2%} right" for name, words in _FIGURES[log["stage"]])
    end = ", ".join([f"loss {log['loss']:.4f}", *shares])
    return f"| {log['stage']} | {log['step']:,} | {log['step_s']:.2f} | {end} |"


def _result_line(row: dict[str, Any]) -> str:
    unit = f" {row['unit']}" if row["unit"] else ""
    met = "yes" if row["met"] else "**no**"
    return (
        f"| {row['name']} | {row['ours']:.4g}{unit} | {row['other']:.4g}{unit} | {row['other_is']} "
        f"| {row['goal']} | {met} | {row['note']} |"
    )

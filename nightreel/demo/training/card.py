"""Write the model cards, README.md beside the weights, from the training logs and the benchmark's results.

`make bench-demo` calls it, because the benchmark has the results.
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

A very small video LLM that describes a very small world correctly: plain shapes that move. Nightreel includes it so
that a first run gives correct answers without a download, and so that tests can check whether the whole pipeline is
correct. It has no other use.

{parameters:,} parameters ({megabytes:.1f} MB, float32) in the InternVL classes of transformers: 64x64 pixels, patches
of 8, 5 vision layers and 4 language layers 128 wide, 4 tokens a frame, a vocabulary of {vocabulary} words. Any code
that loads an InternVL model loads it: `AutoModelForImageTextToText`, `AutoProcessor`.

## Data

The data is synthetic (`nightreel/demo/scenes.py`). Every step draws new pictures; none is used twice or stored. A scene
has 0 to 3 of {{circle, square, triangle, star}} in 6 colours on 3 backgrounds. No two are the same; all move one of 4
ways or stay still. A red triangle is a "warning sign". Pictures are degraded like those of real files: other aspects
squeezed to a square, wrong colours, blur, blocks, noise. There are {questions} questions in the pipeline's own wording.
Absent things are asked about as often as present ones.

## Training

`make demo-model` runs four stages of fixed steps from fixed seeds (`nightreel/demo/training`). Vision and language
first train separately, on fixed meanings of the 4 tokens of a frame: one for each thing in order, one for the rest. The
last stage teaches answers in JSON and questions about whole videos, over the captions of their scenes.

The last stage of the weights in this folder ran in three goes of 240, 75 and 140 steps, while its questions were still
changed: a new run of it gives other weights. The table has the last of them.

| stage | steps | seconds a step | at the end |
|---|---:|---:|---|
{stages}

The seconds were measured on two cores that also did other work.

## Accuracy

{where}: the whole flow, with answers read from Postgres, on clips of seeds used
neither for training nor for tuning. `make bench-demo` measures them; results that miss their goal stay in the table. A
form is another encoding of the same scenes.

| result | this model | reference | which is | goal | met | |
|---|---:|---:|---|---|---|---|
{accuracy}

## Limits

- It knows only its own world. It describes other videos as shapes, too: those answers mean nothing.
- It understands only the exact wording in `nightreel/demo/questions.py`. Answers to other questions mean nothing.
- It takes 2 to 16 frames a segment. One frame shows no motion; more than 16 were not trained.
- A segment should show one scene. The model mixes several scenes into one answer.
- The same machine and versions give the same weights of the first three stages. Other processors round differently and
  give other weights.
"""
_ENCODER_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: zero-shot-image-classification
language: [en, zh]
---
# nightreel-demo-encoder

A very small dual encoder for a very small world: texts in English and Chinese, and frames of plain shapes, become
vectors that can be compared. Nightreel includes it so that search by meaning works and is tested without a download. It
has no other use.

{parameters:,} parameters ({megabytes:.1f} MB, float16) in the SigLIP classes of transformers: 64x64 pixels, patches of
8, 5 vision layers and 3 text layers 128 wide, a vocabulary of {vocabulary} words and characters. `AutoModel` and
`AutoProcessor` load it.

## Data

The pictures are those of the demo model (`nightreel/demo/scenes.py`), with descriptions whole and in part
(`nightreel/demo/descriptions.py`): colours, shapes, backgrounds, counts, in many wordings. Every step draws new ones.

## Training

`make demo-model` trains it as stage D (`nightreel/demo/training/encoder_stage.py`), from the vision tower of stage A.

| stage | steps | seconds a step | at the end |
|---|---:|---:|---|
{stages}

The seconds were measured on two cores that also did other work.

## Recall

{where}: the whole flow, from video files to hits read from Postgres. Clips of seeds used for nothing else, no two of
which show the same things on the same background; each is searched for by its plain description.

| recall@1 | this model | goal | met | |
|---|---:|---|---|---|
{recall}

## Limits

- It encodes single frames. How things move, it does not see: "moves left" in a description changes nothing.
- It knows only its own world and its words. Other words are ignored; vectors of other videos mean nothing.
- The same machine and versions give the same weights. Other processors round differently and give other weights.
"""
_SEARCHES = "search by meaning, "
_FIGURES = {
    "encoder": (("wholes_right", "whole descriptions"), ("parts_right", "parts")),
    "vision": (("shape_right", "shapes"), ("colour_right", "colours"), ("count_right", "counts")),
    "language": (("answers_right", "answer tokens"), ("sentences_right", "sentence tokens")),
    "joint": (("answers_right", "answer tokens"), ("sentences_right", "sentence tokens")),
    "forms": (
        ("answers_right", "answer tokens"),
        ("sentences_right", "sentence tokens"),
        ("forms_right", "tokens of JSON"),
        ("films_right", "tokens about whole videos"),
    ),
}


def write_card(folder: Path, results: Path) -> Path:
    """Write the card of the model in `folder`; returns the path of the card.

    Args:
        results: path of the benchmark's JSON.
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
            accuracy="\n".join(_result_line(row) for row in found["rows"] if not row["name"].startswith(_SEARCHES)),
        )
    )
    return card


def write_encoder_card(folder: Path, results: Path) -> Path:
    """Write the card of the dual encoder in `folder`; returns the path of the card. Arguments as `write_card`."""
    from nightreel.demo.training.encoder import build_encoder, build_encoder_tokenizer

    found = json.loads(results.read_text())
    machine = found["header"]["machine"]
    rows = [row for row in found["rows"] if row["name"].startswith(_SEARCHES)]
    card = folder / "README.md"
    card.write_text(
        _ENCODER_CARD.format(
            parameters=sum(weight.numel() for weight in build_encoder(0).parameters()),
            megabytes=(folder / "model.safetensors").stat().st_size / 1e6,
            vocabulary=len(build_encoder_tokenizer()),
            stages="\n".join(_stage_line(line) for line in (folder / LOG).read_text().splitlines()),
            where=f"{machine['cpu']}, {machine['cores']} cores, {found['header']['at'][:10]}",
            recall="\n".join(
                f"| {row['name'].removeprefix(_SEARCHES)} | {row['ours']:.4g} % | {row['goal']} "
                f"| {'yes' if row['met'] else '**no**'} | {row['note']} |"
                for row in rows
            ),
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

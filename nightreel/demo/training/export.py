"""Write the trained models to the folders that are committed: weights, tokenizer, processor, chat template."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nightreel.demo.training.architecture import build_model, build_processor
from nightreel.demo.training.encoder import build_encoder, build_encoder_processor
from nightreel.demo.training.encoder_stage import EncoderStage
from nightreel.demo.training.forms_stage import FormsStage
from nightreel.demo.training.stage import MODEL_SEED, load_parts

LOG = "training.jsonl"
_STAGES = ("vision", "language", "joint", "forms")


def export_encoder(directory: Path, target: Path) -> Path:
    """Write the dual encoder that the stage in `directory` trained to the folder `target`, in float16.

    Raises:
        FileNotFoundError: the stage is not finished.
    """
    encoder = build_encoder(MODEL_SEED)
    load_parts(encoder, directory / f"{EncoderStage.name}.pt", "")
    return _write(encoder.half(), build_encoder_processor(), directory, target, stages=(EncoderStage.name,))


def export(directory: Path, target: Path) -> Path:
    """Write the model that the stages in `directory` trained to the folder `target`; other files there stay.

    The last line of each stage's log is included for the model card.

    Raises:
        FileNotFoundError: a stage is not finished.
    """
    model = build_model(MODEL_SEED)
    load_parts(model, directory / f"{FormsStage.name}.pt", "")
    return _write(model, build_processor(), directory, target, stages=_STAGES)


def _write(model: Any, processor: Any, directory: Path, target: Path, *, stages: Sequence[str]) -> Path:
    building = target.with_name(f".{target.name}.partial")
    shutil.rmtree(building, ignore_errors=True)
    model.eval().save_pretrained(building)
    processor.save_pretrained(building)
    ends = [(directory / f"{stage}.jsonl").read_text().splitlines()[-1] for stage in stages]
    (building / LOG).write_text("".join(f"{json.dumps(json.loads(end), sort_keys=True)}\n" for end in ends))
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(building.iterdir()):
        file.chmod(0o644)  # some are created readable only by their owner
        file.replace(target / file.name)
    building.rmdir()
    return target

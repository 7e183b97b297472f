"""Write the trained model to the folder that is committed: weights, tokenizer, processor, chat template."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from nightreel.demo.training.architecture import build_model, build_processor
from nightreel.demo.training.forms_stage import FormsStage
from nightreel.demo.training.stage import MODEL_SEED, load_parts

LOG = "training.jsonl"
_STAGES = ("vision", "language", "joint", "forms")


def export(directory: Path, target: Path) -> Path:
    """Write the model that the stages in `directory` trained to the folder `target`; other files there stay.

    The last line of each stage's log is included for the model card.

    Raises:
        FileNotFoundError: a stage is not finished.
    """
    model = build_model(MODEL_SEED)
    load_parts(model, directory / f"{FormsStage.name}.pt", "")
    building = target.with_name(f".{target.name}.partial")
    shutil.rmtree(building, ignore_errors=True)
    model.eval().save_pretrained(building)
    build_processor().save_pretrained(building)
    ends = [(directory / f"{stage}.jsonl").read_text().splitlines()[-1] for stage in _STAGES]
    (building / LOG).write_text("".join(f"{json.dumps(json.loads(end), sort_keys=True)}\n" for end in ends))
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(building.iterdir()):
        file.chmod(0o644)  # some are created readable only by their owner
        file.replace(target / file.name)
    building.rmdir()
    return target

"""`python -m nightreel.demo.training DIRECTORY TARGET`: run all stages, then write the models.

A and B run in parallel, then C and D. The dual encoder goes to a folder beside TARGET, `TARGET_encoder`.

After an interruption, the next run continues from the last checkpoints in DIRECTORY. `--stage` runs only one stage.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch

from nightreel.demo.training.encoder_stage import EncoderStage
from nightreel.demo.training.export import export, export_encoder
from nightreel.demo.training.forms_stage import FormsStage
from nightreel.demo.training.joint_stage import JointStage
from nightreel.demo.training.language_stage import LanguageStage
from nightreel.demo.training.stage import Stage
from nightreel.demo.training.vision_stage import VisionStage

_STAGES: dict[str, type[Stage]] = {
    stage.name: stage for stage in (VisionStage, LanguageStage, JointStage, EncoderStage, FormsStage)
}
_STEPS = {"vision": 4000, "language": 1000, "joint": 240, "encoder": 600, "forms": 480}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m nightreel.demo.training", description=__doc__)
    parser.add_argument("directory", type=Path, help="directory for checkpoints and logs")
    parser.add_argument("target", type=Path, help="folder to write the model to")
    parser.add_argument("--stage", choices=_STAGES, help="run only this stage")
    given = parser.parse_args()
    if given.stage:
        torch.set_num_threads(1)  # another order of sums would give other weights
        device = "cuda" if torch.cuda.is_available() else "cpu"
        _STAGES[given.stage](given.directory, steps=_STEPS[given.stage], device=device).run()
        return
    _run_stages(given.directory, given.target, ("vision", "language"))
    _run_stages(given.directory, given.target, ("joint", "encoder"))
    _run_stages(given.directory, given.target, ("forms",))
    print(export(given.directory, given.target))  # noqa: T201 - a command
    encoder = given.target.with_name(f"{given.target.name}_encoder")
    print(export_encoder(given.directory, encoder))  # noqa: T201 - a command


def _run_stages(directory: Path, target: Path, names: tuple[str, ...]) -> None:
    """Run stages in parallel, one process each; the first failure stops the others."""
    command = [sys.executable, "-m", "nightreel.demo.training", str(directory), str(target), "--stage"]
    running = [subprocess.Popen([*command, name]) for name in names]
    try:
        for process in running:
            if process.wait():
                raise SystemExit(f"a stage failed with exit status {process.returncode}: see its log above")
    finally:
        for process in running:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()

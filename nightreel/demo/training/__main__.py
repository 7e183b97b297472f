"""`python -m nightreel.demo.training DIRECTORY TARGET`: all stages, A and B side by side, then the model's folder.

Interrupted, it goes on from the last checkpoints in DIRECTORY the next time. `--stage` runs one stage alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch

from nightreel.demo.training.export import export
from nightreel.demo.training.joint_stage import JointStage
from nightreel.demo.training.language_stage import LanguageStage
from nightreel.demo.training.stage import Stage
from nightreel.demo.training.vision_stage import VisionStage

_STAGES: dict[str, type[Stage]] = {stage.name: stage for stage in (VisionStage, LanguageStage, JointStage)}
_STEPS = {"vision": 4000, "language": 1000, "joint": 240}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m nightreel.demo.training", description=__doc__)
    parser.add_argument("directory", type=Path, help="for checkpoints and logs")
    parser.add_argument("target", type=Path, help="the model's folder")
    parser.add_argument("--stage", choices=_STAGES, help="only this one")
    given = parser.parse_args()
    if given.stage:
        torch.set_num_threads(1)  # sums in another order would give other weights
        device = "cuda" if torch.cuda.is_available() else "cpu"
        _STAGES[given.stage](given.directory, steps=_STEPS[given.stage], device=device).run()
        return
    _run_stages(given.directory, given.target, ("vision", "language"))
    _run_stages(given.directory, given.target, ("joint",))
    print(export(given.directory, given.target))  # noqa: T201 - a command


def _run_stages(directory: Path, target: Path, names: tuple[str, ...]) -> None:
    """Run stages side by side, a process each; the first that fails ends the others."""
    command = [sys.executable, "-m", "nightreel.demo.training", str(directory), str(target), "--stage"]
    running = [subprocess.Popen([*command, name]) for name in names]
    try:
        for process in running:
            if process.wait():
                raise SystemExit(f"a stage ended with {process.returncode}; its log is above")
    finally:
        for process in running:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()

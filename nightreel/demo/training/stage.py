"""One stage of the training: a number of steps, a log, and checkpoints from which an interrupted stage continues.

Each step seeds its dice by stage and step, so a checkpoint need not hold their state.
"""

from __future__ import annotations

import json
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nightreel.demo.training.architecture import build_model
from nightreel.demo.training.attention import use_plain_products
from nightreel.demo.training.optimising import Optimiser

MODEL_SEED = 20
_CHECKPOINT_EVERY = 200
_LOG_EVERY = 50
_SMOOTHING = 0.95


class Stage(ABC):
    """A stage of `steps` steps that works in `directory`.

    Args:
        steps: of the whole stage. The schedule depends on it, so another number starts the stage again.
        device: the torch device to train on.
    """

    name: str

    def __init__(self, directory: Path, *, steps: int, device: str = "cpu") -> None:
        self.steps, self.device = steps, torch.device(device)
        self._directory = directory
        self.model: Any = self.build()
        self.model.to(self.device)
        use_plain_products(self.model)
        self.model.train()
        self.optimiser = self.prepare()

    def build(self) -> Any:
        """Build the model, with random weights."""
        return build_model(MODEL_SEED)

    @abstractmethod
    def prepare(self) -> Optimiser:
        """Load the weights of earlier stages; returns an optimiser of the weights that this stage trains."""

    @abstractmethod
    def learn(self, step: int) -> Mapping[str, float]:
        """Take one step; returns figures for the log."""

    def own(self) -> dict[str, torch.nn.Module]:
        """The modules that a checkpoint holds, by name."""
        return {"model": self.model}

    def run(self, *, until: int | None = None) -> None:
        """Train from the last checkpoint, or from the start, to the end or to step `until`."""
        self._directory.mkdir(parents=True, exist_ok=True)
        done = self._restore()
        smooth: dict[str, float] = {}
        began, first = time.monotonic(), done
        last = self.steps if until is None else until
        for step in range(done, last):
            figures = self.learn(step)
            smooth = {
                name: value if name not in smooth else _SMOOTHING * smooth[name] + (1 - _SMOOTHING) * value
                for name, value in figures.items()
            }
            done = step + 1
            if done % _LOG_EVERY == 0 or done == last:
                pace = (time.monotonic() - began) / (done - first)
                self._log({"stage": self.name, "step": done, "of": self.steps, "step_s": pace, **smooth})
            if done % _CHECKPOINT_EVERY == 0 or done == last:
                self._checkpoint(done)

    def dice(self, step: int) -> tuple[random.Random, np.random.Generator]:
        """The dice of one step; also seeds torch."""
        seed = int.from_bytes(f"{self.name[:3]}{step}".encode(), "big") % 2**63
        torch.manual_seed(seed)
        return random.Random(f"training {self.name} {step}"), np.random.default_rng(seed)  # noqa: S311 - no secret

    @property
    def checkpoint(self) -> Path:
        return self._directory / f"{self.name}.pt"

    def _checkpoint(self, done: int) -> None:
        partial = self.checkpoint.with_suffix(".partial")
        state = {name: module.state_dict() for name, module in self.own().items()}
        torch.save({"step": done, "steps": self.steps, "state": state, "optimiser": self.optimiser.state()}, partial)
        partial.replace(self.checkpoint)

    def _restore(self) -> int:
        """Load the checkpoint, if any; returns the number of steps done."""
        if not self.checkpoint.exists():
            return 0
        saved = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if saved["steps"] != self.steps:
            return 0
        for name, module in self.own().items():
            module.load_state_dict(saved["state"][name])
        self.optimiser.restore(saved["optimiser"])
        return int(saved["step"])

    def _log(self, figures: Mapping[str, Any]) -> None:
        line = json.dumps({name: round(one, 5) if isinstance(one, float) else one for name, one in figures.items()})
        print(line, flush=True)  # noqa: T201 - a log for people and for the model card
        with (self._directory / f"{self.name}.jsonl").open("a") as log:
            log.write(line + "\n")


def load_parts(model: Any, checkpoint: Path, *prefixes: str) -> None:
    """Load the weights of a finished stage whose names start with one of `prefixes`.

    Raises:
        FileNotFoundError: the stage has no checkpoint.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state"]["model"]
    wanted = {name: weight for name, weight in state.items() if name.startswith(prefixes)}
    assert wanted, f"{checkpoint} has no weights of {prefixes}"
    own = model.state_dict()
    for name, weight in wanted.items():
        if len(weight) < len(own[name]):  # rows of words that an earlier stage did not know
            wanted[name] = torch.cat([weight, own[name][len(weight) :]])
    model.load_state_dict(wanted, strict=False)

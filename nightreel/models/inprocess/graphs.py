"""Replay decode steps as CUDA graphs: one launch for a step, instead of one for each of its operations.

`steps` calls it. Only tensors that change in place change from step to step, so a graph of one step is one of the next.
No replay is believed before its logits were compared: if anything fails, steps are computed, and the log says so once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from nightreel.models.memory.batches import is_out_of_memory

logger = logging.getLogger(__name__)

Step = Callable[[], torch.Tensor]
"""Computes logits from tensors that stay in their places. It may be computed twice."""
Capture = Callable[[Step], Step]
"""Returns what replays a step, with the values that its tensors have at that time."""

_Made = TypeVar("_Made")
_TOLERANCE = 0.01
"""Largest difference of a replayed logit, as a share of the largest logit."""


def capture_on_gpu(step: Step) -> Step:
    """A CUDA graph of a step.

    Raises:
        RuntimeError: an operation of the step cannot be captured, as one that reads a value on the host.
    """
    device = step().device
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):  # libraries allocate what they need for a stream before it is captured
        step()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # thread_local: another thread may copy or encode frames meanwhile
    with torch.cuda.device(device), torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        logits = step()

    def replay() -> torch.Tensor:
        graph.replay()
        return logits

    return replay


class Graphs:
    """Captures the steps of a model, until one fails.

    Args:
        capture: None: no step is captured.
    """

    def __init__(self, capture: Capture | None = None) -> None:
        self._capture = capture

    def of(self, step: Step) -> Step:
        """A step that is captured when it is first computed, and replayed once a replay gave the same logits."""
        return step if self._capture is None else _Replayed(step, self)

    def captured(self, step: Step) -> Step | None:
        """What replays a step; None if that fails, or failed before."""
        capture = self._capture
        return None if capture is None else self._attempt(lambda: capture(step), "a capture")

    def replayed(self, replay: Step) -> torch.Tensor | None:
        """Logits of a replay that is not proven; None if it fails."""
        return self._attempt(replay, "a replay")

    def give_up(self, why: str) -> None:
        """Capture no more steps."""
        if self._capture is not None:
            logger.warning("NIGHTREEL_CUDA_GRAPHS: texts are generated without graphs from now on, because %s", why)
        self._capture = None

    def _attempt(self, work: Callable[[], _Made], what: str) -> _Made | None:
        try:
            return work()
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self.give_up(f"{what} failed: {(str(error).splitlines() or [type(error).__name__])[0]}")
            return None


class _Replayed:
    """The steps of one shape."""

    def __init__(self, step: Step, graphs: Graphs) -> None:
        self._step, self._graphs = step, graphs
        self._replay: Step | None = None
        self._is_first = True
        self._is_proven = False

    def __call__(self) -> torch.Tensor:
        if self._replay is None:
            logits = self._step()
            if self._is_first:
                self._replay = self._graphs.captured(self._step)
            self._is_first = False
            return logits
        if self._is_proven:
            return self._replay()
        # the tokens, positions and places are others than those that were captured
        replayed = self._graphs.replayed(self._replay)
        logits = self._step()  # after the replay, whose keys and values it overwrites
        self._is_proven = replayed is not None and _are_close(replayed, logits)
        if not self._is_proven:
            self._replay = None
            self._graphs.give_up("a replay gave other logits")
        return logits


def _are_close(replayed: torch.Tensor, logits: torch.Tensor) -> bool:
    scale = float(logits.float().nan_to_num().abs().max())
    return torch.allclose(replayed.float(), logits.float(), rtol=0, atol=_TOLERANCE * scale, equal_nan=True)

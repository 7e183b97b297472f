"""Update the weights: Muon for matrices, AdamW for the rest, one schedule for both. Every stage uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

_WARM_UP = 0.03  # of all steps
_LEAST = 0.01  # of the learning rate, at the end


class Optimiser:
    """Muon and AdamW over one set of parameters.

    Args:
        parameters: to train.
        embeddings: trained by AdamW although they are matrices, as are matrices of one row or column.
        rate: highest learning rate; Muon's is scaled to match AdamW's.
        steps: of the whole stage.
        flat: share of the steps before the rate starts to fall to `_LEAST` of its highest.
        clip: largest norm of the gradient.
    """

    def __init__(
        self,
        parameters: Sequence[torch.nn.Parameter],
        *,
        embeddings: Sequence[torch.nn.Parameter] = (),
        rate: float,
        steps: int,
        flat: float,
        clip: float,
    ) -> None:
        own = list({id(one): one for one in parameters}.values())
        kept_out = {id(one) for one in embeddings}
        matrices = [one for one in own if one.ndim == 2 and min(one.shape) > 1 and id(one) not in kept_out]
        chosen = {id(one) for one in matrices}
        others = [one for one in own if id(one) not in chosen]
        self._parameters, self._rate, self._steps, self._flat, self._clip = own, rate, steps, flat, clip
        self._parts = (
            torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
        )

    def step(self, loss: torch.Tensor, *, at: int) -> None:
        """Take step number `at`, from 0, down the gradient of `loss`."""
        for part in self._parts:
            part.zero_grad()
            for group in part.param_groups:
                group["lr"] = self._rate * self._share(at / self._steps)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, self._clip)
        for part in self._parts:
            part.step()  # type: ignore[no-untyped-call]

    def state(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self._parts]

    def restore(self, state: Sequence[dict[str, Any]]) -> None:
        for part, own in zip(self._parts, state, strict=True):
            part.load_state_dict(own)

    def _share(self, done: float) -> float:
        if done < self._flat:
            return min(1.0, (done + 1 / self._steps) / _WARM_UP)
        return max(_LEAST, (1 - done) / (1 - self._flat))

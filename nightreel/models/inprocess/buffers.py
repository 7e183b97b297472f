"""A cache in buffers that are written in place: by prefills, by questions, and by decode steps of equal shapes.

`packed` and `steps` call it. transformers' own layers copy all keys and values at each step.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer


class BufferCache(Cache):
    """The keys and values of a batch of sequences.

    Args:
        model: whose cache has plain layers (`prefix.is_plain`).
        batch: number of sequences.
    """

    def __init__(self, model: Any, batch: int) -> None:
        self._config = model.config.get_text_config()
        self._buffers = [_BufferLayer(batch) for _ in DynamicCache(config=self._config).layers]
        super().__init__(layers=list(self._buffers))

    def begin_prefill(self, indices: torch.Tensor, capacity: int) -> None:
        """Make the next update the first tokens of these sequences of the batch."""
        for layer in self._buffers:
            layer.begin_prefill(indices, capacity)

    def begin_questions(self, length: int, capacity: int) -> None:
        """Forget all but the first `length` tokens, and make the next update what follows them.

        Args:
            capacity: the tokens that there must be room for.
        """
        for layer in self._buffers:
            layer.begin_questions(length, capacity)

    def begin_steps(self, slots: torch.Tensor, end: int) -> None:
        """Make each update the tokens in the places that `slots` (W,) names at that time, among the first `end`."""
        for layer in self._buffers:
            layer.begin_steps(slots, end)

    def copied(self, index: int, length: int) -> DynamicCache:
        """The first `length` tokens of a sequence as an ordinary cache."""
        cache = DynamicCache(config=self._config)
        for number, layer in enumerate(self._buffers):
            cache.update(*layer.copied(index, length), number)
        return cache


class _BufferLayer(DynamicLayer):
    _keys: torch.Tensor
    _values: torch.Tensor

    def __init__(self, batch: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._batch = batch
        self._length = 0
        self._capacity = 0
        self._indices: torch.Tensor | None = None
        self._slots: torch.Tensor | None = None

    def begin_prefill(self, indices: torch.Tensor, capacity: int) -> None:
        self._indices, self._length, self._capacity = indices, 0, capacity

    def begin_questions(self, length: int, capacity: int) -> None:
        self._indices, self._slots, self._length = None, None, length
        more = capacity - self._capacity
        if more > 0:
            self._keys = torch.nn.functional.pad(self._keys, (0, 0, 0, more))
            self._values = torch.nn.functional.pad(self._values, (0, 0, 0, more))
            self._capacity = capacity
        # steps read slots before they are written, and a masked NaN would still make the sum over values NaN
        self._keys[:, :, length:] = 0
        self._values[:, :, length:] = 0

    def begin_steps(self, slots: torch.Tensor, end: int) -> None:
        self._slots, self._length = slots, end

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        # zeros, because prefixes of different lengths leave places unwritten
        self._keys = key_states.new_zeros(self._batch, key_states.shape[1], self._capacity, key_states.shape[3])
        self._values = value_states.new_zeros(self._batch, value_states.shape[1], self._capacity, value_states.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self._indices is not None:
            indices = self._indices.to(key_states.device)  # a model may be spread over several GPUs
            self._keys[indices, :, : key_states.shape[2]] = key_states
            self._values[indices, :, : value_states.shape[2]] = value_states
            return key_states, value_states
        if self._slots is not None:
            slots = self._slots.to(key_states.device)
            self._keys.index_copy_(2, slots, key_states)
            self._values.index_copy_(2, slots, value_states)
        else:
            start, self._length = self._length, self._length + key_states.shape[2]
            self._keys[:, :, start : self._length] = key_states
            self._values[:, :, start : self._length] = value_states
        return self._keys[:, :, : self._length], self._values[:, :, : self._length]

    def copied(self, index: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self._keys[index : index + 1, :, :length].clone(), self._values[index : index + 1, :, :length].clone()

    def get_seq_length(self) -> int:
        return self._length

"""One request for tokens after tokens, and its reply: vLLM's `/inference/v1/generate`.

`prefix` calls it. It knows tokens and media, and no questions.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from nightreel.errors import PermanentError
from nightreel.models.engine.endpoint import EngineEndpoint
from nightreel.models.engine.media import Media
from nightreel.reasons import Reason

_PATH = "/inference/v1/generate"
_MOST_IDS = 127  # whose probabilities one request may ask for, without the spare one
_NO_PROBABILITY = -9999.0  # vLLM's number for minus infinity, and for NaN
_MOST_UPLOADS = 4  # at the same time: the features of a segment can have 100 MB as text
_MOST_UPLOADED = 100_000


@dataclass(frozen=True, slots=True)
class Generated:
    """The reply to one request.

    Args:
        tokens: that were generated, with the one that ended the text.
        log_probabilities: of the tokens that were asked for, as the first one.
    """

    tokens: tuple[int, ...]
    log_probabilities: Mapping[int, float]


class Generation:
    """Requests to one vLLM. Threads may share it."""

    def __init__(self, endpoint: EngineEndpoint) -> None:
        self._endpoint = endpoint
        self._uploaded: dict[str, None] = {}
        self._uploads = threading.Semaphore(_MOST_UPLOADS)

    def wait_until_ready(self) -> None:
        """Wait until vLLM answers.

        Raises:
            NightreelError: as `EngineProcess.wait_until_ready`.
        """
        self._endpoint.process.wait_until_ready()

    def next_tokens(self, ids: Sequence[int], media: Media, wanted: Collection[int]) -> dict[int, float]:
        """The log-probabilities of chosen tokens after these."""
        found: dict[int, float] = {}
        ordered = sorted(wanted)
        for start in range(0, len(ordered), _MOST_IDS):
            some = ordered[start : start + _MOST_IDS]
            # vLLM lists the token that it chose first, and leaves out the last of the others for it.
            some.append(next(id_ for id_ in range(len(some) + 1) if id_ not in some))
            options = {"temperature": 0, "max_tokens": 1, "logprobs": len(some), "logprob_token_ids": some}
            found |= self.generate(ids, media, options).log_probabilities
        missing = set(ordered) - found.keys()
        if missing:
            raise _not_as_expected(f"probabilities of the tokens {sorted(missing)[:8]}", sorted(found)[:8])
        return {id_: found[id_] for id_ in ordered}

    def generate(self, ids: Sequence[int], media: Media, options: Mapping[str, Any]) -> Generated:
        """Generate tokens after these.

        Args:
            options: vLLM's sampling parameters.

        Raises:
            NightreelError: as `EngineEndpoint.post`.
        """
        body = {"token_ids": list(ids), "sampling_params": {**options, "detokenize": False}}
        if media.names and all(name in self._uploaded for name in media.names):
            try:
                return _read(self._post({**body, **media.fields(with_data=False)}, is_trial=True))
            except PermanentError as error:
                if error.reason is not Reason.MODEL_REFUSED:
                    raise  # else it dropped the media, or was started again
        with self._uploads if media.names else nullcontext():
            reply = _read(self._post({**body, **media.fields(with_data=True)}, is_trial=False))
        self._uploaded |= dict.fromkeys(media.names)
        while len(self._uploaded) > _MOST_UPLOADED:
            self._uploaded.pop(next(iter(self._uploaded)), None)
        return reply

    def stop(self) -> None:
        """Stop vLLM. Requests that wait for it fail."""
        self._endpoint.process.stop()

    def close(self) -> None:
        """Close the connections. Call it when no request is left."""
        self._endpoint.close()

    def _post(self, body: dict[str, Any], *, is_trial: bool) -> dict[str, Any]:
        return self._endpoint.post(_PATH, body, stop=self._endpoint.process.is_over, is_trial=is_trial)


def _read(reply: Mapping[str, Any]) -> Generated:
    try:
        choice = reply["choices"][0]
        tokens = tuple(choice["token_ids"])
        listed = choice["logprobs"]["content"][0]["top_logprobs"] if choice["logprobs"] else ()
        found = {entry["token_id"]: float(entry["logprob"]) for entry in listed}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _not_as_expected("choices with token_ids and logprobs", repr(reply)[:200]) from error
    if not all(type(token) is int for token in tokens):
        raise _not_as_expected("tokens as numbers", tokens[:8])
    infinite = float("-inf")
    return Generated(tokens, {id_: infinite if p <= _NO_PROBABILITY else p for id_, p in found.items()})


def _not_as_expected(expected: str, got: Any) -> PermanentError:
    return PermanentError(
        Reason.MODEL_PROTOCOL, f"expected {expected} from vLLM, got {got}: install the vLLM that this version knows"
    )

"""What a failure of transformers means: an error of the model, not of a video. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nightreel.errors import NightreelError, PermanentError
from nightreel.models.memory.batches import is_out_of_memory
from nightreel.reasons import Reason

_MAX_SAID = 500


@contextmanager
def failures_of(name: str, device: str, purpose: str = "be used") -> Iterator[None]:
    """Turn an unexpected error into one of the model: it does not depend on a video, and each retry would repeat it.

    The code of transformers, of templates and of trusted models runs on untrusted files, and can raise anything.

    Raises:
        PermanentError: `memory_too_small` if memory ran out, else `unsupported_model`.
    """
    try:
        yield
    except NightreelError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {str(error)[:_MAX_SAID]}"
        if is_out_of_memory(error):
            raise PermanentError(
                Reason.MEMORY_TOO_SMALL,
                f"model {name!r} does not fit into the free memory of {device}: use a smaller model or dtype, "
                f"NIGHTREEL_DEVICE=cuda:all, or stop other programs on the device ({said})",
            ) from error
        raise PermanentError(Reason.UNSUPPORTED_MODEL, f"model {name!r} cannot {purpose}: {said}") from error

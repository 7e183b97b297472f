"""Imports of large libraries. It imports none of them itself."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Pause the garbage collector while the block imports large libraries, and leave them out of later collections.

    An import makes hundreds of thousands of objects that stay. The collector would look at all of them many times,
    which is a fifth of the time that torch and transformers take, and again in each later collection. At the end of the
    process it looks at them: libraries made with nanobind print a list of what is left.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)
        if was_on:
            gc.enable()

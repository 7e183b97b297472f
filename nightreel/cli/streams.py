"""The standard streams of a command: output that cannot be written ends as a sentence, never as a traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress

_OF_WRITES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def prepare_streams() -> None:
    r"""Write characters that a stream's encoding lacks as escapes, such as \xe9."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush_output() -> None:
    """Write what is left in the buffer of stdout.

    Raises:
        OSError: it cannot be written.
    """
    if sys.stdout is not None:
        sys.stdout.flush()


def discard_output() -> None:
    """Send the rest of stdout nowhere, so that Python does not try to write it again at its end."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def describe(error: OSError) -> str:
    """A sentence about an error of the operating system.

    >>> describe(OSError(errno.ENOSPC, "No space left on device"))
    'the output cannot be written: No space left on device'
    >>> describe(FileNotFoundError(errno.ENOENT, "No such file or directory", "a/b.png"))
    'a/b.png: No such file or directory'
    """
    said = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        return f"{os.fsdecode(error.filename) if not isinstance(error.filename, int) else error.filename}: {said}"
    return f"the output cannot be written: {said}" if error.errno in _OF_WRITES else said

"""The errors for decoder processes that end, lie or blame the disk. Called by `sandbox`."""

from __future__ import annotations

import os
import signal

from nightreel.errors import PermanentError, TransientError
from nightreel.media.media_file import MediaFile, unreadable
from nightreel.reasons import Reason

_READ_BYTES = 2**20


def unless_readable(file: MediaFile, claim: PermanentError) -> PermanentError | TransientError:
    """The error for the claim that the disk fails: a process under attack must not be able to stop a run with it."""
    try:
        for at in range(0, file.size_bytes, _READ_BYTES):
            os.pread(file.fd, _READ_BYTES, at)
    except OSError as error:
        return unreadable(file.name, error)
    return lied(file, f"it claims that the disk fails, but the file can be read: {claim.detail}")


def killed(file: MediaFile, how: str) -> TransientError:
    """The error for an end that the file cannot cause by itself: seccomp lets a process send none of these signals."""
    return TransientError(
        Reason.DECODER_KILLED,
        f"{file.name}: its decoder process was killed from outside ({how}): if the system log has an out-of-memory "
        "kill, give the host or container more memory, or lower NIGHTREEL_DECODE_WORKERS",
    )


def too_slow(file: MediaFile, timeout_s: float) -> PermanentError:
    return PermanentError(
        Reason.DECODE_TIMEOUT,
        f"{file.name}: the decoder sent no reply within NIGHTREEL_DECODE_TIMEOUT_S={timeout_s:g}: the file hangs the "
        "decoder, or needs a higher setting",
    )


def crashed(file: MediaFile, exit_code: int) -> PermanentError:
    how = signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"
    return PermanentError(Reason.DECODER_CRASHED, f"{file.name} crashed the decoder process ({how})")


def lied(file: MediaFile, why: str) -> PermanentError:
    return PermanentError(
        Reason.DECODER_LIED, f"{file.name}: its decoder process sent a reply that cannot be true: {why}"
    )

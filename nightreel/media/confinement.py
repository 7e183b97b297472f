"""What a decoder process may not do, set by itself before it sees a file: limits on memory, CPU time, file size and
core dumps, and death with the process that started it. Called by `decoder_process`. Linux.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_MAX_FILE_BYTES = 2**20  # it writes no files; its standard error is one


def confine(*, memory_bytes: int, parent: int) -> None:
    """Confine this process for good.

    Args:
        memory_bytes: of address space; an allocation beyond fails.
        parent: process id of the one that started this; when it dies, so does this.
    """
    die_with_parent(parent)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))


def die_with_parent(parent: int) -> None:
    """Be killed when the parent's thread that started this process ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def least_address_space_left_bytes() -> int:
    """How close this process has ever come to its limit on memory."""
    status = Path("/proc/self/status").read_text()
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmPeak:"))
    return resource.getrlimit(resource.RLIMIT_AS)[0] - peak_kib * 1024


def limit_cpu_time(seconds: float) -> None:
    """Allow `seconds` of CPU time from now on; beyond, this process is killed."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))

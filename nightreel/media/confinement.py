"""What a decoder process may not do, set by itself before it sees a file: limits on memory, CPU time, file size and
core dumps, no new connections or programs, and death with the process that started it. Called by `decoder_process`.
Linux.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_MAX_FILE_BYTES = 2**20  # it writes no files; its standard error is one

# Per machine: what the kernel calls it, and the numbers of socket, socketpair, bind, listen, accept, connect, accept4,
# execve, execveat, ptrace, process_vm_readv and process_vm_writev (linux/audit.h, asm/unistd.h).
_FORBIDDEN = {
    "x86_64": (0xC000003E, (41, 53, 49, 50, 43, 42, 288, 59, 322, 101, 310, 311)),
    "aarch64": (0xC00000B7, (198, 199, 200, 201, 202, 203, 242, 221, 281, 117, 270, 271)),
}


def confine(*, memory_bytes: int, parent: int) -> None:
    """Confine this process for good.

    Args:
        memory_bytes: of address space; an allocation beyond fails.
        parent: process id of the one that started this; when it dies, so does this.
    """
    die_with_parent(parent)
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, _MAX_FILE_BYTES)
    forbid_connections_and_programs()


def _limit(what: int, value: int) -> None:
    """Lower a limit for good. One that whoever started us set lower stays: only root may raise it again."""
    _, hard = resource.getrlimit(what)
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (least, least))


def die_with_parent(parent: int) -> None:
    """Be killed when the parent's thread that started this process ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def forbid_connections_and_programs() -> bool:
    """Have the kernel refuse, with EPERM, to open sockets, start programs or look into other processes.

    Sockets that are open stay usable. Returns whether the kernel took the filter: not every machine and container
    offers seccomp, and the limits above hold without it.
    """
    if platform.machine() not in _FORBIDDEN:
        return False
    machine, numbers = _FORBIDDEN[platform.machine()]
    program = _filter_program(machine, numbers)
    buffer = ctypes.create_string_buffer(program)
    description = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    pointer = ctypes.create_string_buffer(description)
    return _prctl(_PR_SET_NO_NEW_PRIVS, 1) and _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(pointer))


def _filter_program(machine: int, numbers: tuple[int, ...]) -> bytes:
    """Classic BPF over `struct seccomp_data` (number at 0, machine at 4): refuse `numbers` and foreign conventions."""
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    refuse, allow = 0x00050000 | errno.EPERM, 0x7FFF0000
    count = len(numbers)
    # A jump counts from the instruction after it; permission is the last but one, refusal the last.
    instructions = [
        (load, 0, 0, 4),
        (equal, 0, count + 3, machine),  # another machine's numbers: refuse
        (load, 0, 0, 0),
        (at_least, count + 1, 0, 0x40000000),  # the numbers of x32: refuse
        *((equal, count - i, 0, number) for i, number in enumerate(numbers)),
        (answer, 0, 0, allow),
        (answer, 0, 0, refuse),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


def least_address_space_left_bytes() -> int:
    """How close this process has ever come to its limit on memory."""
    status = Path("/proc/self/status").read_text()
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmPeak:"))
    return resource.getrlimit(resource.RLIMIT_AS)[0] - peak_kib * 1024


def limit_cpu_time(seconds: float) -> None:
    """Allow `seconds` of CPU time from now on; beyond, this process is killed."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _prctl(option: int, *arguments: int) -> bool:
    values = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    result: int = ctypes.CDLL(None, use_errno=True).prctl(option, *values)
    return result == 0

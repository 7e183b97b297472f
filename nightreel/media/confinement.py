"""Confine a decoder process. The process confines itself before it opens a file.

It limits memory, CPU time, file size and core dumps, forbids new connections and programs, and dies with the process
that started it. Called by `decoder_process`. Linux only.
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
_MAX_FILE_BYTES = 2**20  # the process writes no files, but its standard error may be one

# For each machine: its AUDIT_ARCH value, and the numbers of socket, socketpair, bind, listen, accept, connect, accept4,
# execve, execveat, ptrace, process_vm_readv and process_vm_writev (linux/audit.h, asm/unistd.h).
_FORBIDDEN = {
    "x86_64": (0xC000003E, (41, 53, 49, 50, 43, 42, 288, 59, 322, 101, 310, 311)),
    "aarch64": (0xC00000B7, (198, 199, 200, 201, 202, 203, 242, 221, 281, 117, 270, 271)),
}


def confine(*, memory_bytes: int, parent: int) -> None:
    """Confine this process permanently.

    Args:
        memory_bytes: limit of the address space; an allocation beyond it fails.
        parent: process id of the process that started this one; this process dies with it.
    """
    die_with_parent(parent)
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, _MAX_FILE_BYTES)
    forbid_connections_and_programs()


def _limit(what: int, value: int) -> None:
    """Lower a limit permanently. A lower limit that is already set stays: only root may raise it again."""
    _, hard = resource.getrlimit(what)
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (least, least))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the parent thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the line above
        os._exit(1)


def forbid_connections_and_programs() -> bool:
    """Have the kernel refuse, with EPERM, to open sockets, start programs or read other processes' memory.

    Open sockets stay usable. Returns whether the kernel accepted the filter: not every machine and container offers
    seccomp. The other limits hold without it.
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
    # A jump counts from the instruction after it. The last instruction but one allows the call, the last refuses it.
    instructions = [
        (load, 0, 0, 4),
        (equal, 0, count + 3, machine),  # refuse the numbers of another machine
        (load, 0, 0, 0),
        (at_least, count + 1, 0, 0x40000000),  # refuse the numbers of x32
        *((equal, count - i, 0, number) for i, number in enumerate(numbers)),
        (answer, 0, 0, allow),
        (answer, 0, 0, refuse),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


def least_address_space_left_bytes() -> int:
    """The smallest distance so far between this process's address space and its limit."""
    status = Path("/proc/self/status").read_text()
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmPeak:"))
    return resource.getrlimit(resource.RLIMIT_AS)[0] - peak_kib * 1024


def limit_cpu_time(seconds: float) -> None:
    """Allow `seconds` of CPU time from now on. Beyond that the kernel kills this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _prctl(option: int, *arguments: int) -> bool:
    values = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    result: int = ctypes.CDLL(None, use_errno=True).prctl(option, *values)
    return result == 0

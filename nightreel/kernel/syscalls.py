"""System calls that Python 3.11 has no functions for. Called by `seccomp`, `landlock` and confined processes."""

from __future__ import annotations

import ctypes
import os
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS, _PR_SET_DUMPABLE = 38, 4


def prctl(option: int, *arguments: int) -> int:
    """Returns the kernel's result; -1 if it refused."""
    values = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    result: int = _LIBC.prctl(option, *values)
    return result


def syscall(number: int, *arguments: object) -> int:
    """A system call by number.

    Args:
        arguments: ctypes values or integers.

    Raises:
        OSError: the kernel refused it.
    """
    values = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    result: int = _LIBC.syscall(ctypes.c_long(number), *values)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def unshare(flags: int) -> bool:
    """Move this process to new namespaces, `CLONE_NEW...` of linux/sched.h. Returns whether the kernel allowed it."""
    return bool(_LIBC.unshare(flags) == 0)


def capset(capabilities: int) -> bool:
    """Give this thread these capabilities, bits of linux/capability.h below 32, and no others.

    Returns:
        Whether the kernel allowed it.
    """
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))  # _LINUX_CAPABILITY_VERSION_3, this thread
    data = ctypes.create_string_buffer(struct.pack("6I", capabilities, capabilities, 0, 0, 0, 0))
    return bool(_LIBC.capset(header, data) == 0)


def forbid_new_privileges() -> None:
    """No program that this process starts has more rights than it."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def forbid_inspection() -> None:
    """Other processes of the same user can no longer read this one's memory and environment."""
    prctl(_PR_SET_DUMPABLE, 0)

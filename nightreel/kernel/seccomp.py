"""The system calls that a process may make that reads an untrusted file: a list of those it needs, arguments checked.

The kernel refuses all others with EPERM: no new process, connection, file, namespace or signal to another process.
Called by processes that confine themselves: those that decode, and those that read Parquet.
Linux on x86_64 and aarch64.

The numbers are from asm/unistd_64.h and asm-generic/unistd.h, the instructions from linux/filter.h: classic BPF over
`struct seccomp_data`. libseccomp would need a system library that pip cannot install.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import signal
import struct
from dataclasses import dataclass
from typing import NamedTuple

from nightreel.kernel.syscalls import prctl

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
_X32_CALLS = 0x40000000  # x86_64 only: from this number on, another calling convention

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ALLOW, _REFUSE, _NO_SUCH_CALL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

# What pthread_create of glibc and musl passes to clone, but for CLONE_DETACHED, which does nothing.
_THREAD = 0x003D0F00
_CLONE_DETACHED = 0x00400000
_NOT_FOR_READING = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_PATH | 0x00400000  # the last one is of O_TMPFILE
_F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC = 1, 2, 3, 1030
_AT_EMPTY_PATH = 0x1000
_PR_SET_NAME = 15
_WHOLE_WORD = 0xFFFFFFFF


class Only(NamedTuple):
    """A condition on an argument: of its lower (or upper) 32 bits, those in `mask` must be `value`."""

    argument: int
    value: int
    mask: int = _WHOLE_WORD
    upper: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that is allowed if all conditions hold.

    Args:
        x86_64, aarch64: its number; None where it does not exist.
    """

    x86_64: int | None
    aarch64: int | None
    conditions: tuple[Only, ...] = ()


def _calls(*, messages: bool, threads: bool, files: bool) -> list[Call]:
    """Those used most often come first."""
    pid = os.getpid()
    no_execution = Only(2, 0, mask=mmap.PROT_EXEC)
    calls = [
        Call(17, 67),  # pread64
        Call(327, 286),  # preadv2
        Call(295, 69),  # preadv
        Call(202, 98),  # futex
        Call(9, 222, (no_execution,)),  # mmap
        Call(11, 215),  # munmap
        Call(28, 233),  # madvise
        Call(10, 226, (no_execution,)),  # mprotect
        Call(25, 216),  # mremap
        Call(12, 214),  # brk
        Call(0, 63),  # read
        Call(1, 64),  # write
        Call(19, 65),  # readv
        Call(20, 66),  # writev
        Call(8, 62),  # lseek
        Call(5, 80),  # fstat
        Call(262, 79, (Only(3, _AT_EMPTY_PATH),)),  # newfstatat, as glibc's fstat uses it
        Call(3, 57),  # close
        *(Call(72, 25, (Only(1, command),)) for command in (_F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC)),  # fcntl
        Call(228, 113),  # clock_gettime
        Call(96, 169),  # gettimeofday
        Call(229, 114),  # clock_getres
        Call(230, 115),  # clock_nanosleep
        Call(35, 101),  # nanosleep
        Call(24, 124),  # sched_yield
        Call(204, 123, (Only(0, 0),)),  # sched_getaffinity of itself
        Call(318, 278),  # getrandom
        Call(98, 165),  # getrusage
        Call(302, 261, (Only(0, 0), Only(2, 0), Only(2, 0, upper=True))),  # prlimit64 of itself, reading
        Call(39, 172),  # getpid
        Call(186, 178),  # gettid
        Call(110, 173),  # getppid
        Call(102, 174),  # getuid
        Call(107, 175),  # geteuid
        Call(104, 176),  # getgid
        Call(108, 177),  # getegid
        Call(13, 134),  # rt_sigaction
        Call(14, 135),  # rt_sigprocmask
        Call(15, 139),  # rt_sigreturn
        Call(131, 132),  # sigaltstack
        Call(234, 131, (Only(0, pid), Only(2, signal.SIGABRT))),  # tgkill, as abort() uses it
        Call(157, 167, (Only(0, _PR_SET_NAME),)),  # prctl
        Call(273, 99),  # set_robust_list
        Call(334, 293),  # rseq
        Call(324, 283),  # membarrier
        Call(60, 93),  # exit
        Call(231, 94),  # exit_group
    ]
    if messages:
        calls.append(Call(44, 206, (Only(4, 0), Only(4, 0, upper=True))))  # sendto, without an address
        calls += [Call(45, 207), Call(46, 211), Call(47, 212)]  # recvfrom, sendmsg, recvmsg
    if threads:
        calls.append(Call(56, 220, (Only(0, _THREAD, mask=_WHOLE_WORD & ~_CLONE_DETACHED),)))  # clone
    if files:
        calls.append(Call(2, None, (Only(1, 0, mask=_NOT_FOR_READING),)))  # open
        calls.append(Call(257, 56, (Only(2, 0, mask=_NOT_FOR_READING),)))  # openat
    return calls


_CLONE3 = 435  # glibc falls back to clone, whose flags a filter can read


def allow_only_reading(*, messages: bool = False, threads: bool = False, files: bool = False) -> bool:
    """Refuse all system calls but those that reading open files needs, for all threads of this process, permanently.

    The process must have set PR_SET_NO_NEW_PRIVS.

    Args:
        messages: allow to use open sockets.
        threads: allow new threads, but no new processes. files: allow to open existing files for reading; only
            Landlock can say which.

    Returns:
        Whether the kernel accepted the filter: not every machine and container offers seccomp.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return False
    program = _program(machine, _calls(messages=messages, threads=threads, files=files))
    code = ctypes.create_string_buffer(program)
    description = ctypes.create_string_buffer(
        struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))  # struct sock_fprog
    )
    return prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(description)) == 0


def _program(machine: str, calls: list[Call]) -> bytes:
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32_CALLS),
        (_RETURN, 0, 0, _REFUSE),
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _NO_SUCH_CALL),
    ]
    for call in calls:
        number = getattr(call, machine)
        if number is not None:
            program += _rule(number, call.conditions)
    program.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def _rule(number: int, conditions: tuple[Only, ...]) -> list[tuple[int, int, int, int]]:
    """Allow the call if all conditions hold, else go on behind the rule with the number loaded again.

    A jump counts from the instruction after it.
    """
    checks: list[tuple[int, int, int, int]] = []
    for argument, value, mask, upper in reversed(conditions):
        to_end = len(checks) + 1  # over the remaining checks and the return
        at = _ARGUMENTS_AT + 8 * argument + 4 * upper
        checks = [(_LOAD, 0, 0, at), (_AND, 0, 0, mask), (_EQUAL, 0, to_end, value), *checks]
    reload = [(_LOAD, 0, 0, _NUMBER_AT)] if conditions else []
    body = [*checks, (_RETURN, 0, 0, _ALLOW), *reload]
    return [(_EQUAL, 0, len(body), number), *body]

"""Confine a decoder process. It confines itself before it reads a byte of its file, and cannot undo it.

    own processes        the fork server moves to namespaces of its own: no process, network or user of the host
    own user             as root, another user; else a user namespace
    one directory        chroot to the directory of its file
    one file             Landlock: reading its file, and nothing else
    few system calls     seccomp: those that decoding needs (`seccomp`)
    few resources        memory, threads, descriptors, bytes written

Each part holds without the others. `Confinement` says which parts this host has. Linux only.
"""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nightreel.kernel.landlock import restrict_to
from nightreel.kernel.seccomp import allow_only_reading
from nightreel.kernel.syscalls import capset, forbid_new_privileges, prctl, unshare

_NEW_USER, _NEW_PROCESSES, _NEW_NETWORK, _NEW_IPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000  # linux/sched.h
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS = 1, 8
_CAP_DAC_READ_SEARCH = 2
_FIRST_OWN_USER = 0x70000000  # systemd's documentation of user ids lists these as unused
_NOBODY = 65534
CANNOT_CONFINE = 70  # exit code of a process that is less confined than the one that the fork server tried
_MOST_THREADS = 512
_MOST_DESCRIPTORS = 32
_MOST_BYTES_WRITTEN = 2**20  # to standard error, which is a file in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What confines decoder processes.

    Args:
        seccomp: only listed system calls. landlock: version of its interface; 0: the kernel has none.
        user: "own" user id, user "namespace", or "" if a decoder process is the pipeline's user.
        namespaces: no process and no network of the host.
    """

    seccomp: bool
    landlock: int
    user: str
    namespaces: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def missing(self) -> tuple[str, ...]:
        """What the strongest confinement has and this one lacks."""
        lacks = {
            "seccomp": not self.seccomp,
            "Landlock": not self.landlock,
            "a user or user namespace of their own": not self.user,
            "namespaces for processes and network": not self.namespaces,
        }
        return tuple(name for name, absent in lacks.items() if absent)

    def __str__(self) -> str:
        """
        >>> print(Confinement(seccomp=True, landlock=0, user="", namespaces=False))
        seccomp; without Landlock, a user or user namespace of their own, namespaces for processes and network
        """
        user = {"own": "a user of their own", "namespace": "a user namespace", "": ""}[self.user]
        has = [
            "seccomp" if self.seccomp else "",
            f"Landlock (version {self.landlock})" if self.landlock else "",
            user,
            "namespaces for processes and network" if self.namespaces else "",
        ]
        lacks = f"; without {', '.join(self.missing)}" if self.missing else ""
        return (", ".join(filter(None, has)) or "nothing") + lacks


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The namespaces that decoder processes share with nobody but their fork server."""

    user: bool
    others: bool  # for processes, network and System V IPC


def enter_namespaces() -> Namespaces:
    """Move this single-threaded process to namespaces of its own. Only its children are in the process namespace."""
    others = _NEW_PROCESSES | _NEW_NETWORK | _NEW_IPC
    if os.geteuid() == 0 and _may_become_another_user():
        return Namespaces(user=False, others=unshare(others))
    if unshare(_NEW_USER | others):
        return Namespaces(user=True, others=True)
    return Namespaces(user=unshare(_NEW_USER), others=False)


def count_threads_of_user() -> int:
    """The number of threads of this process's user, as far as this process can see them."""
    threads = 0
    for path in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):  # it has just ended
            fields = dict(line.split(":", 1) for line in path.read_text().splitlines())
            if int(fields["Uid"].split()[0]) == os.getuid():
                threads += int(fields["Threads"])
    return threads


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends. A change of user undoes that."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _may_become_another_user() -> bool:
    """Whether root may. A container may have taken the capability, or have no other id. A child tries it."""
    pid = os.fork()
    if not pid:
        try:
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


@dataclass(frozen=True, slots=True)
class Confined:
    """What a confined process still may do.

    Args:
        path: under which it may open its file once more, and start threads; None if it may not.
        found: what confines it.
    """

    path: str | None
    found: Confinement
    status_fd: int

    def least_address_space_left_bytes(self) -> int:
        """The smallest distance so far between this process's address space and its limit."""
        status = os.pread(self.status_fd, 2**16, 0).decode()
        peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmPeak:"))
        return resource.getrlimit(resource.RLIMIT_AS)[0] - peak_kib * 1024


def confine(fd: int, path: str, *, namespaces: Namespaces, memory_bytes: int, threads_of_user: int) -> Confined:
    """Confine this process permanently.

    Args:
        fd: its file, open for reading. path: an absolute path of the same file.
        namespaces: from `enter_namespaces`.
        memory_bytes: limit of the address space: an allocation beyond it fails.
        threads_of_user: from `count_threads_of_user`.
    """
    os.setsid()
    status_fd = os.open("/proc/self/status", os.O_RDONLY)
    forbid_new_privileges()
    path = _enter_directory(path)
    landlock = restrict_to(fd)
    user = _leave_user(namespaces, keep_reading=bool(landlock))
    die_with_parent()
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, _MOST_BYTES_WRITTEN)
    _limit(resource.RLIMIT_NOFILE, _MOST_DESCRIPTORS)
    # The limit counts all threads of the user, in all processes, but it binds this process alone.
    _limit(resource.RLIMIT_NPROC, _MOST_THREADS + (0 if user else threads_of_user))
    may_open = bool(landlock) and _is_same_file(path, fd)  # only Landlock restricts a path to one file
    seccomp = allow_only_reading(messages=True, threads=may_open, files=may_open)
    found = Confinement(seccomp=seccomp, landlock=landlock, user=user, namespaces=namespaces.others)
    return Confined(path if may_open else None, found, status_fd)


def _limit(what: int, value: int) -> None:
    """Lower a limit permanently. A lower limit that is already set stays: only root may raise it again."""
    _, hard = resource.getrlimit(what)
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (least, least))


def _enter_directory(path: str) -> str:
    """Make the file's directory the root of this process. Returns the file's path from then on."""
    directory, name = os.path.split(path)
    try:
        os.chroot(directory)
    except OSError:  # no right, or the directory is gone
        return path
    os.chdir("/")
    return f"/{name}"


def _leave_user(namespaces: Namespaces, *, keep_reading: bool) -> str:
    """Give up root's user and all capabilities.

    Args:
        keep_reading: keep root's right to read files; Landlock restricts it to one.

    Returns:
        `user` of `Confinement`.
    """
    if namespaces.user or os.geteuid() != 0:
        capset(0)
        return "namespace" if namespaces.user else ""
    with suppress(OSError):  # a user namespace may forbid it
        os.setgroups([])
    prctl(_PR_SET_KEEPCAPS, keep_reading)
    user = ""
    for number in (_FIRST_OWN_USER + os.getpid(), _NOBODY):
        try:
            os.setresgid(number, number, number)
            os.setresuid(number, number, number)
        except OSError:  # not an id of this container
            continue
        user = "own"
        break
    if not (user and keep_reading and capset(1 << _CAP_DAC_READ_SEARCH)):
        capset(0)
    return user


def _is_same_file(path: str, fd: int) -> bool:
    """Whether this process can open `path`, and finds the file `fd` there."""
    try:
        again = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.path.sameopenfile(fd, again)
    finally:
        os.close(again)

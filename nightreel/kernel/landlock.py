"""Take away all rights on files, network and other processes from a process, but for reading one file.

Landlock is in Linux 5.13 and later (landlock(7), linux/landlock.h). Called by processes that confine themselves.
"""

from __future__ import annotations

import ctypes
import os
import struct

from nightreel.kernel.syscalls import syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on all machines
_VERSION = 1  # a flag of landlock_create_ruleset
_PATH_BENEATH = 1
_READ_FILE = 1 << 2
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # for each ABI that added some: the number of rights on files
_NETWORK_ABI, _BIND_AND_CONNECT = 4, 0b11
_SCOPE_ABI, _SOCKETS_AND_SIGNALS = 6, 0b11


def landlock_abi() -> int:
    """The version of the kernel's interface; 0 where it has none."""
    try:
        return syscall(_CREATE_RULESET, 0, 0, _VERSION)
    except OSError:
        return 0


def restrict_to(fd: int) -> int:
    """Take away, permanently, all rights that this kernel's Landlock knows, but for reading the file `fd`.

    Descriptors that are open stay usable. The process must have set PR_SET_NO_NEW_PRIVS.

    Args:
        fd: an open file.

    Returns:
        The version of the kernel's interface; 0 where it has none, and nothing changes.

    Raises:
        OSError: the kernel has Landlock and refuses the rule.
    """
    abi = landlock_abi()
    if not abi:
        return 0
    rights = (1 << max(count for since, count in _FILE_RIGHTS.items() if since <= abi)) - 1
    fields = [rights]  # struct landlock_ruleset_attr grew with the ABI
    if abi >= _NETWORK_ABI:
        fields.append(_BIND_AND_CONNECT)
    if abi >= _SCOPE_ABI:
        fields.append(_SOCKETS_AND_SIGNALS)
    attributes = ctypes.create_string_buffer(struct.pack(f"{len(fields)}Q", *fields), 8 * len(fields))
    ruleset = syscall(_CREATE_RULESET, ctypes.byref(attributes), len(attributes), 0)
    try:
        rule = ctypes.create_string_buffer(struct.pack("=Qi", _READ_FILE, fd), 12)
        syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return abi

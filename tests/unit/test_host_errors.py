"""Which errors are the host's, whatever library raises them."""

from __future__ import annotations

import errno
import os

import pyarrow as pa
import pytest
import torch

from nightreel.errors import PermanentError
from nightreel.host_errors import host_error
from nightreel.reasons import Reason, Scope


def caught(raise_it) -> BaseException:
    try:
        raise_it()
    except BaseException as error:  # noqa: BLE001
        return error
    raise AssertionError("no error")


def wrapped() -> None:
    try:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    except OSError as error:
        raise ConnectionAbortedError("no connection") from error


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, Reason.DISK_FULL),
        (errno.EDQUOT, Reason.DISK_FULL),
        (errno.EFBIG, Reason.DISK_FULL),
        (errno.EMFILE, Reason.TOO_MANY_OPEN_FILES),
        (errno.ENFILE, Reason.TOO_MANY_OPEN_FILES),
        (errno.ENOMEM, Reason.HOST_MEMORY),
    ],
)
def test_errors_of_the_system_are_the_hosts_by_their_number(number, reason):
    of_host = host_error(OSError(number, os.strerror(number), "a.mp4"))
    assert of_host is not None
    assert (of_host.reason, of_host.reason.scope) == (reason, Scope.HOST)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), Reason.HOST_MEMORY),
        (caught(lambda: torch.empty(1 << 60)), Reason.HOST_MEMORY),
        (caught(lambda: pa.allocate_buffer(1 << 60)), Reason.HOST_MEMORY),
        (RuntimeError("can't start new thread"), Reason.TOO_MANY_PROCESSES),
        (RuntimeError("[enforce fail] unable to write: No space left on device (28)"), Reason.DISK_FULL),
        (OSError("[Errno 24] Too many open files"), Reason.TOO_MANY_OPEN_FILES),
        (caught(wrapped), Reason.TOO_MANY_OPEN_FILES),
    ],
    ids=str,
)
def test_errors_of_libraries_are_the_hosts_by_their_class_words_or_cause(error, reason):
    of_host = host_error(error)
    assert of_host is not None
    assert of_host.reason is reason


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOENT, "No such file", "No space left on device.mp4"),
        OSError(errno.EIO, "Input/output error", "a.mp4"),
        KeyError("Too many open files"),
        RuntimeError("a bug"),
        PermanentError(Reason.NO_FRAMES, "Cannot allocate memory.mp4 has no frames"),
        None,
    ],
    ids=str,
)
def test_other_errors_are_not_the_hosts_whatever_names_they_repeat(error):
    assert host_error(error) is None


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.scope is Scope.HOST])
def test_every_reason_of_the_host_says_that_a_retry_may_succeed(reason):
    assert reason.retryable

"""Messages between the pool and its processes: messages of a compromised process do no harm."""

import json
import os
import socket
import struct
import time

import psutil
import pytest

from nightreel.media.transport import ConnectionLostError, DeadlineError, receive, send


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def test_a_message_its_blob_and_its_descriptor_arrive(pair):
    near, far = pair
    reader, writer = os.pipe()
    send(near, {"a": [1, "ü", None]}, blob=b"\0\1" * 50_000, fds=[writer])
    text, blob, (fd,) = receive(
        far, most_text_bytes=99, most_blob_bytes=10**6, most_fds=1, deadline=time.monotonic() + 5
    )
    assert (json.loads(text), blob) == ({"a": [1, "ü", None]}, b"\0\1" * 50_000)
    os.write(fd, b"x")
    assert os.read(reader, 1) == b"x"
    for number in (reader, writer, fd):
        os.close(number)


def test_silence_ends_at_the_deadline(pair):
    near, _ = pair
    started = time.monotonic()
    with pytest.raises(DeadlineError):
        receive(near, most_text_bytes=1000, deadline=started + 0.1)
    assert time.monotonic() - started < 0.5


def test_slow_bytes_do_not_extend_the_deadline(pair):
    near, far = pair
    far.sendall(struct.pack("<QQ", 100, 0) + b"{")
    with pytest.raises(DeadlineError):
        receive(near, most_text_bytes=1000, deadline=time.monotonic() + 0.1)


@pytest.mark.parametrize(
    "bytes_sent",
    [
        struct.pack("<QQ", 2**62, 0),  # asks for more memory than exists
        struct.pack("<QQ", 0, 2**62),
        struct.pack("<QQ", 1001, 0) + bytes(1001),
        struct.pack("<QQ", 0, 1) + b"x",
        struct.pack("<QQ", 10, 0) + b"{}",  # cut off
        b"abc",
    ],
)
def test_an_invalid_message_counts_as_a_lost_connection(pair, bytes_sent):
    near, far = pair
    far.sendall(bytes_sent)
    far.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionLostError):
        receive(near, most_text_bytes=1000, deadline=time.monotonic() + 5)


def test_a_closed_far_end_counts_as_a_lost_connection(pair):
    near, far = pair
    far.close()
    with pytest.raises(ConnectionLostError):
        send(near, {"a": 1})


def test_descriptors_that_nobody_asked_for_are_not_kept(pair):
    near, far = pair
    before = psutil.Process().num_fds()
    send(far, {}, fds=[far.fileno()] * 200)
    assert receive(near, most_text_bytes=9).fds == ()
    assert psutil.Process().num_fds() == before

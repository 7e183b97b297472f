import asyncio
import threading
import time

import pytest

from nightreel.errors import TransientError
from nightreel.reasons import Reason
from nightreel.storage.sinks import MemorySink
from nightreel.storage.transfer import TransferOptions, download, in_thread

OPTIONS = TransferOptions(part_bytes=1000, block_bytes=100, parallel=3, stall_s=0.2, attempts=3, backoff_s=0.001)


class Source:
    """Bytes in memory whose n-th stream breaks off after `breaks[n]` bytes."""

    name = "fake://object"

    def __init__(self, data, breaks=(), chunk=64):
        self.data, self.breaks, self.chunk = data, list(breaks), chunk
        self.opened = []
        self.open_now = self.most_open = 0

    async def open(self, start, stop):
        self.opened.append((start, stop))
        return Stream(self, self.data[start:stop], self.breaks.pop(0) if self.breaks else None)


class Stream:
    def __init__(self, source, data, break_at):
        self.source, self.data, self.break_at = source, data, break_at
        self.total_bytes = len(source.data)
        self.position = 0
        source.open_now += 1
        source.most_open = max(source.most_open, source.open_now)

    async def read(self, size):
        await asyncio.sleep(0)
        if self.break_at is not None and self.position >= self.break_at:
            raise TransientError(Reason.STORAGE_UNREACHABLE, "fake://object broke off")
        end = self.position + min(size, self.source.chunk)
        if self.break_at is not None:
            end = min(end, self.break_at)
        chunk, self.position = self.data[self.position : end], end
        return chunk

    def close(self):
        self.source.open_now -= 1


class Sink(MemorySink):
    def __init__(self):
        super().__init__(lambda _: None)
        self.stops = []

    def completed(self, stop):
        self.stops.append(stop)


def fetch(source, options=OPTIONS):
    sink = Sink()
    size = asyncio.run(download(source, sink, options))
    assert source.open_now == 0, "a stream was left open"
    return size, bytes(sink.data), sink.stops


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 2000, 12_345])
def test_all_bytes_arrive_and_progress_is_reported_in_order(size):
    data = bytes(index % 251 for index in range(size))
    got, body, stops = fetch(Source(data))
    assert (got, body) == (size, data)
    assert stops == sorted(stops)
    assert stops[-1] == size


def test_the_number_of_open_ranges_is_limited():
    source = Source(bytes(20_000))
    fetch(source)
    assert source.most_open == 3


def test_a_range_continues_where_it_broke_off():
    source = Source(bytes(range(250)) * 4, breaks=[700])
    assert fetch(source)[1] == source.data
    assert source.opened == [(0, 1000), (700, 1000)]


def test_progress_resets_the_count_of_attempts():
    progressing = Source(bytes(1000), breaks=[150] * 6)
    assert fetch(progressing)[0] == 1000
    assert len(progressing.opened) == 7
    stuck = Source(bytes(1000), breaks=[150, 0, 0, 0, 0])
    with pytest.raises(TransientError, match="broke off"):
        fetch(stuck)
    # the attempt that made progress counts as the first of a new series
    assert stuck.opened == [(0, 1000)] + [(150, 1000)] * 2


def test_a_trickle_does_not_count_as_progress():
    with pytest.raises(TransientError, match="broke off"):
        fetch(Source(bytes(1000), breaks=[1] * 1000))


def test_a_silent_stream_times_out():
    class Silent(Source):
        async def open(self, start, stop):
            stream = await super().open(start, stop)
            stream.read = lambda _: asyncio.sleep(60)
            return stream

    started = time.monotonic()
    with pytest.raises(TransientError, match=r"did not arrive within 0\.2 s"):
        fetch(Silent(bytes(10)))
    assert time.monotonic() - started < 10


def test_all_ranges_end_before_a_permanent_failure_is_raised():
    class Gone(Source):
        async def open(self, start, stop):
            if start == 2000:
                raise TransientError(Reason.OBJECT_CHANGED, "overwritten")
            return await super().open(start, stop)

    source = Gone(bytes(50_000), chunk=1)
    with pytest.raises(TransientError, match="object_changed"):
        fetch(source)
    assert all(start <= 2000 for start, _ in source.opened)


def test_an_error_of_the_sink_ends_the_download_immediately():
    class Full(Sink):
        def write(self, *_):
            raise OSError(28, "No space left on device")

    source = Source(bytes(5000))
    with pytest.raises(OSError, match="No space left"):
        asyncio.run(download(source, Full(), OPTIONS))
    assert source.open_now == 0
    assert len(source.opened) <= 3


def test_a_cancelled_caller_waits_for_the_writing_thread():
    writing, finished = threading.Event(), threading.Event()

    def write():
        writing.set()
        time.sleep(0.1)
        finished.set()

    async def cancel_while_writing():
        task = asyncio.ensure_future(in_thread(write))
        await asyncio.to_thread(writing.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert finished.is_set()

    asyncio.run(cancel_while_writing())

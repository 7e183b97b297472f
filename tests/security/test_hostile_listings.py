"""One bad object never ends a listing, and no listing or inventory takes much memory, whatever is written in it."""

from __future__ import annotations

import gzip
import io
import os
import platform
import resource
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.bad_proxy import edited, replaced
from fixtures.inventories import PARQUET
from sqlalchemy import text

from nightreel.domain import StoredObject
from nightreel.errors import NightreelError
from nightreel.settings import load_settings
from nightreel.storage import TransferOptions, open_inventory, open_storage
from nightreel.storage.entries import LARGEST_OBJECT, LONGEST_ENTRY, usable

MIB = 1 << 20
AT = datetime(2026, 1, 1, tzinfo=UTC)


def listed(place, **options) -> tuple[list[StoredObject], list[str]]:
    """All objects of a listing, and what it says of those that it skips."""
    skipped: list[str] = []
    return [item for page in place.list_pages(on_skipped=skipped.append, **options) for item in page], skipped


def names(items: Iterable[StoredObject]) -> list[str]:
    return [item.uri.rpartition("/")[2] for item in items]


def grown_mib(before: int) -> float:
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# -- the rule ----------------------------------------------------------------------------------------------------

IMPOSSIBLE = {
    "NUL in a key": ("a\0", "1", 1, AT),
    "NUL in an ETag": ("a", "1\0", 1, AT),
    "half a character": ("a\ud800", "1", 1, AT),
    "half a character in an ETag": ("a", "\udfff", 1, AT),
    "a long key": ("a" * 3000, "1", 1, AT),
    "a long ETag": ("a", "1" * 3000, 1, AT),
    "a long key in bytes": ("ü" * 1400, "1", 1, AT),
    "a negative size": ("a", "1", -1, AT),
    "a size beyond bigint": ("a", "1", 1 << 63, AT),
    "a size beyond all stores": ("a", "1", LARGEST_OBJECT + 1, AT),
    "a size of many digits": ("a", "1", 10**4000, AT),
    "the year 1": ("a", "1", 1, datetime(1, 1, 1, tzinfo=UTC)),
    "the year 9999": ("a", "1", 1, datetime(9999, 12, 31, tzinfo=UTC)),
    "no date": ("a", "1", 1, None),
}


@pytest.mark.parametrize("entry", IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_an_entry_that_postgres_cannot_hold_is_not_usable(entry):
    why = usable(*entry)
    assert isinstance(why, str)
    assert len(why) < 200


def test_every_usable_entry_fits_into_every_index(work):
    """Random text, because Postgres compresses other text."""
    letters = os.urandom(LONGEST_ENTRY).hex().translate(str.maketrans("0123456789", "ghijklmnop"))
    for etag_bytes in (1, 32, 1000, LONGEST_ENTRY - 20):
        name = "".join(letters[: LONGEST_ENTRY - etag_bytes - len("s3://bucket/")])
        item = usable(f"s3://bucket/{name}", letters[-etag_bytes:], LARGEST_OBJECT, datetime(9998, 1, 1, tzinfo=UTC))
        assert isinstance(item, StoredObject)
        assert len(item.uri) + len(item.etag) == LONGEST_ENTRY
        assert work.discover(item).new == 1
        work.claim()
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.videos SET gone_at = now()"))
        connection.execute(text("UPDATE nightreel.analyses SET status = 'failed', reason = 'object_gone'"))


# -- directories -------------------------------------------------------------------------------------------------


def nested(root, name: str, levels: int) -> None:
    """Folders in folders, each with a file: deeper than a path may be."""
    directory = os.open(root, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=directory)
        below = os.open(name, os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
        os.close(os.open("v.mp4", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    os.close(directory)


@pytest.mark.parametrize(("name", "levels"), [("d" * 200, 15), ("d" * 255, 20), ("ü" * 127, 15), ("%" * 255, 15)])
def test_folders_deeper_than_a_path_may_be_do_not_end_a_listing(tmp_path, name, levels):
    root = tmp_path / "source"
    root.mkdir()
    for own in ("a.mp4", "~.mp4"):
        (root / own).write_bytes(b"x")
    nested(root, name, levels)
    items, skipped = listed(open_storage(str(root), load_settings()))
    assert {"a.mp4", "~.mp4"} <= set(map(unquoted, names(items)))
    assert len(items) + len(skipped) <= levels + 2 + 1
    assert skipped
    assert all(len(line) < 700 for line in skipped)


def unquoted(name: str) -> str:
    return name.replace("%7E", "~")


def test_a_named_file_with_a_long_path_is_skipped(tmp_path, caplog):
    root = tmp_path / "source"
    root.mkdir()
    nested(root, "d" * 200, 13)
    storage = open_storage(str(root), load_settings())
    assert storage.find(f"{storage.url}/{'/'.join(['d' * 200] * 13)}/v.mp4") is None
    assert "index of Postgres" in caplog.text


# -- buckets -----------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(bad_proxy, s3_bucket, s3_client):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        s3_client.put_object(Bucket=s3_bucket, Key=name, Body=b"x")
    options = TransferOptions(attempts=2, backoff_s=0.01, stall_s=1, reply_s=1)
    return open_storage(f"s3://{s3_bucket}", load_settings(), options=options)


def of_b(field: bytes, value: bytes):
    """Change one field of the object b.mp4."""
    return edited(rb"(<Key>b\.mp4</Key>.*?<%b>).*?(</%b>)" % (field, field), rb"\g<1>" + value + rb"\g<2>")


BAD_OBJECTS = {
    "a negative size": of_b(b"Size", b"-1"),
    "a size in words": of_b(b"Size", b"many"),
    "a size with an exponent": of_b(b"Size", b"1e3"),
    "a huge size": of_b(b"Size", b"9" * 30),
    "a size of 5000 digits": of_b(b"Size", b"9" * 5000),
    "the last year": of_b(b"LastModified", b"9999-12-31T23:59:59.000Z"),
    "the year 0": of_b(b"LastModified", b"0000-01-01T00:00:00.000Z"),
    "a date without end": of_b(b"LastModified", b"infinity"),
    "a date of 400 digits": of_b(b"LastModified", b"9" * 400),
    "a long ETag": of_b(b"ETag", b"e" * 4000),
    "a long key": edited(rb"b\.mp4", b"b" * 4000),
    "an encoded NUL": edited(rb"b\.mp4", b"b%00.mp4"),
    "a control character": edited(rb"b\.mp4", b"b\x01.mp4"),
    "a reference to a control character": edited(rb"b\.mp4", b"b&#x1;.mp4"),
    "a reference to NUL": edited(rb"b\.mp4", b"b&#0;.mp4"),
    "bytes that are not text": edited(rb"b\.mp4", b"b\xff\xfe.mp4"),
}


def test_one_bad_object_of_a_bucket_is_skipped(bucket, bad_proxy):
    for name, change in BAD_OBJECTS.items():
        bad_proxy.listing = change
        items, skipped = listed(bucket)
        assert names(items) == ["a.mp4", "c.mp4"], name
        assert len(skipped) == 1, name
        assert len(skipped[0]) < 700, name


@pytest.mark.parametrize(
    ("start", "status"), [(b"<ListBucketResult><Contents><Key>", 200), (b"<Error><Code>", 500), (b"no XML", 200)]
)
def test_a_reply_of_a_bucket_is_not_read_without_end(bucket, bad_proxy, start, status):
    bad_proxy.listing = replaced(status, start + b"a" * (70 * MIB))
    before = memory()
    with pytest.raises(NightreelError, match="larger than 64 MiB"):
        listed(bucket)
    assert grown_mib(before) < 400  # the proxy in this process holds the reply


# -- inventories -------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(inventories, tmp_path):
    def make(url: str):
        settings = load_settings(inventory=url, work_dir=tmp_path / "work")
        return open_inventory(settings, source=open_storage(f"s3://{inventories.source}", settings))

    return make


def line(key: str = "a.mp4", size: str = "1", date: str = "2026-01-01T00:00:00Z", etag: str = "e") -> bytes:
    return f'"b","{key}","{size}","{date}","{etag}","S","false"\n'.encode()


BAD_LINES = {
    "a long line": b'"b","' + b"a" * (1 << 20) + b"\n",
    "a long line of commas": b"," * (1 << 20) + b"\n",
    "a quote that never ends": b'"b","x.mp4\n',
    "few columns": b'"b"\n',
    "nothing": b"\n",
    "bytes that are not text": b'"b","\xff","1","2026-01-01T00:00:00Z","e","S","false"\n',
    "a size in words": line(size="many"),
    "a negative size": line(size="-5"),
    "a huge size": line(size="9" * 25),
    "a size of 5000 digits": line(size="9" * 5000),
    "an infinite size": line(size="inf"),
    "the year 0": line(date="0000-01-01T00:00:00Z"),
    "the year 20000": line(date="20000-01-01T00:00:00Z"),
    "the last year": line(date="9999-12-31T00:00:00Z"),
    "a date without end": line(date="infinity"),
    "no date": line(date=""),
    "a long key": line(key="k" * 4000),
    "a key of NUL": line(key="%00"),
    "a key that is not text": line(key="%ff"),
    "a long ETag": line(etag="e" * 4000),
    "an ETag with NUL": line(etag="e\0"),
}


def test_bad_lines_of_an_inventory_are_skipped_each_alone(inventories, opened):
    good = [line(f"{number:02}.mp4") for number in range(len(BAD_LINES))]
    mixed = b"".join(b"".join(pair) for pair in zip(BAD_LINES.values(), good, strict=True))
    items, skipped = listed(opened(inventories.write(gzip.compress(mixed))))
    assert len(items) == len(BAD_LINES)
    assert len(skipped) == len(BAD_LINES), list(zip(BAD_LINES, skipped, strict=False))
    assert all(len(said) < 900 for said in skipped)


def bomb(piece: bytes, pieces: int, start: bytes = b"") -> bytes:
    """A gzip file of many equal pieces, made without holding them."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join([packer.compress(start), *(packer.compress(piece) for _ in range(pieces)), packer.flush()])


def test_a_line_of_300_mb_takes_little_memory(inventories, opened):
    url = inventories.write(bomb(b"a" * MIB, 300, line("a.mp4") + b'"b","') + gzip.compress(b"\n" + line("z.mp4")))
    before = memory()
    items, skipped = listed(opened(url))
    assert names(items) == ["a.mp4", "z.mp4"]
    assert len(skipped) == 1
    assert grown_mib(before) < 50


@pytest.mark.parametrize("piece", [b"\n" * MIB, b"x\n" * (MIB // 2), b'"\n' * (MIB // 2)])
def test_an_inventory_of_garbage_without_end_is_refused_early(inventories, opened, piece):
    url = inventories.write(bomb(piece, 60, line("a.mp4")))
    began = time.monotonic()
    with pytest.raises(NightreelError, match="inventory_damaged"):
        listed(opened(url))
    assert time.monotonic() - began < 10


def parquet(rows: dict[str, list] | None = None, **options) -> bytes:
    columns = {"key": ["a", "b", "z"], "size": [1, 1, 1], "last_modified_date": [AT] * 3, "e_tag": ["e"] * 3}
    sink = io.BytesIO()
    pq.write_table(pa.table({**columns, **(rows or {})}), sink, **options)
    return sink.getvalue()


BAD_ROWS = {
    "a long key": {"key": ["a", "b" * 4000, "z"]},
    "a huge key": {"key": ["a", "b" * (8 * MIB), "z"]},
    "no key": {"key": ["a", None, "z"]},
    "NUL": {"key": ["a", "b\0", "z"]},
    "a huge ETag": {"e_tag": ["e", "e" * (8 * MIB), "e"]},
    "no ETag": {"e_tag": ["e", None, "e"]},
    "a negative size": {"size": [1, -1, 1]},
    "a huge size": {"size": [1, 1 << 62, 1]},
    "no size": {"size": [1, None, 1]},
    "no date": {"last_modified_date": [AT, None, AT]},
    "a huge date": {"last_modified_date": pa.array([0, 1 << 60, 0], pa.timestamp("ms", "UTC"))},
}


def test_one_bad_row_of_a_parquet_inventory_is_skipped(inventories, opened):
    files = [parquet(rows) for rows in BAD_ROWS.values()]
    items, skipped = listed(opened(inventories.write(*files, form=PARQUET)))
    assert names(items) == ["a", "z"] * len(files)
    assert len(skipped) == len(files), list(zip(BAD_ROWS, skipped, strict=False))


# Made in a process of their own, whose memory does not count.
HUGE = """
import sys, pyarrow as pa, pyarrow.parquet as pq
key, rows, options = {pages}
date = pa.array([0] * rows, pa.timestamp("ms"))
table = pa.table({{"key": pa.array(key), "size": [1] * rows, "last_modified_date": date, "e_tag": ["e"] * rows}})
pq.write_table(table, sys.argv[1], **options)
"""


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param("['k' * (300 << 20)], 1, {'compression': 'zstd'}", id="compressed pages"),
        pytest.param(
            "pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), ['k' * (1 << 20)]), 500, {}",
            id="a dictionary",
        ),
    ],
)
def test_a_parquet_inventory_costs_this_process_nothing(inventories, opened, tmp_path, pages):
    file = tmp_path / "huge"
    subprocess.run([sys.executable, "-c", HUGE.format(pages=pages), file], check=True, timeout=60)
    assert file.stat().st_size < 4 * MIB
    url = inventories.write(file.read_bytes(), form=PARQUET)
    before = memory()
    with pytest.raises(NightreelError, match="inventory_damaged"):
        listed(opened(url))
    assert grown_mib(before) < 50


@pytest.mark.parametrize("place", [-60])
def test_a_broken_parquet_inventory_is_refused(inventories, opened, place):
    data = bytearray(parquet())
    data[place : place + 40] = os.urandom(40)
    with suppress(NightreelError):
        listed(opened(inventories.write(bytes(data), form=PARQUET)))


def test_the_process_that_reads_parquet_has_no_secrets(inventories, opened, monkeypatch):
    monkeypatch.setenv("SECRET_OF_A_TEST", "4711")
    started: list[dict] = []
    original = subprocess.Popen

    def popen(command, **options):
        started.append(options["env"])
        return original(command, **options)

    monkeypatch.setattr("nightreel.storage.inventory_rows.subprocess.Popen", popen)
    assert names(listed(opened(inventories.write(parquet(), form=PARQUET)))[0]) == ["a", "b", "z"]
    assert not any("4711" in value or "AWS" in name for name, value in started[0].items())


# What code does in the process that reads Parquet, if a file takes control of it. It tells what worked.
CAPTURED = """
import ctypes, os, socket, sys
import pyarrow.parquet as pq

LIBC = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    if LIBC.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def captured(*_, **__):
    attacks = {
        "reads a file": lambda: open("/etc/passwd").read(),
        "reads its file again": lambda: open(sys.argv[1], "rb").read(1),
        "reads the parent's environment": lambda: open(f"/proc/{os.getppid()}/environ", "rb").read(),
        "lists": lambda: os.listdir("/"),
        "writes": lambda: open(sys.argv[1] + ".new", "w"),
        "deletes": lambda: os.unlink(sys.argv[1]),
        "connects": lambda: socket.socket(),
        "forks": lambda: os.fork() or os._exit(0),
        "runs a program": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "signals the parent": lambda: os.kill(os.getppid(), 0),
        "namespaces": lambda: call(272, 0x10000000),
        "traces": lambda: call(101, 0x4206, os.getppid(), 0, 0),
        "io_uring": lambda: call(425, 0, 0),
    }
    worked = []
    for name, attack in attacks.items():
        try:
            attack()
            worked.append(name)
        except OSError as error:
            if error.errno != 1:
                worked.append(f"{name} (errno {error.errno})")
    raise ValueError(f"worked: {worked}")

pq.ParquetFile = captured
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the attacks have the numbers of x86_64")
def test_a_captured_parquet_process_can_do_nothing(inventories, opened, monkeypatch, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(CAPTURED)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(NightreelError) as caught:
        listed(opened(inventories.write(parquet(), form=PARQUET)))
    assert "worked: []" in str(caught.value)


def test_a_confined_process_reads_every_compression_and_zone(inventories, opened):
    files = [parquet(compression=name) for name in ("none", "snappy", "gzip", "brotli", "zstd", "lz4")]
    for unit, zone in (("ms", None), ("us", "+02:00"), ("ms", "America/New_York"), ("ns", "UTC")):
        files.append(parquet({"last_modified_date": pa.array([AT] * 3, pa.timestamp(unit, zone))}))
    items, skipped = listed(opened(inventories.write(*files, form=PARQUET)))
    assert (len(items), skipped) == (3 * len(files), [])
    assert {item.modified_at for item in items} == {AT}


def test_a_listing_that_is_left_early_leaves_no_process(inventories, opened):
    rows = {"key": ["k"] * 50_000, "size": [1] * 50_000, "last_modified_date": [AT] * 50_000, "e_tag": ["e"] * 50_000}
    pages = opened(inventories.write(parquet(rows), form=PARQUET)).list_pages(page_size=10)
    next(pages)
    pages.close()
    own = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "args"], capture_output=True, text=True, check=False)
    assert "parquet_entries" not in own.stdout


LIES = {
    "a date far away": {"creationTimestamp": str(10**30)},
    "a date before all": {"creationTimestamp": "-1"},
    "a date of 5000 digits": {"creationTimestamp": "9" * 5000},
    "files that are no list": {"files": {"a": 1}},
    "a format that is no text": {"fileFormat": 7},
    "a negative size": {"files": [{"key": "k", "size": -1, "MD5checksum": "0" * 32}]},
    "a huge size": {"files": [{"key": "k", "size": 1 << 70, "MD5checksum": "0" * 32}]},
    "no MD5": {"files": [{"key": "k", "size": 1, "MD5checksum": "x"}]},
    "another prefix": {"files": [{"key": "elsewhere/x", "size": 1, "MD5checksum": "0" * 32}]},
    "another bucket": {"destinationBucket": "arn:aws:s3:::somebody-elses"},
}


def test_a_manifest_that_lies_is_refused(inventories, opened):
    for name, changes in LIES.items():
        with pytest.raises(NightreelError) as caught:
            listed(opened(inventories.write(gzip.compress(line()), **changes)))
        assert caught.value.reason == "inventory_damaged", name
        assert len(caught.value.detail) < 900, name


@pytest.mark.parametrize(
    "body", [b"[" * 1_000_000, b'{"a":' * 100_000, b'"' + b"a" * (17 * MIB), b"\xff" * 100, b"1" * 9999]
)
def test_a_manifest_of_any_bytes_is_refused(inventories, opened, s3_client, body):
    s3_client.put_object(Bucket=inventories.bucket, Key="x/y/manifest.json", Body=body)
    before = memory()
    with pytest.raises(NightreelError) as caught:
        listed(opened(f"s3://{inventories.bucket}/x/y/manifest.json"))
    assert caught.value.reason in ("inventory_damaged", "limit_bytes")
    assert grown_mib(before) < 100


def test_a_file_larger_than_the_manifest_states_is_not_fetched(inventories, opened, s3_client):
    url = inventories.write(gzip.compress(line()))
    s3_client.put_object(Bucket=inventories.bucket, Key=inventories.written[0], Body=bytes(8 * MIB))
    with pytest.raises(NightreelError, match=r"inventory_damaged: .* larger than"):
        listed(opened(url))


# -- runs --------------------------------------------------------------------------------------------------------


def test_a_run_counts_what_its_listing_skips_and_analyses_the_rest(make_pipeline, clips):
    nested(clips, "d" * 200, 15)
    pipeline = make_pipeline(clips)
    summary = pipeline.analyze(limit=3)
    assert summary.videos["done"] == 3
    assert summary.listing.skipped > 0
    assert pipeline.value("SELECT counts -> 'listing' ->> 'skipped' FROM nightreel.runs") == str(
        summary.listing.skipped
    )

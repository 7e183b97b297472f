"""Inventories instead of listings: the same objects in every format, and an error for each kind of damage."""

from __future__ import annotations

import gzip
import io
import logging
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.inventories import ALWAYS, CSV, PARQUET, VERSIONED, Listed

from nightreel.domain import StoredObject
from nightreel.errors import NightreelError, PermanentError, SettingsError, TransientError
from nightreel.settings import load_settings
from nightreel.storage import open_inventory, open_storage

ODD_KEYS = [
    "a b.mp4",
    "1+1=2.mp4",
    "100%.mp4",
    "%41.mp4",
    "ümlaut 日本 🎬.mp4",
    "quote \",'.mp4",
    "new\nline.mp4",
    "b.mp4",
]
both = pytest.mark.parametrize("form", [CSV, PARQUET])


@pytest.fixture
def opened(inventories, tmp_path):
    """`opened(url, prefix)` opens an inventory of the objects below a prefix of the source bucket."""

    def make(url: str, prefix: str = ""):
        settings = load_settings(inventory=url, work_dir=tmp_path / "work")
        source = open_storage(f"s3://{inventories.source}/{prefix}", settings)
        return open_inventory(settings, source=source)

    return make


def entries(inventory, **options) -> list[StoredObject]:
    return [item for page in inventory.list_pages(**options) for item in page]


def keys(inventory, **options) -> list[str]:
    return [item.uri.split("/", 3)[3] for item in entries(inventory, **options)]


def error_of(error_class: type[NightreelError], inventory) -> NightreelError:
    with pytest.raises(error_class) as caught:
        entries(inventory)
    return caught.value


def rows(*names: str, **values) -> list[Listed]:
    return [Listed(name, **values) for name in names]


@both
def test_an_inventory_has_exactly_the_objects_of_a_listing(inventories, opened, s3_client, form):
    for number, key in enumerate(ODD_KEYS):
        s3_client.put_object(Bucket=inventories.source, Key=f"videos/{key}", Body=b"x" * number)
    s3_client.put_object(Bucket=inventories.source, Key="videos2/other.mp4", Body=b"")
    s3_client.put_object(Bucket=inventories.source, Key="videos/folder/", Body=b"")
    listed = inventories.listed()
    url = inventories.write(listed[5:], listed[:5], form=form)
    source = open_storage(f"s3://{inventories.source}/videos", load_settings())
    expected = [item for page in source.list_pages() for item in page]
    assert len(expected) == len(ODD_KEYS)
    assert sorted(entries(opened(url, "videos")), key=lambda item: item.uri) == expected


@both
def test_pages_have_the_requested_size_and_follow_the_order_of_files(inventories, opened, form):
    names = [f"{number:02}.mp4" for number in range(13)]
    url = inventories.write(rows(*names[:7]), [], rows(*names[7:]), form=form)
    inventory = opened(url)
    assert inventory.as_of is None
    pages = list(inventory.list_pages(page_size=3))
    assert [len(page) for page in pages] == [3, 3, 1, 3, 3]
    assert [item.uri.rpartition("/")[2] for page in pages for item in page] == names
    assert inventory.as_of == datetime(2026, 1, 31, 1, tzinfo=UTC)
    assert list(inventory.list_pages()) == [], "all objects were already listed"


@both
def test_only_current_versions_of_a_bucket_count(inventories, opened, form):
    listed = [
        Listed("kept.mp4", etag="new"),
        Listed("kept.mp4", etag="old", latest=False),
        Listed("deleted.mp4", marker=True),
        Listed("deleted.mp4", latest=False),
        Listed("back.mp4", etag="again"),
        Listed("back.mp4", latest=False, marker=True),
    ]
    url = inventories.write(listed, form=form, columns=VERSIONED)
    assert [(item.uri.rpartition("/")[2], item.etag) for item in entries(opened(url))] == [
        ("kept.mp4", "new"),
        ("back.mp4", "again"),
    ]


@both
def test_etags_have_no_quotes_like_those_of_listings(inventories, opened, form):
    url = inventories.write(rows("a.mp4", etag='"abc-2"'), form=form)
    assert [item.etag for item in entries(opened(url))] == ["abc-2"]


def test_columns_can_be_in_any_order_with_others_among_them(inventories, opened):
    url = inventories.write(rows("a.mp4", size=7), columns=("ETag", "StorageClass", "Key", "LastModifiedDate", "Size"))
    assert [(item.uri.rpartition("/")[2], item.size_bytes) for item in entries(opened(url))] == [("a.mp4", 7)]


def test_the_newest_complete_inventory_is_used(inventories, opened):
    inventories.write(rows("old.mp4"), date="2026-01-29T01-00Z")
    inventories.write(rows("newer.mp4"), date="2026-01-30T01-00Z")
    inventories.write(rows("unfinished.mp4"), date="2026-01-31T01-00Z", checksum=False)
    assert keys(opened(inventories.url)) == ["newer.mp4"]
    assert keys(opened(f"{inventories.url}/")) == ["newer.mp4"]
    assert keys(opened(f"{inventories.url}/2026-01-29T01-00Z/manifest.json")) == ["old.mp4"]


def test_a_named_inventory_without_checksum_is_used_with_a_warning(inventories, opened, caplog):
    url = inventories.write(rows("a.mp4"), checksum=False)
    with caplog.at_level(logging.WARNING):
        assert keys(opened(url)) == ["a.mp4"]
    assert "manifest.checksum" in caplog.text


@both
def test_the_error_for_a_wrong_file_shows_both_checksums(inventories, opened, s3_client, form):
    url = inventories.write(rows("a.mp4"), rows("b.mp4"), form=form)
    other = inventories.written[1]
    promised = s3_client.head_object(Bucket=inventories.bucket, Key=other)["ETag"].strip('"')
    body = bytearray(s3_client.get_object(Bucket=inventories.bucket, Key=other)["Body"].read())
    body[20] ^= 1
    s3_client.put_object(Bucket=inventories.bucket, Key=other, Body=bytes(body))
    found = s3_client.head_object(Bucket=inventories.bucket, Key=other)["ETag"].strip('"')
    error = error_of(TransientError, opened(url))
    assert error.reason == "inventory_damaged"
    assert all(part in error.detail for part in (other, promised, found))


def test_after_an_error_the_listing_starts_again_with_the_failed_file(inventories, opened, s3_client, tmp_path):
    url = inventories.write(rows("a.mp4"), rows(*(f"b{number}.mp4" for number in range(5))), rows("c.mp4"))
    second = inventories.written[1]
    body = s3_client.get_object(Bucket=inventories.bucket, Key=second)["Body"].read()
    s3_client.delete_object(Bucket=inventories.bucket, Key=second)
    inventory = opened(url)
    listing = inventory.list_pages()
    assert len(next(listing)) == 1
    with pytest.raises(PermanentError) as caught:
        next(listing)
    assert caught.value.reason == "inventory_incomplete"
    assert second in caught.value.detail
    s3_client.put_object(Bucket=inventories.bucket, Key=second, Body=body)

    listing = inventory.list_pages(page_size=2)
    assert [len(next(listing)), len(next(listing))] == [2, 2]
    del listing  # a run does this after an error: the second page may not have been written
    assert keys(inventory) == [*(f"b{number}.mp4" for number in range(5)), "c.mp4"]
    assert not [path for path in (tmp_path / "work" / "spool").rglob("*") if path.name != "lock"]


def test_a_manifest_that_does_not_match_its_checksum_causes_an_error(inventories, opened, s3_client):
    url = inventories.write(rows("a.mp4"))
    key = url.split("/", 3)[3]
    body = s3_client.get_object(Bucket=inventories.bucket, Key=key)["Body"].read()
    s3_client.put_object(Bucket=inventories.bucket, Key=key, Body=body + b" ")
    error = error_of(TransientError, opened(url))
    assert error.reason == "inventory_damaged"
    assert "has MD5" in error.detail


@pytest.mark.parametrize("content", [b"", b"no gzip", b"\x1f\x8b\x08\x00 broken"])
@both
def test_a_file_of_another_kind_causes_a_permanent_error(inventories, opened, form, content):
    error = error_of(PermanentError, opened(inventories.write(content, form=form)))
    assert error.reason == "inventory_damaged"
    assert inventories.written[0] in error.detail


@pytest.mark.parametrize(
    "line", ['"b","a.mp4"', '"b","a.mp4","many","2026-01-01T00:00:00.000Z","e","S","false"', '"b","%ff","1","x","e"']
)
def test_lines_that_do_not_match_the_schema_cause_an_error(inventories, opened, line):
    error = error_of(PermanentError, opened(inventories.write(gzip.compress(line.encode()))))
    assert error.reason == "inventory_damaged"


def test_a_text_that_is_not_a_manifest_causes_an_error(inventories, opened, s3_client):
    for body in (b"", b"{}", b"[]", b'{"sourceBucket": 1, "creationTimestamp": "x"}'):
        s3_client.put_object(Bucket=inventories.bucket, Key="x/manifest.json", Body=body)
        assert (
            error_of(PermanentError, opened(f"s3://{inventories.bucket}/x/manifest.json")).reason == "inventory_damaged"
        )


def test_the_error_for_orc_names_the_expected_formats(inventories, opened):
    error = error_of(PermanentError, opened(inventories.write(rows("a.mp4"), fileFormat="ORC")))
    assert error.reason == "unsupported_inventory"
    assert "expected CSV or Parquet" in error.detail


@both
def test_the_error_for_an_inventory_without_etags_names_the_missing_column(inventories, opened, form):
    columns = tuple(name for name in ALWAYS if name != "ETag")
    error = error_of(PermanentError, opened(inventories.write(rows("a.mp4"), form=form, columns=columns)))
    assert error.reason == "inventory_incomplete"
    assert "e_tag" in error.detail


def test_an_inventory_of_another_bucket_is_refused(inventories, opened):
    error = error_of(SettingsError, opened(inventories.write(rows("a.mp4"), sourceBucket="another")))
    assert error.reason == "wrong_inventory"
    assert "NIGHTREEL_INVENTORY" in error.detail


def test_the_error_for_a_missing_inventory_says_what_was_expected(inventories, opened):
    for url, says in [
        (inventories.url, "2026-01-31T01-00Z"),
        (f"{inventories.url}/manifest.json", "does not exist"),
    ]:
        error = error_of(SettingsError, opened(url))
        assert error.reason == "wrong_inventory"
        assert says in error.detail
    assert error_of(PermanentError, opened("s3://no-such-bucket-here/x")).reason == "no_such_bucket"


def test_a_key_that_postgres_cannot_hold_is_reported(inventories, opened):
    skipped: list[str] = []
    url = inventories.write(rows("a\0b.mp4", "c.mp4"))
    assert keys(opened(url), on_skipped=skipped.append) == ["c.mp4"]
    assert len(skipped) == 1


@pytest.mark.parametrize("date", ["0000-00-00T00:00:00.000Z", "2026-02-31T00:00:00.000Z", "55555-01-01T00:00:00.000Z"])
def test_an_object_with_an_impossible_date_in_csv_is_skipped_with_a_line(inventories, opened, date):
    lines = [f'"b","{name}","1","{at}","e","S","false"' for name, at in [("a", date), ("b", "2026-01-01T00:00:00Z")]]
    skipped: list[str] = []
    url = inventories.write(gzip.compress("\n".join(lines).encode()))
    assert keys(opened(url), on_skipped=skipped.append) == ["b"]
    assert len(skipped) == 1
    assert "key 'a'" in skipped[0]


@pytest.mark.parametrize("milliseconds", [2**60, -(2**60), 253_402_300_800_000, -62_135_596_800_000])
def test_an_object_with_an_impossible_date_in_parquet_is_skipped_with_a_line(inventories, opened, milliseconds):
    table = pa.table(
        {
            "key": ["a", "b"],
            "size": [1, 1],
            "last_modified_date": pa.array([milliseconds, 0], pa.timestamp("ms", "UTC")),
            "e_tag": ["e", "e"],
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    skipped: list[str] = []
    assert keys(opened(inventories.write(sink.getvalue(), form=PARQUET)), on_skipped=skipped.append) == ["b"]
    assert len(skipped) == 1
    assert "key 'a'" in skipped[0]

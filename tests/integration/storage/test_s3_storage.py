import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from nightreel.errors import PermanentError, TransientError
from nightreel.settings import load_settings
from nightreel.storage import TransferOptions, open_storage

SMALL_PARTS = TransferOptions(part_bytes=1 << 20, block_bytes=1 << 16, backoff_s=0.01, stall_s=2)


@pytest.fixture
def storage(s3_bucket):
    return open_storage(f"s3://{s3_bucket}/videos", load_settings(), options=SMALL_PARTS)


def put(client, bucket, key, body=b"data"):
    client.put_object(Bucket=bucket, Key=key, Body=body)


def listed(storage, **options):
    return [item for page in storage.list_pages(**options) for item in page]


def error_of(error_class, operation):
    with pytest.raises(error_class) as caught:
        operation()
    return caught.value


def fetch_first(storage, tmp_path, **changes):
    (item, *_) = listed(storage)
    return storage.fetch(item.uri, **{"etag": item.etag, "destination": tmp_path / "out", "max_bytes": 10**9} | changes)


# -- listing -----------------------------------------------------------------------------------------------------


def test_a_bucket_is_listed_in_pages_and_after_any_uri(s3_bucket, s3_server):
    s3_server.fill(s3_bucket, 2345)
    storage = open_storage(f"s3://{s3_bucket}/clips", load_settings())
    pages = list(storage.list_pages())
    assert [len(page) for page in pages] == [1000, 1000, 345]
    uris = [item.uri for page in pages for item in page]
    assert uris == [f"s3://{s3_bucket}/clips/{number:09}.mp4" for number in range(2345)]
    assert pages[0][7].size_bytes == 1_000_007
    assert pages[0][7].modified_at.tzinfo is not None
    assert [item.uri for item in listed(storage, start_after=uris[999], page_size=700)] == uris[1000:]
    assert listed(storage, start_after=uris[-1]) == []


def test_the_prefix_is_a_directory_and_folder_markers_are_not_listed(storage, s3_client, s3_bucket):
    for key in ("videos/", "videos/a.mp4", "videos/sub/", "videos/sub/b.mp4", "videos2/c.mp4", "d.mp4"):
        put(s3_client, s3_bucket, key)
    assert [item.uri for item in listed(storage)] == [
        f"s3://{s3_bucket}/videos/a.mp4",
        f"s3://{s3_bucket}/videos/sub/b.mp4",
    ]
    assert len(listed(open_storage(f"s3://{s3_bucket}", load_settings()))) == 4


def test_odd_keys_survive_listing_and_fetching(storage, s3_client, s3_bucket, tmp_path):
    names = ["with space & ? # % %41+.mp4", "new\nline.mp4", "quote ' \" ` ; --.mp4", "ümlaut 日本 🎬.mp4", "\\.mp4"]
    for name in names:
        put(s3_client, s3_bucket, f"videos/{name}", name.encode())
    bodies = [
        storage.fetch(item.uri, etag=item.etag, destination=tmp_path / "out", max_bytes=100).path.read_text()
        for item in listed(storage)
    ]
    assert sorted(bodies) == sorted(names)


# -- wrong sources -----------------------------------------------------------------------------------------------


def test_a_missing_bucket_never_looks_like_an_empty_one(storage, s3_bucket):
    assert listed(storage) == []
    error = error_of(PermanentError, lambda: listed(open_storage("s3://no-such-bucket-here/x", load_settings())))
    assert error.reason == "no_such_bucket"
    assert "s3://no-such-bucket-here/x" in error.detail


@pytest.mark.parametrize(
    ("variable", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong-secret"), ("AWS_ACCESS_KEY_ID", "nightreel:nobody")]
)
def test_wrong_keys_are_refused_and_never_printed(s3_bucket, s3_server, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    storage = open_storage(f"s3://{s3_bucket}/x", load_settings())
    for operation in (
        storage.check,
        lambda: listed(storage),
        lambda: storage.read(f"s3://{s3_bucket}/x/y"),
        lambda: storage.publish("y", b"z"),
    ):
        error = error_of(PermanentError, operation)
        assert error.reason == "access_denied"
        assert f"s3://{s3_bucket}/x" in error.detail
        assert variable in error.detail
        assert s3_server.secret not in str(error)
        assert "wrong-secret" not in str(error)


def test_without_keys_the_error_names_the_variables(s3_bucket, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = error_of(PermanentError, open_storage(f"s3://{s3_bucket}/x", load_settings()).check)
    assert error.reason == "access_denied"
    assert "AWS_ACCESS_KEY_ID" in error.detail


def test_an_unreachable_endpoint_causes_a_transient_error(s3_bucket, monkeypatch, free_port):
    monkeypatch.setenv("NIGHTREEL_S3_ENDPOINT_URL", f"http://user:pa55@127.0.0.1:{free_port}")
    storage = open_storage(f"s3://{s3_bucket}/x", load_settings(), options=SMALL_PARTS)
    error = error_of(TransientError, storage.check)
    assert error.reason == "storage_unreachable"
    assert f"http://127.0.0.1:{free_port}" in error.detail
    assert "pa55" not in str(error)


def test_an_endpoint_that_is_not_a_url_causes_a_settings_error(s3_bucket, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_S3_ENDPOINT_URL", "not a url")
    error = error_of(PermanentError, open_storage(f"s3://{s3_bucket}/x", load_settings()).check)
    assert error.reason == "settings"
    assert "not a url" in error.detail


# -- fetching ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5_000_001])
def test_objects_of_any_size_arrive_whole_with_their_hash(storage, s3_client, s3_bucket, tmp_path, size_bytes):
    data = os.urandom(size_bytes)
    put(s3_client, s3_bucket, "videos/a.mp4", data)
    fetched = fetch_first(storage, tmp_path)
    assert fetched.path.read_bytes() == data
    assert fetched.size_bytes == size_bytes
    assert fetched.content_sha256 == hashlib.sha256(data).hexdigest()
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_several_threads_fetch_at_the_same_time(storage, s3_client, s3_bucket, tmp_path):
    bodies = [os.urandom(2_500_000) for _ in range(6)]
    for number, body in enumerate(bodies):
        put(s3_client, s3_bucket, f"videos/{number}.mp4", body)
    items = listed(storage)

    def fetch(number):
        item = items[number]
        return storage.fetch(item.uri, etag=item.etag, destination=tmp_path / str(number), max_bytes=10**9)

    with ThreadPoolExecutor(6) as threads:
        fetched = list(threads.map(fetch, range(6)))
    assert [one.path.read_bytes() for one in fetched] == bodies


def test_an_object_overwritten_since_the_listing_is_refused(storage, s3_client, s3_bucket, tmp_path):
    put(s3_client, s3_bucket, "videos/a.mp4", b"old")
    (item,) = listed(storage)
    put(s3_client, s3_bucket, "videos/a.mp4", b"new")
    error = error_of(
        TransientError,
        lambda: storage.fetch(item.uri, etag=item.etag, destination=tmp_path / "out", max_bytes=100),
    )
    assert error.reason == "object_changed"
    assert item.uri in error.detail
    assert list(tmp_path.iterdir()) == []


def test_a_deleted_object_is_gone(storage, s3_client, s3_bucket, tmp_path):
    put(s3_client, s3_bucket, "videos/a.mp4", b"old")
    (item,) = listed(storage)
    s3_client.delete_object(Bucket=s3_bucket, Key="videos/a.mp4")
    error = error_of(
        PermanentError,
        lambda: storage.fetch(item.uri, etag=item.etag, destination=tmp_path / "out", max_bytes=100),
    )
    assert error.reason == "object_gone"
    assert error_of(PermanentError, lambda: storage.read(item.uri)).reason == "object_gone"


def test_an_object_beyond_the_limit_is_refused_before_it_is_downloaded(storage, s3_client, s3_bucket, tmp_path):
    put(s3_client, s3_bucket, "videos/a.mp4", b"x" * 2_000_000)
    error = error_of(PermanentError, lambda: fetch_first(storage, tmp_path, max_bytes=1_999_999))
    assert error.reason == "limit_bytes"
    assert "NIGHTREEL_MAX_BYTES" in error.detail
    assert list(tmp_path.iterdir()) == []
    uri = listed(storage)[0].uri
    assert error_of(PermanentError, lambda: storage.read(uri, max_bytes=1_999_999)).reason == "limit_bytes"


def test_a_uri_of_another_bucket_or_prefix_is_refused(storage, s3_bucket):
    for uri in (f"s3://{s3_bucket}/videos2/a", "s3://other/videos/a", "file:///videos/a", f"s3://{s3_bucket}/videos/"):
        assert error_of(PermanentError, lambda uri=uri: storage.read(uri)).reason == "outside_prefix"


# -- publishing --------------------------------------------------------------------------------------------------


def test_published_bytes_are_read_back_and_deleted(storage, tmp_path):
    published = storage.publish("features/ab.parquet", b"features")
    assert published.created
    assert published.size_bytes == 8
    assert published.uri == f"{storage.url}/features/ab.parquet"
    assert storage.read(published.uri) == b"features"
    again = storage.publish("features/ab.parquet", b"other")
    assert not again.created
    assert again.size_bytes == 8
    assert storage.read(published.uri) == b"features"
    assert storage.delete(published.uri)
    assert not storage.delete(published.uri)


def test_a_large_file_is_published_in_parts_and_only_once(storage, tmp_path, s3_client, s3_bucket):
    body = os.urandom(20 << 20)
    (tmp_path / "local").write_bytes(body)
    assert storage.publish("large", tmp_path / "local").created
    assert storage.read(f"{storage.url}/large") == body
    again = storage.publish("large", bytes(20 << 20))
    assert not again.created
    assert again.size_bytes == 20 << 20
    assert s3_client.list_multipart_uploads(Bucket=s3_bucket).get("Uploads", []) == []
    assert storage.read(f"{storage.url}/large") == body


def test_exactly_one_of_many_threads_creates_a_name(storage):
    bodies = [bytes([number]) * 50_000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda body: storage.publish("same", body), bodies))
    assert sum(result.created for result in results) == 1
    assert storage.read(results[0].uri) == bodies[[result.created for result in results].index(True)]


def test_checking_for_create_only_writes_leaves_no_file(storage):
    storage.check_writable()
    assert listed(storage) == []

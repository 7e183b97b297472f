"""Keys that stop working, servers that know less than S3, archives: what servers do in the wild has a clear error."""

from datetime import UTC, datetime

import pytest
from fixtures.bad_proxy import after, edited, error, renamed_range, replaced

from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason, Scope
from nightreel.settings import load_settings
from nightreel.storage import TransferOptions, open_storage

OPTIONS = TransferOptions(attempts=3, backoff_s=0.01, stall_s=2)
NAMES = ("a.mp4", "b.mp4", "c.mp4")


@pytest.fixture
def storage(bad_proxy, s3_bucket, s3_client):
    for name in NAMES:
        s3_client.put_object(Bucket=s3_bucket, Key=name, Body=name.encode())
    return open_storage(f"s3://{s3_bucket}", load_settings(), options=OPTIONS)


@pytest.fixture
def fetch(storage, s3_bucket, tmp_path):
    def fetch(name, **changes):
        request = {"etag": None, "destination": tmp_path / "out", "max_bytes": 10**9} | changes
        return storage.fetch(f"s3://{s3_bucket}/{name}", **request)

    return fetch


def listed(storage, **options):
    return [item for page in storage.list_pages(**options) for item in page]


def error_of(operation):
    with pytest.raises(PermanentError) as caught:
        operation()
    return caught.value


def refused(names, status=403, code="AccessDenied"):
    """A server that refuses the objects of these names."""
    return lambda answer: error(status, code)(answer) if answer.body in names else answer


# -- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ExpiredToken"),
        (403, "RequestTimeTooSkewed"),
        (403, "InvalidAccessKeyId"),
        (403, "AccessDenied"),
        (403, "SomethingNew"),
        (400, "SomethingNew"),
        (401, "Unauthorized"),
    ],
)
@pytest.mark.parametrize("read_before", [0, 1])
def test_keys_that_stop_working_are_the_fault_of_the_source(bad_proxy, fetch, status, code, read_before):
    bad_proxy.always = after(read_before, error(status, code))
    for name in NAMES[:read_before]:
        assert fetch(name).size_bytes == 5
    caught = error_of(lambda: fetch("b.mp4"))
    assert (caught.reason, caught.reason.scope) == ("access_denied", Scope.RUN)


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (403, "SomethingNew")])
def test_an_object_that_alone_is_refused_is_its_own_fault(bad_proxy, fetch, status, code):
    bad_proxy.always = refused([b"b.mp4"], status, code)
    for _ in range(2):  # before and after another object was read
        caught = error_of(lambda: fetch("b.mp4"))
        assert (caught.reason, caught.reason.scope) == ("object_denied", Scope.VIDEO)
        assert fetch("a.mp4").size_bytes == 5


def test_keys_that_may_no_longer_list_are_the_fault_of_the_source(bad_proxy, fetch):
    bad_proxy.always = bad_proxy.listing = error(403, "AccessDenied")
    assert error_of(lambda: fetch("b.mp4")).reason == "access_denied"


def test_an_expired_token_ends_a_listing_with_a_clear_error(bad_proxy, storage):
    bad_proxy.listing = after(1, error(400, "ExpiredToken"))
    caught = error_of(lambda: listed(storage, page_size=1))
    assert caught.reason == "access_denied"
    assert "expired" in caught.detail


def test_an_archived_object_has_its_own_reason(bad_proxy, fetch):
    bad_proxy.always = error(403, "InvalidObjectState")
    caught = error_of(lambda: fetch("b.mp4"))
    assert (caught.reason, caught.reason.scope) == ("archived", Scope.VIDEO)
    assert "restore" in caught.detail


@pytest.mark.parametrize(
    ("entry", "archived"),
    [
        ("<StorageClass>STANDARD</StorageClass>", False),
        ("", False),
        ("<StorageClass>GLACIER_IR</StorageClass>", False),
        ("<StorageClass>GLACIER</StorageClass>", True),
        ("<StorageClass>DEEP_ARCHIVE</StorageClass>", True),
        (
            "<StorageClass>GLACIER</StorageClass><RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress>"
            "</RestoreStatus>",
            True,
        ),
        (
            "<StorageClass>GLACIER</StorageClass><RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>"
            "<RestoreExpiryDate>2027-01-01T00:00:00Z</RestoreExpiryDate></RestoreStatus>",
            False,
        ),
    ],
)
def test_a_listing_of_amazon_tells_which_objects_are_archived(bad_proxy, storage, monkeypatch, entry, archived):
    monkeypatch.setattr(storage._bucket, "is_amazon", True)  # Amazon itself is not here
    bad_proxy.listing = edited(rb"<StorageClass>.*?</StorageClass>", entry.encode())
    assert {item.archived for item in listed(storage)} == {archived}
    asked = [headers for _, path, headers in bad_proxy.requests if "list-type=" in path]
    assert [headers.get("x-amz-optional-object-attributes") for headers in asked] == ["RestoreStatus"]


def test_other_stores_are_not_asked_for_what_only_amazon_knows(bad_proxy, storage):
    bad_proxy.listing = edited(rb"<StorageClass>.*?</StorageClass>", b"<StorageClass>GLACIER</StorageClass>")
    assert {item.archived for item in listed(storage)} == {False}, "the next run tries them again"
    assert not any("x-amz-optional-object-attributes" in headers for *_, headers in bad_proxy.requests)


# -- servers that know less ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        pytest.param(edited(rb"<NextContinuationToken>.*?</NextContinuationToken>", b""), "NextContin", id="v1 only"),
        pytest.param(edited(rb"<ETag>.*?</ETag>", b""), "ETag", id="no ETags"),
        pytest.param(edited(rb"<LastModified>.*?</LastModified>", b""), "LastModified", id="no dates"),
        pytest.param(edited(rb"<Size>.*?</Size>", b""), "Size", id="no sizes"),
        pytest.param(edited(rb"<Size>.*?</Size>", b"<Size>large</Size>"), "Size", id="size in words"),
        pytest.param(
            edited(rb"<IsTruncated>.*?</IsTruncated>|<NextContinuationToken>.*?</NextContinuationToken>", b""),
            "NextContinuationToken",
            id="no end",
        ),
        pytest.param(replaced(200, b"<html><body>Log in</body></html>"), "list of objects", id="XHTML"),
    ],
)
def test_a_listing_that_lacks_something_is_refused_with_its_name(bad_proxy, storage, fault, says):
    bad_proxy.listing = fault
    caught = error_of(lambda: listed(storage, page_size=1))
    assert (caught.reason, caught.reason.scope) == ("unsupported_store", Scope.RUN)
    assert says in caught.detail
    assert "NIGHTREEL_S3_ENDPOINT_URL" in caught.detail


@pytest.mark.parametrize(
    ("kind", "body"), [("text/html", b"<html>Log in<br></html>"), ("application/json", b'{"objects": []}')]
)
def test_a_listing_that_is_not_xml_causes_an_error_that_names_its_type(bad_proxy, storage, kind, body):
    bad_proxy.listing = replaced(200, body, **{"Content-Type": kind})
    with pytest.raises(TransientError, match=f"{kind}.*login page"):
        listed(storage)


@pytest.mark.parametrize(
    ("pattern", "replacement", "says"),
    [
        (rb"<LastModified>[^<]*(</LastModified><ETag>[^<]*</ETag><Size>7)", rb"<LastModified>never\1", "date"),
        (rb"<LastModified>[^<]*(</LastModified><ETag>[^<]*</ETag><Size>7)", rb"<LastModified>99999-01-01\1", "date"),
        (
            rb"<LastModified>[^<]*(</LastModified><ETag>[^<]*</ETag><Size>7)",
            rb"<LastModified>0001-01-01T00:00:00Z\1",
            "date",
        ),
        (rb"<ETag>[^<]*</ETag>(<Size>7)", rb"\1", "ETag"),
        (rb"<ETag>[^<]*</ETag>(<Size>7)", rb"<ETag></ETag>\1", "ETag"),
    ],
)
def test_one_odd_object_is_skipped_with_a_line_and_the_others_listed(
    bad_proxy, storage, s3_client, s3_bucket, pattern, replacement, says
):
    s3_client.put_object(Bucket=s3_bucket, Key="b-odd.mp4", Body=b"7 bytes")
    assert len(listed(storage)) == 4
    bad_proxy.listing = edited(pattern, replacement)
    skipped = []
    assert [item.uri[-5:] for item in listed(storage, on_skipped=skipped.append)] == list(NAMES)
    assert len(skipped) == 1
    assert "b-odd.mp4" in skipped[0]
    assert says in skipped[0]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        (b"2026-01-02T03:04:05.678Z", datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)),
        (b"2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (b"2026-01-02T03:04:05.678901Z", datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)),
        (b"2026-01-02T03:04:05+05:00", datetime(2026, 1, 1, 22, 4, 5, tzinfo=UTC)),
        (b"2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (b"2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        (b"Fri, 02 Jan 2026 03:04:05 GMT", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (b"1767323045", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_a_date_is_read_in_each_form_that_a_server_may_write(bad_proxy, storage, text, time):
    bad_proxy.listing = edited(rb"<LastModified>[^<]*", b"<LastModified>" + text)
    assert {item.modified_at for item in listed(storage)} == {time}


# -- empty objects, and requests that the requester pays ---------------------------------------------------------------


def partial(content_range, **headers):
    """A 206 without bytes."""

    return replaced(206, **headers, **({"Content-Range": content_range} if content_range else {}))


@pytest.mark.parametrize(
    "content_range",
    [None, "bytes 0-0/0", "bytes 0--1/0", "bytes */0", "bytes 0-16777215/16777216", "bytes 0-0/1", "bytes 0-0/*", "?"],
)
def test_an_empty_object_is_an_empty_file_whatever_range_a_server_tells(
    bad_proxy, fetch, s3_client, s3_bucket, content_range
):
    s3_client.put_object(Bucket=s3_bucket, Key="empty.mp4", Body=b"")
    assert fetch("empty.mp4").size_bytes == 0
    etag = s3_client.head_object(Bucket=s3_bucket, Key="empty.mp4")["ETag"]
    bad_proxy.always = partial(content_range, ETag=etag)
    assert fetch("empty.mp4").size_bytes == 0


@pytest.mark.parametrize("content_range", [None, "bytes 0-4/5", "bytes 0-4/*"])
def test_a_reply_without_bytes_is_no_empty_file_if_the_object_has_some(
    bad_proxy, fetch, s3_client, s3_bucket, content_range
):
    etag = s3_client.head_object(Bucket=s3_bucket, Key="a.mp4")["ETag"]
    bad_proxy.always = partial(content_range, ETag=etag)
    with pytest.raises(TransientError, match="storage_unreachable"):
        fetch("a.mp4")


@pytest.mark.parametrize("content_range", ["bytes 0-4/*"])
def test_an_object_whose_size_is_left_out_of_the_range_is_fetched_whole(bad_proxy, fetch, content_range):
    bad_proxy.always = renamed_range(content_range)
    assert fetch("a.mp4").path.read_bytes() == b"a.mp4"


@pytest.mark.parametrize("pays", [True, False])
def test_every_request_says_that_the_requester_pays_if_the_setting_says_so(
    bad_proxy, s3_client, s3_bucket, tmp_path, monkeypatch, pays
):
    monkeypatch.setenv("NIGHTREEL_S3_REQUESTER_PAYS", str(pays))
    s3_client.put_object(Bucket=s3_bucket, Key="a.mp4", Body=b"a.mp4")
    storage = open_storage(f"s3://{s3_bucket}", load_settings(), options=OPTIONS)
    ((item,),) = storage.list_pages()
    storage.fetch(item.uri, etag=item.etag, destination=tmp_path / "out", max_bytes=100)
    storage.publish("large", bytes(17 << 20))
    storage.check_writable()
    assert {method for method, *_ in bad_proxy.requests} == {"GET", "PUT", "POST", "HEAD", "DELETE"}
    for method, path, headers in bad_proxy.requests:
        told = {name.lower(): value for name, value in headers.items()}.get("x-amz-request-payer")
        assert told == ("requester" if pays else None), (method, path)


def test_a_refusal_mentions_the_setting_for_buckets_whose_requesters_pay(bad_proxy, storage):
    bad_proxy.listing = error(403, "AccessDenied")
    assert "NIGHTREEL_S3_REQUESTER_PAYS" in error_of(storage.check).detail


def test_the_start_of_an_object_is_read_with_one_request(bad_proxy, storage, s3_client, s3_bucket):
    s3_client.put_object(Bucket=s3_bucket, Key="empty.mp4", Body=b"")
    assert storage.read_start(f"s3://{s3_bucket}/a.mp4", most_bytes=3) == b"a.m"
    assert storage.read_start(f"s3://{s3_bucket}/a.mp4", most_bytes=300) == b"a.mp4"
    assert len(bad_proxy.served) == 2
    assert storage.read_start(f"s3://{s3_bucket}/empty.mp4", most_bytes=3) == b""
    assert error_of(lambda: storage.read_start(f"s3://{s3_bucket}/no.mp4", most_bytes=3)).reason is Reason.OBJECT_GONE


def test_a_part_of_an_object_is_read_and_another_version_is_refused(storage, s3_client, s3_bucket):
    uri = f"s3://{s3_bucket}/part.mp4"
    etag = s3_client.put_object(Bucket=s3_bucket, Key="part.mp4", Body=b"0123456789")["ETag"].strip('"')
    assert storage.read_part(uri, etag=etag, start=4, most_bytes=3) == b"456"
    assert storage.read_part(uri, etag=etag, start=8, most_bytes=30) == b"89"
    assert storage.read_part(uri, etag=None, start=20, most_bytes=3) == b""
    s3_client.put_object(Bucket=s3_bucket, Key="part.mp4", Body=b"another")
    with pytest.raises(TransientError, match="object_changed"):
        storage.read_part(uri, etag=etag, start=0, most_bytes=3)

"""Fetching through a network that drops, stalls, truncates and corrupts ends in the right bytes or a clear error."""

import hashlib
import os
import random
import signal
import time

import pytest
from fixtures.bad_proxy import corrupt, drop, good, renamed_range, replaced, stall, truncate

from nightreel.errors import PermanentError, TransientError
from nightreel.settings import load_settings
from nightreel.storage import TransferOptions, open_storage

PART = 256 << 10
OPTIONS = TransferOptions(part_bytes=PART, block_bytes=64 << 10, parallel=3, stall_s=0.5, attempts=4, backoff_s=0.01)
DATA = random.Random(1).randbytes(4 * PART + 12_345)
SLOW_DOWN = replaced(503, b"<Error><Code>SlowDown</Code><Message>slow down</Message></Error>")
LOGIN_PAGE = replaced(200, b"<html>Welcome to the hotel. Please log in.</html>")


@pytest.fixture
def storage(bad_proxy, s3_bucket, s3_client):
    s3_client.put_object(Bucket=s3_bucket, Key="a.mp4", Body=DATA)
    return open_storage(f"s3://{s3_bucket}", load_settings(), options=OPTIONS)


@pytest.fixture
def fetch(storage, tmp_path):
    ((item,),) = storage.list_pages()
    target = tmp_path / "target"
    target.mkdir()

    def fetch():
        try:
            return storage.fetch(item.uri, etag=item.etag, destination=target / "video", max_bytes=10**9)
        except Exception:
            assert list(target.iterdir()) == [], "a failed fetch left a file"
            raise

    return fetch


def outcome_of(operation):
    try:
        return operation()
    except TransientError as error:
        return error


def assert_right(fetched):
    assert fetched.path.read_bytes() == DATA
    assert fetched.size_bytes == len(DATA)
    assert fetched.content_sha256 == hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param([drop(0), drop(1), drop(100_000)], id="drops"),
        pytest.param([drop(200_000)] * 5, id="a drop in every range"),
        pytest.param([stall(0), stall(70_000)], id="stalls"),
        pytest.param([truncate(0), truncate(100_000), truncate(1)], id="truncations"),
        pytest.param([SLOW_DOWN, SLOW_DOWN, good, SLOW_DOWN], id="an overloaded server"),
        pytest.param([good, replaced(500), replaced(502, b"<html>bad gateway</html>")], id="gateway errors"),
        pytest.param([corrupt(77)], id="a flipped bit in the first range"),
        pytest.param([good, good, corrupt(PART - 1)], id="a flipped bit in a later range"),
        pytest.param([good, renamed_range(f"bytes 0-{PART - 1}/{len(DATA)}")], id="another range than asked for"),
    ],
)
def test_the_bytes_are_right_after_a_few_faults(fetch, bad_proxy, plan):
    bad_proxy.plan.extend(plan)
    assert_right(fetch())
    assert not bad_proxy.plan


def test_received_bytes_are_not_fetched_again(fetch, bad_proxy):
    bad_proxy.plan.append(drop(130_000))
    assert_right(fetch())
    resumed = [asked for asked, _, _ in bad_proxy.served if asked and int(asked[6:].split("-")[0]) % PART]
    assert len(resumed) == 1
    assert 64 << 10 <= int(resumed[0][6:].split("-")[0]) <= 130_000
    assert resumed[0].endswith(f"-{PART - 1}")


@pytest.mark.parametrize(
    ("always", "reason"),
    [
        pytest.param(drop(1000), "storage_unreachable", id="drop"),
        pytest.param(truncate(1000), "storage_unreachable", id="truncate"),
        pytest.param(SLOW_DOWN, "storage_unreachable", id="overloaded"),
        pytest.param(corrupt(0), "object_corrupt", id="corrupt"),
        pytest.param(LOGIN_PAGE, "storage_unreachable", id="login page"),
        pytest.param(replaced(302, Location="http://127.0.0.1:1/login"), "storage_unreachable", id="redirect"),
        pytest.param(replaced(403, b"<Error><Code>AccessDenied</Code></Error>"), "access_denied", id="denied"),
        pytest.param(renamed_range("bytes 5-9/10"), "storage_unreachable", id="wrong range"),
    ],
)
def test_a_lasting_fault_causes_a_clear_error_and_leaves_no_file(fetch, bad_proxy, always, reason):
    bad_proxy.always = always
    with pytest.raises((TransientError, PermanentError)) as caught:
        fetch()
    assert caught.value.reason == reason
    assert "a.mp4" in caught.value.detail


def test_a_server_that_stalls_forever_causes_a_transient_error(storage, fetch, bad_proxy):
    bad_proxy.always = stall(10)
    with pytest.raises(TransientError) as caught:
        fetch()
    assert caught.value.reason == "storage_unreachable"
    assert "a.mp4" in caught.value.detail


def test_an_interrupted_fetch_ends_quickly_and_leaves_no_file(bad_proxy, storage, s3_bucket, tmp_path):
    patient = open_storage(f"s3://{s3_bucket}", load_settings(), options=TransferOptions(stall_s=60))
    ((item,),) = patient.list_pages()
    bad_proxy.always = stall(10)

    class StopNowError(Exception):
        pass

    def interrupt(*_):
        raise StopNowError

    before = signal.signal(signal.SIGALRM, interrupt)
    started = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(StopNowError):
            patient.fetch(item.uri, etag=item.etag, destination=tmp_path / "video", max_bytes=10**9)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 20
    assert list(tmp_path.iterdir()) == []


def test_an_object_overwritten_during_a_fetch_is_refused(fetch, bad_proxy, s3_client, s3_bucket):
    def overwrite(answer):
        s3_client.put_object(Bucket=s3_bucket, Key="a.mp4", Body=DATA[::-1])
        return drop(1000)(answer)

    bad_proxy.plan.append(overwrite)
    with pytest.raises(TransientError) as caught:
        fetch()
    assert caught.value.reason == "object_changed"


def test_reading_features_survives_the_same_faults(storage, bad_proxy, s3_bucket):
    bad_proxy.plan.extend([drop(1000), truncate(5), SLOW_DOWN, stall(0)])
    assert storage.read(f"s3://{s3_bucket}/a.mp4") == DATA


@pytest.mark.parametrize("seed", range(3))
def test_any_mixture_of_faults_ends_in_the_right_bytes_or_a_clear_error(fetch, bad_proxy, seed):
    draw = random.Random(seed)
    faults = (drop, truncate, corrupt)
    bad_proxy.plan.extend(
        draw.choice(faults)(draw.randrange(12_000)) if draw.random() < 0.5 else good for _ in range(40)
    )
    outcome = outcome_of(fetch)
    if isinstance(outcome, TransientError):
        assert outcome.reason in ("storage_unreachable", "object_corrupt")
    else:
        assert_right(outcome)


# -- objects uploaded in parts -----------------------------------------------------------------------------------


def put_parts(client, bucket, sizes):
    body = os.urandom(sum(sizes))
    upload = {"Bucket": bucket, "Key": "parts/b.mp4"}
    upload["UploadId"] = client.create_multipart_upload(**upload)["UploadId"]
    parts, start = [], 0
    for number, size in enumerate(sizes, 1):
        answer = client.upload_part(**upload, PartNumber=number, Body=body[start : start + size])
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        start += size
    client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    return body


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([1 << 20, 1 << 20, 5], id="equal"),
        pytest.param([1_500_000, 1_100_000, 1_200_000], id="unequal"),
        pytest.param([1_100_000], id="one"),
    ],
)
def test_objects_uploaded_in_parts_are_verified_too(bad_proxy, s3_client, s3_bucket, tmp_path, sizes):
    body = put_parts(s3_client, s3_bucket, sizes)
    storage = open_storage(f"s3://{s3_bucket}/parts", load_settings(), options=OPTIONS)
    ((item,),) = storage.list_pages()
    assert item.etag.endswith(f"-{len(sizes)}")
    request = {"etag": item.etag, "destination": tmp_path / "out", "max_bytes": 10**9}
    assert storage.fetch(item.uri, **request).path.read_bytes() == body
    bad_proxy.plan.append(corrupt(3))
    assert storage.fetch(item.uri, **request).path.read_bytes() == body
    bad_proxy.always = corrupt(3)
    with pytest.raises(TransientError, match="object_corrupt"):
        storage.fetch(item.uri, **request)


def test_verification_can_be_turned_off_for_stores_with_other_etags(bad_proxy, fetch, s3_bucket, tmp_path, monkeypatch):
    bad_proxy.always = corrupt(0)
    with pytest.raises(TransientError, match="NIGHTREEL_S3_VERIFY_ETAGS=false"):
        fetch()
    monkeypatch.setenv("NIGHTREEL_S3_VERIFY_ETAGS", "false")
    storage = open_storage(f"s3://{s3_bucket}", load_settings(), options=OPTIONS)
    ((item,),) = storage.list_pages()
    fetched = storage.fetch(item.uri, etag=item.etag, destination=tmp_path / "out", max_bytes=10**9)
    assert fetched.size_bytes == len(DATA)

"""Keys that stop working in mid-run, and archived objects: no video is charged for what the source did."""

from __future__ import annotations

import pytest
from fixtures.bad_proxy import after, error, good
from fixtures.pipeline import make_clip
from sqlalchemy import text

from nightreel.errors import PermanentError

CLAIMED_OR_CHARGED = (
    "SELECT count(*) FROM nightreel.analyses WHERE status <> 'done' AND (attempts > 0 OR status <> 'pending')"
)


@pytest.fixture
def wild(make_pipeline, bad_proxy, s3_server, s3_bucket, tmp_path):
    """A pipeline over four clips, a video in a chunk; its requests pass the proxy, the tests' own do not."""
    client = s3_server.client()
    for seed in range(1, 5):
        path = make_clip(tmp_path / f"{seed}.mp4", seed)
        client.put_object(Bucket=s3_bucket, Key=f"videos/{seed}.mp4", Body=path.read_bytes())
    return make_pipeline(
        f"s3://{s3_bucket}/videos", NIGHTREEL_CHUNK_SEGMENTS="1", NIGHTREEL_S3_ENDPOINT_URL=bad_proxy.endpoint_url
    )


@pytest.mark.parametrize(("status", "code"), [(400, "ExpiredToken"), (403, "AccessDenied")])
def test_keys_that_stop_working_end_the_run_and_charge_no_video(wild, bad_proxy, status, code):
    bad_proxy.always = after(2, error(status, code))
    with pytest.raises(PermanentError, match="access_denied"):
        wild.analyze()
    assert wild.value("SELECT count(*) FROM nightreel.analyses WHERE status IN ('failed', 'quarantined')") == 0
    assert wild.value(CLAIMED_OR_CHARGED) == 0
    assert wild.value("SELECT status FROM nightreel.runs") == "failed"
    bad_proxy.always = good
    wild.analyze()
    assert wild.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'done'") == 4


def test_keys_that_expire_before_known_videos_are_decoded_again_charge_no_video(wild, bad_proxy, monkeypatch):
    assert wild.analyze().succeeded == 4
    with wild.database.begin() as connection:  # a model that asks again, with nothing in the cache
        connection.execute(text("DELETE FROM nightreel.answers"))
        connection.execute(text("DELETE FROM nightreel.features"))
        connection.execute(text("UPDATE nightreel.analyses SET status = 'pending', attempts = 0, run_id = NULL"))
    bad_proxy.always = error(400, "ExpiredToken")
    with pytest.raises(PermanentError, match="access_denied"):
        wild.analyze()
    assert wild.value(CLAIMED_OR_CHARGED) == 0


def test_one_refused_object_fails_alone(wild, bad_proxy, s3_client, s3_bucket):
    etag = s3_client.head_object(Bucket=s3_bucket, Key="videos/3.mp4")["ETag"]
    bad_proxy.always = lambda answer: error(403, "AccessDenied")(answer) if answer.header("etag") == etag else answer
    assert wild.analyze().videos == {"done": 3, "failed": 1}
    assert wild.statuses()["3.mp4"] == ("failed", "object_denied")


def test_an_archived_object_has_its_own_reason_and_comes_back_when_it_is_restored(
    wild, bad_proxy, s3_client, s3_bucket
):
    etag = s3_client.head_object(Bucket=s3_bucket, Key="videos/3.mp4")["ETag"]
    bad_proxy.always = lambda answer: (
        error(403, "InvalidObjectState")(answer) if answer.header("etag") == etag else answer
    )
    assert wild.analyze().videos == {"done": 3, "failed": 1}
    assert wild.statuses()["3.mp4"] == ("failed", "archived")
    bad_proxy.always = good
    assert wild.analyze().videos == {"done": 1}
    assert wild.statuses()["3.mp4"][0] == "done"

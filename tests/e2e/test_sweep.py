"""The weekly sweep on real parts: gone, changed and returned objects, in the database and in Prefect."""

from __future__ import annotations

import gc
from uuid import UUID

import pytest
from fixtures.pipeline import Pipeline, make_clip
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.exceptions import ParameterTypeError

from flows.sweep_videos import sweep_videos
from nightreel.database.discovery import PageCounts
from nightreel.domain import StoredObject
from nightreel.errors import PermanentError
from nightreel.options import SweepOptions
from nightreel.orchestration.runs import Caller, caller
from nightreel.settings import load_settings
from nightreel.stages import sweep as stage
from nightreel.stages.summary import SweepSummary


def sweep(pipeline: Pipeline, **options) -> SweepSummary:
    told: list[SweepSummary] = []
    token = caller.set(Caller(settings=load_settings(), on_progress=told.append))
    try:
        state = sweep_videos(SweepOptions(source=pipeline.source, **options), return_state=True)
    finally:
        caller.reset(token)
    if state.is_failed():
        raise state.result(raise_on_failure=False)
    assert state.message == told[-1].headline
    return told[-1]


def gone(pipeline: Pipeline) -> list[str]:
    rows = pipeline.rows("SELECT uri FROM reporting.videos WHERE gone_at IS NOT NULL ORDER BY uri")
    return [row.uri.rsplit("/", 1)[1] for row in rows]


def test_a_sweep_of_a_directory_finds_gone_objects_that_a_night_misses(pipeline, clips):
    assert pipeline.analyze(limit=2).videos == {"done": 2}
    (clips / "2.mp4").unlink()
    (clips / "3.mp4").rename(clips / "away")
    make_clip(clips / "1.mp4", 9)
    summary = sweep(pipeline)
    assert summary.listing == PageCounts(listed=2, filtered=1, changed=1, gone=2)
    assert gone(pipeline) == ["2.mp4", "3.mp4"]
    assert pipeline.value("SELECT count(*) FROM nightreel.videos WHERE replaced_at IS NOT NULL") == 1

    flow_run = UUID(pipeline.value("SELECT flow_run_id FROM nightreel.runs WHERE counts ->> 'headline' ~ 'gone'"))
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                key=ArtifactFilterKey(any_=["sweep-videos"]), flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run])
            )
        )
    assert artifact.data.startswith("# 2 objects listed: 0 new, 1 changed, 0 back, 2 gone")
    assert "| gone | 2 |" in artifact.data

    assert pipeline.analyze().videos == {"done": 1}, "only the changed object is due; the gone ones were never claimed"
    (clips / "away").rename(clips / "3.mp4")
    assert sweep(pipeline).listing == PageCounts(listed=2, known=2, back=1)
    assert gone(pipeline) == ["2.mp4"]
    assert pipeline.analyze().videos == {"done": 1}


def test_a_sweep_of_a_bucket_finds_the_same(make_pipeline, s3_bucket, s3_client, tmp_path):
    def put(name: str, seed: int) -> None:
        body = make_clip(tmp_path / "clip.mp4", seed).read_bytes()
        s3_client.put_object(Bucket=s3_bucket, Key=f"videos/{name}", Body=body)

    for seed, name in enumerate(("a.mp4", "b c+%41é.mp4", "c.mp4")):
        put(name, seed + 1)
    s3_client.put_object(Bucket=s3_bucket, Key="videos2/z.mp4", Body=b"another source's")
    pipeline = make_pipeline(f"s3://{s3_bucket}/videos", NIGHTREEL_PAGE_SIZE="2")
    assert sweep(pipeline).listing == PageCounts(listed=3, new=3)
    assert pipeline.analyze(limit=1).videos == {"done": 1}
    for name in ("b c+%41é.mp4", "c.mp4"):
        s3_client.delete_object(Bucket=s3_bucket, Key=f"videos/{name}")
    assert sweep(pipeline).listing == PageCounts(listed=1, known=1, gone=2)
    assert gone(pipeline) == ["b c+%41é.mp4", "c.mp4"]
    assert pipeline.analyze().videos == {}
    put("b c+%41é.mp4", 2)
    put("c.mp4", 8)
    assert sweep(pipeline).listing == PageCounts(listed=3, known=2, back=1, changed=1)
    assert gone(pipeline) == []
    assert pipeline.analyze().videos == {"done": 2}


def test_a_sweep_claims_no_video_and_loads_no_model(pipeline):
    summary = sweep(pipeline)
    assert summary.listing == PageCounts(listed=3, new=3)
    assert pipeline.rows("SELECT status, environment -> 'cuda' FROM nightreel.runs") == [("completed", None)]
    assert pipeline.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'pending' AND attempts = 0") == 3
    assert sweep(pipeline, since="2100-01-01").listing == PageCounts(listed=3, filtered=3)


def test_an_emptied_source_fails_the_flow_and_the_error_names_the_option_to_confirm(pipeline, clips):
    pipeline.analyze(limit=1)
    for path in clips.iterdir():
        path.unlink()
    with pytest.raises(PermanentError, match=r"source_empty.*may_be_empty"):
        sweep(pipeline)
    assert gone(pipeline) == []
    row = pipeline.rows("SELECT status, error FROM reporting.runs ORDER BY run_id DESC LIMIT 1")[0]
    assert row.status == "failed"
    assert "source_empty" in row.error
    assert sweep(pipeline, may_be_empty=True).listing == PageCounts(gone=3)
    assert gone(pipeline) == ["1.mp4", "2.mp4", "3.mp4"]


def test_8000_objects_are_swept_in_bounded_memory(make_pipeline, s3_bucket, s3_server, s3_client, monkeypatch):
    monkeypatch.setattr(stage, "_PAGES", 1)  # report every page
    s3_server.fill(s3_bucket, 8_000)
    pipeline = make_pipeline(f"s3://{s3_bucket}/clips", NIGHTREEL_CHUNK_SEGMENTS="1024")
    held: list[int] = []

    def count(_: SweepSummary) -> None:
        gc.collect()
        held.append(sum(type(item) is StoredObject for item in gc.get_objects()))

    token = caller.set(Caller(settings=load_settings(), on_progress=count))
    try:
        sweep_videos(SweepOptions(source=pipeline.source))
    finally:
        caller.reset(token)
    assert pipeline.value("SELECT count(*) FROM nightreel.videos") == 8_000
    assert 0 < max(held) <= 3000, "the current page and the next one, a thousand objects each"
    s3_client.delete_object(Bucket=s3_bucket, Key="clips/000001234.mp4")
    summary = sweep(pipeline)
    assert summary.listing == PageCounts(listed=7_999, known=7_999, gone=1)
    assert gone(pipeline) == ["000001234.mp4"]


def test_the_options_are_checked_on_submission():
    with pytest.raises(ParameterTypeError, match="until"):
        sweep_videos.validate_parameters({"options": {"since": "2026-02-02", "until": "2026-01-01"}})
    properties = sweep_videos.parameters.model_dump()["definitions"]["SweepOptions"]["properties"]
    assert properties["may_be_empty"]["title"] == "May be empty"

"""A night over an inventory finds the same as a night over the listing; known objects outrank an old inventory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from fixtures.inventories import CSV, PARQUET, Inventories
from fixtures.pipeline import make_clip

from nightreel.database.backfill_work import Totals
from nightreel.options import AnalyzeOptions, settings_for
from nightreel.stages.backfill import list_backfill

NAMES = ("a.mp4", "b c+%41é.mp4", "c.mp4")


@pytest.fixture
def put(inventories: Inventories, tmp_path):
    """`put(name, seed)`: upload a clip."""

    def upload(name: str, seed: int) -> None:
        body = make_clip(tmp_path / "clip.mp4", seed).read_bytes()
        inventories.client.put_object(Bucket=inventories.source, Key=f"videos/{name}", Body=body)

    for seed, name in enumerate(NAMES):
        upload(name, seed + 1)
    inventories.client.put_object(Bucket=inventories.source, Key="videos2/z.mp4", Body=b"another source's")
    return upload


def dated(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H-%MZ")


@pytest.mark.parametrize("form", [CSV, PARQUET])
def test_a_night_and_a_plan_over_an_inventory_find_the_listed_objects(make_pipeline, inventories, put, form):
    source = f"s3://{inventories.source}/videos"
    listed = make_pipeline(source)
    with list_backfill(
        AnalyzeOptions(source=source), settings_for(AnalyzeOptions(source=source)), database=listed.database
    ) as found:
        by_listing: Totals = found.estimate().totals
    rows = inventories.listed()
    inventories.write(rows[2:], rows[:2], form=form)
    pipeline = make_pipeline(source, NIGHTREEL_INVENTORY=inventories.url)
    with list_backfill(
        AnalyzeOptions(source=source), settings_for(AnalyzeOptions(source=source)), database=pipeline.database
    ) as found:
        assert found.estimate().totals == by_listing
    assert by_listing.videos == 3
    summary = pipeline.analyze()
    assert (summary.videos, summary.listing.listed) == ({"done": 3}, 3)
    assert set(pipeline.statuses()) == set(NAMES)


def test_objects_newer_than_the_inventory_wait_for_the_next_one_and_known_versions_stay(
    make_pipeline, inventories, put
):
    source = f"s3://{inventories.source}/videos"
    before = datetime.now(UTC) - timedelta(hours=6)
    inventories.write(inventories.listed(), date=dated(before))
    put("a.mp4", 7)
    put("new.mp4", 8)
    assert make_pipeline(source).analyze(limit=1).videos == {"done": 1}, "a listing has found the new a.mp4"
    pipeline = make_pipeline(source, NIGHTREEL_INVENTORY=inventories.url)
    pipeline.analyze()
    versions = "SELECT count(*) FROM nightreel.videos WHERE uri LIKE '%/a.mp4'"
    assert pipeline.value(versions) == 1, "the old version of a.mp4 does not count as new"
    inventories.write(inventories.listed(), date=dated(datetime.now(UTC)))
    pipeline.analyze()
    assert set(pipeline.statuses()) == {*NAMES, "new.mp4"}
    assert {status for status, _ in pipeline.statuses().values()} == {"done"}

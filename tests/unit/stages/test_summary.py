import json
from collections import Counter
from typing import Any

from nightreel.database.discovery import PageCounts
from nightreel.database.nights import Helper
from nightreel.database.runs import PastRun
from nightreel.domain import ChunkCounts, EndedVideo, VerdictState, VideoEnd
from nightreel.reasons import Reason
from nightreel.stages.run_report import run_report
from nightreel.stages.summary import RunSummary


def counts(
    *, answered: int = 0, segments: int = 0, reasons: dict[Reason, int] | None = None, **videos: int
) -> ChunkCounts:
    ends = [VideoEnd(end) for end, count in videos.items() for _ in range(count)]
    return ChunkCounts(
        videos=Counter(ends),
        reasons=Counter(reasons or {}),
        segments=segments,
        verdicts=Counter({("set", VerdictState.ANSWERED): answered}),
        ended=tuple(EndedVideo(analysis_id=n, uri=f"file:///v/{n}.mp4", end=end) for n, end in enumerate(ends)),
    )


def summary(**chunk: Any) -> RunSummary:
    made = RunSummary(run_id=2, source="file:///v", model="m", listing=PageCounts(listed=5, known=2, new=3))
    made.recipe_id = 1
    made.add(counts(**chunk))
    return made


def test_a_run_is_green_by_its_videos():
    assert summary(done=13, failed=2).is_green
    assert not summary(done=2, failed=13).is_green
    assert not summary(reused=1, quarantined=9).is_green
    assert not summary(failed=1).is_green
    assert summary().is_green


def test_counts_of_chunks_add_up_and_can_be_serialised_as_json():
    made = summary(done=1, answered=3, segments=1)
    made.add(counts(done=2, failed=1, segments=2, reasons={Reason.NO_INDEX: 1}))
    values = json.loads(json.dumps(made.to_json()))
    assert values["videos"] == {"done": 3, "failed": 1}
    assert values["new_videos"] == {"succeeded": 3, "failed": 1}
    assert values["segments"] == 3
    assert values["headline"] == "3 done, 0 reused, 1 failed; 3 segments, 3 answers"
    assert "| no_index | 1 |" in run_report(made)


def test_the_artifact_has_the_slowest_stages_and_the_most_frequent_reasons_first():
    made = summary(failed=6, reasons={Reason.NO_INDEX: 1, Reason.DAMAGED: 5})
    made.timings = {"cache": 1.0, "decode": 10.0, "model": 30.0, "overlap": 9.0, "overhead": 1.0, "total": 40.0}
    rows = [line for line in run_report(made).splitlines() if line.startswith("| ")]
    order = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    assert [name for name in order if name in ("damaged", "no_index")] == ["damaged", "no_index"]
    stages = [name for name in order if name in made.timings]
    assert stages == ["model", "decode", "cache", "total", "overlap", "overhead"]
    assert "| model | 30.0 (75%) |" in rows


def failed(uri: str, detail: str, *, before: bool = False) -> EndedVideo:
    return EndedVideo(
        analysis_id=1, uri=uri, end=VideoEnd.FAILED, reason=Reason.NO_INDEX, detail=detail, failed_before=before
    )


def test_the_artifact_lists_failed_videos_by_name_and_reason():
    made = summary(done=1)
    made.tally.add([failed("file:///v/day%201/a.mp4", "no moov"), failed("file:///v/b.mp4", "cut off", before=True)])
    report = run_report(made)
    assert "| `day 1/a.mp4` | no_index | `no moov` |" in report
    assert "| `b.mp4` | no_index (it failed before) | `cut off` |" in report


def test_names_and_messages_cannot_break_the_artifact():
    made = summary()
    hostile = "a`|<img src=x>\n# done\x1b[31m" + "x" * 500
    made.tally.add([failed(f"s3://b/{hostile}", hostile)])
    (row,) = [line for line in run_report(made).splitlines() if "no_index" in line]
    assert "<img" in row
    assert row.count("`") == 4, "both cells are code"
    assert row.replace(r"\|", "").count("|") == 4
    assert len(row) < 400
    assert row.isprintable()


def test_the_artifact_has_the_cost_in_seconds_and_dollars():
    made = summary(done=4)
    made.timings = {"total": 3700.0, "lease": 100.0}
    assert "unknown: set `NIGHTREEL_GPU_DOLLARS_PER_HOUR`" in run_report(made)
    made.dollars_per_hour = 2.5
    report = run_report(made)
    assert "| dollars | 2.5000 |" in report, "the wait for memory costs nothing"
    assert "| seconds per video | 900.0 |" in report
    assert made.to_json()["cost"] == {"seconds": 3600.0, "dollars": 2.5}


def test_the_artifact_says_what_changed_since_the_run_before():
    earlier = summary(done=3, failed=1, reasons={Reason.NO_INDEX: 1})
    made = summary(done=3, failed=2, reasons={Reason.NO_INDEX: 1, Reason.DAMAGED: 1})
    made.before = PastRun(
        run_id=1,
        name="night 2026-11-25",
        status="completed",
        recipe_id=7,
        model="m",
        version="0.1",
        counts=json.loads(json.dumps(earlier.to_json())),
    )
    report = run_report(made)
    section = report[report.index("| changed since") :].partition("\n\n")[0]
    assert section.startswith("| changed since the run before | this run | run 1, `night 2026-11-25` |")
    assert "| recipe | 1 | 7 |" in section
    assert "| failed: damaged | 1 | 0 |" in section
    assert "| videos failed | 2 | 1 |" in section
    assert "no_index" not in section, "it did not change"
    assert "| model |" not in section


def test_the_headline_of_a_run_without_new_videos_shows_listed_objects():
    assert summary().headline == "nothing new: 5 objects listed, 2 known"


def test_partly_done_videos_and_seconds_that_were_not_seen_are_reported():
    told = summary(done=1)
    told.add(
        ChunkCounts(
            videos=Counter({VideoEnd.PARTLY_DONE: 1}),
            partly_done=Counter({Reason.DAMAGED: 1}),
            covered_s=90.0,
            expected_s=120.0,
            little_seen=1,
        )
    )
    assert told.headline.startswith("1 done, 1 partly done, 0 reused, 0 failed")
    assert (told.is_green, told.succeeded) == (True, 2)
    assert told.coverage == 'saw 90 of 120 s of the answered videos; too little of 1 video for a "no"'
    assert told.coverage in run_report(told)
    assert "| damaged | 1 |" in run_report(told)
    assert told.to_json()["partly_done"] == {"damaged": 1}


def test_a_run_that_saw_everything_says_nothing_about_coverage():
    told = summary(done=1)
    told.add(ChunkCounts(covered_s=0.3, expected_s=0.1 + 0.2))
    assert told.coverage is None


def test_the_artifact_of_a_night_shows_what_each_device_did():
    made = summary(done=3, segments=3)
    made.device, made.timings = "gpu-mem-a-GPU-1", {"total": 20.0, "lease": 5.0}
    done = {"videos": {"done": 2}, "segments": 4, "device": "gpu-mem-b-GPU-2"}
    lost = {"videos": {"done": 1}, "segments": 1}
    for run_id, status, counts, timings in ((3, "completed", done, {"total": 9.0}), (4, "crashed", lost, {})):
        made.add_helper(
            Helper(
                run_id=run_id,
                flow_run_id=None,
                status=status,
                counts=counts,
                timings=timings,
                error=None,
            )
        )
    rows = run_report(made).splitlines()
    start = rows.index("| run | device | ended | segments | seconds |")
    assert rows[start + 2 : start + 5] == [
        "| this run | `gpu-mem-a-GPU-1` |  | 3 | 15.0 |",
        "| run 3 | `gpu-mem-b-GPU-2` | completed | 4 | 9.0 |",
        "| run 4 |  | crashed | 1 | 0.0 |",
    ]

import json
from collections import Counter
from typing import Any

from nightreel.database.discovery import PageCounts
from nightreel.domain import AnswerState, ChunkCounts, VideoEnd
from nightreel.reasons import Reason
from nightreel.stages.summary import RunSummary


def counts(
    *, answered: int = 0, segments: int = 0, reasons: dict[Reason, int] | None = None, **videos: int
) -> ChunkCounts:
    return ChunkCounts(
        videos=Counter({VideoEnd(end): count for end, count in videos.items()}),
        reasons=Counter(reasons or {}),
        segments=segments,
        answers=Counter({AnswerState.ANSWERED: answered}),
    )


def summary(**chunk: Any) -> RunSummary:
    made = RunSummary(run_id=1, source="file:///v", model="m", listing=PageCounts(listed=5, known=2, new=3))
    made.add(counts(**chunk))
    return made


def test_a_run_in_which_every_video_failed_is_not_green():
    assert summary(done=1, failed=9).is_green
    assert summary(reused=1, quarantined=9).is_green
    assert not summary(failed=1).is_green
    assert summary().is_green


def test_counts_of_chunks_add_up_and_can_be_serialised_as_json():
    made = summary(done=1, answered=3, segments=1)
    made.add(counts(done=2, failed=1, segments=2, reasons={Reason.NO_INDEX: 1}))
    values = json.loads(json.dumps(made.to_json()))
    assert values["videos"] == {"done": 3, "failed": 1}
    assert values["segments"] == 3
    assert values["headline"] == "3 done, 0 reused, 1 failed; 3 segments, 3 answers"
    assert "| no_index | 1 |" in made.markdown()


def test_the_artifact_has_the_slowest_stages_and_the_most_frequent_reasons_first():
    made = summary(failed=6, reasons={Reason.NO_INDEX: 1, Reason.DAMAGED: 5})
    made.timings = {"cache": 1.0, "decode": 10.0, "model": 30.0, "overlap": 9.0, "overhead": 1.0, "total": 40.0}
    rows = [line for line in made.markdown().splitlines() if line.startswith("| ")]
    order = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    assert [name for name in order if name in ("damaged", "no_index")] == ["damaged", "no_index"]
    stages = [name for name in order if name in made.timings]
    assert stages == ["model", "decode", "cache", "total", "overlap", "overhead"]
    assert "| model | 30.0 (75%) |" in rows


def test_the_headline_of_a_run_without_new_videos_shows_listed_objects():
    assert summary().headline == "nothing new: 5 objects listed, 2 known"

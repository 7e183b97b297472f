import json

from nightreel.discovery import PageCounts
from tasks.summary import RunSummary


def summary(**counts: int) -> RunSummary:
    made = RunSummary(run_id=1, source="file:///v", model="m", listing=PageCounts(listed=5, known=2, new=3))
    made.add(counts)
    return made


def test_a_run_in_which_every_video_failed_is_not_green():
    assert summary(**{"videos.done": 1, "videos.failed": 9}).is_green
    assert summary(**{"videos.reused": 1, "videos.quarantined": 9}).is_green
    assert not summary(**{"videos.failed": 1}).is_green
    assert summary().is_green


def test_counts_of_chunks_add_up_and_travel_as_json():
    made = summary(**{"videos.done": 1, "answers.answered": 3, "segments": 1})
    made.add({"videos.done": 2, "reasons.no_index": 1, "videos.failed": 1, "segments": 2})
    values = json.loads(json.dumps(made.to_json()))
    assert values["videos"] == {"done": 3, "failed": 1}
    assert values["segments"] == 3
    assert values["headline"] == "3 done, 0 reused, 1 failed; 3 segments, 3 answers"
    assert "| no_index | 1 |" in made.markdown()


def test_nothing_new_says_what_was_looked_at():
    assert summary().headline == "nothing new: 5 objects listed, 2 known"

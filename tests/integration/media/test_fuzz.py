"""A mutated video ends with frames or with a reason; `make fuzz` tries thousands."""

import random

import pytest
from fuzzing import media
from fuzzing.media import Fuzz, generated_sources
from fuzzing.mutations import MUTATIONS, mutate

from nightreel.errors import PermanentError
from nightreel.media.probe import MediaLimits
from nightreel.media.sandbox import DecoderPool
from nightreel.reasons import Reason
from nightreel.settings import Settings

RUNS = 100
# One of each demuxer and, in MP4 and Matroska, of each decoder; small, so that a hundred take seconds.
FORMATS = (
    "h264_b_frames_mov", "h264_no_b_frames_mp4", "h264_fragmented_mp4", "hevc_mp4", "av1_mp4", "mpeg4_mp4", "h264_mkv",
    "vp8_webm", "vp9_webm", "h264_flv", "h264_ts", "mpeg2_mpg", "mpeg4_b_frames_avi", "mjpeg_avi", "theora_ogv",
    "wmv2_wmv", "gif",
)  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return generated_sources(tmp_path_factory.mktemp("sources"), FORMATS)


@pytest.fixture(scope="module")
def pool():
    limits = MediaLimits.from_settings(Settings(gif=True))
    with DecoderPool(limits=limits, workers=1, timeout_s=60) as pool:
        yield pool


def test_every_mutated_video_ends_with_frames_or_with_a_reason(pool, sources, tmp_path):
    fuzz = Fuzz(pool, sources, good=sources[0], keep=tmp_path)
    outcomes = [fuzz.try_seed(seed) for seed in range(RUNS)]
    problems = [outcome for outcome in outcomes if outcome.problem]
    assert not problems
    assert len({outcome.what for outcome in outcomes}) > 4  # frames, and several reasons
    assert not list(tmp_path.iterdir())


def test_a_seed_makes_the_same_file_each_time_and_all_mutations_occur(sources):
    content, other = sources[0].read_bytes(), sources[-1].read_bytes()
    made = [mutate(content, other, seed) for seed in range(200)]
    assert made[:20] == [mutate(content, other, seed) for seed in range(20)]
    assert sum(file != content for file, _ in made) > 180
    assert {name for _, names in made for name in names.split(", ")} == {way.__name__ for way in MUTATIONS}


@pytest.mark.parametrize("way", MUTATIONS)
@pytest.mark.parametrize("content", [b"", b"x", b"moov"])
def test_mutations_accept_files_of_any_size(way, content):
    for seed in range(20):
        for other in (b"", b"other"):
            assert isinstance(way(content, other, random.Random(seed)), bytes)


class _FaultyPool:
    """A pool that answers each probe with the next of `errors`."""

    def __init__(self, *errors):
        self._errors = list(errors)

    def probe(self, path):
        error = self._errors.pop(0)
        error.detail = getattr(error, "detail", "").replace("FILE", path.name)
        raise error


@pytest.mark.parametrize(
    ("errors", "problem"),
    [
        ([PermanentError(Reason.DECODER_FAILED, "KeyError: 'a'")], "decoder_failed: KeyError"),
        ([PermanentError(Reason.DECODE_TIMEOUT, "FILE: no reply")], "decode_timeout"),
        ([ZeroDivisionError("by zero")], "ZeroDivisionError: by zero"),
        ([PermanentError(Reason.DAMAGED, "no frame")], "names the file 0 times"),
        ([PermanentError(Reason.DECODER_CRASHED, "FILE crashed"), PermanentError(Reason.DAMAGED, "FILE is bad")],
         "afterwards the pool answers damaged to a valid video"),
    ],
)  # fmt: skip
def test_a_problem_is_reported_with_its_seed_and_the_file_is_kept(sources, tmp_path, errors, problem):
    outcome = Fuzz(_FaultyPool(*errors), sources, good=sources[0], keep=tmp_path).try_seed(7)
    (kept,) = tmp_path.iterdir()
    assert problem in outcome.problem
    assert str(kept) in outcome.problem
    assert kept.name.startswith("7_")


def test_the_command_prints_how_to_see_a_problem_again_and_fails(sources, tmp_path, capsys, monkeypatch):
    arguments = ["--runs", "1", "--seed", "7", "--directory", str(sources[0].parent), "--build", str(tmp_path)]
    assert media.main(arguments) == 0
    monkeypatch.setattr(media, "_OUR_FAULT", frozenset(Reason))
    monkeypatch.setattr(Fuzz, "_try", lambda *_: ("damaged", "something broke"))
    assert media.main(arguments) == 1
    assert f"make fuzz SEED=7 RUNS=1 DIR={sources[0].parent}" in capsys.readouterr().out

"""A file that cannot be analysed gets the reason that a person can act on, whatever its container."""

from functools import cache

import numpy as np
import pytest
from fixtures.clips import encode_numbers
from fixtures.encrypted import (
    ASF_EXTENDED_ENCRYPTION,
    ENCRYPTED,
    NOT_ENCRYPTED,
    asf_with,
    element,
    elements_of,
    scrambled_ts,
)
from fixtures.formats import FORMATS
from fixtures.fragment_layouts import LAYOUTS
from fixtures.fragments import boxes_of, write_fragments

from nightreel.domain import SamplingPlan
from nightreel.errors import PermanentError, TransientError
from nightreel.media.probe import MediaLimits
from nightreel.media.sampling import segments
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings

PLAN = SamplingPlan.parse("uniform:8")


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(limits=MediaLimits.from_settings(Settings()), workers=1, timeout_s=60) as pool:
        yield pool


@pytest.fixture(scope="module")
def clip_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return cache(lambda name: FORMATS[name](folder / name).path)


def _look(pool, path):
    probe = pool.probe(path)
    return pool.decode(path, probe=probe, plan=PLAN, segment=segments(probe.duration_s, 30)[0])


def _refused(pool, path):
    with pytest.raises(PermanentError) as caught:
        _look(pool, path)
    assert caught.value.detail.count(path.name) == 1, caught.value.detail
    return caught.value


def _outcome(pool, path):
    """("frames", "") or the reason and the message of the refusal."""
    try:
        _look(pool, path)
    except PermanentError as error:
        return str(error.reason), error.detail
    return "frames", ""


# -- encryption --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENCRYPTED)
def test_encrypted_video_of_any_container_is_encrypted_and_not_damaged(pool, clip_of, tmp_path, name):
    clip, change = ENCRYPTED[name]
    path = tmp_path / name
    path.write_bytes(change(clip_of(clip), tmp_path / f"made{path.suffix}"))
    assert _refused(pool, path).reason == "encrypted"


@pytest.mark.parametrize("name", NOT_ENCRYPTED)
def test_a_file_whose_video_is_in_the_clear_is_decoded(pool, clip_of, tmp_path, name):
    clip, change = NOT_ENCRYPTED[name]
    path = tmp_path / name
    path.write_bytes(change(clip_of(clip), tmp_path / f"made{path.suffix}"))
    assert not any(_look(pool, path).flags)


@pytest.mark.clips
def test_real_encrypted_clips_are_encrypted(pool, real_clips):
    for path in (
        real_clips.parent / "field" / "real_subsample_encrypted.webm",
        real_clips / "bad" / "ax_sample_fragmented_widevine.mp4",
    ):
        assert _refused(pool, path).reason == "encrypted"


def test_a_recording_that_begins_scrambled_is_not_encrypted(pool, clip_of, tmp_path):
    path = tmp_path / "card_inserted_late.ts"
    path.write_bytes(scrambled_ts(clip_of("h264_ts").read_bytes(), share=0.2))
    reason, _ = _outcome(pool, path)
    assert reason in {"damaged", "frames"}  # its good segments may be answered


@pytest.mark.parametrize("size", [24, 2**40, 2**62, 2**64 - 1])
def test_an_asf_object_of_any_size_is_no_error_of_the_reader(pool, clip_of, tmp_path, size):
    content = asf_with(clip_of("wmv2_wmv").read_bytes(), ASF_EXTENDED_ENCRYPTION)
    path = tmp_path / "video.wmv"
    path.write_bytes(content[:46] + size.to_bytes(8, "little") + content[54:])
    assert _refused(pool, path).reason in {"encrypted", "unreadable"}


# -- parts of a stream -------------------------------------------------------------------------------------------


def _fragments(clip, path):
    write_fragments(path, clip, LAYOUTS["segment_index_several_runs"])
    return list(boxes_of(path.read_bytes()))


def _joined(boxes, kinds):
    return b"".join((len(data) + 8).to_bytes(4, "big") + kind + data for kind, data in boxes if kind in kinds)


_STYP = b"\0\0\0\x18stypmsdh\0\0\0\0msdhmsix"
MEDIA_SEGMENTS = {
    "after_its_ftyp.mp4": lambda boxes, _: _joined(boxes, {b"ftyp", b"moof", b"mdat"}),
    "dash.m4s": lambda boxes, _: _STYP + _joined(boxes, {b"sidx", b"moof", b"mdat"}),
    "bare.mp4": lambda boxes, _: _joined(boxes, {b"moof", b"mdat"}),
    "cut_off.m4s": lambda boxes, _: (_STYP + _joined(boxes, {b"sidx", b"moof", b"mdat"}))[:60],
    "cluster.webm": lambda _, webm: webm[webm.index(b"\x1f\x43\xb6\x75") :],
    "without_tracks.webm": lambda _, webm: _without_tracks(webm),
}


def _without_tracks(webm):
    (head_id, head), (segment_id, segment) = elements_of(webm)
    parts = [element(element_id, payload) for element_id, payload in elements_of(segment) if element_id == "1f43b675"]
    return element(head_id, head) + element(segment_id, *parts)


@pytest.mark.parametrize("name", MEDIA_SEGMENTS)
def test_a_media_segment_names_the_init_segment_that_is_missing(pool, clip_of, tmp_path, name):
    boxes = _fragments(clip_of("h264_no_b_frames_mp4"), tmp_path / "whole.mp4")
    path = tmp_path / name
    path.write_bytes(MEDIA_SEGMENTS[name](boxes, clip_of("vp9_webm").read_bytes()))
    error = _refused(pool, path)
    assert error.reason == "init_segment_missing"
    assert "init segment" in error.detail


@pytest.mark.clips
def test_a_real_media_segment_names_the_init_segment_that_is_missing(pool, real_clips):
    path = real_clips.parent / "field" / "media_segment_only.mp4"
    assert _refused(pool, path).reason == "init_segment_missing"


def test_an_init_segment_alone_says_that_media_segments_are_missing(pool, clip_of, tmp_path):
    boxes = _fragments(clip_of("h264_no_b_frames_mp4"), tmp_path / "whole.mp4")
    path = tmp_path / "init.mp4"
    path.write_bytes(_joined(boxes, {b"ftyp", b"moov"}))
    error = _refused(pool, path)
    assert error.reason == "media_data_missing"
    assert "media segment (moof)" in error.detail


def _emptied(content, kind, count_at):
    """`content` with the entry count of each box of this type set to 0."""
    made, at = bytearray(content), content.find(kind)
    while at >= 0:
        made[at + 4 + count_at : at + 8 + count_at] = bytes(4)
        at = content.find(kind, at + 4)
    return bytes(made)


@pytest.mark.parametrize(("boxes", "promise"), [
    ({b"stco": 4}, "100 frames"), ({b"stsc": 4}, "100 frames"), ({b"stsz": 8}, "100 frames"), ({b"stts": 4}, "frames"),
    ({b"stsz": 8, b"stts": 4, b"stsc": 4, b"stco": 4, b"stss": 4, b"ctts": 4}, "4 s"),
])  # fmt: skip
def test_an_empty_sample_table_says_what_the_file_promised(pool, clip_of, tmp_path, boxes, promise):
    content = clip_of("h264_no_b_frames_mp4").read_bytes()
    for kind, count_at in boxes.items():
        content = _emptied(content, kind, count_at)
    path = tmp_path / "emptied.mp4"
    path.write_bytes(content)
    error = _refused(pool, path)
    assert error.reason in {"media_data_missing", "no_frames"}
    assert promise in error.detail


# -- damaged containers ------------------------------------------------------------------------------------------

CONTAINERS = {
    "theora_ogv": "Ogg",
    "h264_mkv": "Matroska",
    "vp9_webm": "Matroska",
    "mpeg4_avi": "AVI",
    "wmv2_wmv": "ASF",
    "h264_flv": "FLV",
    "mpeg2_mpg": "MPEG program stream",
    "h264_ts": "MPEG transport stream",
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_file_cut_off_near_its_start_is_a_damaged_file_of_its_format(pool, clip_of, tmp_path, name):
    content = clip_of(name).read_bytes()
    first = 1000 if name == "h264_ts" else 16
    outcomes = []
    for size in np.geomspace(first, len(content) / 2, 15).astype(int).tolist():
        path = tmp_path / f"cut_{size}{clip_of(name).suffix}"
        path.write_bytes(content[:size])
        outcomes.append(_outcome(pool, path))
    assert {reason for reason, _ in outcomes} <= {"frames", "unreadable", "no_frames", "damaged", "no_video_stream"}
    for detail in (detail for reason, detail in outcomes if reason == "unreadable"):
        assert f"is a damaged {CONTAINERS[name]}" in detail


@pytest.mark.parametrize("size", [100, 1000, 3000])
def test_a_truncated_ogg_is_a_damaged_ogg(pool, clip_of, tmp_path, size):
    path = tmp_path / "truncated.ogv"
    path.write_bytes(clip_of("theora_ogv").read_bytes()[:size])
    error = _refused(pool, path)
    assert error.reason == "unreadable", error
    assert "damaged Ogg" in error.detail


# -- images ------------------------------------------------------------------------------------------------------


def _jpegs(folder, *, count=5, width=160, height=96):
    path = folder / f"{width}.mjpeg"
    encode_numbers(path, range(count), "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-f", "mjpeg", width=width,
                   height=height)  # fmt: skip
    return path.read_bytes()


def _split(jpegs):
    return [b"\xff\xd8\xff" + part for part in jpegs.split(b"\xff\xd8\xff")[1:]]


_MPF = b"\xff\xe2\x00\x10MPF\0II*\0\x08\0\0\0\0\0"
JPEGS = {
    "photo": lambda large, _, __: large[0],
    "photo_cut_off": lambda large, _, __: large[0][: len(large[0]) // 2],
    "motion_photo": lambda large, _, film: large[0] + film,
    "multi_picture": lambda large, _, __: large[0][:2] + _MPF + large[0][2:] + b"".join(large[1:]),
    "photo_with_previews": lambda large, small, __: large[0] + small[0] + small[1],
    "photo_with_trailer": lambda large, _, __: large[0] + bytes(3000) + b"SEFT",
}


@pytest.mark.parametrize("name", JPEGS)
def test_a_photo_is_an_image_whatever_follows_it_in_the_file(pool, clip_of, tmp_path, name):
    large, small = _split(_jpegs(tmp_path)), _split(_jpegs(tmp_path, width=80, height=48))
    path = tmp_path / f"{name}.mp4"
    path.write_bytes(JPEGS[name](large, small, clip_of("h264_short_gop_mp4").read_bytes()))
    assert _refused(pool, path).reason == "image_file"


@pytest.mark.parametrize("padding", [0, 37])
def test_many_jpegs_one_after_another_are_no_image(pool, tmp_path, padding):
    path = tmp_path / "camera.mjpeg"
    path.write_bytes(b"".join(jpeg + bytes(padding) for jpeg in _split(_jpegs(tmp_path, count=30))))
    reason, detail = _outcome(pool, path)
    assert reason == "frames" or "damaged raw MJPEG" in detail  # the latter where ffmpeg offers no demuxer for it


def _avif(path, count):
    encode_numbers(path.with_suffix(".avif"), range(count), "-c:v", "libaom-av1", "-cpu-used", "8", "-pix_fmt",
                   "yuv420p", *(["-still-picture", "1"] if count == 1 else []))  # fmt: skip
    return path.with_suffix(".avif").read_bytes()


def test_a_heif_still_under_the_name_of_a_video_is_an_image(pool, tmp_path):
    content = _avif(tmp_path / "still", 1)
    for name, still in {
        "avif.mp4": content,
        "heic.mp4": content.replace(b"ftypavif", b"ftypheic").replace(b"av01", b"hvc1"),
        "motion_photo.mp4": content + b"\0\0\0\x10mpvd" + bytes(8),
        "cut_off.mov": content[: len(content) - 50],
    }.items():
        path = tmp_path / name
        path.write_bytes(still)
        assert _refused(pool, path).reason == "image_file"


def test_a_heif_image_sequence_is_a_video(pool, tmp_path):
    path = tmp_path / "sequence.mp4"
    path.write_bytes(_avif(tmp_path / "frames", 10))
    assert pool.probe(path).frame_count == 10


@pytest.mark.parametrize(("start", "reason"), [
    (b"RIFF\x24\0\0\0WAVEfmt ", "no_video_stream"), (b"#!AMR\n", "no_video_stream"), (b"8BPS\0\1", "image_file"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "image_file"), (b"RIFF\x24\0\0\0WEBPVP8 ", "image_file"),
])  # fmt: skip
def test_sounds_and_images_are_recognised_by_their_first_bytes(pool, tmp_path, start, reason):
    path = tmp_path / "renamed.mp4"
    path.write_bytes(start + bytes(2000))
    assert _refused(pool, path).reason == reason


# -- messages ----------------------------------------------------------------------------------------------------


@pytest.mark.clips
def test_each_message_about_a_real_bad_file_names_the_file_once(pool, real_clips):
    paths = sorted([*(real_clips / "bad").iterdir(), *(real_clips.parent / "field").iterdir()])
    outcomes = {path.name: _outcome(pool, path) for path in paths}
    times = {name: detail.count(name) for name, (reason, detail) in outcomes.items() if reason != "frames"}
    assert len(times) > 12
    assert set(times.values()) == {1}, times


def test_a_message_about_a_file_that_vanished_names_it_once(pool, tmp_path):
    with pytest.raises(TransientError) as caught:
        pool.probe(tmp_path / "vanished.mp4")
    assert caught.value.reason == "file_unreadable"
    assert caught.value.detail.count("vanished.mp4") == 1
    assert str(tmp_path) not in caught.value.detail


def test_a_run_that_claims_a_billion_samples_is_damage_and_no_lack_of_memory(pool, clip_of, tmp_path):
    path = tmp_path / "claims.mp4"
    write_fragments(path, clip_of("h264_no_b_frames_mp4"), LAYOUTS["several_runs"])
    content = bytearray(path.read_bytes())
    at = content.rindex(b"trun") + 8
    content[at : at + 4] = (2**27).to_bytes(4, "big")
    path.write_bytes(content)
    reason, _ = _outcome(pool, path)
    assert reason in {"frames", "damaged", "unreadable"}

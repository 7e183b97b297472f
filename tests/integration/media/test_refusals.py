"""A file that cannot be analysed gets the reason that a person can act on, whatever its container."""

import random
from collections.abc import Iterator
from functools import cache
from uuid import UUID

import numpy as np
import pytest
from fixtures.clips import encode_numbers, run_ffmpeg
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
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10")
SINE = ("-f", "lavfi", "-i", "sine=duration=2")


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


def _element(element_id, *parts):
    payload = b"".join(parts)
    return bytes.fromhex(element_id) + (len(payload) | 1 << 56).to_bytes(8, "big") + payload


def _elements(data) -> Iterator[tuple[str, bytes]]:
    """(ID, payload) of each element in `data`, all of known size."""
    at = 0
    while at < len(data):
        id_bytes = 9 - data[at].bit_length()
        size_bytes = 9 - data[at + id_bytes].bit_length()
        start = at + id_bytes + size_bytes
        size = int.from_bytes(data[at + id_bytes : start], "big") & ((1 << 7 * size_bytes) - 1)
        yield data[at : at + id_bytes].hex(), data[start : start + size]
        at = start + size


_VIDEO, _AUDIO = b"\x01", b"\x02"
_ENCODINGS, _ENCODING, _SCOPE, _TYPE, _ENCRYPTION, _ALGORITHM = "6d80", "6240", "5032", "5033", "5035", "47e1"


def _matroska(content, *, track_type, algorithm, live=False):
    """The Matroska file `content` with tracks of `track_type` marked as encrypted."""
    encryption = _element(_ENCRYPTION, _element(_ALGORITHM, algorithm), _element("47e2", b"key"))
    marks = _element(_ENCODINGS, _element(_ENCODING, _element(_SCOPE, b"\1"), _element(_TYPE, b"\1"), encryption))
    (head_id, head), (segment_id, segment) = _elements(content)
    parts = []
    for element_id, payload in _elements(segment):
        if element_id == "1654ae6b":
            entries = [entry for entry_id, entry in _elements(payload) if entry_id == "ae"]
            marked = [entry + marks * (dict(_elements(entry))["83"] == track_type) for entry in entries]
            parts.append(_element(element_id, *(_element("ae", entry) for entry in marked)))
        elif element_id in ("1549a966", "1f43b675"):  # Info, Cluster
            parts.append(_element(element_id, payload))
    whole = _element(segment_id, *parts)
    return _element(head_id, head) + (whole[:4] + b"\x01" + b"\xff" * 7 + whole[12:] if live else whole)


def _with_sound(clip, path):
    run_ffmpeg("-i", clip, *SINE, "-c:v", "copy", "-shortest", path)
    return path.read_bytes()


_ASF_ENCRYPTION = UUID("2211b3fb-bd23-11d2-b4b7-00a0c955fc6e").bytes_le
_ASF_EXTENDED_ENCRYPTION = UUID("298ae614-2622-4c17-b935-dae07ee9289c").bytes_le
_ASF_STREAM = UUID("b7dc0791-a9b7-11cf-8ee6-00c00c205365").bytes_le
_ASF_VIDEO = UUID("bc19efc0-5b4d-11cf-a8fd-00805f5c442b").bytes_le


def _asf_with(content, guid):
    """The ASF file `content` with one more object at the start of its header."""
    extra = guid + (24 + 64).to_bytes(8, "little") + bytes(64)
    size = int.from_bytes(content[16:24], "little") + len(extra)
    count = int.from_bytes(content[24:28], "little") + 1
    return (
        content[:16] + size.to_bytes(8, "little") + count.to_bytes(4, "little") + content[28:30] + extra + content[30:]
    )


def _asf_marked(content, *, video):
    """The ASF file `content` with its video streams, or the others, marked as encrypted."""
    made, at = bytearray(content), content.find(_ASF_STREAM)
    while at >= 0:
        if (content[at + 24 : at + 40] == _ASF_VIDEO) == video:
            made[at + 73] |= 0x80
        at = content.find(_ASF_STREAM, at + 1)
    return bytes(made)


def _scrambled_ts(content, *, share, stride=188, first=0):
    """The transport stream `content` with the first `share` of its video packets scrambled."""
    made, noise = bytearray(content), random.Random(1)
    for at in range(first, int(len(content) * share), stride):
        if int.from_bytes(made[at + 1 : at + 3], "big") & 0x1FFF == 0x100 and made[at + 3] & 0x10:
            start = at + 4 + (1 + made[at + 4] if made[at + 3] & 0x20 else 0)
            made[at + 3] |= 0x80
            made[start : at + 188] = noise.randbytes(at + 188 - start)
    return bytes(made)


def _as_m2ts(content):
    return b"".join(bytes(4) + content[at : at + 188] for at in range(0, len(content), 188))


def _scrambled_dvd(clip, path, *, every=1):
    run_ffmpeg("-i", clip, "-c", "copy", path)
    content = path.read_bytes()
    made, at, number = bytearray(content), content.find(b"\0\0\1\xe0"), 0
    while at >= 0:
        if number % every == 0:
            made[at + 6] |= 0x30
        at, number = content.find(b"\0\0\1\xe0", at + 4), number + 1
    return bytes(made)


def _filtered_flv(content):
    made, at = bytearray(content), 13
    while at + 11 < len(made):
        if made[at] == 9:
            made[at] |= 0x20
        at += 15 + int.from_bytes(made[at + 1 : at + 4], "big")
    return bytes(made)


def _encrypted_mxf(clip, path):
    run_ffmpeg("-i", clip, "-c", "copy", path)
    made = bytearray(path.read_bytes())
    essence, at = bytes.fromhex("060e2b34010201010d010301"), 0
    while (at := made.find(essence, at)) >= 0:
        made[at : at + 16] = bytes.fromhex("060e2b34020401070d010301027e0100")
    return bytes(made)


def _cenc(clip, path):
    run_ffmpeg("-i", clip, "-c", "copy", "-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "11" * 16,
               "-encryption_kid", "22" * 16, path)  # fmt: skip
    return path.read_bytes()


def _fragmented_cenc(clip, path):
    run_ffmpeg("-i", clip, "-c", "copy", "-movflags", "+frag_keyframe+empty_moov", "-encryption_scheme",
               "cenc-aes-ctr", "-encryption_key", "11" * 16, "-encryption_kid", "22" * 16, path)  # fmt: skip
    return path.read_bytes()


ENCRYPTED = {
    "common_encryption.mp4": ("h264_short_gop_mp4", _cenc),
    "common_encryption_in_fragments.mp4": ("h264_short_gop_mp4", _fragmented_cenc),
    "fairplay.m4v": ("h264_short_gop_mp4", lambda clip, _: clip.read_bytes().replace(b"avc1", b"drmi")),
    "vp9.webm": ("vp9_webm", lambda clip, _: _matroska(clip.read_bytes(), track_type=_VIDEO, algorithm=b"\5")),
    "live_vp8.webm": (
        "vp8_webm",
        lambda clip, _: _matroska(clip.read_bytes(), track_type=_VIDEO, algorithm=b"\5", live=True),
    ),
    "h264.mkv": ("h264_mkv", lambda clip, _: _matroska(clip.read_bytes(), track_type=_VIDEO, algorithm=b"\1")),
    "windows_media_drm.wmv": ("wmv2_wmv", lambda clip, _: _asf_with(clip.read_bytes(), _ASF_ENCRYPTION)),
    "playready.wmv": (
        "wmv2_wmv",
        lambda clip, _: _asf_marked(_asf_with(clip.read_bytes(), _ASF_EXTENDED_ENCRYPTION), video=True),
    ),
    "pay_television.ts": ("h264_ts", lambda clip, _: _scrambled_ts(clip.read_bytes(), share=1)),
    "pay_television_mpeg2.ts": ("mpeg2_ts", lambda clip, _: _scrambled_ts(clip.read_bytes(), share=0.9)),
    "pay_television.m2ts": (
        "h264_ts",
        lambda clip, _: _scrambled_ts(_as_m2ts(clip.read_bytes()), share=1, stride=192, first=4),
    ),
    "copied_dvd.vob": ("mpeg2_mpg", _scrambled_dvd),
    "copied_dvd_half_in_the_clear.vob": ("mpeg2_mpg", lambda clip, path: _scrambled_dvd(clip, path, every=2)),
    "digital_cinema.mxf": ("mpeg2_ts", _encrypted_mxf),
    "adobe_access.flv": ("h264_flv", lambda clip, _: _filtered_flv(clip.read_bytes())),
}
NOT_ENCRYPTED = {
    "only_the_sound.mkv": (
        "h264_mkv",
        lambda clip, path: _matroska(_with_sound(clip, path), track_type=_AUDIO, algorithm=b"\5"),
    ),
    "signed_only.webm": ("vp9_webm", lambda clip, _: _matroska(clip.read_bytes(), track_type=_VIDEO, algorithm=b"\0")),
    "only_the_sound.wmv": ("wmv2_wmv", lambda clip, path: _asf_marked(_with_sound(clip, path), video=False)),
}


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
    path.write_bytes(_scrambled_ts(clip_of("h264_ts").read_bytes(), share=0.2))
    reason, _ = _outcome(pool, path)
    assert reason in {"damaged", "frames"}  # its good segments may be answered


@pytest.mark.parametrize("size", [24, 2**40, 2**62, 2**64 - 1])
def test_an_asf_object_of_any_size_is_no_error_of_the_reader(pool, clip_of, tmp_path, size):
    content = _asf_with(clip_of("wmv2_wmv").read_bytes(), _ASF_EXTENDED_ENCRYPTION)
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
    (head_id, head), (segment_id, segment) = _elements(webm)
    parts = [_element(element_id, payload) for element_id, payload in _elements(segment) if element_id == "1f43b675"]
    return _element(head_id, head) + _element(segment_id, *parts)


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

"""Broken and hostile files each cost one error with the right reason, in time, and leave the pool intact."""

import io
import random
import zipfile
from functools import cache

import av
import numpy as np
import psutil
import pytest
from fixtures import hostile_decoder
from fixtures.clips import draw_number, encode_numbers, read_number, run_ffmpeg
from fixtures.formats import FORMATS

from nightreel.domain import SamplingPlan
from nightreel.errors import PermanentError
from nightreel.media.probe import MediaLimits
from nightreel.media.sampling import segments
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings

LIMITS = MediaLimits.from_settings(Settings())
PLAN = SamplingPlan.parse("uniform:8")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10")
# Reasons a damaged container or stream may get. `decoder_failed` would be our fault, `decoder_crashed` ffmpeg's.
REASONS_OF_DAMAGE = {
    "damaged", "no_index", "not_a_video", "unreadable", "no_video_stream", "no_decoder", "no_frames",
    "media_data_missing", "limit_duration", "limit_pixels", "encrypted",
}  # fmt: skip


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=20) as pool:
        yield pool


@pytest.fixture(scope="module")
def clip_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return cache(lambda name: FORMATS[name](folder / name))


def _look(pool, path, plan=PLAN):
    probe = pool.probe(path)
    return pool.decode(path, probe=probe, plan=plan, segment=segments(probe.duration_s, 30)[0])


def _reason(pool, path):
    with pytest.raises(PermanentError) as caught:
        _look(pool, path)
    assert path.name in caught.value.detail
    return caught.value.reason


def _zip() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("video.mp4", b"not really")
    return archive.getvalue()


_FTYP = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2"
CONTENTS = {
    "empty": (b"", "empty_file"),
    "one_byte": (b"\0", "not_a_video"),
    "garbage": (random.Random(1).randbytes(100_000), "not_a_video"),
    "zeros": (bytes(100_000), "not_a_video"),
    "text": ("Notes of a meeting, with an umlaut: ü\n".encode() * 300, "not_a_video"),
    "html": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not_a_video"),
    "xml_error_of_s3": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "not_a_video"),
    "lfs_pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "not_a_video"),
    "zip": (_zip(), "not_a_video"),
    "pdf": (b"%PDF-1.7\n" + bytes(2000), "not_a_video"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(2000), "image_file"),
    "gif": (b"GIF89a" + bytes(2000), "animated_image"),
    "mp3": (b"ID3\x04" + bytes(2000), "no_video_stream"),
    "playlist_of_local_files": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "not_a_video"),
    "concat_script": (b"ffconcat version 1.0\nfile /etc/passwd\n", "not_a_video"),
    "mp4_of_nothing": (_FTYP, "no_index"),
    "mp4_with_half_an_index": (_FTYP + b"\x7f\xff\xff\xffmoov" + bytes(99), "no_index"),
    "mp4_with_a_box_of_16_exbibytes": (_FTYP + b"\0\0\0\x01mdat" + b"\xff" * 8, "no_index"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_is_not_a_video_gets_a_specific_reason(pool, tmp_path, name):
    content, reason = CONTENTS[name]
    path = tmp_path / f"{name}.mp4"
    path.write_bytes(content)
    assert _reason(pool, path) == reason


def _audio_only(path):
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", path)


def _cover_only(path):
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-f", "lavfi", "-i", "color=size=64x64", "-map", "0",
               "-map", "1", "-frames:v", "1", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-disposition:v:0",
               "attached_pic", path)  # fmt: skip


def _encrypted(path):
    plain = path.with_name("plain.mp4")
    encode_numbers(plain, range(20), *X264)
    run_ffmpeg("-i", plain, "-c", "copy", "-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "11" * 16,
               "-encryption_kid", "22" * 16, path)  # fmt: skip


def _unknown_codec(path):
    encode_numbers(path, range(20), *X264)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))


def _media_data_missing(path):
    encode_numbers(path, range(20), *X264, "-movflags", "+faststart")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"mdat") + 4])


MADE = {
    "audio_only.m4a": (_audio_only, "no_video_stream"),
    "cover_only.mp4": (_cover_only, "no_video_stream"),
    "encrypted.mp4": (_encrypted, "encrypted"),
    "unknown_codec.mp4": (_unknown_codec, "no_decoder"),
    "media_data_missing.mp4": (_media_data_missing, "media_data_missing"),
}


@pytest.mark.parametrize("name", MADE)
def test_a_file_without_a_decodable_picture_gets_a_specific_reason(pool, tmp_path, name):
    make, reason = MADE[name]
    make(tmp_path / name)
    assert _reason(pool, tmp_path / name) == reason


def test_an_unknown_codec_is_named(pool, tmp_path):
    _unknown_codec(tmp_path / "a.mp4")
    with pytest.raises(PermanentError, match="zzz1"):
        pool.probe(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    ("limit", "value"),
    [("max_bytes", 1000), ("max_pixels", 15_000), ("max_duration_s", 3.9), ("max_frames", 99), ("max_streams", 1)],
)
def test_an_error_beyond_a_limit_names_limit_value_and_setting(clip_of, tmp_path, limit, value):
    path = tmp_path / "two_streams.mp4"
    run_ffmpeg("-i", clip_of("h264_short_gop_mp4").path, "-f", "lavfi", "-i", "sine=duration=1", "-c:v", "copy", path)
    limits = MediaLimits(**{name: getattr(LIMITS, name) for name in MediaLimits.__slots__} | {limit: value})
    with DecoderPool(limits=limits, workers=1, timeout_s=20) as pool, pytest.raises(PermanentError) as caught:
        pool.probe(path)
    assert caught.value.reason == "limit_" + limit.removeprefix("max_").removesuffix("_s")
    assert f"NIGHTREEL_{limit.upper()}" in caught.value.detail
    assert f"{value:g}" in caught.value.detail


def test_a_picture_larger_than_its_container_claims_is_refused_before_it_is_decoded(pool, tmp_path):
    path = tmp_path / "claims_little.avi"
    encode_numbers(path, range(5), "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    content = path.read_bytes()
    size = (96).to_bytes(2, "big") + (160).to_bytes(2, "big")
    assert content.count(b"\x08" + size) == 5  # in each JPEG's frame header: 8 bits, height, width
    path.write_bytes(content.replace(b"\x08" + size, b"\x08" + (16_384).to_bytes(2, "big") * 2))
    assert _reason(pool, path) == "limit_pixels"


def test_a_container_that_claims_16k_pictures_is_refused(pool, tmp_path):
    path = tmp_path / "claims_much.avi"
    encode_numbers(path, range(5), "-c:v", "rawvideo", "-pix_fmt", "yuv420p")
    content = path.read_bytes()
    size = (160).to_bytes(4, "little") + (96).to_bytes(4, "little")
    path.write_bytes(content.replace(size, (16_384).to_bytes(4, "little") * 2))
    assert _reason(pool, path) == "limit_pixels"


def test_8k_video_is_decoded_small_in_the_default_address_space(tmp_path):
    path = tmp_path / "8k.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=size=7680x4320:rate=2:duration=1", *X264, "-threads", "1", path)
    settings = Settings()
    with DecoderPool.from_settings(settings) as pool:
        probe = pool.probe(path)
        batch = pool.decode(path, probe=probe, plan=PLAN, segment=segments(probe.duration_s, 30)[0], short_side=224)
    assert batch.frames_thwc.shape == (2, 224, 398, 3)
    assert batch.source_hw == (4320, 7680)


@pytest.mark.parametrize("name", ["h264_mkv", "h264_ts", "vp9_webm", "mjpeg_avi", "h264_fragmented_mp4"])
def test_a_file_cut_off_anywhere_yields_its_frames_or_a_known_reason(pool, clip_of, tmp_path, name):
    clip = clip_of(name)
    content = clip.path.read_bytes()
    outcomes = []
    for offset in np.linspace(40, len(content) - 1, 20).astype(int).tolist():
        path = tmp_path / f"{offset}{clip.path.suffix}"
        path.write_bytes(content[:offset])
        try:
            batch = _look(pool, path)
        except PermanentError as error:
            outcomes.append(error.reason)
            continue
        outcomes.append("frames")
        for frame, pts_s, flags in zip(batch.frames_thwc, batch.pts_s, batch.flags, strict=True):
            if not flags:
                number = read_number(frame)
                assert number is not None, (offset, pts_s)
                assert abs(clip.time_of(number) - pts_s) < 0.02, (offset, number, pts_s)
    assert set(outcomes) <= REASONS_OF_DAMAGE | {"frames"}
    assert outcomes.count("frames") >= 12, outcomes


def test_an_mp4_cut_off_before_its_index_fails_as_no_index(pool, clip_of, tmp_path):
    content = clip_of("h264_short_gop_mp4").path.read_bytes()
    reasons = set()
    for offset in np.linspace(40, content.index(b"moov") - 5, 20).astype(int).tolist():
        path = tmp_path / f"{offset}.mp4"
        path.write_bytes(content[:offset])
        reasons.add(_reason(pool, path))
    assert reasons == {"no_index"}


@pytest.mark.parametrize("options", [("-movflags", "+faststart"), ("-f", "matroska")])
def test_a_file_that_ends_before_its_last_frame_is_marked_truncated(pool, tmp_path, options):
    path = tmp_path / f"clip{'.mp4' if options[0] == '-movflags' else '.bin'}"
    encode_numbers(path, range(50), *X264, *options)
    whole = pool.probe(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3 + 10])
    cut = pool.probe(path)
    assert not whole.truncated
    assert cut.truncated
    assert 20 < cut.frame_count < 40


def test_what_is_lost_before_a_keyframe_does_not_spoil_what_follows_it(pool, tmp_path):
    path = tmp_path / "clip.ts"
    encode_numbers(path, range(100), *X264, "-g", "25", "-bf", "0", "-sc_threshold", "0", width=320, height=192)
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    content = path.read_bytes()
    path.write_bytes(content[: places[20]] + content[places[25] :])
    probe = pool.probe(path)
    assert probe.lost
    batch = pool.decode_moments(path, probe=probe, moments_s=[0.5, 1.02, 1.5, 1.9])
    assert [read_number(frame) for frame in batch.frames_thwc] == [12, 25, 37, 47]
    assert not any(batch.flags)


def test_a_transport_stream_reads_on_after_a_long_stretch_of_zeros_and_tells_what_is_lost(pool, tmp_path):
    path = tmp_path / "clip.ts"
    encode_numbers(path, range(500), *X264, "-g", "25", "-b:v", "2M", "-minrate", "2M", "-maxrate", "2M", "-bufsize",
                   "200k", "-x264-params", "nal-hrd=cbr", width=320, height=192)  # fmt: skip
    content, hole = bytearray(path.read_bytes()), 200_000
    third = len(content) // 3
    content[third : third + hole] = bytes(hole)
    path.write_bytes(content)
    probe = pool.probe(path)
    lost_s = 20 * hole / len(content)
    assert probe.duration_s == pytest.approx(20, abs=0.1)
    ((start_s, end_s),) = probe.lost
    assert end_s - start_s == pytest.approx(lost_s, rel=0.4)
    batch = pool.decode_moments(path, probe=probe, moments_s=[1.0, 19.0])
    assert [read_number(frame) for frame in batch.frames_thwc] == [25, 475]


@pytest.mark.parametrize("flips", [1, 10, 100])
@pytest.mark.parametrize("name", ["h264_b_frames_mov", "h264_ts", "hevc_mp4", "mpeg4_avi", "vp8_webm", "av1_mp4"])
def test_flipped_bits_cause_known_reasons_or_flags_and_never_break_the_pool(pool, clip_of, tmp_path, name, flips):
    clip = clip_of(name)
    draw, reasons = random.Random(f"{name} {flips}"), set()
    for attempt in range(3):
        content = bytearray(clip.path.read_bytes())
        for _ in range(flips):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path = tmp_path / f"{attempt}{clip.path.suffix}"
        path.write_bytes(content)
        try:
            _look(pool, path)
        except PermanentError as error:
            reasons.add(error.reason)
    assert reasons <= REASONS_OF_DAMAGE
    assert not any(_look(pool, clip.path).flags)


@pytest.mark.parametrize("name", ["h264_b_frames_mov", "h264_no_b_frames_mp4", "h264_open_gop_mp4", "mpeg4_mp4"])
def test_zeroed_frames_and_all_frames_that_refer_to_them_are_flagged(pool, clip_of, tmp_path, name):
    clip = clip_of(name)
    probe = pool.probe(clip.path)
    moments_s = (probe.frame_times_s + 0.01).tolist()
    whole = pool.decode_moments(clip.path, probe=probe, moments_s=moments_s)
    draw = random.Random(name)
    flagged = 0
    for attempt in range(5):
        content = bytearray(clip.path.read_bytes())
        at = draw.randrange(content.index(b"mdat") + 100, content.index(b"moov") - 1600)
        content[at : at + 1500] = bytes(1500)
        path = tmp_path / f"{attempt}{clip.path.suffix}"
        path.write_bytes(content)
        batch = pool.decode_moments(path, probe=pool.probe(path), moments_s=moments_s)
        good = [number for number, flags in enumerate(batch.flags) if not flags]
        flagged += len(batch.flags) - len(good)
        assert np.array_equal(batch.frames_thwc[good], whole.frames_thwc[good])
        assert np.array_equal(batch.pts_s[good], whole.pts_s[good])
    assert flagged >= 5


def test_too_few_good_frames_fail_with_their_number_and_the_setting(pool, clip_of, tmp_path):
    clip = clip_of("h264_long_gop_mp4")
    content = bytearray(clip.path.read_bytes())
    start = content.index(b"mdat") + 4
    length = content.index(b"moov") - start
    content[start + length // 2 : start + length * 3 // 4] = bytes(length * 3 // 4 - length // 2)
    path = tmp_path / "half.mp4"
    path.write_bytes(content)
    with pytest.raises(PermanentError, match=r"\d of 8 frames good, .*NIGHTREEL_MIN_GOOD_FRAMES=0.75") as caught:
        _look(pool, path)
    assert caught.value.reason == "damaged"
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=20, min_good_frames=0.1) as lenient:
        batch = _look(lenient, path)
    assert 0 < batch.flags.count(()) < 8


def test_a_thousand_jobs_with_one_in_ten_hostile_leave_nothing_behind(monkeypatch, tmp_path):
    hostile_decoder.install(
        monkeypatch,
        tmp_path,
        """
        def hang(file):
            time.sleep(3600)

        def crash(file):
            ctypes.string_at(0)
    """,
    )
    good, broken, text = tmp_path / "good.mp4", tmp_path / "broken.mp4", tmp_path / "text.mp4"
    hang, crash = tmp_path / "hang.mp4", tmp_path / "crash.mp4"
    encode_numbers(good, range(10), *X264)
    content = good.read_bytes()
    broken.write_bytes(content[: content.index(b"moov") + 60])
    text.write_bytes(b"not a video")
    hang.write_bytes(content)
    crash.write_bytes(content)
    me = psutil.Process()
    with DecoderPool(limits=LIMITS, workers=2, timeout_s=1.0) as pool:
        reference = _look(pool, good)
        pool.close_file(good)
        before = (me.num_fds(), len(me.children(recursive=True)), me.num_threads())
        rss_before = me.memory_info().rss
        reasons = []
        for number in range(500):
            path = {50: hang, 90: crash}.get(number % 100) or {3: broken, 7: text}.get(number % 20, good)
            try:
                batch = _look(pool, path)
                assert np.array_equal(batch.frames_thwc, reference.frames_thwc)
            except PermanentError as error:
                reasons.append(error.reason)
        expected = {"not_a_video": 25, "no_index": 25, "decode_timeout": 5, "decoder_crashed": 5}
        assert {reason: reasons.count(reason) for reason in expected} == expected
        assert len(reasons) == 60
        pool.close_file(good)
        del batch  # its memory is mapped by a descriptor
        assert (me.num_fds(), len(me.children(recursive=True)), me.num_threads()) <= before
        assert me.memory_info().rss - rss_before < 30 * 2**20


def test_a_drawn_number_can_be_read_back():
    assert all(read_number(draw_number(number, width=96, height=48)) == number for number in (0, 1, 255, 65_535))

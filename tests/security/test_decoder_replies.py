"""The pipeline believes nothing that a decoder process replies: a false reply costs the hostile video, nothing else."""

import json
import resource
import time
from dataclasses import replace

import numpy as np
import pytest
from fixtures import hostile_decoder
from fixtures.clips import encode_numbers

from nightreel.domain import SamplingPlan, Segment
from nightreel.errors import PermanentError
from nightreel.media import replies
from nightreel.media.decode_job import plan_job
from nightreel.media.fork_server import DecoderProcess
from nightreel.media.packets import PacketIndex
from nightreel.media.probe import MediaLimits
from nightreel.media.sandbox import DecoderPool
from nightreel.reasons import Reason, Scope
from nightreel.settings import Settings

LIMITS = MediaLimits.from_settings(Settings())
PLAN = SamplingPlan.parse("uniform:4")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "innocent.mp4"
    encode_numbers(path, range(50), "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    return path


@pytest.fixture(scope="module")
def honest(clip):
    """What an honest process replies to a probe and to a job: (text, blob), (text, job)."""
    recorded = []
    ask = DecoderProcess.ask

    def record(self, request, **options):
        recorded.append(ask(self, request, **options))
        return recorded[-1]

    with pytest.MonkeyPatch.context() as monkeypatch, DecoderPool(limits=LIMITS, workers=1) as pool:
        monkeypatch.setattr(DecoderProcess, "ask", record)
        probe = pool.probe(clip)
        moments_s = [0.1, 0.5, 1.0]
        pool.decode_moments(clip, probe=probe, moments_s=moments_s)
    return recorded[0], recorded[1], plan_job(probe, moments_s, short_side=None)


def _parse_probe(text, blob, clip):
    return replies.parse_probe(text, blob, limits=LIMITS, size_bytes=clip.stat().st_size, name="a.mp4")


def test_the_honest_replies_are_accepted(honest, clip):
    probed, decoded, job = honest
    assert _parse_probe(probed.text, probed.blob, clip).frame_count == 50
    assert replies.parse_decoded(decoded.text, job=job).flags == ((), (), ())


HUGE = int("9" * 400)
FALSE_PROBES = {
    "a time base that takes for ever": {"time_base": "1e300000000"},
    "a time base of zero": {"time_base": "1/0"},
    "a negative time base": {"time_base": "-1/25"},
    "a time base of huge numbers": {"time_base": "1/" + "9" * 10_000},
    "a time base with a line break": {"time_base": "1/25\n"},
    "another time base": {"time_base": "1000000/1"},
    "a duration of 1e12 s": {"duration_s": 1e12},
    "a long duration": {"duration_s": 40_000.0},
    "no duration": {"duration_s": None},
    "a negative duration": {"duration_s": -1.0},
    "an expected duration without end": {"expected_s": 1e300},
    "no number": {"expected_s": float("nan")},
    "infinity": {"fps": float("inf")},
    "frames per second of zero": {"fps": 0.0},
    "a boolean for a number": {"width": True},
    "a text for a number": {"width": "160"},
    "a fraction for a number": {"width": 160.5},
    "a huge width": {"width": HUGE},
    "a width beyond the limit of pixels": {"width": 2**31 - 1},
    "a height of zero": {"height": 0},
    "a negative crop": {"crop": [-8, 0, 0, 0]},
    "a huge crop": {"crop": [2**31 - 1] * 4},
    "a crop of three": {"crop": [0, 0, 0]},
    "a rotation of 45 degrees": {"rotation": 45},
    "an aspect of 1e9": {"pixel_aspect": 1e9},
    "an aspect of zero": {"pixel_aspect": 0.0},
    "too many frames": {"frame_count": 10**9},
    "too few frames": {"frame_count": 49},
    "another size of the file": {"size_bytes": 1},
    "a stream that does not exist": {"stream_index": 7},
    "too many streams": {"streams": 10_000, "stream_index": 0},
    "a decoder that does not exist": {"decoder": "shell"},
    "an HDR that does not exist": {"hdr": "x"},
    "a codec with a terminal escape": {"codec": "h264\x1b[2J"},
    "a codec with a NUL": {"codec": "h264\0"},
    "a codec of 10 MB": {"codec": "h" * 100_000},
    "a surrogate": {"decoder_reason": "\ud800"},
    "a list for a text": {"container": ["mov"]},
    "an object for a text": {"container": {"mov": 1}},
    "lost spans without end": {"lost": [[0.0, 1.0]] * 20_000},
    "a lost span that ends before it starts": {"lost": [[1.0, 0.5]]},
    "a lost span of three": {"lost": [[0.0, 1.0, 2.0]]},
    "clock breaks without end": {"clock_breaks": [[0.0, 1.0]] * 1000},
    "an unknown field": {"owner": "me"},
    "a negative last duration": {"last_duration": -1},
    "a huge last duration": {"last_duration": 2**62},
    "ordinal as a number": {"ordinal": 1},
    "a reason that is none of a decoder": {"error_reason": "database_unreachable", "detail": "x"},
}


@pytest.mark.parametrize("changes", FALSE_PROBES.values(), ids=FALSE_PROBES)
def test_a_false_field_of_a_probe_is_noticed_at_once(honest, clip, changes):
    probed, _, _ = honest
    text = json.dumps({**json.loads(probed.text), **changes}).encode()
    _is_refused(lambda: _parse_probe(text, probed.blob, clip))


def _is_refused(parse):
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((replies.LieError, PermanentError)) as caught:
        parse()
    if isinstance(caught.value, PermanentError):
        assert caught.value.reason in ("limit_duration", "limit_pixels", "limit_frames", "limit_streams")
    assert time.monotonic() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("field", ["width", "time_base", "lost", "ordinal", "duration_s", "decoder"])
def test_a_missing_field_of_a_probe_is_noticed(honest, clip, field):
    probed, _, _ = honest
    values = json.loads(probed.text)
    del values[field]
    _is_refused(lambda: _parse_probe(json.dumps(values).encode(), probed.blob, clip))


TEXTS = {
    "nothing": b"",
    "no JSON": b"{,}",
    "no UTF-8": b"\xff\xff\xff",
    "a list": b"[]",
    "a number": b"1e999999999",
    "null": b"null",
    "deep lists": b"[" * 500_000,
    "deep objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "a number of 2 MB": b'{"width": ' + b"9" * 2_000_000 + b"}",
    "the reason of a run": b'{"error_reason": "database_unreachable", "detail": "x"}',
    "an unknown reason": b'{"error_reason": "database_x", "detail": "x"}',
    "a reason that is a list": b'{"error_reason": ["damaged"], "detail": "x"}',
    "a detail of 2 MB": b'{"error_reason": "damaged", "detail": "' + b"x" * 2_000_000 + b'"}',
    "an error without detail": b'{"error_reason": "damaged"}',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_that_is_no_reply_is_noticed_at_once(honest, clip, text):
    _, _, job = honest
    _is_refused(lambda: _parse_probe(text, b"", clip))
    _is_refused(lambda: replies.parse_decoded(text, job=job))


def test_a_decoder_process_can_give_no_reason_that_ends_a_run():
    assert all(reason.scope in (Scope.VIDEO, Scope.SEGMENT) for reason in replies._REASONS)


def test_control_characters_of_a_detail_are_replaced(honest, clip):
    with pytest.raises(PermanentError) as caught:
        _parse_probe(b'{"error_reason": "damaged", "detail": "a\\u001b[2J\\u0000b\\nc"}', b"", clip)
    assert caught.value.detail == "a�[2J�b�c"


INDEXES = {
    "a time beyond 2**61": {"ticks": 2**62},
    "the smallest time": {"ticks": -(2**63)},
    "a negative size": {"size": -1},
    "an unknown flag": {"flags": 512},
    "all hidden": {"flags": 8},
}


@pytest.mark.parametrize("changes", INDEXES.values(), ids=INDEXES)
def test_a_false_packet_index_is_noticed(honest, clip, changes):
    probed, _, _ = honest
    index = PacketIndex.from_bytes(probed.blob, last_duration=0, ordinal=False)
    columns = {name: np.full_like(getattr(index, name), value) for name, value in changes.items()}
    _is_refused(lambda: _parse_probe(probed.text, replace(index, **columns).to_bytes(), clip))


@pytest.mark.parametrize("cut", [0, 1, 26, -1, -26])
def test_a_packet_index_of_another_length_is_noticed(honest, clip, cut):
    probed, _, _ = honest
    _is_refused(lambda: _parse_probe(probed.text, probed.blob[:cut], clip))


FALSE_DECODED = {
    "no frames": {"ticks": [], "flags": []},
    "a frame more": {"ticks": lambda ticks: [*ticks, ticks[-1]], "flags": [[]] * 4},
    "flags of fewer frames": {"flags": [[]]},
    "another time": {"ticks": lambda ticks: [ticks[0] + 1, *ticks[1:]]},
    "times in another order": {"ticks": lambda ticks: ticks[::-1]},
    "a huge time": {"ticks": lambda ticks: [*ticks[:-1], HUGE]},
    "a time that is a text": {"ticks": lambda ticks: [str(tick) for tick in ticks]},
    "an unknown flag": {"flags": [["good"], [], []]},
    "many flags": {"flags": [["corrupt"] * 1000, [], []]},
    "a version with a line break": {"version": "1\n2"},
    "another decoder": {"decoder": "ffmpeg"},
}


@pytest.mark.parametrize("changes", FALSE_DECODED.values(), ids=FALSE_DECODED)
def test_a_false_field_of_decoded_frames_is_noticed(honest, changes):
    _, decoded, job = honest
    values = json.loads(decoded.text)
    values |= {name: change(values[name]) if callable(change) else change for name, change in changes.items()}
    _is_refused(lambda: replies.parse_decoded(json.dumps(values).encode(), job=job))


RAW = """
    def huge_text(file):
        reply(b"", claim=struct.pack("<QQ", 2**62, 0))

    def huge_blob(file):
        reply(b"{}", claim=struct.pack("<QQ", 2, 2**62))

    def claims_more(file):
        reply(b"{}", claim=struct.pack("<QQ", 100, 0))

    def drips(file):
        (fd,) = sockets()
        os.write(fd, struct.pack("<QQ", 1000, 0))
        while True:
            os.write(fd, b"x")
            time.sleep(0.05)

    def closes(file):
        os.close(sockets()[0])
        time.sleep(3600)

    def half_a_header(file):
        os.write(sockets()[0], b"abc")
        os.close(sockets()[0])
        time.sleep(3600)

    def deep(file):
        reply(b"[" * 1_000_000)

    def ends_the_run(file):
        reply(json.dumps({"error_reason": "database_unreachable", "detail": "x"}).encode())

    def blames_the_disk(file):
        reply(json.dumps({"error_reason": "file_unreadable", "detail": "No space left on device"}).encode())

    def sends_descriptors(file):
        (fd,) = sockets()
        with socket.socket(fileno=fd) as connection:
            for _ in range(5):
                socket.send_fds(connection, [b"x" * 16], [file.fd] * 50)
            time.sleep(3600)
"""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("huge_text", "decoder_lied"),
        ("huge_blob", "decoder_lied"),
        ("claims_more", "decode_timeout"),
        ("drips", "decode_timeout"),
        ("closes", "decoder_lied"),
        ("half_a_header", "decoder_lied"),
        ("deep", "decoder_lied"),
        ("ends_the_run", "decoder_lied"),
        ("blames_the_disk", "decoder_lied"),
        ("sends_descriptors", "decoder_lied"),
    ],
)
def test_a_hostile_process_costs_only_its_video(monkeypatch, tmp_path, clip, name, reason):
    hostile_decoder.install(monkeypatch, tmp_path, RAW)
    path = tmp_path / f"{name}.mp4"
    path.write_bytes(clip.read_bytes())
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=1.5) as pool:
        started = time.monotonic()
        with pytest.raises(PermanentError) as caught:
            pool.probe(path)
        assert time.monotonic() - started < 10
        assert caught.value.reason == reason
        assert pool.probe(clip).frame_count == 50


def test_a_lie_about_frames_costs_only_its_video(monkeypatch, tmp_path, clip):
    hostile_decoder.install(
        monkeypatch,
        tmp_path,
        """
        def decode_lie(file, job, frames_thwc):
            reply(json.dumps({"ticks": [10**12] * 4, "flags": [[]] * 4, "decoder": "pyav", "version": "1"}).encode())
        """,
    )
    path = tmp_path / "lie.mp4"
    path.write_bytes(clip.read_bytes())
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=20) as pool:
        probe = pool.probe(path)
        with pytest.raises(PermanentError, match="cannot be true: a frame has another time") as caught:
            pool.decode(path, probe=probe, plan=PLAN, segment=Segment(0, 0.0, 2.0))
        assert caught.value.reason is Reason.DECODER_LIED


IMAGE = {"hw": [48, 64], "source_hw": [96, 128], "version": "13.0.0"}
FALSE_IMAGES = {
    "a larger picture than asked for": {"hw": [96, 128]},
    "another shape": {"hw": [48, 63]},
    "no height": {"hw": [0, 64]},
    "a negative size": {"source_hw": [-96, -128]},
    "a number as text": {"hw": ["48", 64]},
    "a size with fractions": {"source_hw": [96.5, 128]},
    "one number": {"hw": [48]},
    "a field that no reply has": {"path": "/etc/passwd"},
    "a version with a line break": {"version": "13\n"},
}


def parse_image(said, blob=bytes(48 * 64 * 3)):
    image = replies.parse_image(json.dumps(said).encode(), limits=LIMITS, short_side=48, name="a.png")
    return replies.parse_pixels(blob, image)


def test_an_honest_picture_is_accepted():
    assert parse_image(IMAGE).shape == (1, 48, 64, 3)


@pytest.mark.parametrize("false", FALSE_IMAGES.values(), ids=FALSE_IMAGES)
def test_a_false_reply_about_an_image_is_a_lie(false):
    with pytest.raises(replies.LieError):
        parse_image(IMAGE | false)


@pytest.mark.parametrize("missing", [1, -1, 48 * 64 * 3])
def test_a_picture_with_more_or_fewer_bytes_is_a_lie(missing):
    with pytest.raises(replies.LieError, match="another size"):
        parse_image(IMAGE, bytes(48 * 64 * 3 - missing))


def test_a_picture_beyond_the_limit_is_refused_whatever_the_reply_says():
    with pytest.raises(PermanentError) as caught:
        parse_image({"hw": [48, 48], "source_hw": [30_000, 30_000], "version": "13"})
    assert caught.value.reason == Reason.LIMIT_PIXELS

"""The contact sheet shows every frame in its place and marks bad ones."""

import io

import numpy as np
from PIL import Image

from nightreel.domain import FrameBatch
from nightreel.media.contact_sheet import draw_contact_sheet, encode_jpeg


def _batch(count, *, flags=None, hw=(90, 160)):
    frames = np.stack([np.full((*hw, 3), 20 * number, dtype=np.uint8) for number in range(count)])
    return FrameBatch(frames_thwc=frames, pts_s=np.arange(count) * 0.5, flags=flags or ((),) * count, decoder="pyav",
                      decoder_version="18.1.0", fps=2.0, source_hw=hw)  # fmt: skip


def test_every_frame_is_in_its_place():
    sheet = np.asarray(draw_contact_sheet(_batch(5), columns=3, tile_width=160))
    step_x, step_y = 160 + 6, 90 + 20 + 6
    for number in range(5):
        middle = sheet[6 + 45 + number // 3 * step_y, 6 + 80 + number % 3 * step_x]
        assert middle.tolist() == [20 * number] * 3


def test_only_flagged_frames_have_a_red_border():
    sheet = np.asarray(draw_contact_sheet(_batch(2, flags=((), ("corrupt",))), columns=2, tile_width=160))
    assert sheet[6, 6].tolist() == [0, 0, 0]
    assert sheet[6, 6 + 166].tolist() == [248, 113, 113]


def test_captions_differ_by_time():
    sheet = np.asarray(draw_contact_sheet(_batch(2), columns=2, tile_width=160))
    captions = [sheet[6 + 90 : 6 + 110, 6 + number * 166 : 166 + number * 166] for number in range(2)]
    assert not np.array_equal(*captions)


def test_portrait_and_single_frames_fit():
    assert draw_contact_sheet(_batch(1, hw=(160, 90)), tile_width=90).size == (90 + 12, 160 + 20 + 12)


def test_a_jpeg_is_small_and_can_be_opened():
    sheet = draw_contact_sheet(_batch(8), tile_width=96)
    content = encode_jpeg(sheet, quality=60)
    assert len(content) < 20_000
    assert Image.open(io.BytesIO(content)).size == sheet.size

"""Write frames to an H.264 file, for the demo's clips. Only this module encodes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np


def write_h264(path: Path, frames_hwc: Iterable[np.ndarray], *, fps: int, crf: int = 20) -> None:
    """Write uint8 RGB frames (H, W, 3), H and W even, as an MP4. The file gets its name only when complete.

    The same frames give the same bytes: one encoder thread, no dates.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with av.open(str(partial), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
            stream = None
            for pixels in frames_hwc:
                if stream is None:
                    stream = container.add_stream("libx264", rate=fps)
                    stream.height, stream.width = pixels.shape[:2]
                    stream.pix_fmt = "yuv420p"
                    stream.codec_context.thread_count = 1
                    stream.options = {"crf": str(crf), "preset": "veryfast", "g": str(2 * fps)}
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            if stream is None:
                raise ValueError(f"no frames to write to {path}")
            container.mux(stream.encode(None))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

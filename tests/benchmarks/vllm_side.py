"""vLLM's own way, as a side of bench_engine: `LLM.generate` over frames, with prefix caching. Runs in its environment.

    python vllm_side.py MODEL        reads one JSON object a line, and writes one

    {"path": a clip, "frames": 16, "texts": [...], "tokens": [32, 1, ...]}   ->   {"texts": [...], "wall_s": 0.4}

Before each, its caches of media and prefixes are emptied: the side is cold, as a new clip is.
"""

from __future__ import annotations

import json
import os
import sys
import time

import cv2
import numpy as np


def main(model: str) -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # vLLM prints to standard output
    from vllm import LLM, SamplingParams

    llm = LLM(
        model,
        dtype="float32",
        enforce_eager=True,
        block_size=32,
        max_model_len=16384,
        limit_mm_per_prompt={"image": 0, "video": 1},
        disable_log_stats=True,
    )
    print("{}", file=out, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        llm.reset_prefix_cache()
        llm.reset_mm_cache()
        began = time.monotonic()
        frames, metadata = decoded(asked["path"], asked["frames"])
        prompts = [
            {
                "prompt": f"<|im_start|>user\n<video>\n{text}<|im_end|>\n<|im_start|>assistant\n",
                "multi_modal_data": {"video": [(frames, metadata)]},
            }
            for text in asked["texts"]
        ]
        sampling = [SamplingParams(temperature=0, max_tokens=most) for most in asked["tokens"]]
        made = llm.generate(prompts, sampling, use_tqdm=False)
        texts = [one.outputs[0].text.strip() for one in made]
        print(json.dumps({"texts": texts, "wall_s": time.monotonic() - began}), file=out, flush=True)


def decoded(path: str, sampled: int) -> tuple[np.ndarray, dict[str, object]]:
    """Frames (T, H, W, 3), RGB, at the middles of equal parts, as the plain side takes them."""
    capture = cv2.VideoCapture(path)
    frames = []
    while True:
        good, frame = capture.read()
        if not good:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    fps = capture.get(cv2.CAP_PROP_FPS)
    chosen = [int((place + 0.5) * len(frames) / sampled) for place in range(sampled)]
    metadata = {"total_num_frames": len(frames), "fps": fps, "duration": len(frames) / fps, "frames_indices": chosen,
                "do_sample_frames": False}  # fmt: skip
    return np.stack([frames[place] for place in chosen]), metadata


if __name__ == "__main__":
    main(*sys.argv[1:])

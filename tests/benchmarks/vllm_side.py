"""vLLM's own ways, as sides of bench_engine: `LLM.generate` over frames, and `LLM.chat` over JPEG frames, with prefix
caching. Runs in its environment.

    python vllm_side.py MODEL        reads one JSON object a line, and writes one

    {"way": "chat", "path": a clip, "frames": 16, "texts": [...], "tokens": [32, 1, ...]}   ->   {"texts": [...]}

Before each, its caches of media and prefixes are emptied: the side is cold, as a new clip is.
"""

from __future__ import annotations

import base64
import json
import os
import sys

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
        frames, metadata = decoded(asked["path"], asked["frames"])
        sampling = [SamplingParams(temperature=0, max_tokens=most) for most in asked["tokens"]]
        if asked["way"] == "chat":
            made = llm.chat(chats(frames, asked["texts"]), sampling, use_tqdm=False)
        else:
            made = llm.generate(prompts(frames, metadata, asked["texts"]), sampling, use_tqdm=False)
        texts = [one.outputs[0].text.strip() for one in made]
        print(json.dumps({"texts": texts}), file=out, flush=True)


def prompts(frames: np.ndarray, metadata: dict[str, object], texts: list[str]) -> list[dict[str, object]]:
    return [
        {
            "prompt": f"<|im_start|>user\n<video>\n{text}<|im_end|>\n<|im_start|>assistant\n",
            "multi_modal_data": {"video": [(frames, metadata)]},
        }
        for text in texts
    ]


def chats(frames: np.ndarray, texts: list[str]) -> list[list[dict[str, object]]]:
    """The frames as one video, as `openai:` models send them."""
    pictures = [cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1] for frame in frames]
    url = "data:video/jpeg;base64," + ",".join(base64.b64encode(picture).decode() for picture in pictures)
    video = {"type": "video_url", "video_url": {"url": url}}
    return [[{"role": "user", "content": [video, {"type": "text", "text": text}]}] for text in texts]


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

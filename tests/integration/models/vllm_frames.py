"""vLLM's own way, `LLM.generate` over frames, for test_engine.py. Runs in the environment of vLLM.

    python vllm_frames.py MODEL FRAMES.npz < questions > answers

Questions: [{"video": the name of an array (T, H, W, 3) of the file, "metadata": of its processor, "prompt": "...",
"most": 12, "ids": tokens whose log-probabilities as the first one are wanted}, ...]; answers: [{"tokens": [1, ...],
"prompt_tokens": 50, "log_probabilities": [-0.1, ...]}, ...].
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np


def main(model: str, path: str) -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # vLLM prints to standard output
    from vllm import LLM, SamplingParams

    questions, videos = json.load(sys.stdin), np.load(path)
    llm = LLM(
        model,
        dtype="float32",
        enforce_eager=True,
        block_size=32,
        max_model_len=4096,
        limit_mm_per_prompt={"image": 0, "video": 1},
        disable_log_stats=True,
    )
    prompts = [
        {
            "prompt": one["prompt"],
            "multi_modal_data": {"video": [(videos[one["video"]], one["metadata"])]},
            "mm_processor_kwargs": {"do_sample_frames": False},
        }
        for one in questions
    ]
    sampling = [
        SamplingParams(
            temperature=0,
            max_tokens=one["most"],
            logprobs=len(one["ids"]) or None,
            logprob_token_ids=one["ids"] or None,
        )
        for one in questions
    ]
    answers = [
        {
            "tokens": list(made.outputs[0].token_ids),
            "prompt_tokens": len(made.prompt_token_ids),
            "log_probabilities": [made.outputs[0].logprobs[0][id_].logprob for id_ in one["ids"]],
        }
        for one, made in zip(questions, llm.generate(prompts, sampling, use_tqdm=False), strict=True)
    ]
    json.dump(answers, out)
    out.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""One segment, K questions: our engine beside plain `generate()`. `make bench-engine`.

The model is an InternVL of some 30 million random weights on the CPU, with 16 frames of 64 and of 256 tokens. Half of
the questions are yes/no, half are texts of 32 tokens. Models are in memory before any side starts. Decoding counts on
every side except the warm one, which needs none. Where TEST_VLLM names an environment with vLLM, its sides follow;
"remote" is a `vllm:` model that gets frames, with the code for `openai:` models.

    python -m benchmarks.bench_engine [rounds] [tokens a frame ...]
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from benchmarks.engine_sides import FRAMES, Ours, Plain, build_model, frame_side, opened, prompts
from benchmarks.engine_vllm import VllmSides, opened_vllm, vllm_environment
from benchmarks.harness import Measurement, Report, Side, compare, in_process, measure, take_turns

from nightreel.demo.clips import Clip, write_clip
from nightreel.demo.scenes import draw_scene

_PROMPTS = (1, 4, 8, 12)
_TOKENS = (64, 256)
_LOOP = "a: generate() per prompt"
_BATCH = "b: one padded batch"
_PROMPTS_OF_VLLM = 8
_FROM_FRAMES = "vLLM from frames"
_CHAT = "vLLM's LLM.chat"
_IDLE_AFTER_S = 2.0


def main(rounds: int = 5, tokens: Sequence[int] = _TOKENS) -> None:
    report = Report("engine", versions=("torch", "transformers", "decord", "av", "pyarrow"))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for count in tokens:
            model = build_model(root / "models", tokens=count)
            clip = _make_clip(root / f"{count}.mp4", side=frame_side(count))
            with opened(model, root / "work") as (ours, plain):
                for asked in _PROMPTS:
                    _add_rows(report, _sides(ours, plain, clip, asked), rounds, tokens=count, asked=asked)
                if environment := vllm_environment():
                    clips = _make_clips(root / f"clips-{count}", side=frame_side(count))
                    with opened_vllm(model, root / "vllm", environment) as vllm:
                        _add_vllm_rows(report, ours, vllm, clips, rounds, tokens=count)
    report.finish()


def _sides(ours: Ours, plain: Plain, clip: Path, asked: int) -> dict[str, Side]:
    questions = prompts(asked)
    return {
        "cold": in_process(ours.cold, clip, questions),
        "warm": in_process(ours.warm, questions),
        _LOOP: in_process(plain.one_by_one, clip, questions),
        _BATCH: in_process(plain.in_one_batch, clip, questions),
    }


def _add_rows(report: Report, sides: dict[str, Side], rounds: int, *, tokens: int, asked: int) -> None:
    """Compare ours with both others; 1 and 8 questions have goals."""
    for side in sides.values():
        side()  # warm-up: later calls of a shape reuse work of the first
    runs = take_turns(sides, rounds=rounds, agree=lambda mine, theirs: mine == theirs)
    title = f"{FRAMES} frames x {tokens} tokens, {asked} prompts"
    note = f"{torch.get_num_threads()} threads; all answers equal"
    goals = {
        1: {("cold", _LOOP): 1.05},
        8: {("cold", _LOOP): 1 / 4, ("cold", _BATCH): 1 / 1.3, ("warm", _LOOP): 1 / 8},
    }.get(asked, {})
    for mine, other in (("cold", _LOOP), ("cold", _BATCH), ("warm", _LOOP)):
        report.add(
            compare(
                f"{title}: {mine}", runs, ours=mine, other=other, metric="wall_s",
                at_most=goals.get((mine, other)), note=note,
            )
        )  # fmt: skip


def _add_vllm_rows(
    report: Report, ours: Ours, vllm: VllmSides, clips: Iterator[Path], rounds: int, *, tokens: int
) -> None:
    """A `vllm:` model and ours in process beside vLLM over frames; no figure contains a start.

    Each cold side gets clips that it has not seen: vLLM keeps what it is shown.
    """
    questions = prompts(_PROMPTS_OF_VLLM)

    def stored() -> Measurement:
        vllm.from_features.encode(next(clips))
        return measure(vllm.from_features.warm, questions)

    sides = {
        _FROM_FRAMES: lambda: measure(vllm.alone.from_frames, next(clips), questions),
        _CHAT: lambda: measure(vllm.alone.chat, next(clips), questions),
        "vllm: cold": lambda: measure(vllm.from_features.cold, next(clips), questions),
        "vllm: stored features": stored,
        "vllm: the same features again": in_process(vllm.from_features.warm, questions),
        "remote cold": lambda: measure(vllm.from_frames.cold, next(clips), questions),
        "local cold": lambda: measure(ours.cold, next(clips), questions),
    }
    for side in sides.values():
        side()
    runs = take_turns({name: _after_a_wait(side) for name, side in sides.items()}, rounds=rounds)
    title = f"{FRAMES} frames x {tokens} tokens, {_PROMPTS_OF_VLLM} prompts"
    note = "ready after: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in vllm.starts.items())
    goals = {
        ("vllm: stored features", _FROM_FRAMES): 0.5,
        ("vllm: the same features again", _FROM_FRAMES): None,
        ("vllm: cold", _FROM_FRAMES): None,
        ("local cold", _FROM_FRAMES): 1.0,
        ("remote cold", _CHAT): 1.2,
    }
    for (mine, other), at_most in goals.items():
        report.add(
            compare(f"{title}: {mine}", runs, ours=mine, other=other, metric="wall_s", at_most=at_most, note=note)
        )


def _after_a_wait(side: Side) -> Side:
    """The side, once the vLLM of the side before is idle: it looks for requests without a pause for one second."""

    def run() -> Measurement:
        time.sleep(_IDLE_AFTER_S)
        return side()

    return run


def _make_clips(directory: Path, *, side: int) -> Iterator[Path]:
    """Clips that all differ."""
    directory.mkdir()
    for number in itertools.count():
        yield write_clip(
            directory / f"{number}.mp4", Clip.of((draw_scene(f"clip {number}"), 4.0)), width=side, height=side
        )


def _make_clip(path: Path, *, side: int) -> Path:
    scene = next(scene for scene in map(draw_scene, range(100)) if scene.things)
    return write_clip(path, Clip.of((scene, 4.0)), width=side, height=side)


if __name__ == "__main__":
    given = list(map(int, sys.argv[1:]))
    main(*given[:1], *([given[1:]] if given[1:] else []))

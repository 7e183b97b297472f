"""Models of real size on a GPU. `make bench-gpu`. Without a CUDA device it prints a message and ends.

InternVL3-8B and Qwen2.5-VL-7B with random bfloat16 weights, 32 frames, 8 questions. It runs the sides of bench_engine
and also measures tokens a second, the share of the device's arithmetic that prefill uses, the share of its memory
bandwidth that decoding uses, decoding with CUDA graphs, estimated beside measured memory, and a batch that runs out of
memory.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from benchmarks.engine_sides import TEXT_TOKENS, Ours, Plain, prompts
from benchmarks.gpu_shapes import SHAPES, Shape, build
from benchmarks.harness import Report, Row, compare, in_process, take_turns

from nightreel.demo.clips import Clip, write_clip
from nightreel.demo.scenes import draw_scene
from nightreel.domain import Features, MemoryPeak, Prompt, PromptKind
from nightreel.media.sandbox import DecoderPool
from nightreel.models.inprocess.graphs import Graphs, capture_on_gpu
from nightreel.models.inprocess.local import LocalModel
from nightreel.settings import load_settings

_FRAMES, _ASKED = 32, 8
_LOOP, _BATCH = "a: generate() per prompt", "b: one padded batch"
# Dense bfloat16 operations and bytes a second, from the makers' data sheets; the first matching name counts.
_PEAKS = {"H200": (989e12, 4.8e12), "H100": (989e12, 3.35e12), "A100": (312e12, 2.04e12), "L40S": (362e12, 0.86e12)}
_YES_NO = Prompt.of(name="night", kind=PromptKind.YES_NO, text="Is it night?")


def main(rounds: int = 5) -> None:
    if not torch.cuda.is_available():
        print("bench-gpu: torch sees no CUDA device; nothing was measured")
        return
    report = Report("gpu", versions=("torch", "transformers"), gpu=torch.cuda.get_device_name(0))
    for shape in SHAPES:
        measure(shape, report, rounds, device="cuda:0", dtype=torch.bfloat16)
    report.finish()


def measure(
    shape: Shape, report: Report, rounds: int, *, device: str, dtype: torch.dtype, frames: int = _FRAMES
) -> None:
    """Measure one model. Rows that need the GPU's peak figures appear only for known GPUs."""
    network, processor, spec = build(shape, device=device, dtype=dtype)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        scene = next(scene for scene in map(draw_scene, range(100)) if scene.things)
        clip = write_clip(root / "clip.mp4", Clip.of((scene, 4.0)), width=shape.side, height=shape.side)
        settings = load_settings(work_dir=root / "work", plan=f"uniform:{frames}")
        with DecoderPool.from_settings(settings) as pool:
            ours, plain = Ours(settings, pool, LocalModel(network, processor, spec)), Plain(network, processor, frames)
            _add_sides(report, shape, ours, plain, clip, rounds)
            _add_rates(report, shape, network, ours, rounds)
            if device.startswith("cuda"):
                graphs = LocalModel(network, processor, spec, graphs=Graphs(capture_on_gpu))
                _add_graphs(report, shape, ours, graphs, rounds)
                _add_memory(report, shape, ours)


def _add_sides(report: Report, shape: Shape, ours: Ours, plain: Plain, clip: Path, rounds: int) -> None:
    """The four sides of bench_engine. Answers are not compared: in bfloat16, other batching flips near-ties."""
    questions = prompts(_ASKED)
    sides = {
        "cold": in_process(ours.cold, clip, questions),
        "warm": in_process(ours.warm, questions),
        _LOOP: in_process(plain.one_by_one, clip, questions),
        _BATCH: in_process(plain.in_one_batch, clip, questions),
    }
    for side in sides.values():
        side()  # warm-up: later calls of a shape reuse work of the first
    runs = take_turns(sides, rounds=rounds)
    for mine, other, goal in (("cold", _LOOP, 1 / 4), ("cold", _BATCH, 1 / 1.3), ("warm", _LOOP, 1 / 8)):
        title = f"{shape.name}, {_ASKED} prompts: {mine}"
        report.add(compare(title, runs, ours=mine, other=other, metric="wall_s", at_most=goal))


def _add_rates(report: Report, shape: Shape, network: torch.nn.Module, ours: Ours, rounds: int) -> None:
    """Prefill and decoding of one segment, beside the device's peak."""
    features, model = ours.kept(), ours.model
    config = network.config.get_text_config()
    texts = [prompt for prompt in prompts(_ASKED) if not prompt.question.kind.scored]
    prefill_s = _median_s(lambda: model.ask([features], [[_YES_NO]]), rounds)
    decode_s = _median_s(lambda: model.ask([features], [texts]), rounds) - prefill_s
    step_s = max(decode_s, 1e-9) / TEXT_TOKENS
    tokens = len(texts) / step_s
    report.add(Row(f"{shape.name}: tokens a second, {len(texts)} texts", tokens, 1 / step_s, "steps a second", "",
                   float(len(texts)), "none", True))  # fmt: skip
    peak = next((peaks for name, peaks in _PEAKS.items() if name in report.gpu), None)
    if peak is None:
        return
    layers = sum(weight.numel() for weight in network.model.language_model.layers.parameters())
    length = _prefix_tokens(features)
    width = config.num_attention_heads * (config.hidden_size // config.num_attention_heads)
    operations = 2 * layers * length + 2 * config.num_hidden_layers * width * length**2  # causal: half of 4 L w n^2
    used = operations / prefill_s / peak[0]
    title = f"{shape.name}: prefill of {length} tokens, share of {peak[0] / 1e12:.0f} TFLOP/s"
    report.add(Row(title, operations / prefill_s / 1e12, peak[0] / 1e12, "the device's peak", "TFLOP/s", used, "none",
                   True, "includes the first question's forward pass and reading the answer"))  # fmt: skip
    cache = 2 * config.num_hidden_layers * config.num_key_value_heads * (width // config.num_attention_heads) * length
    read = (layers + network.lm_head.weight.numel() + cache) * network.dtype.itemsize
    report.add(Row(f"{shape.name}: decoding, share of memory bandwidth", read / step_s / 1e12, peak[1] / 1e12,
                   "the device's peak", "TB/s", read / step_s / peak[1], "none", True))  # fmt: skip


def _add_graphs(report: Report, shape: Shape, ours: Ours, graphs: LocalModel, rounds: int) -> None:
    """The texts of one segment, with steps that are replayed as graphs, beside the same model without."""
    texts = [prompt for prompt in prompts(_ASKED) if not prompt.question.kind.scored]
    asked = [ours.kept()], [texts]
    sides = {"graphs": in_process(graphs.ask, *asked), "no graphs": in_process(ours.model.ask, *asked)}
    for side in sides.values():
        side()
    runs = take_turns(sides, rounds=rounds)
    report.add(compare(f"{shape.name}, {len(texts)} texts: CUDA graphs", runs, ours="graphs", other="no graphs",
                       metric="wall_s", at_most=1.0))  # fmt: skip


def _add_memory(report: Report, shape: Shape, ours: Ours) -> None:
    """Estimated beside measured memory, and memory that runs out in the middle of eight segments."""
    features, model, questions = ours.kept(), ours.model, prompts(_ASKED)
    model.take_peaks()
    model.ask([features] * _ASKED, [questions] * _ASKED)
    for peak in model.take_peaks():
        report.add(_memory_row(shape, peak))
        room = peak.measured_bytes // 3
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + room) / total)
    try:
        answers = model.ask([features] * _ASKED, [questions] * _ASKED)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    given = sum(len(own) for own in answers)
    wanted = _ASKED * len(questions)
    tried = sum(peak.out_of_memory for peak in model.take_peaks())
    report.add(Row(f"{shape.name}: answers with a third of the memory", given, wanted, "questions", "answers",
                   given / wanted, ">= 1", given == wanted, f"ran out of memory {tried} times"))  # fmt: skip


def _memory_row(shape: Shape, peak: MemoryPeak) -> Row:
    ratio = peak.estimated_bytes / peak.measured_bytes
    title = f"{shape.name}: {peak.stage} memory of {peak.segments} segments, estimated beside measured"
    return Row(title, peak.estimated_bytes / 2**20, peak.measured_bytes / 2**20, "measured", "MiB", ratio,
               "<= 1.25 and >= 1", 1 <= ratio <= 1.25)  # fmt: skip


def _prefix_tokens(features: Features) -> int:
    (ids,) = (tensor for tensor in features.tensors if tensor.name == "input/prefix_ids")
    return ids.shape[0]


def _median_s(work: Callable[[], Sequence[object]], rounds: int) -> float:
    work()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

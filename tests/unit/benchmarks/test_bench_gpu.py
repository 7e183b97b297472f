"""The GPU benchmark runs with a tiny shape on the CPU, because test machines have no GPU."""

import pytest
import torch
from benchmarks import bench_gpu
from benchmarks.gpu_shapes import Shape
from benchmarks.harness import Report


@pytest.mark.parametrize(
    "shape", [Shape("tiny InternVL", "internvl", 56, frame_tokens=4), Shape("tiny Qwen2.5-VL", "qwen2_5_vl", 56)]
)
def test_every_side_of_a_shape_is_measured(shape, tmp_path):
    torch.set_num_threads(1)
    report = Report("gpu", gpu="pretends to be an H200")
    bench_gpu.measure(shape, report, 1, device="cpu", dtype=torch.float32, frames=4)
    text = report.finish(tmp_path).read_text()
    for row in ("8 prompts: cold", "8 prompts: warm", "tokens a second", "prefill of", "share of memory bandwidth"):
        assert f"{shape.name}" in text
        assert row in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU, the benchmark would run in full")
def test_the_benchmark_reports_a_missing_gpu(capsys):
    bench_gpu.main()
    assert "no CUDA device" in capsys.readouterr().out

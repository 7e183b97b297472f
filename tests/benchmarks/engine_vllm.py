"""The vLLM sides of bench_engine: `vllm:` models beside vLLM's own `LLM.generate` and `LLM.chat` over frames.

They are there where TEST_VLLM names an environment with vLLM. All sides use the CPU: one works at a time.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine_sides import FRAMES, Answers, Ours

from nightreel.domain import Prompt
from nightreel.media.sandbox import DecoderPool
from nightreel.models.loading import load_model
from nightreel.prompts.wording import texts_of
from nightreel.settings import child_environment, load_settings

_END_TIMEOUT_S = 60
_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


def vllm_environment() -> Path | None:
    named = os.environ.get("TEST_VLLM", "")
    return Path(named) if named and not named.startswith("http") else None


class VllmAlone:
    """vLLM in its own environment, which decodes the clip and gets its frames."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def from_frames(self, path: Path, asked: Sequence[Prompt]) -> Answers:
        """All prompts in one call, with empty caches."""
        return self._made("generate", path, asked)

    def chat(self, path: Path, asked: Sequence[Prompt]) -> Answers:
        """All prompts as chats in one call, with empty caches. The frames are JPEG pictures."""
        return self._made("chat", path, asked)

    def _made(self, way: str, path: Path, asked: Sequence[Prompt]) -> Answers:
        request = {
            "way": way,
            "path": str(path),
            "frames": FRAMES,
            "texts": [texts_of(prompt.question)[0] for prompt in asked],
            "tokens": [1 if prompt.question.kind.scored else prompt.question.max_new_tokens for prompt in asked],
        }
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{json.dumps(request)}\n")
        self._process.stdin.flush()
        texts: Answers = json.loads(self._process.stdout.readline())["texts"]
        return texts


@dataclass(frozen=True)
class VllmSides:
    """All sides with vLLM, started.

    Args:
        from_features, from_frames: `vllm:` models that get features, and frames.
        starts: the seconds until they answered. The one that gets frames is ready after its first question.
    """

    alone: VllmAlone
    from_features: Ours
    from_frames: Ours
    starts: dict[str, float]


@contextmanager
def opened_vllm(model: Path, work_dir: Path, environment: Path) -> Iterator[VllmSides]:
    """Start all three."""
    settings = load_settings(
        model=f"vllm:{model}", device="cpu", work_dir=work_dir, plan=f"uniform:{FRAMES}", engine_dir=environment
    )
    began = time.monotonic()
    command = [str(environment / "bin" / "python"), str(Path(__file__).with_name("vllm_side.py")), str(model)]
    process = subprocess.Popen(
        command,
        env=child_environment(**_ENVIRONMENT, PATH=f"{environment / 'bin'}:{os.environ['PATH']}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        process.stdout.readline()
        starts = {"alone": time.monotonic() - began}
        with DecoderPool.from_settings(settings) as pool, ExitStack() as stack:
            found = {}
            for media in ("features", "frames"):
                began = time.monotonic()
                chosen = settings.model_copy(update={"engine_media": media})
                loaded = stack.enter_context(closing(load_model(chosen)))
                loaded.ask([], [])
                found[media] = Ours(chosen, pool, loaded)
                if media == "features":
                    starts[media] = time.monotonic() - began
            yield VllmSides(VllmAlone(process), found["features"], found["frames"], starts)
    finally:
        # At the end of its input, vLLM ends its own processes; killed, it leaves them behind.
        process.communicate(timeout=_END_TIMEOUT_S)

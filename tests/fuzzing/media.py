"""Fuzz the decoders: mutate videos, and check that each ends with frames or with a reason. `make fuzz` runs it.

A mutated file may cost its own analysis, never more: no unexpected exception, no hang, and the pool must still decode a
good file. Each run has a seed, which alone decides about the file, its mutations and the second file.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fixtures.formats import FORMATS
from fixtures.fragment_layouts import LAYOUTS
from fixtures.fragments import write_fragments
from fuzzing.mutations import mutate

from nightreel.domain import SamplingPlan
from nightreel.errors import NightreelError
from nightreel.media.probe import MediaLimits
from nightreel.media.sampling import segments
from nightreel.media.sandbox import DecoderPool
from nightreel.reasons import Reason
from nightreel.settings import Settings

_PLAN = SamplingPlan.parse("uniform:8")
_WINDOW_S, _SHORT_SIDE = 30.0, 96
_MOST_BYTES = 4 * 2**20  # larger files only take time
_GOOD_CLIPS = Path(__file__).parents[3] / "shared" / "clips" / "good"
_BUILD = Path("build") / "fuzz"
# The file itself cannot be blamed for these. `decoder_crashed` is a fault of ffmpeg, which the sandbox contains.
_OUR_FAULT = frozenset({
    Reason.DECODER_FAILED, Reason.DECODE_TIMEOUT, Reason.DECODER_START, Reason.DECODER_KILLED, Reason.FILE_UNREADABLE,
    Reason.DECODER_POOL_CLOSED, Reason.INTERNAL_ERROR,
})  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What became of one mutated file.

    Args:
        what: "done" or a reason. problem: why this outcome must not be; empty where it may be.
        mutations: the source, and what was done to it. took_s: of probing and decoding.
    """

    seed: int
    what: str
    problem: str
    mutations: str
    took_s: float


class Fuzz:
    """Mutated copies of `sources`, tried one by one on a pool. Thread-safe.

    Args:
        sources: videos, valid or not.
        good: a valid video, which the pool must decode after it has lost a process.
        keep: directory for mutated files; those with a problem stay there.
    """

    def __init__(self, pool: DecoderPool, sources: Sequence[Path], *, good: Path, keep: Path) -> None:
        self._pool = pool
        self._sources = sorted(sources)
        self._good = good
        self._keep = keep
        keep.mkdir(parents=True, exist_ok=True)

    def try_seed(self, seed: int) -> Outcome:
        """Make the file of this seed and try it. A file with a problem is kept."""
        path, mutations = self._make(seed)
        started = time.monotonic()
        what, problem = self._try(path)
        took_s = time.monotonic() - started
        if what != "done" and not problem and Reason.of(what) in (Reason.DECODER_CRASHED, Reason.DECODE_MEMORY):
            problem = self._check_pool()  # the process is replaced
        if not problem:
            path.unlink()
        return Outcome(seed, what, problem and f"{problem}; the file is kept as {path}", mutations, took_s)

    def _check_pool(self) -> str:
        """Why the pool no longer decodes a valid video; empty where it does."""
        what, problem = self._try(self._good)
        return problem or ("" if what == "done" else f"afterwards the pool answers {what} to a valid video")

    def _make(self, seed: int) -> tuple[Path, str]:
        draw = random.Random(seed)
        source, other = draw.choice(self._sources), draw.choice(self._sources)
        content, mutations = mutate(source.read_bytes(), other.read_bytes(), seed)
        path = self._keep / f"{seed}_{source.name}"
        path.write_bytes(content)
        return path, f"{source.name}, {other.name}: {mutations}"

    def _try(self, path: Path) -> tuple[str, str]:
        """("done" or the reason, the problem or "")."""
        try:
            probe = self._pool.probe(path)
            parts = segments(probe.duration_s or 0.0, _WINDOW_S)
            for segment in {parts[0], parts[-1]}:
                self._pool.decode(path, probe=probe, plan=_PLAN, segment=segment, short_side=_SHORT_SIDE)
        except NightreelError as error:
            what = str(error.reason)
            if error.reason in _OUR_FAULT:
                return what, str(error)
            named = error.detail.count(path.name)
            return what, "" if named == 1 else f"the message names the file {named} times: {error}"
        except Exception as error:  # noqa: BLE001  anything else is what this looks for
            return type(error).__name__, f"{type(error).__name__}: {error}"
        return "done", ""


def generated_sources(folder: Path, names: Sequence[str] | None = None) -> list[Path]:
    """Clips in the formats `names`, or in all formats and fragment layouts; those that exist are not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [_once(folder / name, FORMATS[name]) for name in names or FORMATS]
    if names is None:
        for name, layout in LAYOUTS.items():
            path = folder / f"{name}.fragments.mp4"
            write_fragments(path, _once(folder / "h264_b_frames_mov", FORMATS["h264_b_frames_mov"]), layout)
            paths.append(path)
    return paths


def _once(stem: Path, make: Callable[[Path], object]) -> Path:
    def made() -> list[Path]:
        return [path for path in stem.parent.glob(f"{stem.name}.*") if path.suffixes == [path.suffix]]

    if not made():
        make(stem)
    return made()[0]


def _videos_in(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        if path.is_file() and 0 < path.stat().st_size <= _MOST_BYTES:
            yield path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; print each problem as it is found, then a summary. Returns 1 if there was a problem."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="number of mutated files")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first file; each next file has the next seed")
    parser.add_argument("--directory", type=Path, help="mutate only the videos in this directory")
    parser.add_argument("--build", type=Path, default=_BUILD, help="directory for clips and for kept files")
    parser.add_argument("--timeout-s", type=float, default=30.0, help="a file that takes longer counts as a hang")
    options = parser.parse_args(arguments)
    (good,) = generated_sources(options.build / "clips", ["h264_short_gop_mp4"])
    if options.directory:
        sources = list(_videos_in(options.directory))
    else:
        real = _videos_in(_GOOD_CLIPS) if _GOOD_CLIPS.is_dir() else ()
        sources = [*generated_sources(options.build / "clips"), *real]
    if not sources:
        parser.error(f"--directory {options.directory}: no file of 1 to {_MOST_BYTES} bytes in it")
    limits = MediaLimits.from_settings(Settings(gif=True))
    outcomes: list[Outcome] = []
    with DecoderPool(limits=limits, workers=2, timeout_s=options.timeout_s) as pool, ThreadPoolExecutor(2) as threads:
        fuzz = Fuzz(pool, sources, good=good, keep=options.build / "kept")
        for outcome in threads.map(fuzz.try_seed, range(options.seed, options.seed + options.runs)):
            outcomes.append(outcome)
            if outcome.problem:
                print(_report(outcome, options.directory))
    _print_summary(outcomes, len(sources))
    return int(any(outcome.problem for outcome in outcomes))


def _report(outcome: Outcome, directory: Path | None) -> str:
    """A problem, and how to see it again."""
    again = f"make fuzz SEED={outcome.seed} RUNS=1" + (f" DIR={directory}" if directory else "")
    return f"seed {outcome.seed}: {outcome.mutations}\n  {outcome.problem}\n  again: {again}"


def _print_summary(outcomes: Sequence[Outcome], sources: int) -> None:
    print(f"{len(outcomes)} mutated files of {sources} videos:")
    for what, count in Counter(outcome.what for outcome in outcomes).most_common():
        print(f"  {count:6d}  {what}")
    slowest = max(outcomes, key=lambda outcome: outcome.took_s)
    print(f"slowest: seed {slowest.seed}, {slowest.took_s:.1f} s, {slowest.what}: {slowest.mutations}")
    print(f"problems: {sum(bool(outcome.problem) for outcome in outcomes)}")


if __name__ == "__main__":
    sys.exit(main())

"""Decode processes end with their program, however it ends, and work with torch and threads."""

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from fixtures.clips import encode_numbers

from nightreel.media.probe import MediaLimits
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys
from pathlib import Path
from nightreel.media.probe import MediaLimits
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings

clip = Path(sys.argv[1])
with DecoderPool(limits=MediaLimits.from_settings(Settings()), workers=2, timeout_s=60) as pool:
    probe = pool.probe(clip)
"""
HANGS = """
    import psutil, threading, time
    from nightreel.media.fork_server import DecoderProcess
    ask = DecoderProcess.ask
    def suspended(self, request, **others):
        psutil.Process().children(recursive=True)[-1].suspend()
        print("hanging", flush=True)
        return ask(self, request, **others)
    DecoderProcess.ask = suspended
    pool.probe(clip)
"""
WITH_TORCH_AND_THREADS = """
    import torch
    from concurrent.futures import ThreadPoolExecutor
    from nightreel.domain import SamplingPlan, Segment

    torch.set_num_threads(2)
    torch.ones(400, 400) @ torch.ones(400, 400)
    plan, segment = SamplingPlan.parse("uniform:4"), Segment(0, 0.0, probe.duration_s)
    with ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(pool.decode, clip, probe=probe, plan=plan, segment=segment) for _ in range(16)]
    frames = torch.from_numpy(jobs[-1].result().frames_thwc).permute(0, 3, 1, 2)
    print(len(jobs), tuple(frames.shape), int(frames.float().mean()) > 20)
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    encode_numbers(path, range(25), "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    return path


def test_a_closed_pool_leaves_no_descriptor_open(clip):
    before = psutil.Process().num_fds()
    with DecoderPool(limits=MediaLimits.from_settings(Settings()), workers=2, timeout_s=60) as pool:
        pool.probe(clip)
        assert psutil.Process().num_fds() > before
    assert psutil.Process().num_fds() == before


def _start(program: str, clip: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM + program, clip], cwd=ROOT, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip


def _gone(processes: list[psutil.Process], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("signal_sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_program_leaves_no_decode_process_even_if_it_hangs(clip, signal_sent):
    with _start(HANGS, clip) as program:
        assert program.stdout.readline() == "hanging\n"
        processes = psutil.Process(program.pid).children(recursive=True)
        assert len(processes) == 3  # the fork server's program, the server and one decoder process
        program.send_signal(signal_sent)
        program.communicate()
    assert _gone(processes, within_s=3)


def test_ctrl_c_ends_the_wait_for_a_decode_process_and_all_processes_quietly(clip):
    with _start(HANGS, clip) as program:
        assert program.stdout.readline() == "hanging\n"
        processes = psutil.Process(program.pid).children(recursive=True)
        for process in [psutil.Process(program.pid), *processes]:  # to the whole group, as a terminal sends it
            with suppress(psutil.NoSuchProcess):  # the pool ends its processes as soon as it is interrupted
                process.send_signal(signal.SIGINT)
        _, stderr = program.communicate(timeout=10)
    assert program.returncode == -signal.SIGINT
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert "resource_tracker" not in stderr
    assert _gone(processes, within_s=3)


def test_a_program_with_torch_and_threads_gets_its_frames_and_ends_without_output(clip):
    with _start(WITH_TORCH_AND_THREADS, clip) as program:
        stdout, stderr = program.communicate(timeout=60)
    assert stdout == "16 (4, 3, 96, 160) True\n"
    assert stderr == ""
    assert program.returncode == 0


def test_the_parent_process_never_loads_a_decoder(clip):
    with _start('    print(sorted({"av", "decord"} & set(sys.modules)))', clip) as program:
        stdout, _ = program.communicate(timeout=60)
    assert stdout == "[]\n"


def test_lower_limits_set_by_an_operator_are_kept(tmp_path):
    program = f"""
import os, resource
from pathlib import Path
from nightreel.media.confinement import Namespaces, confine
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
if not os.fork():
    with Path({__file__!r}).open() as file:
        alone = Namespaces(False, False)
        confine(file.fileno(), {__file__!r}, namespaces=alone, memory_bytes=2**30, threads_of_user=99)
    print(resource.getrlimit(resource.RLIMIT_FSIZE), flush=True)
    os._exit(0)
os.wait()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "(4096, 4096)\n"

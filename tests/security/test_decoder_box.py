"""Code that runs inside a decoder process gets at nothing: the box is attacked from inside, with the real kernel."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures import hostile_decoder
from fixtures.clips import encode_numbers
from fixtures.processes import running_children

from nightreel.domain import SamplingPlan, Segment
from nightreel.errors import PermanentError, SettingsError, TransientError
from nightreel.media import confinement
from nightreel.media.probe import MediaLimits
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings

LIMITS = MediaLimits.from_settings(Settings())
PLAN = SamplingPlan.parse("uniform:4")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "innocent.mp4"
    encode_numbers(path, range(25), *X264)
    return path


NO_LANDLOCK = """
from nightreel.media import confinement
confinement.restrict_to = lambda fd: 0
"""
NO_NAMESPACES_AND_THE_SAME_USER = """
from nightreel.media import confinement, fork_server_program
fork_server_program.enter_namespaces = lambda: confinement.Namespaces(user=False, others=False)
confinement._leave_user = lambda namespaces, keep_reading: ""
confinement.os.chroot = lambda path: LIBC_FAILS()
def LIBC_FAILS():
    raise PermissionError
"""
NO_SECCOMP = """
from nightreel.media import confinement
confinement.allow_only_decoding = lambda threads, files: False
"""
KERNELS = {
    "everything": "",
    "no Landlock": NO_LANDLOCK,
    "no namespaces and the same user": NO_NAMESPACES_AND_THE_SAME_USER,
    "seccomp alone": NO_LANDLOCK + NO_NAMESPACES_AND_THE_SAME_USER,
}


@pytest.fixture
def box(monkeypatch, tmp_path, clip):
    """Install hostile code, and get back a function that runs it and returns what it tells."""

    def enter(source, kernel=""):
        hostile_decoder.install(monkeypatch, tmp_path, source, before=kernel)
        path = tmp_path / "attack.mp4"
        path.write_bytes(clip.read_bytes())
        with DecoderPool(limits=LIMITS, workers=1, timeout_s=20) as pool:
            with pytest.raises(PermanentError) as caught:
                pool.probe(path)
            return caught.value.detail.rpartition("told: ")[2]

    return enter


def _attempts(lines):
    """A module that tries each line of Python and tells which ones succeeded."""
    return f"""
    def attack(file):
        got_in = []
        for line in {lines!r}:
            try:
                exec(line, {{**globals(), "file": file}})
            except OSError:
                continue
            got_in.append(line)
        tell(got_in)
    """


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_no_file_can_be_read_but_the_video(box, kernel, tmp_path):
    secret = tmp_path / ".env"
    secret.write_text("NIGHTREEL_DATABASE_URL=postgresql://owner:secret@host/db")
    paths = [str(secret), "/.env", ".env", "/etc/passwd", "/etc/hostname", "/", "..", "../..", "/proc/self/environ",
             f"/proc/{os.getpid()}/environ", f"/proc/{os.getpid()}/mem", f"/proc/{os.getpid()}/fd", "/proc/1/environ",
             "/dev/zero", __file__, sys.executable]  # fmt: skip
    lines = [f"os.open({path!r}, os.O_RDONLY)" for path in paths]
    lines += [f"os.listdir({path!r})" for path in paths]
    lines += [f"os.readlink({path!r})" for path in paths]
    lines += [f"os.open({path!r}, os.O_RDONLY | os.O_PATH)" for path in paths]
    assert box(_attempts(lines), kernel) == "[]"


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_no_file_can_be_written_made_or_removed(box, kernel, tmp_path, clip):
    target = tmp_path / "target"
    target.write_text("mine")
    video = tmp_path / "attack.mp4"
    lines = []
    for path in (str(target), "/target", str(video), "/attack.mp4", "/new", "new"):
        lines += [
            f"os.open({path!r}, os.O_WRONLY)",
            f"os.open({path!r}, os.O_RDWR)",
            f"os.open({path!r}, os.O_RDONLY | os.O_TRUNC)",
            f"os.open({path!r}, os.O_RDONLY | os.O_CREAT)",
            f"os.unlink({path!r})",
            f"os.rename({path!r}, '/tmp/elsewhere')",
            f"os.chmod({path!r}, 0o777)",
            f"os.chown({path!r}, 0, 0)",
            f"os.truncate({path!r}, 0)",
            f"os.utime({path!r})",
            f"os.setxattr({path!r}, 'user.a', b'b')",
            f"os.mkdir({path + '.d'!r})",
            f"os.symlink('/etc/passwd', {path + '.l'!r})",
            f"os.link({path!r}, {path + '.h'!r})",
            f"os.mkfifo({path + '.f'!r})",
        ]
    lines += ["os.ftruncate(file.fd, 0)", "os.pwrite(file.fd, b'x', 0)", "os.fchmod(file.fd, 0o777)"]
    assert box(_attempts(lines), kernel) == "[]"
    assert target.read_text() == "mine"
    assert video.read_bytes() == clip.read_bytes()


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_no_process_can_be_read_signalled_or_started(box, kernel):
    me = os.getpid()
    lines = []
    for pid in (me, os.getppid(), 1, 2, -1, 0):
        lines += [f"os.kill({pid}, 0)", f"os.kill({pid}, 9)", f"os.pidfd_open({pid})",
                  f"os.sched_setaffinity({pid}, [0])", f"os.setpriority(os.PRIO_PROCESS, {pid}, 19)"]  # fmt: skip
    lines += [
        "os.fork()",
        "os.forkpty()",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.execv('/bin/true', ['true'])",
        "os.execv(sys.executable, [sys.executable])",
        "os.setuid(0)",
        "os.setresuid(0, 0, 0)",
        "os.setgroups([0])",
        "os.setsid()",
        "os.chroot('/')",
        "os.killpg(0, 9)",
        "os.memfd_create('x')",
        "os.eventfd(0)",
        "os.pipe()",
        "os.openpty()",
    ]
    assert box(_attempts(lines), kernel) == "[]"


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_no_connection_can_be_opened(box, kernel):
    lines = [f"socket.socket(socket.{family}, socket.{kind})"
             for family in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_VSOCK")
             for kind in ("SOCK_STREAM", "SOCK_DGRAM", "SOCK_RAW")]  # fmt: skip
    assert box(_attempts([*lines, "socket.socketpair()"]), kernel) == "[]"


def test_without_seccomp_files_network_and_processes_of_the_host_are_out_of_reach(box, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("mine")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        lines = [
            f"os.open({path!r}, os.O_RDONLY)" for path in (str(secret), "/secret", "/etc/passwd", "/", "/proc/1/mem")
        ]
        lines += [f"os.open({path!r}, os.O_WRONLY | os.O_CREAT)" for path in (str(secret), "/secret", "/new")]
        lines += [f"os.kill({os.getpid()}, 0)", f"os.kill({os.getppid()}, 0)"]
        lines += [f"socket.socket().connect((b'127.0.0.1', {port}))"]
        assert box(_attempts(lines), NO_SECCOMP) == "[]"
    assert secret.read_text() == "mine"


def test_every_other_system_call_is_refused(box):
    told = box(
        """
        from nightreel.kernel import seccomp

        def attack(file):
            allowed = {getattr(call, MACHINE) for call in seccomp._calls(messages=True, threads=True, files=True)}
            passed = []
            for number in [*range(0, 600), *range(0x40000000, 0x40000000 + 600)]:
                if number in allowed or number in (335, 336):  # the last two send SIGILL, whatever a filter says
                    continue
                ctypes.set_errno(0)
                result = LIBC.syscall(ctypes.c_long(number), *[ctypes.c_ulong(0)] * 6)
                if result != -1 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
                    passed.append(number)
            tell((len(allowed) < 80, passed))
        """
    )
    assert told == "(True, [])"


def test_allowed_calls_are_refused_with_other_arguments(box):
    """No new process by clone, no executable memory, no signal but abort, no limit of another process."""
    told = box(
        """
        def attack(file):
            me, parent, passed = os.getpid(), os.getppid() or 1, []
            calls = {  # numbers on x86_64 and aarch64, arguments
                "clone of a process": (56, 220, 17, 0, 0, 0, 0),
                "clone of a process with shared memory": (56, 220, 0x100 | 0x4000 | 17, 0, 0, 0, 0),
                "clone into a user namespace": (56, 220, 0x10000000 | 17, 0, 0, 0, 0),
                "clone of a thread into a user namespace": (56, 220, 0x003D0F00 | 0x10000000, 0, 0, 0, 0),
                "executable mmap": (9, 222, 0, 4096, 7, 0x22, 2**64 - 1),
                "executable mprotect": (10, 226, 0, 4096, 5, 0, 0),
                "SIGKILL to itself": (234, 131, me, me, 9, 0, 0),
                "SIGABRT to the parent": (234, 131, parent, parent, 6, 0, 0),
                "prlimit of the parent": (302, 261, parent, 7, 0, 0, 0),
                "prlimit that raises": (302, 261, 0, 7, 2**40, 0, 0),
                "prctl dumpable": (157, 167, 4, 1, 0, 0, 0),
                "prctl seccomp": (157, 167, 22, 2, 0, 0, 0),
                "fcntl seals": (72, 25, file.fd, 1033, 0, 0, 0),
                "fcntl owner": (72, 25, sockets()[0], 8, 1, 0, 0),
                "affinity of another": (204, 123, parent, 128, 0, 0, 0),
            }
            for name, (x86_64, aarch64, *arguments) in calls.items():
                ctypes.set_errno(0)
                number = aarch64 if MACHINE == "aarch64" else x86_64
                result = LIBC.syscall(ctypes.c_long(number), *[ctypes.c_ulong(value) for value in arguments])
                if result != -1 or ctypes.get_errno() != errno.EPERM:
                    passed.append((name, result, ctypes.get_errno()))
            tell(passed)
        """
    )
    assert told == "[]"


def test_the_shared_memory_cannot_be_shrunk_under_the_pipeline(monkeypatch, tmp_path, clip):
    hostile_decoder.install(
        monkeypatch,
        tmp_path,
        """
        def decode_shrink(file, job, frames_thwc):
            done = []
            for fd in range(3, 64):
                try:
                    os.ftruncate(fd, 0)
                except OSError:
                    pass
                for command in (1033, 1024):  # F_ADD_SEALS, F_SETLEASE
                    if LIBC.fcntl(fd, command, 0x1f) == 0:
                        done.append((fd, command))
            tell(done)
        """,
    )
    path = tmp_path / "shrink.mp4"
    path.write_bytes(clip.read_bytes())
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=20) as pool:
        probe = pool.probe(path)
        with pytest.raises(PermanentError, match=r"told: \[\]$"):
            pool.decode(path, probe=probe, plan=PLAN, segment=Segment(0, 0.0, 1.0))


def test_a_captured_process_serves_no_other_video(monkeypatch, tmp_path, clip):
    """Whatever a hostile video changes in its process, three innocent clips after it come out as before."""
    hostile_decoder.install(
        monkeypatch,
        tmp_path,
        """
        def capture(file):
            def liar(*anything):
                tell("captured")
            decoder_process.probe_file = decoder_process.decode = liar
            decoder_process._answer = liar
            tell(os.getpid())
        """,
    )
    hostile = tmp_path / "capture.mp4"
    hostile.write_bytes(clip.read_bytes())
    told = set()
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=20) as pool:
        reference = pool.decode_moments(clip, probe=pool.probe(clip), moments_s=[0.1, 0.5])
        for _ in range(3):
            with pytest.raises(PermanentError) as caught:
                pool.probe(hostile)
            told.add(caught.value.detail)
            frames = pool.decode_moments(clip, probe=pool.probe(clip), moments_s=[0.1, 0.5]).frames_thwc
            assert np.array_equal(frames, reference.frames_thwc)
    assert len(told) == 3  # a process that failed is not used again


def test_a_process_reads_one_file(monkeypatch, tmp_path, clip):
    hostile_decoder.install(
        monkeypatch,
        tmp_path,
        """
        seen = []

        def decode_one(file, job, frames_thwc):
            seen.append(file.name)
            tell((os.getpid(), seen, len(sockets())))
        """,
    )
    one, other = tmp_path / "one.mp4", tmp_path / "other.mp4"
    with DecoderPool(limits=LIMITS, workers=2, timeout_s=20) as pool:
        for content in (clip.read_bytes(), clip.read_bytes() + b"\0\0\0\x08free"):
            one.write_bytes(content)  # the second time, it is another file of the same name
            other.write_bytes(content)
            probe = pool.probe(one)
            pool.decode_moments(other, probe=pool.probe(other), moments_s=[0.1])
            with pytest.raises(PermanentError, match=r"\['one.mp4'\], 1\)$"):
                pool.decode_moments(one, probe=probe, moments_s=[0.1])


def test_a_closed_file_is_open_in_no_process(tmp_path, clip):
    path = tmp_path / "film.mp4"
    path.write_bytes(clip.read_bytes())
    with DecoderPool(limits=LIMITS, workers=2, timeout_s=20) as pool:
        pool.probe(path)
        (program,) = running_children("fork_server_program")
        (server,) = program.children()
        assert len(server.children()) == 1
        pool.close_file(path)
        assert server.children() == []
        pool.close_file(tmp_path / "gone.mp4")


def test_nothing_that_a_process_started_outlives_its_call(monkeypatch, tmp_path, clip):
    hostile_decoder.install(
        monkeypatch,
        tmp_path,
        """
        def spawn(file):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for _ in range(5):
                try:
                    if os.fork() == 0:
                        os.setsid()
                        time.sleep(3600)
                except OSError:
                    pass
                try:
                    threading.Thread(target=time.sleep, args=(3600,)).start()
                except RuntimeError:
                    pass
            tell("done")
        """,
    )
    path = tmp_path / "spawn.mp4"
    path.write_bytes(clip.read_bytes())
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=20) as pool:
        for _ in range(3):
            with pytest.raises(PermanentError, match="told: done"):
                pool.probe(path)
            (program,) = running_children("fork_server_program")
            (server,) = program.children()
            assert server.children() == []
    assert not program.is_running()
    assert not server.is_running()


def test_the_pipelines_process_cannot_be_read_by_its_user(tmp_path, clip):
    """As the kernel sees it: not dumpable, so its memory and environment belong to root alone."""
    program = f"""
import ctypes
from pathlib import Path
from nightreel.media.probe import MediaLimits
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings
with DecoderPool(limits=MediaLimits.from_settings(Settings()), workers=1) as pool:
    pool.probe(Path({str(clip)!r}))
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its user")
def test_roots_decoder_process_is_another_user_without_capabilities(box):
    told = box(
        """
        def attack(file):
            status = os.pread(sorted(set(range(3, 64)) & {fd for fd in range(3, 64) if not is_socket(fd)
                              and valid(fd)})[-1], 65536, 0).decode()
            fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
            tell((os.getuid() > 65000, os.getgid() > 65000, int(fields["CapEff"], 16) & ~4,
                  fields["NoNewPrivs"].strip(), fields["Seccomp"].strip(), fields["Groups"].strip()))

        def valid(fd):
            try:
                return b"VmPeak" in os.pread(fd, 65536, 0)
            except OSError:
                return False
        """
    )
    assert told == "(True, True, 0, '1', '2', '')"


def test_a_host_that_lacks_a_part_is_refused_on_request(monkeypatch, clip):
    weaker = confinement.Confinement(seccomp=True, landlock=0, user="", namespaces=False)
    monkeypatch.setattr("nightreel.media.fork_server.Confinement", lambda **_: weaker)
    with DecoderPool(limits=LIMITS, workers=1, strict=True) as pool, pytest.raises(SettingsError) as caught:
        pool.probe(clip)
    assert str(caught.value) == (
        "NIGHTREEL_SANDBOX=strict, but decoder processes on this host lack Landlock, a user or user namespace of their "
        "own, namespaces for processes and network: run on a host whose kernel and container allow them, or set "
        "NIGHTREEL_SANDBOX=available"
    )


def test_a_process_that_confines_itself_less_than_the_first_one_decodes_nothing(monkeypatch, clip):
    with DecoderPool(limits=LIMITS, workers=1) as pool:
        stronger = replace(pool.confinement, landlock=99)
        monkeypatch.setattr("nightreel.media.fork_server.Confinement", lambda **_: stronger)
    with DecoderPool(limits=LIMITS, workers=1) as pool, pytest.raises(TransientError, match="could not confine itself"):
        pool.probe(clip)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_threads_and_memory_are_bounded(box, kernel):
    if os.geteuid() == 0 and NO_NAMESPACES_AND_THE_SAME_USER in kernel:
        pytest.skip("the kernel limits no threads of root, and root has a user of its own to give up")
    told = box(
        """
        def attack(file):
            started = 0
            threading.stack_size(32768)
            try:
                while started < 5000:
                    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
                    started += 1
            except RuntimeError:
                pass
            try:
                bytearray(4 * 2**30)
            except MemoryError:
                tell((started < 1000, "no memory"))
        """,
        kernel,
    )
    assert told == "(True, 'no memory')"


@pytest.mark.skipif(os.geteuid() == 0, reason="the kernel limits no threads of root")
def test_where_no_thread_can_start_decord_is_not_used(monkeypatch, tmp_path, clip):
    no_threads = """
fork_server_program.count_threads_of_user = lambda: 1
confinement._MOST_THREADS = 0
"""
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=20) as pool:
        assert pool.probe(clip).decoder == "decord"
    hostile_decoder.install(monkeypatch, tmp_path, "", before=NO_NAMESPACES_AND_THE_SAME_USER + no_threads)
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=20) as pool:
        assert pool.probe(clip).decoder == "pyav"

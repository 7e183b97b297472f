"""What the build of the CPU image does to libraries of torch, tried on small libraries with real gcc and the loader."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_DOCKER = Path(__file__).parents[3] / "docker"
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("gcc", "nm", "readelf"))),
    reason="needs gcc and binutils, as the build of the image does",
)

_WITH_DEVICE_CODE = """
__attribute__((section(".nv_fatbin"), used)) const unsigned char device_code[SIZE] = {7, 7, 7};
static const char text[] = "after the device code";
static int counter = 41;
const char *words(void) { return text; }
int count(void) { return ++counter; }
unsigned char first_byte_of_page(int page) { return device_code[page * 4096L]; }
"""
_CUDA = """
int cudaThing(void) { return 0; }
int unused(void) { return 0; }
char padding[11 * 1024 * 1024] = {1};
"""
_VERSIONS = "libcuda_thing.so.1 { global: cudaThing; unused; padding; };"
_CALLER = "extern int cudaThing(void); int call(void) { return 100 + cudaThing(); }"


def _compile(target: Path, source: str, *options: object) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    (target.parent / "source.c").write_text(source)
    command = ["gcc", "-w", "-shared", "-fPIC", "-o", target, target.parent / "source.c", *options]
    subprocess.run(list(map(str, command)), check=True)
    (target.parent / "source.c").unlink()
    return target


def _run(program: str, environment: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(_DOCKER / program), str(environment)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("size_mib", [1, 40])
def test_a_library_without_its_device_code_is_smaller_and_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_mib: int
) -> None:
    monkeypatch.setattr(sys, "path", [str(_DOCKER), *sys.path])
    from device_code import drop_device_code

    size = size_mib << 20
    library = _compile(tmp_path / "with.so", _WITH_DEVICE_CODE, f"-DSIZE={size}", "-Wl,--build-id")
    before = library.stat().st_size
    link = tmp_path / "link.so"
    link.hardlink_to(library)
    drop_device_code(library)
    assert before - library.stat().st_size >= size - 2 * 4096
    assert link.stat().st_size == before, "a file with another name stays as it is"
    loaded = ctypes.CDLL(str(library))
    loaded.words.restype = ctypes.c_char_p
    loaded.first_byte_of_page.restype = ctypes.c_ubyte
    assert loaded.words() == b"after the device code"
    assert [loaded.count(), loaded.count()] == [42, 43]
    assert {loaded.first_byte_of_page(page) for page in range(2, size // 4096)} == {0}
    again = library.stat().st_size
    drop_device_code(library)
    assert library.stat().st_size == again


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"GNU ld script ( libreal.so )", bytes(100)])
def test_a_file_that_is_no_library_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "path", [str(_DOCKER), *sys.path])
    from device_code import drop_device_code

    (tmp_path / "file.so").write_bytes(content)
    drop_device_code(tmp_path / "file.so")
    assert (tmp_path / "file.so").read_bytes() == content


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment with a torch that calls a large library of CUDA, which another one needs too."""
    packages = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    script = tmp_path / "versions"
    script.write_text(_VERSIONS)
    cuda = _compile(
        packages / "nvidia" / "lib" / "libcuda_thing.so.1", _CUDA,
        "-Wl,-soname,libcuda_thing.so.1", f"-Wl,--version-script={script}",
    )  # fmt: skip
    _compile(packages / "nvidia" / "lib" / "libonly_with_a_gpu.so", _CUDA)
    _compile(packages / "nvidia" / "lib" / "libsmall.so", "int small(void) { return 3; }")
    _compile(packages / "torch" / "lib" / "libtorch_cuda.so", _CALLER, cuda, "-Wl,-rpath,$ORIGIN/../../nvidia/lib")
    (packages / "triton").mkdir()
    (packages / "triton" / "large").write_bytes(bytes(1 << 20))
    return tmp_path / "env"


def test_a_large_library_becomes_one_whose_functions_return_an_error(environment: Path) -> None:
    packages = environment / "lib" / "python3.11" / "site-packages"
    assert _run("drop_cuda.py", environment).stdout.startswith("what needs a GPU is gone: ")
    found = {path.name: path.stat().st_size for path in (packages / "nvidia" / "lib").iterdir()}
    assert found.keys() == {"libcuda_thing.so.1", "libsmall.so"}
    assert found["libcuda_thing.so.1"] < 100_000
    assert not (packages / "triton").exists()
    script = f"import ctypes; print(ctypes.CDLL({str(packages / 'torch/lib/libtorch_cuda.so')!r}).call())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("101\n", ""), "the loader finds the version of the symbol"


def test_an_environment_without_torch_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    done = _run("drop_cuda.py", tmp_path)
    assert (done.returncode, "has no torch" in done.stderr) == (1, True)
    done = _run("drop_cuda.py", tmp_path / "nowhere")
    assert "expected one argument, the directory of a virtual environment" in done.stderr

"""Makes an installed torch small for machines without a GPU: python drop_cuda.py ENVIRONMENT

The package index has torch for Linux only with CUDA, some 4.5 GB that do nothing without a GPU. But torch does not load
without its CUDA libraries: the loader wants every library and every symbol that torch names. So this script

- removes the large libraries of the nvidia packages. Where torch names one, a small library takes its place, with the
  same functions, which all return an error;
- removes the code for GPUs from the libraries of torch, and leaves their code for the CPU as it is;
- removes triton, which compiles kernels for GPUs.

Small libraries, such as the CUDA runtime, stay: they report that there is no GPU. Needs gcc and binutils. The build of
the image runs this script, and then checks that torch computes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from device_code import drop_device_code

LARGE_BYTES = 10 * 2**20
"""Libraries of the nvidia packages with fewer bytes stay."""
LOADS_OTHERS = "libcudnn.so"
"""A small library that goes too: it ends the process if it does not find the large ones of its kind."""


@dataclass(frozen=True, kw_only=True)
class Symbol:
    """What a library defines. `version` is empty if the symbol has none; `size_bytes` is that of data."""

    name: str
    version: str
    size_bytes: int
    is_function: bool


def main(site_packages: Path) -> None:
    """Remove what needs a GPU below a site-packages directory."""
    torch = [*site_packages.glob("torch/*.so"), *site_packages.glob("torch/lib/*.so*")]
    if not torch:
        sys.exit(f"{site_packages} has no torch: expected the environment in which it was installed")
    callers = [*torch, *site_packages.glob("torchvision/*.so")]
    needed = set().union(*(needed_libraries(path) for path in callers))
    wanted = set().union(*(undefined_symbols(path) for path in callers))
    before = size_of([site_packages])
    for path in [path for path in site_packages.glob("nvidia/**/*") if path.is_file()]:
        if path.stat().st_size >= LARGE_BYTES or path.name.startswith(LOADS_OTHERS):
            symbols = exported_symbols(path) if path.name in needed else []
            path.unlink()
            if path.name in needed:
                write_stub(path, [symbol for symbol in symbols if symbol.name in wanted])
    for path in callers:
        drop_device_code(path)
    for directory in site_packages.glob("triton*"):
        shutil.rmtree(directory)
    sys.stdout.write(f"what needs a GPU is gone: {(before - size_of([site_packages])) / 2**20:,.0f} MiB\n")


def size_of(directories: Iterable[Path]) -> int:
    """Bytes of all files below directories."""
    return sum(path.lstat().st_size for top in directories for path in top.rglob("*"))


def needed_libraries(library: Path) -> set[str]:
    """File names of the libraries that the loader loads together with this one."""
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "--dynamic", "--wide", library)))


def undefined_symbols(library: Path) -> set[str]:
    """Names that this library expects in others."""
    lines = output("nm", "--dynamic", "--undefined-only", library).splitlines()
    return {line.split()[-1].partition("@")[0] for line in lines}


def exported_symbols(library: Path) -> list[Symbol]:
    """The symbols that this library defines."""
    found = []
    for line in output("nm", "--dynamic", "--defined-only", "--print-size", library).splitlines():
        fields = line.split()
        name, _, version = fields[-1].partition("@")
        size_bytes = int(fields[1], 16) if len(fields) == 4 else 0
        is_function = fields[-2] in "TtWi"
        found.append(Symbol(name=name, version=version.lstrip("@"), size_bytes=size_bytes, is_function=is_function))
    return found


def write_stub(path: Path, symbols: list[Symbol]) -> None:
    """Compile a library with these symbols. Functions return 1, which is an error in all of CUDA; data is zero."""
    versions = defaultdict(list)
    for symbol in symbols:
        versions[symbol.version].append(symbol.name)
    script = "".join(
        f"{version} {{ global: {'; '.join(names)}; }};\n" for version, names in versions.items() if version
    )
    lines = [
        f"int {symbol.name}(void) {{ return 1; }}\n"
        if symbol.is_function
        else f"char {symbol.name}[{max(symbol.size_bytes, 1)}];\n"
        for symbol in symbols
    ]
    with tempfile.TemporaryDirectory() as directory:
        source, version_script = Path(directory) / "stub.c", Path(directory) / "stub.map"
        source.write_text("".join(lines))
        version_script.write_text(script)
        options = [f"-Wl,--version-script={version_script}"] if script else []
        output("gcc", "-w", "-shared", "-fPIC", "-Os", f"-Wl,-soname,{path.name}", *options, "-o", path, source)


def output(*command: object) -> str:
    """Standard output of a command.

    Raises:
        SystemExit: the command failed; with its own message.
    """
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} failed with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    found = [*Path(sys.argv[-1]).glob("lib/python*/site-packages")]
    if len(sys.argv) != 2 or len(found) != 1:
        sys.exit(f"expected one argument, the directory of a virtual environment, got {sys.argv[1:]}")
    main(found[0])

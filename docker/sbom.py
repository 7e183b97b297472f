"""Writes the SBOM of an image: python sbom.py ENVIRONMENT PACKAGES

It lists the Python packages of a virtual environment, with licences and dependencies, and the system's packages, one
"name version architecture" a line. The result is ENVIRONMENT/sbom.cdx.json, in the format CycloneDX 1.6. The build of
the image runs it, with the Python that has cyclonedx-bom.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote


def main(environment: Path, packages: Path) -> None:
    """Write the list of the environment's packages, then add those of the system."""
    result = environment / "sbom.cdx.json"
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--sv", "1.6", "--of", "JSON", "-o", str(result)]
    subprocess.run([*command, str(environment / "bin" / "python")], check=True)
    sbom = json.loads(result.read_text())
    system = platform.freedesktop_os_release()
    sbom["components"] += [
        system_component(*line.split(), system=system) for line in packages.read_text().splitlines() if line
    ]
    result.write_text(json.dumps(sbom, indent=1) + "\n")
    sys.stdout.write(f"{result}: {len(sbom['components'])} components\n")


def system_component(name: str, version: str, architecture: str, *, system: dict[str, str]) -> dict[str, Any]:
    """A Debian or Ubuntu package, as https://github.com/package-url/purl-spec names it."""
    vendor, release = system["ID"], system["VERSION_ID"]
    purl = f"pkg:deb/{vendor}/{quote(name)}@{quote(version)}?arch={architecture}&distro={vendor}-{release}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"expected two arguments, an environment and a list of packages, got {sys.argv[1:]}")
    main(Path(sys.argv[1]), Path(sys.argv[2]))

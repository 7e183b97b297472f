"""Update docs/benchmarks.md from the results in build/bench. `make bench-docs`.

A part without a new result keeps its table. The text before the first heading stays.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_MOST_ROWS = 40  # a larger part shows only rows with a goal; its JSON has all


def publish(document: Path, results: Path) -> None:
    """Replace or append the section of each part that has a result."""
    introduction, *sections = re.split(r"(?m)^## ", document.read_text())
    parts = {section.partition("\n")[0]: section.partition("\n")[2].strip() for section in sections}
    for path in sorted(results.glob("*.json")):
        parts[path.stem] = _section(json.loads(path.read_text()))
    text = "".join(f"## {part}\n\n{content}\n\n" for part, content in parts.items())
    document.write_text(f"{introduction.rstrip()}\n\n{text.rstrip()}\n")


def _section(result: dict[str, Any]) -> str:
    header, rows = result["header"], result["rows"]
    machine = header["machine"]
    device = machine.get("gpu", "no GPU")
    versions = ", ".join(f"{name} {version}" for name, version in header["versions"].items())
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {device}; "
        f"{header['at'][:10]}, commit {header['commit']}; {versions}.",
        "",
    ]
    if len(rows) > _MOST_ROWS:
        lines[1:1] = ["", f"Only rows with a goal; the benchmark itself prints all {len(rows)}."]
        rows = [row for row in rows if row["goal"] != "none"]
    lines += ["| measurement | ours | other | other side | ratio | goal | met | note |"]
    lines += ["|---|---:|---:|---|---:|---|---|---|"]
    lines += [_line(row) for row in rows]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    met = "" if row["goal"] == "none" else "yes" if row["met"] else "**no**"
    ours, other = (f"{_figure(row[side])} {row['unit'].replace('mib', 'MiB')}" for side in ("ours", "other"))
    cells = (row["name"], ours, other, row["other_is"], f"{row['ratio']:.2f}", row["goal"], met, row["note"])
    return f"| {' | '.join(cells)} |"


def _figure(value: float) -> str:
    """Three digits, without a power of ten.

    >>> _figure(1053.4), _figure(0.02513), _figure(12.66)
    ('1,053', '0.0251', '12.7')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    publish(_ROOT / "docs" / "benchmarks.md", _ROOT / "build" / "bench")

"""Changes thresholds in the YAML of a prompt set, and nothing else: comments and layout stay."""

from __future__ import annotations

import yaml

from nightreel.domain import Band
from nightreel.errors import SettingsError


def with_band(text: str, prompt: str, band: Band, *, tag: str = "") -> str:
    """The text of a prompt set in which a prompt has this band.

    Args:
        text: of a set that `loading` accepts. band: as wide as the one that is there.
        tag: of a prompt with tags: only its band.

    Raises:
        SettingsError: the set has no such prompt.

    >>> with_band("name: a\\nprompts:\\n- {name: gore, kind: yes_no, text: Gore}", "gore", Band(0.6, 0.6))
    'name: a\\nprompts:\\n- {name: gore, kind: yes_no, text: Gore, threshold: 0.6}'
    """
    entry = _entry(text, prompt)
    if tag:
        return _with_threshold_of_tag(text, entry, tag, _middle(band))
    keys = {key.value for key, _ in entry.value}
    if "yes_from" in keys:
        for key, value in (("no_below", band.no_below), ("yes_from", band.yes_from)):
            text = _with(text, _entry(text, prompt), key, value)
        return text
    return _with(text, entry, "threshold", _middle(band))


def _middle(band: Band) -> float:
    return round((band.no_below + band.yes_from) / 2, 6)


def _entry(text: str, prompt: str) -> yaml.MappingNode:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    for key, value in root.value if root else ():
        if key.value == "prompts":
            for entry in value.value:
                if any(name.value == "name" and said.value == prompt for name, said in entry.value):
                    found: yaml.MappingNode = entry
                    return found
    raise SettingsError(f"the prompt set has no prompt {prompt!r}")


def _with_threshold_of_tag(text: str, entry: yaml.MappingNode, tag: str, value: float) -> str:
    for key, node in entry.value:
        if key.value == "thresholds":
            return _with(text, node, tag, value)
    return _with(text, entry, "thresholds", f"{{{_quoted(tag)}: {value:g}}}")


def _with(text: str, mapping: yaml.MappingNode, key: str, value: float | str) -> str:
    """The text in which a mapping has this value."""
    said = value if isinstance(value, str) else f"{value:g}"
    for name, node in mapping.value:
        if name.value == key:
            return text[: node.start_mark.index] + said + text[node.end_mark.index :]
    first, last = mapping.value[0][0], mapping.value[-1][1]
    end = last.end_mark.index
    if mapping.flow_style:
        return f"{text[:end]}, {_quoted(key)}: {said}{text[end:]}"
    line_end = text.find("\n", len(text[:end].rstrip()))
    line_end = len(text) if line_end < 0 else line_end
    return f"{text[:line_end]}\n{' ' * first.start_mark.column}{_quoted(key)}: {said}{text[line_end:]}"


def _quoted(word: str) -> str:
    """A key as YAML that stays one word.

    >>> _quoted("threshold"), _quoted("a: b")
    ('threshold', "'a: b'")
    """
    return yaml.safe_dump(word, width=10_000).removesuffix("\n").removesuffix("\n...")

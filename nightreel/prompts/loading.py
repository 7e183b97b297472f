"""Load prompt sets from YAML: every mistake in a file is reported with file, line, prompt and key.

The CLI and the start of a run call `load_prompt_sets`. Scalars are read as plain text: `yes` is a word, not a boolean,
and `007` keeps its zeros.

    name: moderation
    prompts:
      - {name: violence, kind: yes_no, text: "Does this video show physical violence?", flag: "yes", threshold: 0.5}
      - {name: why, kind: text, text: "Explain what makes it violent.", when: {violence: "yes"}}

docs/prompts.md lists the keys.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from nightreel.domain import MIN_COVERAGE, Prompt, PromptSet
from nightreel.errors import SettingsError
from nightreel.prompts.rules import problems_of
from nightreel.prompts.schema import PromptEntry, SetEntry, explain
from nightreel.suggestions import did_you_mean, sentence

_LARGEST_BYTES = 1 << 20
_DEEPEST = 8
_SUFFIXES = (".yaml", ".yml")


def load_prompt_sets(names: Sequence[str], *, coverage: float | None = None) -> PromptSet:
    """Load prompt sets and combine them in order.

    Args:
        coverage: least share seen for a "no", of prompts that set none; None: `MIN_COVERAGE`.
        names: shipped sets ("tagging") or paths of YAML files (with a slash, or ending in .yaml or .yml).

    Raises:
        SettingsError: no set, an unknown set, mistakes in a file (all of the file's mistakes, one per line), or a
            prompt name that two sets have in common.
    """
    if not names:
        raise SettingsError(f"no prompt set: set NIGHTREEL_PROMPTS to {', '.join(shipped_sets())} or YAML files")
    least = MIN_COVERAGE if coverage is None else coverage
    return functools.reduce(PromptSet.__add__, (_load(name, least) for name in names))


def shipped_sets() -> list[str]:
    """The names of the prompt sets that ship with Nightreel."""
    files = resources.files(__package__).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def find_prompt_file(name: str) -> Path:
    """The file of a prompt set; it may be missing.

    Raises:
        SettingsError: the name is neither that of a shipped set nor a path.
    """
    if "/" in name or name.endswith(_SUFFIXES):
        try:
            return Path(name).expanduser()
        except RuntimeError as error:  # the home of an unknown user
            raise SettingsError(f"prompt set {name!r}: {error}") from None
    if name not in shipped_sets():
        what = f"expected one of {', '.join(shipped_sets())}, or the path of your own prompt set, such as ./{name}.yaml"
        raise SettingsError(sentence(f"prompt set {name!r} does not exist", did_you_mean(name, shipped_sets()), what))
    return Path(str(resources.files(__package__) / f"{name}.yaml"))


def _load(name: str, coverage: float) -> PromptSet:
    path = find_prompt_file(name)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"prompt set {name!r}: {error.strerror or error}") from error
    if len(data) > _LARGEST_BYTES:
        raise SettingsError(f"{path} has {len(data):,} bytes: expected at most {_LARGEST_BYTES:,}")
    return _File(str(path), coverage).read(data)


@dataclass
class _File:
    """Reads one file and collects its mistakes."""

    path: str
    coverage: float
    mistakes: list[str] = field(default_factory=list)

    def read(self, data: bytes) -> PromptSet:
        root = self._compose(data)
        entries = self._mapping(root)
        top = explain(SetEntry, {key: self._plain(node) for key, (node, _) in entries.items() if key != "prompts"})
        for key, problem in top.problems:
            self._note(self._line(entries, key, root), problem, key=key)
        prompts: list[Prompt] = []
        node = entries["prompts"][0] if "prompts" in entries else None
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self._note(_line_of(node or root), "expected a list with at least one prompt", key="prompts")
        else:
            for item in node.value:
                prompts.extend(self._prompt(item, top.value, prompts))
        if self.mistakes or top.value is None:
            raise SettingsError("\n".join(self.mistakes))
        return PromptSet(top.value.name, tuple(prompts))

    def _prompt(self, node: yaml.Node, top: SetEntry | None, earlier: Sequence[Prompt]) -> Iterator[Prompt]:
        if not isinstance(node, yaml.MappingNode):
            self._note(_line_of(node), "expected a prompt, such as {name: ..., kind: ..., text: ...}")
            return
        entries = self._mapping(node)
        values = {key: self._plain(value) for key, (value, _) in entries.items()}
        name = values.get("name")
        checked = explain(PromptEntry, values)
        problems = checked.problems
        if checked.value is not None:
            problems = problems_of(checked.value, earlier, taxonomies=top.taxonomies if top else ())
        for key, problem in problems:
            self._note(self._line(entries, key, node), problem, prompt=name, key=key)
        if checked.value is not None and not problems:
            yield checked.value.to_prompt(top or SetEntry(name="unnamed"), earlier, coverage=self.coverage)

    def _compose(self, data: bytes) -> yaml.MappingNode:
        try:
            text = data.decode()
            depth = 0
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                line = event.start_mark.line + 1 if event.start_mark else 1
                depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                if isinstance(event, yaml.AliasEvent):
                    raise SettingsError(f"{self.path}:{line}: aliases (*name) are not allowed: write the value out")
                if depth > _DEEPEST:
                    raise SettingsError(f"{self.path}:{line}: nested more than {_DEEPEST} levels deep")
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except UnicodeDecodeError as error:
            raise SettingsError(f"{self.path}: expected UTF-8 text ({error})") from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            place = f":{mark.line + 1}" if mark else ""
            raise SettingsError(f"{self.path}{place}: not valid YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise SettingsError(f"{self.path}: not valid YAML: {error}") from error
        if not isinstance(root, yaml.MappingNode):
            raise SettingsError(f"{self.path}:1: expected the keys name and prompts")
        return root

    def _mapping(self, node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, int]]:
        """Map each key to (value, line of the key)."""
        entries: dict[str, tuple[yaml.Node, int]] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in entries:
                self._note(_line_of(key), f"the key appears twice (first on line {entries[name][1]})", key=name)
            entries[name] = (value, _line_of(key))
        return entries

    def _plain(self, node: yaml.Node) -> Any:
        """The node as strings, lists and dicts. `null` is None; a key without a value is an empty text."""
        if isinstance(node, yaml.MappingNode):
            return {key: self._plain(value) for key, (value, _) in self._mapping(node).items()}
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item) for item in node.value]
        return None if node.tag == "tag:yaml.org,2002:null" and node.value else node.value

    @classmethod
    def _line(cls, entries: dict[str, tuple[yaml.Node, int]], key: str, node: yaml.Node) -> int:
        """The line of a key, or of the deepest part of a path of keys, such as `schema.type`, that is there."""
        first, *rest = key.split(".", 1)
        if first not in entries:
            return _line_of(node)
        value, line = entries[first]
        if not rest or not isinstance(value, yaml.MappingNode):
            return line
        inner = {str(name.value): (one, _line_of(name)) for name, one in value.value}
        return cls._line(inner, rest[0], value) if rest[0].split(".", 1)[0] in inner else line

    def _note(self, line: int, problem: str, *, prompt: Any = None, key: str | None = None) -> None:
        where = [f"{self.path}:{line}"]
        if prompt is not None:
            where.append(f"prompt {prompt!r}")
        if key is not None:
            where.append(f"key {key!r}")
        self.mistakes.append(f"{': '.join(where)}: {problem}")


def _line_of(node: yaml.Node) -> int:
    return node.start_mark.line + 1

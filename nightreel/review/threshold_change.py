"""A threshold that an audit proposes, as a change of a prompt set that `nightreel policy preview` takes."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nightreel.domain import Prompt, PromptKind
from nightreel.errors import SettingsError
from nightreel.prompts.editing import with_band
from nightreel.prompts.loading import find_prompt_file, load_prompt_sets
from nightreel.review.auditing import Audit

_DIGITS = 4  # a threshold with more looks more exact than it is


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdChange:
    """The text of a prompt set before and after."""

    path: Path
    before: str
    after: str

    @property
    def diff(self) -> str:
        lines = (self.before.splitlines(), self.after.splitlines())
        return "\n".join(difflib.unified_diff(*lines, self.path.name, self.path.name, lineterm=""))


def change_threshold(audit: Audit, threshold: float, *, sets: Sequence[str], begins: bool = False) -> ThresholdChange:
    """Let the doubt of a label end at a threshold, so that it is flagged from there on. Its width stays.

    Args:
        audit: of the label. sets: names of prompt sets, or their files, one of which has it.
        begins: let the doubt begin there instead, so that people see the label from there on.

    Raises:
        SettingsError: no set has the label, or it is flagged by a low probability.
    """
    name, prompt = _find(audit, sets)
    if prompt.question.kind is PromptKind.YES_NO and "yes" not in prompt.policy.flags:
        raise SettingsError(f"{audit.prompt} flags a no: thresholds are about the probability of yes")
    path = find_prompt_file(name)
    before = path.read_text(encoding="utf-8")
    tag = audit.tag or ""
    band = prompt.policy.band_of(tag).moved(_rounded_down(threshold), begins=begins)
    return ThresholdChange(path=path, before=before, after=with_band(before, prompt.name, band, tag=tag))


def _find(audit: Audit, sets: Sequence[str]) -> tuple[str, Prompt]:
    for name in sets:
        for prompt in load_prompt_sets([name]).prompts:
            if (prompt.set_name, prompt.name) == (audit.prompt_set, audit.prompt):
                return name, prompt
    raise SettingsError(
        f"there is no prompt {audit.prompt_set}/{audit.prompt} in {', '.join(sets)}: name its prompt set by --prompts"
    )


def _rounded_down(p: float) -> float:
    """A probability with four significant digits, not above it: the items with this probability stay on its side.

    >>> _rounded_down(0.987654), _rounded_down(0.0123456), _rounded_down(1.0)
    (0.9876, 0.01234, 1.0)
    """
    if p <= 0:
        return 0.0
    scale = 10.0 ** (_DIGITS - 1 - math.floor(math.log10(p)))
    return math.floor(p * scale) / scale

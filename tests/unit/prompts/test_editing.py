"""Thresholds are changed in the text of a prompt set, and nothing else is."""

from __future__ import annotations

import pytest

from nightreel.domain import Band
from nightreel.errors import SettingsError
from nightreel.prompts.editing import with_band
from nightreel.prompts.loading import find_prompt_file, load_prompt_sets, shipped_sets

_BLOCK = """# Mine.
name: mine
prompts:
  - name: gore
    kind: yes_no
    text: Is it gory?  # asked in English
    flag: "yes"
    doubt: 0.1

  - {name: kinds, kind: tags, text: "Is there", choices: [blood, "a: b"], flag: [blood], thresholds: {blood: 0.4}}
  - name: long
    kind: yes_no
    flag: "yes"
    no_below: 0.2
    yes_from: 0.6
    text: >
      Is it
      long?
"""


def band_of(tmp_path, text, name, tag=""):
    path = tmp_path / "set.yaml"
    path.write_text(text)
    (prompt,) = (one for one in load_prompt_sets([str(path)]).prompts if one.name == name)
    return prompt.policy.band_of(tag)


@pytest.mark.parametrize(
    ("name", "tag", "band", "added"),
    [
        ("gore", "", Band(0.7, 0.8), {"    threshold: 0.75"}),
        ("long", "", Band(0.3, 0.7), {"    no_below: 0.3", "    yes_from: 0.7"}),
    ],
)
def test_only_the_lines_of_the_threshold_change(tmp_path, name, tag, band, added):
    changed = with_band(_BLOCK, name, band, tag=tag)
    assert band_of(tmp_path, changed, name, tag) == band
    assert set(changed.splitlines()) - set(_BLOCK.splitlines()) == added


@pytest.mark.parametrize("tag", ["blood", "a: b"])
def test_a_tag_has_a_threshold_of_its_own(tmp_path, tag):
    changed = with_band(_BLOCK, "kinds", Band(0.9, 0.9), tag=tag)
    assert band_of(tmp_path, changed, "kinds", tag) == Band(0.9, 0.9)
    other = {"blood": Band(0.5, 0.5), "a: b": Band(0.4, 0.4)}[tag]
    assert band_of(tmp_path, changed, "kinds", {"blood": "a: b", "a: b": "blood"}[tag]) == other


@pytest.mark.parametrize("name", shipped_sets())
def test_every_prompt_of_the_shipped_sets_can_be_changed(tmp_path, name):
    text = find_prompt_file(name).read_text(encoding="utf-8")
    before = load_prompt_sets([name]).prompts
    for prompt in before:
        if prompt.question.kind != "yes_no":
            continue
        band = prompt.policy.band.moved(0.8125, begins=False)
        path = tmp_path / f"{name}.yaml"
        path.write_text(with_band(text, prompt.name, band), encoding="utf-8")
        after = {one.name: one for one in load_prompt_sets([str(path)]).prompts}
        assert after[prompt.name].policy.band == pytest.approx(band)
        others = [one for one in before if one.name != prompt.name]
        assert [after[one.name] for one in others] == others


def test_an_unknown_prompt_is_refused():
    with pytest.raises(SettingsError, match="no prompt 'smoke'"):
        with_band(_BLOCK, "smoke", Band(0.5, 0.5))

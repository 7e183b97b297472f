"""Every string of the console is in every catalogue, translated, and with the same placeholders."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from nightreel.console.languages import ENGLISH, NAMES, catalogue

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "nightreel" / "console"
OTHERS = [language for language in NAMES if language != ENGLISH]
PLACEHOLDER = re.compile(r"%\(\w+\)s")


def strings() -> set[str | tuple[str, ...]]:
    """The strings in the code and in the templates."""
    mappings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["babel"]["mappings"]
    methods = [(one["pattern"], one["method"]) for one in mappings]
    return {one[2] for one in extract_from_dir(str(PACKAGE), method_map=methods)}


def test_strings_are_found_in_code_and_templates():
    assert {"the new passwords differ", "viewer", "Skip to the content"} <= strings()


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_has_exactly_the_strings_of_the_console_all_translated(language):
    with (PACKAGE / "locales" / f"{language}.po").open("rb") as source:
        translated = {one.id: one.string for one in read_po(source, locale=language) if one.id}
    assert set(translated) == strings(), "make strings"
    for string, translation in translated.items():
        written = [translation] if isinstance(translation, str) else list(translation)
        assert all(written), f"{string!r} has no translation"
        last = string if isinstance(string, str) else string[-1]
        for one in written:
            assert set(PLACEHOLDER.findall(one)) == set(PLACEHOLDER.findall(last)), string
            assert one.count("%") == len(PLACEHOLDER.findall(one)), f"{one!r}: a percent sign ends a translation"


def test_a_catalogue_is_loaded_from_its_source():
    assert catalogue("zh").gettext("Sign in") == "登录"
    assert catalogue("en").gettext("Sign in") == "Sign in"

"""The languages of the pages: English in the code, others from catalogues in locales/; which one a browser wants."""

from __future__ import annotations

import gettext
import io
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

ENGLISH = "en"
NAMES = {ENGLISH: "English", "zh": "中文"}
"""The languages, each by its own name."""


@cache
def catalogue(language: str) -> gettext.NullTranslations:
    """The strings of a language. English needs no catalogue."""
    if language == ENGLISH:
        return gettext.NullTranslations()
    compiled = io.BytesIO()
    with (files("nightreel.console") / "locales" / f"{language}.po").open("rb") as source:
        write_mo(compiled, read_po(source, locale=language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def wanted_language(accepted: str, *, known: Sequence[str] = tuple(NAMES)) -> str:
    """The language that a header `Accept-Language` prefers among those that there are.

    >>> wanted_language("de, zh-CN;q=0.9, en;q=0.5"), wanted_language("fr"), wanted_language("zh;q=x")
    ('zh', 'en', 'en')
    """
    best, weight = ENGLISH, 0.0
    for one in accepted[:1000].split(","):
        tag, _, quality = one.strip().partition(";q=")
        language = tag.strip().lower().partition("-")[0]
        try:
            given = float(quality or 1)
        except ValueError:
            continue
        if language in known and given > weight:
            best, weight = language, given
    return best

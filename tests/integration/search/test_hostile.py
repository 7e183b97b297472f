"""Whatever a person or a model writes, a search ends with hits, without any, or with a refusal that says why."""

from __future__ import annotations

import pytest
from fixtures.work_searched import Library
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from nightreel.errors import SettingsError

_PIECES = (
    "van",
    "-",
    '"',
    "OR",
    "*",
    "&",
    "|",
    "!",
    "<->",
    "(",
    ")",
    ":",
    "'",
    "\\",
    " ",
    "自行",
    "车",
    "é",
    "=",
    "A:*",
    "\x1f",
    "\u0301",
    "\u200b",
    "%",
    "$1",
    ";",
    "--",
    "/*",
    "ß",
    "𠀀",
    "😀",
    "İ",
    "½",
    "㈱",
    "\ufffe",
)
HOSTILE = [
    "",
    " ",
    "\x00",
    "van\x00",
    "\ud800",
    "van\udfff",
    "'",
    "''",
    '"',
    '""',
    '"""',
    "\\",
    "\\'",
    "van\\",
    "van & park",
    "van | park",
    "!van",
    "van <-> park",
    "van <0> park",
    "van <99999> park",
    "van:*",
    "van:A",
    "van:ABCD*",
    "(van",
    "van)",
    "((((",
    "))))",
    "van & & park",
    "| van",
    "van !",
    "!!van",
    "<->",
    "& | !",
    "OR",
    "OR OR",
    "OR OR OR van",
    "van OR OR park",
    "-",
    "--",
    "-van",
    "- van",
    "--van",
    "-OR",
    "van -OR",
    "-van -park",
    '-"',
    '-""',
    'van -"',
    "-*",
    "*",
    "**",
    "v*",
    "van**",
    "*van",
    "v*n",
    '"van*"',
    '"-van"',
    '"van OR park"',
    "van'; DROP TABLE nightreel.documents; --",
    "$1",
    "$1$",
    "$$",
    "%s",
    "%(words)s",
    ":words",
    "{}",
    "{0}",
    "\n",
    "\r\n",
    "\t",
    "van\npark",
    "\x1b[31m",
    "\x1f",
    "\u202evan",
    "\ufeffvan",
    "\ufffd",
    "\uffff",
    "\u0000",
    "\u0301",
    "\u0301" * 500,
    "é" * 500,
    "𠀀" * 500,
    "车" * 500,
    "a" * 500,
    "a " * 250,
    "-a " * 166,
    '"a" ' * 125,
    "a* " * 166,
    "a OR " * 100,
    "'" * 500,
    "\\" * 500,
    "(" * 500,
    "*" * 500,
    "<script>",
    "&lt;",
    "\u3000",
    "\u2028",
    "ǅ",
    "ﬁ",
    "ŉ",
    "㍿",
    "＇",
    "＼",
    "＂van＂",
    "￥",
    "½",
    "²",
    "١٢٣",
    "नमस्ते",
    "ﷺ" * 27,
    "ﷺ" * 500,
]


def refused_or_found(library: Library, words: str) -> None:
    try:
        library.found(words)
    except SettingsError as error:
        if "has no word to search for" not in str(error):
            raise


def test_hostile_words_are_no_syntax_error(library):
    library.add({"clip": {"caption": "a van in the park"}})
    for words in HOSTILE:
        refused_or_found(library, words)
    assert library.found("van") == ["clip"]


def test_no_combination_of_words_and_signs_is_a_syntax_error(library):
    library.add({"clip": {"caption": "a van, 自行车"}})

    @settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
    @given(st.one_of(st.lists(st.sampled_from(_PIECES), max_size=20).map("".join), st.text(max_size=60)))
    def attempt(words: str) -> None:
        refused_or_found(library, words)

    attempt()


def test_texts_of_models_can_be_anything(library):
    texts = [
        *HOSTILE,
        "a" * 100_000,
        "车" * 100_000,
        "𠀀𠀁" * 50_000,
        "ﷺ" * 100_000,
        "'" * 100_000,
        "van " * 30_000,
        " ".join(f"w{number}" for number in range(20_000)),
        "".join(map(chr, range(0x4E00, 0x9FFF))) * 4,
    ]
    library.add({f"clip-{number}": {"caption": said or " ", "why": said or " "} for number, said in enumerate(texts)})
    assert len(library.found("nothing OR van OR 车 OR a*")) > 10


def test_a_word_of_a_hundred_characters_is_found(library):
    library.add({"clip": {"caption": "x" * 150}})
    assert library.found("x" * 150) == library.found('"' + "x" * 150 + '"') == ["clip"]


def test_words_that_cannot_be_stored_are_spaces(library):
    library.add({"clip": {"caption": "a white van"}})
    assert library.found("white\x00van\ud800") == ["clip"]


@pytest.mark.parametrize("words", ["", "-van", "!!", "\x00"])
def test_without_a_word_the_refusal_says_so_and_sql_finds_nothing(library, words):
    library.add({"clip": {"caption": "a white van"}})
    with pytest.raises(SettingsError, match="has no word to search for"):
        library.found(words)
    with library.work.database.begin() as connection:
        found = connection.execute(text("SELECT * FROM reporting.search(:words)"), {"words": words.replace("\x00", "")})
        assert found.all() == []


def test_sql_takes_any_number_of_rows_and_no_value(library):
    library.add({"clip": {"caption": "a white van"}})
    with library.work.database.begin() as connection:
        for most, rows in (("-1", 0), ("0", 0), ("2147483647", 1), ("NULL", 1)):
            query = f"SELECT * FROM reporting.search('van', most => {most})"
            assert len(connection.execute(text(query)).all()) == rows, most
        assert connection.execute(text("SELECT * FROM reporting.search(NULL)")).all() == []

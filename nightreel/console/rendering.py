"""Pages from templates: in the reader's language and time zone, with all text escaped.

A value in a template is text, whatever it contains: Jinja escapes HTML, and controls and characters that turn the
direction of a line are shown as escapes. Only the templates are HTML; strings of the catalogue are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from babel.dates import format_datetime, get_timezone_name
from babel.numbers import format_decimal, format_percent
from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from nightreel.console.access import CSRF_FIELD, visitor_of
from nightreel.console.languages import NAMES, catalogue, wanted_language
from nightreel.console.words import mark as _
from nightreel.domain.users import Role
from nightreel.logs import escape_controls, file_name
from nightreel.units import human_bytes, human_seconds

UTC = "UTC"


NAVIGATION = (
    (_("Find"), "/", Role.VIEWER),
    (_("Review"), "/review", Role.REVIEWER),
    (_("Lead"), "/lead", Role.LEAD),
    (_("Operator"), "/operator", Role.LEAD),
)
"""The main pages: name, path, and the role that they need."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How a page is written for a person.

    Args:
        language: a key of `languages.NAMES`. time_zone: such as "Europe/Berlin".
    """

    language: str
    time_zone: str


@cache
def time_zones() -> tuple[str, ...]:
    """The names of all time zones."""
    return tuple(sorted(available_timezones()))


def is_time_zone(name: str) -> bool:
    return name in time_zones()


def is_htmx(request: Request) -> bool:
    """Whether htmx asks for a part of a page, not a browser for all of it."""
    return "hx-request" in request.headers and "hx-history-restore-request" not in request.headers


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page, or a part of one.

    Args:
        template: its file in templates/. Names of parts start with an underscore.
        values: what the template shows.
    """
    visitor, reader = visitor_of(request), reader_of(request)
    shared = {
        "navigation": [(name, path) for name, path, role in NAVIGATION if visitor and visitor.user.may(role)],
        "path": request.url.path,
        "visitor": visitor,
        "csrf_field": CSRF_FIELD,
        "csrf_token": visitor.csrf_token if visitor else "",
        "reader": reader,
        "languages": NAMES,
    }
    page = _environment(reader).get_template(template).render(shared | values)
    return HTMLResponse(page, status_code=status, headers={"Vary": "Accept-Language, Cookie, HX-Request"})


def reader_of(request: Request) -> Reader:
    """Who reads the reply to a request: as the person prefers, else as the browser does."""
    visitor = visitor_of(request)
    preferred = visitor.preferences if visitor else None
    language = preferred.language if preferred else None
    time_zone = preferred.time_zone if preferred else None
    return Reader(
        language if language and language in NAMES else wanted_language(request.headers.get("accept-language", "")),
        time_zone if time_zone and is_time_zone(time_zone) else UTC,
    )


@cache
def _environment(reader: Reader) -> Environment:
    strings = catalogue(reader.language)
    pages = Environment(
        loader=PackageLoader("nightreel.console", "templates"),
        autoescape=True,
        auto_reload=False,  # else each part of a page looks for a newer file
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_as_text,
    )

    def translate(text: str, **values: Any) -> Markup:
        return _filled(strings.gettext(text), values)

    def translate_count(one: str, several: str, count: int, **values: Any) -> Markup:
        return _filled(strings.ngettext(one, several, count), {"count": number(count)} | values)

    def number(value: float) -> str:
        return format_decimal(value, locale=reader.language)

    def percent(value: float) -> str:
        return format_percent(value, format="#,##0.#%", locale=reader.language)

    def time(value: datetime | None) -> Markup:
        if value is None:
            return Markup("")
        local = value.astimezone(ZoneInfo(reader.time_zone))
        shown = format_datetime(local, "yyyy-MM-dd HH:mm", locale=reader.language)
        zone = get_timezone_name(local, width="short", locale=reader.language)
        return Markup('<time datetime="{}" title="{} {}">{}</time>').format(value.isoformat(), shown, zone, shown)

    pages.globals |= {"_": translate, "ngettext": translate_count}
    pages.filters |= {
        "bytes": human_bytes,
        "clock": clock,
        "clock_ranges": clock_ranges,
        "duration": human_seconds,
        "file_name": file_name,
        "number": number,
        "percent": percent,
        "time": time,
    }
    return pages


def clock(seconds: float) -> str:
    """A moment of a video, as players show it.

    >>> clock(5.04), clock(65.5), clock(3661), clock(59.96)
    ('0:05', '1:05.5', '1:01:01', '1:00')
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths // 10, 60)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{start}:{rest:02}" + (f".{tenths % 10}" if tenths % 10 else "")


def clock_ranges(ranges: Sequence[tuple[float, float]]) -> str:
    """Parts of a video.

    >>> clock_ranges([(0.0, 12.0), (60.5, 3661.0)])
    '0:00–0:12, 1:00.5–1:01:01'
    """
    return ", ".join(f"{clock(start_s)}–{clock(end_s)}" for start_s, end_s in ranges)


def _filled(text: str, values: Mapping[str, Any]) -> Markup:
    written = escape(_as_text(text))
    return written % {name: escape(_as_text(value)) for name, value in values.items()} if values else written


def _as_text(value: Any) -> Any:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return "\n".join(escape_controls(line) for line in value.split("\n"))

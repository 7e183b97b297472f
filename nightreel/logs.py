"""Log records: one line each, with the run, video and segment that they are about.

The command line and the flow set up logging; stages add fields with `log_context`. Uses only the standard library's
logging. Messages contain names and words of untrusted files: nothing in them may end a line or move a cursor.
"""

from __future__ import annotations

import json
import logging
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TypeGuard
from urllib.parse import unquote

from nightreel.settings import Settings

_context: ContextVar[dict[str, Any]] = ContextVar("log_context", default={})  # noqa: B039 - never changed in place
_OURS = "nightreel"
FAILURES = "nightreel.failures"
"""The logger of failed videos. A terminal shows them in a summary at the end, not one by one."""


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Add fields to every record of this thread within the block: run, video, segment.

    A thread that is started within the block does not inherit them: it calls `log_context` itself.
    """
    token = _context.set(_context.get() | fields)
    try:
        yield
    finally:
        _context.reset(token)


def escape_controls(text: str) -> str:
    r"""`text` as one line that cannot move the cursor, colour a screen or look like another line.

    >>> escape_controls("a\x1b[31m\n\u202eb")
    'a\\x1b[31m\\n\\u202eb'
    """
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if _is_unsafe(unicodedata.category(char)) else char for char in text
    )


def file_name(uri: str) -> str:
    """The name of an object's file as its directory shows it, with controls as escapes.

    >>> file_name("file:///videos/my%20clip.mp4"), file_name("s3://bucket/100%25.mp4")
    ('my clip.mp4', '100%25.mp4')
    """
    name = uri.rsplit("/", 1)[-1]
    return escape_controls(unquote(name) if uri.startswith("file://") else name)


def _is_unsafe(category: str) -> bool:
    """Whether this is a category of controls and non-characters, or of line and paragraph separators."""
    return category[0] == "C" or category in ("Zl", "Zp")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON in ASCII: time (UTC), level, logger, message, the fields, and an exception."""

    def format(self, record: logging.LogRecord) -> str:
        values = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_context.get(),
        }
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return json.dumps(values, default=str).replace("\x7f", "\\u007f")  # the one control that JSON does not escape


class TextFormatter(logging.Formatter):
    """A record as one line for people; the lines of an exception follow, each with a mark in front."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone().isoformat(" ", "seconds")
        fields = "".join(f" {name}={escape_controls(str(value))}" for name, value in _context.get().items())
        line = f"{time} {record.levelname:7} {record.name}: {escape_controls(record.getMessage())}{fields}"
        return line + _marked(self, record)


class MessageFormatter(logging.Formatter):
    """The message alone, for an interactive terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return escape_controls(record.getMessage()) + _marked(self, record)


def _marked(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if not record.exc_info:
        return ""
    return "".join(f"\n  | {escape_controls(line)}" for line in formatter.formatException(record.exc_info).split("\n"))


def set_up_command_logging(settings: Settings, *, terminal: logging.Handler) -> None:
    """Write Nightreel's records, and no others, to `terminal`, or as JSON to stderr."""
    as_json = settings.log_format == "json"
    handler = logging.StreamHandler() if as_json else terminal
    handler.setFormatter(JsonFormatter() if as_json else MessageFormatter())
    ours = logging.getLogger(_OURS)
    ours.handlers[:] = [handler]
    ours.propagate = False
    ours.setLevel(settings.log_level)
    logging.getLogger(FAILURES).setLevel(logging.NOTSET if as_json else logging.WARNING)


def set_up_worker_logging(settings: Settings) -> None:
    """Write Nightreel's records to the console that an orchestrator has set up, and format all its records.

    If a command has set up logging before, text format changes nothing; JSON format makes the whole console JSON.
    """
    ours = logging.getLogger(_OURS)
    if ours.handlers and settings.log_format == "text":
        return
    ours.setLevel(settings.log_level)
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if _is_console(handler)]:
        plain = logging.StreamHandler(handler.stream)  # the orchestrator's handlers colour and wrap
        plain.setLevel(handler.level)
        plain.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
        plain.filters = list(handler.filters)
        root.removeHandler(handler)
        root.addHandler(plain)


def _is_console(handler: logging.Handler) -> TypeGuard[logging.StreamHandler[Any]]:
    return isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stdout, sys.stderr)

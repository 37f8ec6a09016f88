"""Logging: one line an event on stderr, times in UTC, key=value inside; or one JSON object a line.

What the code logs is a template that begins with its fields (``"stream=%s event=lost code=%s %s"``) and may end with
free text. Fields are cut where the template says so, never where a value happens to hold a blank or an equals sign.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

#: Removes secrets from a text.
Clean = Callable[[str], str]

_FIELD = re.compile(r"(\w+)=(\S*)(?:\s+|$)")
_DIRECTIVE = re.compile(r"%(?:%|[-#0 +]*\d*(?:\.\d+)?([a-zA-Z]))")
_PLAIN = re.compile(r"[^\s\"=]+")
#: Keys that belong to the line itself; a field of that name is left in the text.
_OWN: Final = frozenset({"ts", "level", "logger", "msg", "traceback"})
#: What templates write for a value that is unknown.
_UNKNOWN: Final = "-"

_Template = tuple[tuple[tuple[str, str, int], ...], str]


class _Record:
    """A record taken apart.

    Attributes:
        fields: Its fields in order, cleaned; numbers stay numbers.
        text: The rest, cleaned, in one line.
        traceback: Cleaned; empty without one.
    """

    def __init__(self, record: logging.LogRecord, clean: Clean, formatter: logging.Formatter) -> None:
        self.fields: dict[str, str | int | float] = {}
        fields, text = _template(str(record.msg))
        arguments = record.args or ()
        if isinstance(arguments, tuple):
            for key, template, count in fields:
                taken, arguments = arguments[:count], arguments[count:]
                value = _value(template, taken) if record.args else template
                self.fields[key] = _one_line(clean(value)) if isinstance(value, str) else value
            text = text % arguments if record.args else text
        else:
            text = record.getMessage()
        self.text = _one_line(clean(text))
        self.traceback = ""
        if record.exc_info:
            self.traceback = clean(formatter.formatException(record.exc_info))


class _Text(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def __init__(self, clean: Clean) -> None:
        super().__init__()
        self._clean = clean

    def format(self, record: logging.LogRecord) -> str:
        parts = _Record(record, self._clean, self)
        words = [f"{_moment(self, record)} {record.levelname} {record.name}"]
        words += [f"{key}={_quoted(value)}" for key, value in parts.fields.items()]
        if parts.text:
            words.append(parts.text)
        return " ".join(words) + (f"\n{parts.traceback}" if parts.traceback else "")


class _Json(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def __init__(self, clean: Clean) -> None:
        super().__init__()
        self._clean = clean

    def format(self, record: logging.LogRecord) -> str:
        parts = _Record(record, self._clean, self)
        line: dict[str, str | int | float] = {
            "ts": _moment(self, record),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        line |= {key: value for key, value in parts.fields.items() if value != _UNKNOWN}
        if parts.text:
            line["msg"] = parts.text
        if parts.traceback:
            line["traceback"] = parts.traceback
        return json.dumps(line, ensure_ascii=False)


def set_up_logging(
    *, verbose: bool = False, quiet: bool = False, as_json: bool = False, clean: Clean = lambda text: text
) -> None:
    """Sends vqwatch's records to stderr, others from warnings on.

    Args:
        verbose: Debug lines too.
        quiet: Warnings and errors only.
        as_json: One JSON object a line.
        clean: Removes secrets from each value, text and traceback, whoever logged it.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(clean) if as_json else _Text(clean))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logging.getLogger("vqwatch").setLevel(level)


@lru_cache(maxsize=256)
def _template(text: str) -> _Template:
    """(key, template of the value, arguments it takes) of the leading fields, and the template of the rest."""
    fields: list[tuple[str, str, int]] = []
    position = 0
    while (found := _FIELD.match(text, position)) is not None and found[1] not in _OWN:
        fields.append((found[1], found[2], sum(bool(kind) for kind in _DIRECTIVE.findall(found[2]))))
        position = found.end()
    return tuple(fields), text[position:]


def _value(template: str, arguments: tuple[object, ...]) -> str | int | float:
    """A field's value: a number where it is one number alone, else text."""
    text = template % arguments
    number = arguments[0] if len(arguments) == 1 and _DIRECTIVE.fullmatch(template) else None
    if not isinstance(number, int | float) or isinstance(number, bool) or not math.isfinite(number):
        return text
    return number if template in ("%s", "%d") else float(text)


def _moment(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z"


def _one_line(text: str) -> str:
    """Text without line ends and other controls: what a feed or a broker says must not look like a line of ours."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _quoted(value: str | float) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)

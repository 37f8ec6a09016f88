"""A YAML file as the configuration reads it: data, the line of every key, and secrets from outside the file.

``${NAME}`` is the environment variable NAME, ``${file:PATH}`` the text of a file (Docker's and systemd's way to hand
over a secret), without the line end at its end. A relative path starts at the folder of the YAML file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from monitor.errors import UsageError

#: Path of a key, such as ("streams", 0, "url").
Key = tuple[str | int, ...]
#: What stands for a value that is kept elsewhere.
REFERENCE = r"\$\{(?:file:([^}]+)|([A-Za-z_][A-Za-z0-9_]*))\}"
_REFERENCE = re.compile(REFERENCE)
# A secret is a word or a key, not a film that someone named by mistake.
_SECRET_BYTES = 64 * 1024


class YamlSource:
    """One YAML file, read at once.

    Args:
        path: The file.

    Attributes:
        path: The file.
        data: Its top level; references are not yet replaced.
        files: Files that ``expanded`` read; whoever watches the configuration watches them too.

    Raises:
        UsageError: It cannot be read, is not YAML, or is no mapping; one line with file and line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: set[Path] = set()
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: {_reason(error)}") from error
        try:
            self._root = yaml.compose(text, Loader=yaml.SafeLoader)
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
            raise UsageError(f"{where}: not YAML: {_wrong(getattr(error, 'problem', None))}") from None
        except (ValueError, RecursionError):
            # Such as the date 2026-13-45; the text itself may be secret.
            raise UsageError(f"{path}: not YAML: a value cannot be read") from None
        if data is not None and not isinstance(data, dict):
            raise UsageError(f"{path}:1: a configuration is a mapping of keys to values")
        self.data: dict[str, Any] = data or {}

    def place(self, key: Key) -> str:
        """``file:line: `` of a key, or of the nearest parent that stands in the file."""
        node, line = self._root, 1
        for part in key:
            found: yaml.Node | None = None
            if isinstance(node, yaml.MappingNode):
                for name, value in node.value:
                    if getattr(name, "value", None) == str(part):
                        line, found = name.start_mark.line + 1, value
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                found = node.value[part]
                line = found.start_mark.line + 1
            if found is None:
                break
            node = found
        return f"{self.path}:{line}: "

    def expanded(self, complain: Callable[[Key, str], None]) -> dict[str, Any]:
        """The data with every reference replaced; ``complain`` is told of those that lead nowhere."""
        data: dict[str, Any] = self._expand(self.data, (), complain)
        return data

    def _expand(self, value: Any, key: Key, complain: Callable[[Key, str], None]) -> Any:
        if isinstance(value, dict):
            return {k: self._expand(v, (*key, k), complain) for k, v in value.items()}
        if isinstance(value, list):
            return [self._expand(v, (*key, i), complain) for i, v in enumerate(value)]
        if not isinstance(value, str):
            return value

        def outside(match: re.Match[str]) -> str:
            if match[1] is not None:
                return self._secret(match[1], key, complain)
            if match[2] not in os.environ:
                complain(key, f"environment variable {match[2]} is not set")
            return os.environ.get(match[2], "")

        return _REFERENCE.sub(outside, value)

    def _secret(self, name: str, key: Key, complain: Callable[[Key, str], None]) -> str:
        file = self.path.parent / name
        self.files.add(file)
        try:
            with file.open("rb") as opened:
                content = opened.read(_SECRET_BYTES + 1)
            if len(content) > _SECRET_BYTES:
                raise OSError(f"larger than {_SECRET_BYTES // 1024} KiB, which is no secret")
            return content.decode("utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            complain(key, f"file {name}: {_reason(error)}")
            return ""


def _wrong(problem: str | None) -> str:
    """What PyYAML found; not the words that it takes for an alias or a tag, since a password may begin with * or !."""
    if problem is None:
        return "cannot be parsed"
    if "alias" in problem or "tag" in problem:
        return "a value that begins with * or ! wants quotes"
    return problem


def _reason(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return error.strerror or str(error)

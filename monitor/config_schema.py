"""The JSON Schema of the configuration file, for editors: made from the configuration tree, shipped as a file.

It accepts whatever the monitor accepts in the form that the documentation gives it. What spans several keys (unknown
profiles, contradicting levels) is left to ``vqwatch check``.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from monitor.config import Config
from monitor.yaml_source import REFERENCE

_FILE = "config_schema.json"
_REFERENCE = {"$ref": "#/$defs/Reference"}
#: What a value of such a type must look like is unknown while it is kept elsewhere.
_NEEDS_REFERENCE = ("integer", "number", "boolean")


def schema_text() -> str:
    """The schema as shipped."""
    return resources.files("monitor").joinpath(_FILE).read_text(encoding="utf-8")


def make_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of the configuration tree as it is now."""
    schema = Config.model_json_schema(mode="validation", by_alias=True)
    definitions = {name: _fitted(part) for name, part in schema.pop("$defs").items()}
    definitions["Reference"] = {
        "description": "${NAME}: an environment variable; ${file:PATH}: the text of a file",
        "type": "string",
        "pattern": REFERENCE,
    }
    definitions["BrokerSection"]["properties"]["url"]["default"] = "embedded"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "vqwatch:config",
        "title": "vqwatch configuration",
        **_fitted(schema),
        "description": "Everything that vqwatch run -c FILE reads.",
        "$defs": definitions,
    }


def _fitted(part: Any) -> Any:
    """A part without what differs between releases of pydantic, and with references where text is not allowed."""
    if isinstance(part, list):
        return [_fitted(item) for item in part]
    if not isinstance(part, dict):
        return part
    fitted = {
        key: value if key in ("default", "enum", "required", "const") else _fitted(value)
        for key, value in part.items()
        if key not in ("ge", "gt", "le", "lt") and not (key == "title" and isinstance(value, str))
    }
    if isinstance(fitted.get("default"), dict) and fitted["default"]:
        # A section's own keys have their defaults, some of which are secret here.
        del fitted["default"]
    if "patternProperties" in fitted:
        fitted["additionalProperties"] = False
    if "anyOf" in fitted:
        fitted["anyOf"] = _flat(fitted["anyOf"])
    elif _closed(fitted):
        outer = {key: fitted.pop(key) for key in ("description", "default") if key in fitted}
        return {"anyOf": [fitted, _REFERENCE], **outer}
    return fitted


def _flat(choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Choices among choices as one list, each once."""
    flat: list[dict[str, Any]] = []
    for choice in choices:
        for one in choice["anyOf"] if set(choice) == {"anyOf"} else [choice]:
            if one not in flat:
                flat.append(one)
    return flat


def _closed(part: dict[str, Any]) -> bool:
    """Whether ``${NAME}`` would be no value of this scalar type."""
    if part.get("type") == "string":
        return "pattern" in part or "enum" in part
    return part.get("type") in _NEEDS_REFERENCE or ("enum" in part and "type" not in part)

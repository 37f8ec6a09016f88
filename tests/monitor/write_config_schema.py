"""Writes the JSON Schema of the configuration; run it after a change of the configuration's keys."""

from __future__ import annotations

import json
from pathlib import Path

from monitor.config_schema import make_schema

if __name__ == "__main__":
    file = Path(__file__).resolve().parents[2] / "monitor" / "config_schema.json"
    file.write_text(json.dumps(make_schema(), indent=2, ensure_ascii=False) + "\n")

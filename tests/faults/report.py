"""What the campaigns found, kept in ``fault-report.json`` beside the stalls and shown in ``fault-report.md``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

#: Where the report goes; none without it.
REPORT = os.environ.get("VQWATCH_FAULT_REPORT")
_MARK = "\n## Campaigns\n"


def record(name: str, about: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Prints a campaign's rows and, where a report is wanted, puts them in the place of its last run."""
    for row in rows:
        print(f"{name}: {dict(row)}")
    if REPORT is None:
        return
    folder = Path(REPORT)
    path = folder / "fault-report.json"
    data = json.loads(path.read_text()) if path.is_file() else {}
    made = datetime.now(UTC).isoformat(timespec="seconds")
    data.setdefault("campaigns", {})[name] = {"about": about, "made": made, "rows": [dict(row) for row in rows]}
    path.write_text(json.dumps(data, indent=1) + "\n")
    show(folder)


def show(folder: Path) -> None:
    """Writes the campaigns' tables behind what else the report says."""
    campaigns = json.loads((folder / "fault-report.json").read_text()).get("campaigns", {})
    page = folder / "fault-report.md"
    before = page.read_text().partition(_MARK)[0].rstrip("\n") if page.is_file() else "# Fault report"
    lines = [before, _MARK.rstrip("\n")]
    for name, campaign in sorted(campaigns.items()):
        columns = list(dict.fromkeys(key for row in campaign["rows"] for key in row))
        lines += ["", f"### {name}", "", f"{campaign['about']} {campaign['made']}.", ""]
        lines += [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
        lines += [f"| {' | '.join(_cell(row.get(column)) for column in columns)} |" for row in campaign["rows"]]
    page.write_text("\n".join(lines) + "\n")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)

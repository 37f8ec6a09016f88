"""What the real recordings beside the checkout are, and what is made of them.

``python -m tests.e2e.stream_files FOLDER`` prints the table of docs/pictures.md: each recording of FOLDER (which has a
``manifest.csv``) through ``vqwatch probe``.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

#: Long enough for every recording, the largest of which (2160p) decode slowly.
SECONDS = "60"


def manifest(folder: Path) -> list[dict[str, str]]:
    """Rows of the manifest, in its order."""
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def probe(path: Path) -> dict[str, Any]:
    """What ``vqwatch probe --json`` says of a recording; ``refused`` is its reason where it scores nothing."""
    command = [sys.executable, "-m", "monitor", "probe", str(path), "--json", "--seconds", SECONDS]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"refused": done.stderr.strip().removeprefix("vqwatch: ").removeprefix(f"{path}: ")}
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def row(name: str, told: dict[str, Any]) -> str:
    """One line of the table."""
    if "refused" in told:
        return f"| `{name}` | refused: {told['refused']} | | | | |"
    content = {None: "-", True: "interlaced", False: "progressive"}[told.get("interlaced_content")]
    flags = "interlaced" if told["interlaced"] else "progressive"
    scan = f"{flags} / {content}{', deinterlaced' if told['deinterlaced'] else ''}"
    aspect = told.get("pixel_aspect", "-")
    video = f"{told['codec']} {told['width']}x{told['height']}, {told['fps']:.2f} fps"
    counts = f"{told['frames']} / {told['samples']}"
    return f"| `{name}` | {video} | {scan} | {aspect} | {counts}, {told['repeated']} | {told['score']:.0f} |"


def main() -> int:
    """Prints the table."""
    folder = Path(sys.argv[1])
    print("| recording | video | flags / content | pixel | pictures / samples, repeats | score |")
    print("|---|---|---|---|---|---|")
    for entry in manifest(folder):
        print(row(entry["file"], probe(folder / entry["file"])), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m monitor.demo.scene_clips``: the demo's scenes as nearly lossless clips, such as training takes them."""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path

import av

from monitor.demo.scenes import SCENES, render

#: Fine enough that no coding can be seen in a native pixel.
_QUANTISER = 6


def main() -> int:
    """Renders each scene with each seed; clips that exist are kept."""
    parser = argparse.ArgumentParser(prog="python -m monitor.demo.scene_clips", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12], help="the demo itself plays seed 1")
    parser.add_argument("--size", type=int, nargs=2, default=[1280, 720], metavar=("W", "H"))
    parser.add_argument("--seconds", type=float, default=4.0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for scene in SCENES:
            path = args.out / f"scene-{scene}{seed}.mp4"
            if not path.exists():
                write_clip(path, scene, seed, *args.size, seconds=args.seconds)
                print(path)
    rows = "".join(
        f"{path.name},monitor/demo/scenes.py of this repository,Apache-2.0,The vqwatch developers\n"
        for path in sorted(args.out.glob("scene-*.mp4"))
    )
    (args.out / "manifest.csv").write_text(f"file,origin,licence,attribution\n{rows}")
    return 0


def write_clip(path: Path, scene: str, seed: int, width: int, height: int, *, seconds: float, fps: int = 25) -> None:
    """Renders one scene into one file, written aside and renamed."""
    aside = path.with_suffix(".part.mp4")
    with av.open(str(aside), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "qp": str(_QUANTISER)}
        for number, picture in enumerate(render(scene, seed, width, height, float(fps), seconds)):
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    aside.rename(path)


if __name__ == "__main__":
    sys.exit(main())

"""What the stills of one 1080p stream cost: ``python -m tests.monitor.pipeline.stills_benchmark [FILE]``."""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path

import av
from av import VideoFrame

from monitor.demo.scenes import render
from monitor.pipeline.stills import PERIOD_S, StillCamera, StillRing


def pictures(file: Path | None, most: int) -> list[VideoFrame]:
    """Pictures of a file, or of a rendered scene, 1080p."""
    if file is None:
        return [
            VideoFrame.from_ndarray(picture, format="yuv420p")
            for picture in islice(render("city", 1, 1920, 1080, 25.0, most / 25.0), most)
        ]
    with av.open(str(file)) as container:
        return [frame for frame in islice(container.decode(video=0), most) if isinstance(frame, VideoFrame)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--stills", type=int, default=200)
    args = parser.parse_args()
    seen = pictures(args.file, 20)
    ring = StillRing(30.0)
    camera = StillCamera(ring, args.width)
    camera.see(seen[0], 0.0)
    began = time.process_time()
    for number in range(1, args.stills + 1):
        camera.see(seen[number % len(seen)], number * PERIOD_S)
    spent = time.process_time() - began
    each_ms = spent / args.stills * 1000
    print(f"{seen[0].width}x{seen[0].height} to {args.width}: {each_ms / PERIOD_S:.2f} core-ms a second")
    print(f"{ring.size_bytes / len(ring._stills) / 1e3:.1f} kB a still, {ring.size_bytes / 1e3:.0f} kB a stream (30 s)")


if __name__ == "__main__":
    main()

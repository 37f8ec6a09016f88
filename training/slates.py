"""Drawn pictures: what a feed shows when it shows no footage. A model of footage must say that it knows them not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_BARS = ("#b4b4b4", "#b4b410", "#10b4b4", "#10b410", "#b410b4", "#b41010", "#1010b4")
_FPS = 25


def draw_slates(width: int, height: int, seed: int = 1) -> dict[str, Image.Image]:
    """Slates, cards, a table, a test picture and plain colours, RGB, by name."""
    rng = np.random.default_rng(seed)
    found = {
        name: Image.new("RGB", (width, height), colour)
        for name, colour in (("black", "#000000"), ("grey", "#6e6e6e"), ("blue", "#0a1ea0"), ("white", "#ebebeb"))
    }
    bars = found["bars"] = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(bars)
    for i, colour in enumerate(_BARS):
        draw.rectangle([i * width // 7, 0, (i + 1) * width // 7, height * 3 // 4], fill=colour)
    draw.rectangle([0, height * 3 // 4, width // 2, height], fill="#ebebeb")
    card = found["card"] = Image.new("RGB", (width, height), "#14285a")
    draw = ImageDraw.Draw(card)
    draw.text((width // 6, height // 3), "We will be right back", font=ImageFont.load_default(height // 10))
    draw.text((width // 3, height // 2), "technical fault", font=ImageFont.load_default(height // 16), fill="#d0d0e0")
    table = found["table"] = Image.new("RGB", (width, height), "#f0f0f0")
    draw = ImageDraw.Draw(table)
    for row in range(12):
        top, bottom = height // 14 * (row + 1), height // 14 * (row + 2) - 2
        draw.rectangle([width // 12, top, width * 11 // 12, bottom], fill="#fafafa", outline="#5a5a5a")
        text = f"{row + 1}   Team {chr(65 + row)}     {rng.integers(90)}    {rng.integers(40)}    {rng.integers(99)}"
        draw.text((width // 10, top + 4), text, font=ImageFont.load_default(height // 24), fill="#14143c")
    countdown = found["countdown"] = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(countdown)
    draw.ellipse([width // 3, height // 4, width * 2 // 3, height * 3 // 4], outline="#dcdcdc", width=6)
    draw.text((width // 2 - height // 16, height * 2 // 5), "7", font=ImageFont.load_default(height // 5))
    shapes = found["shapes"] = Image.new("RGB", (width, height), "#3c78c8")
    draw = ImageDraw.Draw(shapes)
    for _ in range(8):
        corners = [(int(rng.integers(width)), int(rng.integers(height))) for _ in range(5)]
        draw.polygon(corners, fill=tuple(int(v) for v in rng.integers(40, 220, 3)))
    return found


def write_slates(folder: Path, width: int, height: int, seconds: float = 4.0) -> list[Path]:
    """Each as a recording of its own (H.264 in MP4, contribution quality)."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, picture in draw_slates(width, height).items():
        file = folder / f"{name}-{height}.mp4"
        with av.open(str(file), "w") as container:
            stream = container.add_stream("libx264", rate=_FPS, options={"preset": "superfast", "crf": "17"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for t in range(round(seconds * _FPS)):
                frame = av.VideoFrame.from_image(picture)
                frame.pts, frame.time_base = t, Fraction(1, _FPS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        files.append(file)
    return files

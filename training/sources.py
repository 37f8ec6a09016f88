"""Clean material: stills under a synthetic camera, and real clips, resampled so that old coding damage is gone.

A *content* is one still or one clip; a *stem* groups contents cut from one source, and splits never part a stem.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from training.pictures import Picture, from_frame

#: Not pristine (old film scratches, heavy coding), portrait, or HDR transfer: no clean reference can be made of them.
UNFIT = ("mdn_friday", "intel_bottle", "liveugc_", "lpms_keyboard")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".ts", ".y4m")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
#: Encoded at a rate at which each native pixel still shows coding; kept only when scaled down by this factor.
MIN_DOWNSCALE = 1.25


@dataclass(frozen=True, slots=True)
class Content:
    """One still or clip of clean material."""

    path: Path
    stem: str
    width: int
    height: int

    @property
    def name(self) -> str:
        """File name without its suffix."""
        return self.path.stem

    @property
    def is_video(self) -> bool:
        """A clip, not a still."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_contents(folders: list[Path]) -> list[Content]:
    """All usable stills and clips below the folders, by name.

    Raises:
        FileNotFoundError: A folder does not exist or holds nothing usable.
    """
    contents = []
    for folder in folders:
        found = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in VIDEO_SUFFIXES + IMAGE_SUFFIXES]
        if not found:
            raise FileNotFoundError(f"{folder}: no pictures or clips ({', '.join(VIDEO_SUFFIXES + IMAGE_SUFFIXES)})")
        stems = _stems(folder)
        for path in found:
            if path.name.startswith(UNFIT):
                continue
            width, height = _size(path)
            if min(width, height) >= 360 and width >= height:
                contents.append(Content(path, stems.get(path.name, _stem(path.stem)), width, height))
    return contents


def split_contents(contents: list[Content], holdout: float) -> tuple[list[Content], list[Content]]:
    """Train and hold-out by stem; a stem's side depends on its name alone, so added material moves nothing."""
    train, held = [], []
    for content in contents:
        digest = hashlib.sha256(content.stem.encode()).digest()
        (held if int.from_bytes(digest[:4]) / 2**32 < holdout else train).append(content)
    return train, held


def half_of(stem: str) -> int:
    """0 or 1: which half of the hold-out a stem belongs to.

    The scale of scores is fitted on the first.
    """
    return hashlib.sha256(stem.encode()).digest()[4] % 2


PROVENANCE_FIELDS = ("file", "side", "origin", "licence", "attribution")


def write_provenance(path: Path, train: list[Content], held: list[Content]) -> None:
    """Adds where contents come from, as their folders' manifests say, to a CSV; rows that are there stay."""
    rows: dict[str, dict[str, str]] = {}
    if path.is_file():
        with path.open(newline="") as file:
            rows = {row["file"]: row for row in csv.DictReader(file)}
    manifests: dict[Path, dict[str, dict[str, str]]] = {}
    for side, contents in (("train", train), ("hold-out", held)):
        for content in contents:
            folder = content.path.parent
            if folder not in manifests:
                manifests[folder] = manifest_of(folder)
            told = manifests[folder].get(content.path.name, {})
            row = {"file": content.path.name, "side": side}
            rows[content.path.name] = row | {name: told.get(name, "") for name in PROVENANCE_FIELDS[2:]}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, PROVENANCE_FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))


def manifest_of(folder: Path) -> dict[str, dict[str, str]]:
    """Rows of a folder's manifest.csv, by file name; empty where there is none."""
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        return {}
    with manifest.open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def _stem(name: str) -> str:
    """Source of a clip: numbered or resized copies of one source share it."""
    head = name.split("_")
    if head[0] in ("bbb",):
        return head[0]
    return name.rstrip("0123456789") if name[-1:].isdigit() else name


def _stems(folder: Path) -> dict[str, str]:
    """Stems that a manifest states (column ``stem``), by file name."""
    return {name: row["stem"] for name, row in manifest_of(folder).items() if row.get("stem")}


def _size(path: Path) -> tuple[int, int]:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        with Image.open(path) as image:
            return image.size
    with av.open(str(path)) as container:
        if not container.streams.video:
            return 0, 0  # sound alone: too small for anything
        stream = container.streams.video[0]
        return stream.codec_context.width, stream.codec_context.height


def clean_clip(
    content: Content, others: list[Content], length: int, size: tuple[int, int], rng: np.random.Generator
) -> Iterator[Picture]:
    """``length`` clean pictures of ``size`` (width, height), 25 a second; motion is drawn from ``rng``."""
    if content.is_video:
        yield from video_clip(content, length, size, rng)
    else:
        yield from StillShot.draw(content, others, size, rng).pictures(range(length))


def fits(content: Content, size: tuple[int, int]) -> bool:
    """Whether the content is large enough to be resampled clean to this size."""
    factor = MIN_DOWNSCALE if content.is_video else 1.02
    return content.width >= size[0] * factor and content.height >= size[1] * factor


# --- clips -----------------------------------------------------------------------------------------------------


def video_clip(content: Content, length: int, size: tuple[int, int], rng: np.random.Generator) -> Iterator[Picture]:
    """Pictures of a clip taken as 25 a second (every 2nd at 50 and 60), cropped to 16:9; loops there and back."""
    frames = _decode(content.path, size)
    span = len(frames)
    start = int(rng.integers(0, max(1, span - length)))
    for t in range(length):
        position = (start + t) % (2 * span - 2) if span > 1 else 0
        yield frames[position if position < span else 2 * span - 2 - position]


@lru_cache(maxsize=2)
def _decode(path: Path, size: tuple[int, int]) -> list[Picture]:
    _width, _height = size
    frames: list[Picture] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stride = 2 if float(stream.average_rate or 25) >= 47 else 1
        for index, frame in enumerate(container.decode(stream)):
            if index % stride:
                continue
            source = from_frame(frame)
            frames.append(scale(source, crop_16_9(source.y.shape), size))
            if len(frames) >= 260:
                break
    return frames


def crop_16_9(shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the largest 16:9 box in the middle of a picture of shape (H, W)."""
    height, width = shape
    crop_height = min(height, width * 9 / 16)
    crop_width = min(width, height * 16 / 9)
    left, top = (width - crop_width) / 2, (height - crop_height) / 2
    return left, top, left + crop_width, top + crop_height


def scale(picture: Picture, box: tuple[float, float, float, float], size: tuple[int, int]) -> Picture:
    """Cuts a box at sub-pixel precision and scales it, with a filter as wide as the scale asks."""
    half = tuple(value / 2 for value in box)
    chroma = (size[0] // 2, size[1] // 2)
    return Picture(
        *(
            np.asarray(Image.fromarray(plane).resize(to, Image.Resampling.BICUBIC, box=at))
            for plane, to, at in zip(picture, (size, chroma, chroma), (box, half, half), strict=True)
        )
    )


# --- stills ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _still(path: Path) -> Picture:
    with Image.open(path) as image:
        planes = np.asarray(image.convert("RGB").convert("YCbCr"), dtype=np.float32)
    height, width = planes.shape[0] // 2 * 2, planes.shape[1] // 2 * 2
    planes = planes[:height, :width]
    y = planes[..., 0] * (219 / 255) + 16
    chroma = (planes[..., 1:] - 128) * (224 / 255) + 128
    chroma = chroma.reshape(height // 2, 2, width // 2, 2, 2).mean(axis=(1, 3))
    u, v = chroma[..., 0], chroma[..., 1]
    return Picture(*((plane + 0.5).astype(np.uint8) for plane in (y, u, v)))


@dataclass(frozen=True, slots=True)
class _Pan:
    """A box moving over a still on sinusoidal paths; times are in pictures and may be fractional."""

    scale: float
    zoom: float
    centre: tuple[float, float]
    reach: tuple[float, float]
    rate: tuple[float, float]
    phase: tuple[float, float]

    @classmethod
    def draw(cls, source: tuple[int, int], size: tuple[int, int], speed: float, rng: np.random.Generator) -> _Pan:
        room = min(source[0] / size[0], source[1] / size[1])
        scale = rng.uniform(1.0, max(1.0, room * 0.9)) if room > 1.05 else room * 0.98
        zoom = rng.uniform(-6e-4, 6e-4)
        free = [(full - side * scale * 1.07) / 2 for full, side in zip(source, size, strict=True)]
        reach = tuple(max(1.0, value * rng.uniform(0.5, 1.0)) for value in free)
        heading = rng.uniform(0, 2 * np.pi)
        peak = (speed * abs(np.cos(heading)) * scale, speed * abs(np.sin(heading)) * scale)
        rate = tuple(p / r for p, r in zip(peak, reach, strict=True))
        return cls(scale, zoom, (source[0] / 2, source[1] / 2), reach, rate, tuple(rng.uniform(0, 2 * np.pi, 2)))

    def box(self, t: float, source: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
        scale = self.scale * (1 + self.zoom * 50 * np.sin(t / 50))
        corners = []
        for axis in range(2):
            side = min(size[axis] * scale, source[axis])
            at = self.centre[axis] + self.reach[axis] * np.sin(self.rate[axis] * t + self.phase[axis]) - side / 2
            corners.append((float(np.clip(at, 0, source[axis] - side)), side))
        (left, width), (top, height) = corners
        return left, top, left + width, top + height


@dataclass(frozen=True, slots=True)
class StillShot:
    """A still seen by a moving camera, at times with a soft-edged object of another still passing in front."""

    background: Path
    foreground: Path | None
    size: tuple[int, int]
    pan: _Pan
    object_pan: _Pan | None
    object_path: npt.NDArray[np.float64]  # centre x, y, reach x, y, rate x, y, half axes x, y

    @classmethod
    def draw(
        cls, content: Content, others: list[Content], size: tuple[int, int], rng: np.random.Generator
    ) -> StillShot:
        """Draws camera and object motion: peak 1-9 px a picture, log-uniform."""
        speed = float(np.exp(rng.uniform(np.log(1), np.log(9))))
        stills = [o for o in others if not o.is_video and o.stem != content.stem]
        with_object = bool(stills) and rng.random() < 0.4
        static = with_object and rng.random() < 0.5
        pan = _Pan.draw((content.width, content.height), size, 0.0 if static else speed, rng)
        if not with_object:
            return cls(content.path, None, size, pan, None, np.zeros(8))
        other = stills[int(rng.integers(len(stills)))]
        object_pan = _Pan.draw((other.width, other.height), size, speed / 2, rng)
        w, h = size
        reach = np.array([rng.uniform(0.1, 0.35) * w, rng.uniform(0.02, 0.15) * h])
        path = np.concatenate(
            [
                [rng.uniform(0.3, 0.7) * w, rng.uniform(0.35, 0.65) * h],
                reach,
                speed / reach * [1.0, 0.4],
                [rng.uniform(0.08, 0.2) * w, rng.uniform(0.15, 0.35) * h],
            ]
        )
        return cls(content.path, other.path, size, pan, object_pan, path)

    def pictures(self, times: Iterator[float] | range) -> Iterator[Picture]:
        """Pictures at the given times (in 1/25 s)."""
        for t in times:
            yield self._at(float(t))

    def _at(self, t: float) -> Picture:
        picture = self._view(self.background, self.pan, t)
        if self.foreground is None or self.object_pan is None:
            return picture
        front = self._view(self.foreground, self.object_pan, t)
        cx, cy, rx, ry, fx, fy, ax, ay = self.object_path
        x, y = cx + rx * np.sin(fx * t), cy + ry * np.sin(fy * t + 1)
        w, h = self.size
        mask = _ellipse(w, h, x, y, ax, ay)
        half = mask[::2, ::2]
        return Picture(
            *(
                (b + (f.astype(np.float32) - b) * m + 0.5).astype(np.uint8)
                for b, f, m in zip(picture, front, (mask, half, half), strict=True)
            )
        )

    def _view(self, path: Path, pan: _Pan, t: float) -> Picture:
        source = _still(path)
        height, width = source.y.shape
        return scale(source, pan.box(t, (width, height), self.size), self.size)


def _ellipse(w: int, h: int, x: float, y: float, ax: float, ay: float) -> npt.NDArray[np.float32]:
    """Soft-edged ellipse, (h, w) float32 in [0, 1]; the edge is about three pixels wide."""
    across = ((np.arange(w, dtype=np.float32) - x) / ax) ** 2
    down = ((np.arange(h, dtype=np.float32) - y) / ay) ** 2
    distance = np.sqrt(across[None] + down[:, None])
    out: npt.NDArray[np.float32] = np.clip((1 - distance) * min(ax, ay) / 3 + 0.5, 0, 1).astype(np.float32)
    return out

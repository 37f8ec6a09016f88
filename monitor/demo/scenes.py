"""The scenes by name, their pictures in order, and loops of them kept on disk."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil

from monitor.demo.scene_city import City
from monitor.demo.scene_coast import Coast
from monitor.demo.scene_mountains import Mountains
from monitor.types import U8

#: Part of a cached loop's file name; goes up with every change of any scene's pictures.
_EDITION = 2


class Scene(Protocol):
    """One loop of moving pictures; the last is followed by the first."""

    title: str

    def __init__(self, seed: int, width: int, height: int, frames: int, seconds: float) -> None: ...

    def draw(self, index: int) -> U8:
        """Picture ``index``, (H * 3 / 2, W) uint8 I420, BT.709 limited range."""
        ...


SCENES: dict[str, type[Scene]] = {"mountains": Mountains, "coast": Coast, "city": City}


def render(
    scene: str, seed: int = 1, width: int = 1280, height: int = 720, fps: float = 25.0, seconds: float = 8.0
) -> Iterator[U8]:
    """One loop of a scene.

    Args:
        scene: A name in ``SCENES``.
        seed: Another seed is other content of the same kind.
        width: Luma columns, even.
        height: Luma rows, divisible by 4.
        fps: Pictures a second.
        seconds: Length of the loop; ``round(fps * seconds)`` pictures come out, then it could start again.

    Yields:
        (height * 3 / 2, width) uint8 I420 pictures, BT.709 limited range, each a new array.

    Raises:
        ValueError: There is no such scene, or the size does not fit I420.
    """
    frames = round(fps * seconds)
    drawn = _make(scene, seed, width, height, frames, frames / fps)
    for index in range(frames):
        yield drawn.draw(index)


def _make(scene: str, seed: int, width: int, height: int, frames: int, seconds: float) -> Scene:
    if scene not in SCENES:
        raise ValueError(f"no scene {scene!r}; there are {', '.join(SCENES)}")
    if width % 2 or height % 4 or min(width, height) < 64:
        raise ValueError(f"scenes need an even width and a height divisible by 4, from 64, got {width}x{height}")
    return SCENES[scene](seed, width, height, frames, seconds)


def default_cache() -> Path:
    """Folder for rendered loops: below XDG_CACHE_HOME, or ~/.cache where that is not set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vqwatch" / "scenes"


class Loop:
    """A scene's loop that can be played while a thread still renders it, and is kept on disk.

    Threads: the rendering thread writes pictures in order and counts them under a condition; any thread may
    call ``picture`` and ``wait``. A loop found on disk starts no thread.

    Args:
        scene: A name in ``SCENES``.
        seed: Content.
        width: Luma columns.
        height: Luma rows.
        fps: Pictures a second.
        seconds: Length of the loop.
        cache: Folder of kept loops, made where it is missing; about 155 MB for 8 s of 960x540.
    """

    def __init__(self, scene: str, seed: int, width: int, height: int, fps: float, seconds: float, cache: Path) -> None:
        self.frames = round(fps * seconds)
        self.width, self.height = width, height
        self._shape = (self.frames, height * 3 // 2, width)
        self._ready = threading.Condition()
        self._done = 0
        self._first_at = 0.0
        self._stop = False
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        cache.mkdir(parents=True, exist_ok=True)
        name = f"{scene}-{seed}-{width}x{height}-{self.frames}-{fps:g}fps-{_EDITION}.i420"
        path = cache / name
        self._pictures: U8
        if path.is_file() and path.stat().st_size == int(np.prod(self._shape)):
            self._pictures = np.memmap(path, np.uint8, "r", shape=self._shape)
            self._done = self.frames
            return
        _clear_abandoned(cache, name)
        part = path.with_name(f"{name}.{os.getpid()}.part")
        self._part = part
        self._pictures = np.memmap(part, np.uint8, "w+", shape=self._shape)
        self._thread = threading.Thread(
            target=self._render,
            args=((scene, seed, width, height, self.frames, self.frames / fps), part, path),
            name=f"render-{scene}",
            daemon=True,
        )
        self._thread.start()

    def _render(self, arguments: tuple[str, int, int, int, int, float], part: Path, path: Path) -> None:
        try:
            drawn = _make(*arguments)
            for index in range(self.frames):
                if self._stop:
                    return
                self._pictures[index] = drawn.draw(index)
                with self._ready:
                    self._first_at = self._first_at if index else time.monotonic()
                    self._done = index + 1
                    self._ready.notify_all()
            part.replace(path)
        except BaseException as error:  # handed to whoever waits for a picture
            with self._ready:
                self._failure = error
                self._ready.notify_all()
        finally:
            part.unlink(missing_ok=True)

    @property
    def done(self) -> int:
        """Pictures rendered so far."""
        return self._done

    def wait(self, count: int, timeout_s: float | None = None) -> bool:
        """Wait until the first ``count`` pictures are there; whether they are.

        Raises:
            RuntimeError: Rendering failed.
        """
        with self._ready:
            self._ready.wait_for(lambda: self._done >= count or self._failure is not None, timeout_s)
        if self._failure is not None:
            raise RuntimeError(f"rendering a scene failed: {self._failure}") from self._failure
        return self._done >= count

    def wait_playable(self, fps: float, timeout_s: float) -> bool:
        """Wait until playing at ``fps`` will not overtake the rendering; whether it is so.

        Raises:
            RuntimeError: Rendering failed.
        """

        def playable() -> bool:
            if self._done == self.frames or self._failure is not None:
                return True
            if self._done < 10:
                return False
            rate = (self._done - 1) / max(time.monotonic() - self._first_at, 1e-3)
            # Encoding will take its part of the processor, hence twice the time that it needs so far.
            return 2.0 * (self.frames - self._done) / rate < self.frames / fps

        with self._ready:
            met = self._ready.wait_for(playable, timeout_s)
        return met and self.wait(1, 0.0)

    def picture(self, index: int) -> U8:
        """Picture ``index`` modulo the loop, read-only by convention; waits until it is rendered."""
        index %= self.frames
        if index >= self._done:
            self.wait(index + 1)
        return np.asarray(self._pictures[index])

    def close(self) -> None:
        """Stop rendering; nothing is kept of an unfinished loop."""
        self._stop = True
        if self._thread is not None:
            self._thread.join(0.5)  # a scene that is still being set up ends with the process
            self._part.unlink(missing_ok=True)


def _clear_abandoned(cache: Path, name: str) -> None:
    """Remove what processes that were killed left half done."""
    for left in cache.glob(f"{name}.*.part"):
        owner = left.name.split(".")[-2]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            left.unlink(missing_ok=True)

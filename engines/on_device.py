"""Decoded pictures that lie in a GPU's memory: which they are, and how they come to the host."""

from __future__ import annotations

from av import VideoFrame


def layout_on_device(picture: VideoFrame) -> str | None:
    """The layout of a picture that lies on a GPU (``nv12``, ``p010le``, ...); None of one in the host's memory."""
    # PyAV knows it from 18 on; before, no picture is left on a device.
    layout = getattr(picture, "sw_format", None)
    return None if layout is None else str(layout.name)


def layout_of(picture: VideoFrame) -> str:
    """The layout of a picture, wherever it lies."""
    return layout_on_device(picture) or picture.format.name


def on_host(picture: VideoFrame) -> VideoFrame:
    """The picture in the host's memory: itself, or a copy in the layout that it has on its device."""
    layout = layout_on_device(picture)
    return picture if layout is None else picture.reformat(format=layout)

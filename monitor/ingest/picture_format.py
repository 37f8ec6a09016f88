"""What kind of picture one decoded picture is."""

from __future__ import annotations

from fractions import Fraction

from av import VideoFrame

from engines.on_device import layout_of
from engines.planes import is_full_range, told_matrix
from engines.transfer import transfer_of
from monitor.types import PictureFormat


def format_of(picture: VideoFrame, pixel_aspect: Fraction | None) -> PictureFormat:
    """What the picture says of itself; ``pixel_aspect`` is width to height of a pixel, as its decoder says."""
    matrix = told_matrix(picture)
    return PictureFormat(
        width=picture.width,
        height=picture.height,
        pixel_format=layout_of(picture),
        interlaced=picture.interlaced_frame,
        colour=None if matrix is None else str(matrix),
        full_range=is_full_range(picture),
        transfer=str(transfer_of(int(picture.color_trc))),
        pixel_aspect=None if pixel_aspect is None else f"{pixel_aspect.numerator}:{pixel_aspect.denominator}",
        rotation=int(picture.rotation) % 360,
    )

"""From decoded pictures to those that a viewer's device would show, and what kind of pictures they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from av import VideoFrame

from engines.on_device import layout_on_device
from engines.planes import is_planar, planes
from engines.preprocess import STRIP_PX, column_strips
from monitor.core.scan import ScanWatch, look
from monitor.ingest.picture_format import format_of
from monitor.ingest.pyav_source import Decoded
from monitor.pipeline.deinterlacer import Deinterlace, Deinterlacer
from monitor.types import U8, PictureFormat

#: The first pictures are all looked at, so that a short clip gets a verdict; then one in six: four a second at 25 fps,
#: and no multiple of the five pictures after which film in interlaced video repeats its pattern.
_FIRST_LOOKS = 12
_LOOK_EVERY = 6
_STRIPS = 12
#: Pictures after one flagged as interlaced until the feed no longer counts as such.
_FLAG_LINGER = 50


class Viewer:
    """Shows each decoded picture as a viewer's device would. One connection, its decode thread.

    ``format`` is replaced as a whole: other threads may read it.

    Args:
        deinterlace: Which pictures are deinterlaced.
    """

    def __init__(self, deinterlace: Deinterlace = Deinterlace.AUTO) -> None:
        self._deinterlacer = Deinterlacer(deinterlace)
        self._watch = ScanWatch()
        self._strips: U8 | None = None
        self._pictures = 0
        self._since_flag = _FLAG_LINGER
        #: What the newest picture is; None before the first.
        self.format: PictureFormat | None = None
        #: Times that size, layout or colour changed.
        self.changes = 0

    def push(self, decoded: Decoded) -> list[Decoded]:
        """The pictures that can be shown now, in order; none is lost or made."""
        self._look(decoded)
        shown = self._deinterlacer.push(decoded)
        self._describe(decoded)
        return shown

    def flush(self) -> list[Decoded]:
        """What still waited for a next picture."""
        return self._deinterlacer.flush()

    def _look(self, decoded: Decoded) -> None:
        """Compares pairs of neighbouring pictures as decoded; the first of a pair only lends its strips."""
        phase = self._pictures % _LOOK_EVERY
        early = self._pictures <= _FIRST_LOOKS
        self._pictures += 1
        if not (early or phase in (0, 1)):
            return
        strips = _strips(decoded.picture)
        if strips is None:
            return
        before, self._strips = self._strips, strips
        if before is not None and (early or phase == 1):
            self._watch.push(look(before, self._strips))

    def _describe(self, decoded: Decoded) -> None:
        picture = decoded.picture
        self._since_flag = 0 if picture.interlaced_frame else self._since_flag + 1
        new = replace(
            format_of(picture, decoded.pixel_aspect),
            interlaced=self._since_flag < _FLAG_LINGER,
            interlaced_content=self._watch.interlaced,
            deinterlaced=self._deinterlacer.active,
        )
        old = self.format
        if old == new:
            return
        self.changes += old is not None and old.coding != new.coding
        self.format = new


def _strips(picture: VideoFrame) -> U8 | None:
    """(12, H, 8) uint8 columns of luma, spread over the width; None of a layout that is not read in place."""
    starts = np.arange(1, 2 * _STRIPS, 2) * (picture.width // STRIP_PX) // (2 * _STRIPS) * STRIP_PX
    if layout_on_device(picture) is not None:
        # Only where pictures stay on a GPU: it needs torch.
        from engines.device_cutter import DeviceCutter, column_strips_on_device

        return column_strips_on_device(picture, starts) if DeviceCutter.takes(picture) else None
    if not is_planar(picture):
        return None
    native = planes(picture)
    return native.luma(column_strips(native.y, starts))

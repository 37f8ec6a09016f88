"""What an MPEG transport stream lost on its way, by its own continuity counters (ISO/IEC 13818-1, 2.4.3.3)."""

from __future__ import annotations

from collections import deque

PACKET = 188
_SYNC = 0x47
_NULL_PID = 0x1FFF
_PTS_MODULUS = 1 << 33
#: Longest step of time stamps that still is one from picture to picture: 1 s.
_LONGEST_STEP = 90_000
#: Pictures whose damage is remembered: reordering and the decoder's delay are far shorter.
_REMEMBERED = 256


class PictureLoss:
    """Damaged pictures of one video PID. A picture is damaged when any of its packets is lost or marked as broken.

    Each PES packet is taken for one picture (or one field), as broadcast encoders and FFmpeg write them. Of a picture
    whose first packet is lost nothing but the hole in the time stamps tells; where a picture ends, the stuffing in its
    last packet.
    """

    def __init__(self) -> None:
        #: Pictures damaged so far, those that are gone altogether included.
        self.damaged = 0
        #: Of those, the ones whose beginning never came.
        self.headless = 0
        self._hits: deque[int] = deque(maxlen=_REMEMBERED)
        self._pts: int | None = None
        self._dts: int | None = None
        self._step: int | None = None
        self._gap = False  # packets are missing since the picture began
        self._pending = False  # and nothing came since
        self._hit = False
        self._complete = False
        self._behind = False  # packets are missing since it was complete

    def lose(self) -> None:
        """Packets are missing at this place."""
        self._gap = self._pending = True
        self._behind = self._behind or self._complete

    def spoil(self) -> None:
        """A packet of the picture under way came broken."""
        self._tell()

    def go_on(self, *, last: bool) -> None:
        """A packet came that begins no picture; ``last`` where it is stuffed, as the last of a picture is."""
        if self._pending:
            self._pending = False
            if not self._behind:
                self._tell()
        self._complete = self._complete or last

    def begin(self, pts: int | None, dts: int | None) -> None:
        """Another picture begins."""
        step = None if dts is None or self._dts is None else (dts - self._dts) % _PTS_MODULUS
        if self._gap:
            absent = 0
            if step is not None and self._step and step <= _LONGEST_STEP:
                absent = max(0, round(step / self._step) - 1)
            if self._behind:
                absent = max(absent, 1)
            elif self._pending:
                self._tell()
            self.damaged += absent
            self.headless += absent
        elif step is not None and 0 < step <= _LONGEST_STEP:
            self._step = step
        self._pts, self._dts = pts, dts
        self._gap = self._pending = self._hit = self._complete = self._behind = False

    def hit(self, pts: int) -> bool:
        """Whether the picture of this time stamp (any multiple of 2^33 away) was damaged, among the last 256."""
        return pts % _PTS_MODULUS in self._hits

    def _tell(self) -> None:
        if self._hit:
            return
        self._hit = True
        self.damaged += 1
        if self._pts is not None:
            self._hits.append(self._pts)


class Continuity:
    """Follows the counters of every PID. One thread; the numbers may be read by others.

    Bursts are told modulo 16 packets a PID, since that is all that the counter says. Packets of 188 bytes; of bytes
    that are no transport stream nothing is said.
    """

    def __init__(self) -> None:
        #: Packets that never came.
        self.lost = 0
        #: Packets that came with the transport error indicator set, as a demodulator marks what it could not correct.
        self.marked = 0
        self._counters: dict[int, int] = {}
        self._videos: dict[int, PictureLoss] = {}
        self._rest = b""
        self._locked = False
        self._held = False

    def pictures(self, pid: int) -> PictureLoss | None:
        """Damage of a PID's pictures; None where no video began on it."""
        return self._videos.get(pid)

    def push(self, data: bytes) -> None:
        """The next bytes, cut anywhere."""
        data = self._rest + data if self._rest else data
        at, last = 0, len(data) - PACKET
        counters = self._counters
        self._held = False
        while at <= last and not self._held:
            if data[at] != _SYNC or not self._locked:
                at = self._find(data, at)
                continue
            head, control = data[at + 1], data[at + 3]
            pid = (head & 0x1F) << 8 | data[at + 2]
            # The usual packet first: payload in the middle of something, the counter one on.
            if not head & 0xC0 and control & 0x30 == 0x10 and counters.get(pid, -2) == (control - 1) & 0xF:
                counters[pid] = control & 0xF
            elif pid != _NULL_PID:
                self._look(data, at, pid)
            at += PACKET
        self._rest = data[at:]

    def _find(self, data: bytes, at: int) -> int:
        """Where the next packet may begin; past the last whole one where that cannot be told yet."""
        if self._locked and (at + PACKET >= len(data) or data[at + PACKET] == _SYNC):
            return at + PACKET  # one broken sync byte; the counter will miss its packet
        self._locked = False
        while (at := data.find(_SYNC, at)) >= 0 and at + 2 * PACKET < len(data):
            if data[at + PACKET] == _SYNC and data[at + 2 * PACKET] == _SYNC:
                self._locked = True
                return at
            at += 1
        # Three in a row are wanted, and wait for more bytes.
        self._held = True
        return at if at >= 0 else len(data)

    def _look(self, data: bytes, at: int, pid: int) -> None:
        head, control = data[at + 1], data[at + 3]
        count, known = control & 0xF, self._counters.get(pid)
        video = self._videos.get(pid)
        if head & 0x80:
            # What else its header says cannot be trusted.
            self.marked += 1
            if known is not None:
                self._counters[pid] = (known + 1) & 0xF
            if video is not None:
                video.spoil()
            return
        if not control & 0x10:
            return
        fresh = bool(control & 0x20 and data[at + 4] and data[at + 5] & 0x80)  # the sender says that it jumps
        if known is not None and not fresh:
            if count == known:
                return  # sent twice, as the standard allows
            missing = (count - known - 1) & 0xF
            self.lost += missing
            if missing and video is not None:
                video.lose()
        self._counters[pid] = count
        if head & 0x40:
            self._begin(data, at, pid, control)
        elif video is not None:
            # A field of nothing, or with no flag set, is there to fill the packet.
            stuffed = control & 0x20 and (not data[at + 4] or not data[at + 5])
            video.go_on(last=bool(stuffed))

    def _begin(self, data: bytes, at: int, pid: int, control: int) -> None:
        end = at + PACKET
        at += 4 + (1 + data[at + 4] if control & 0x20 else 0)
        if at + 19 > end or data[at : at + 3] != b"\0\0\1" or data[at + 3] & 0xF0 != 0xE0:
            return
        pts = _stamp(data, at + 9) if data[at + 7] & 0x80 else None
        dts = _stamp(data, at + 14) if data[at + 7] & 0xC0 == 0xC0 else pts
        self._videos.setdefault(pid, PictureLoss()).begin(pts, dts)


def _stamp(data: bytes, at: int) -> int:
    """33 bits of a PTS or DTS (ISO/IEC 13818-1, 2.4.3.7)."""
    return (
        (data[at] >> 1 & 7) << 30 | data[at + 1] << 22 | data[at + 2] >> 1 << 15 | data[at + 3] << 7 | data[at + 4] >> 1
    )

"""Damaged pictures of a connection, each counted once, whoever noticed it."""

from __future__ import annotations

from monitor.core.continuity import Continuity, PictureLoss


class DamageCount:
    """Joins what the transport's counters and the decoder say.

    The counters tell every picture that lost a packet, those included that never come out of the decoder; the decoder
    tells broken bits that no counter sees, and is all there is where the bytes do not pass through us. One thread.

    Args:
        continuity: Counters of the bytes; None where FFmpeg reads them itself.
        pid: Of the video.
    """

    def __init__(self, continuity: Continuity | None, pid: int) -> None:
        self._continuity = continuity
        self._pid = pid
        self._begun = False
        self._told = 0
        self._told_packets = 0
        self._decoders = 0
        self._headless = 0

    def refused(self, pts: int | None) -> None:
        """The decoder refused a packet: its picture does not come out."""
        loss = self._loss()
        if self._begun and not (loss is not None and pts is not None and loss.hit(pts)):
            self._decoders += 1

    def take(self, pts: int | None, concealed: bool) -> tuple[bool, int, int]:
        """The next picture, which the decoder says it concealed damage in, or not.

        Returns:
            Whether it is damaged; damaged pictures since the last one, itself and those between included; transport
            packets that were lost meanwhile. What is broken before the first picture of a feed joined in its middle
            is no damage.
        """
        loss = self._loss()
        hit = loss is not None and pts is not None and loss.hit(pts)
        if concealed and not hit:
            if loss is not None and loss.headless > self._headless:
                # Remains of a picture whose beginning was lost, which the counters have told.
                self._headless += 1
            else:
                self._decoders += 1
        total = self._decoders + (loss.damaged if loss is not None else 0)
        packets = self._continuity.lost if self._continuity is not None else 0
        if not self._begun:
            self._begun = True
            self._headless = loss.headless if loss is not None else 0
            self._told, self._told_packets = total - (hit or concealed), packets
        told, self._told = self._told, max(self._told, total)
        told_packets, self._told_packets = self._told_packets, packets
        return hit or concealed, max(0, total - told), packets - told_packets

    def _loss(self) -> PictureLoss | None:
        return self._continuity.pictures(self._pid) if self._continuity is not None else None

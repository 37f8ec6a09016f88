"""Three clocks of a connection: bytes that arrive, pictures whose time goes on, pictures that change.

Each kind of stall stops another of them, and a feed can stall in one while it looks alive in the others: a server may
hold a socket open, send bytes in which there is no picture, pictures whose time stands still, or the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from monitor.types import PictureFacts


class Stall(StrEnum):
    """Which clock stopped, and how; a word of logs."""

    NO_BYTES = "no_bytes"  # nothing arrives
    NO_PICTURES = "no_pictures"  # bytes arrive, and nothing can be decoded from them
    TIME_STANDS = "time_stands"  # pictures are decoded whose time stamps do not go on
    STILL = "still"  # time goes on, the picture does not change
    LOOP = "loop"  # the same seconds come round again and again


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each clock may stand, seconds.

    Attributes:
        no_bytes_s: No byte for this long, no picture either: the feed is lost.
        stall_s: No picture with advancing time for this long: it has no video. 3 s keeps the detection of a blind
            stream below 5 s.
        still_s: The picture has not changed, or repeats, for this long: it is frozen. Shorter is editing.
    """

    no_bytes_s: float = 3.0
    stall_s: float = 3.0
    still_s: float = 3.0


class ProgressClocks:
    """Says which of a connection's clocks stand. Time is an argument (monotonic seconds). Not for several threads.

    Args:
        now_s: Time of the start.
        limits: When a clock counts as standing.
    """

    def __init__(self, now_s: float, limits: Limits) -> None:
        self.limits = limits
        self.attempt(now_s)

    def attempt(self, now_s: float) -> None:
        """A connection is being made: everything is due from here."""
        self._attempt_s = self._bytes_s = self._decoded_s = self._video_s = now_s
        self._first_bytes_s: float | None = None

    def opened(self, now_s: float) -> None:
        """The connection gave a first picture: bytes and pictures are due from here."""
        self._bytes_s = max(self._bytes_s, now_s)
        self._video_s = max(self._video_s, now_s)

    def heard(self, at_s: float | None) -> None:
        """Newest time at which bytes arrived on this connection, None before the first."""
        if at_s is None or at_s < self._attempt_s:
            return
        if self._first_bytes_s is None:
            self._first_bytes_s = at_s
        self._bytes_s = max(self._bytes_s, at_s)

    def decoded(self, now_s: float) -> None:
        """A picture was decoded, whatever its time stamp."""
        self._decoded_s = now_s

    def advanced(self, now_s: float) -> None:
        """A picture was decoded whose time goes on from the one before."""
        self._video_s = self._decoded_s = now_s

    def blind(self, now_s: float) -> Stall | None:
        """Why an open connection shows nothing new; None while it does."""
        if now_s - self._video_s < self.limits.stall_s:
            return None
        if now_s - self._decoded_s < self.limits.stall_s and self._decoded_s > self._attempt_s:
            return Stall.TIME_STANDS
        if now_s - self._bytes_s < self.limits.no_bytes_s:
            return Stall.NO_PICTURES
        return Stall.NO_BYTES

    def arriving(self, now_s: float) -> bool:
        """Whether a connection that is not open yet has had bytes for ``stall_s`` and still has them."""
        return (
            self._first_bytes_s is not None
            and now_s - self._first_bytes_s >= self.limits.stall_s
            and now_s - self._bytes_s < self.limits.no_bytes_s
        )

    @property
    def video_s(self) -> float:
        """When a picture last went on, or was due from."""
        return self._video_s

    @property
    def heard_anything(self) -> bool:
        """Whether this connection gave any byte at all."""
        return self._first_bytes_s is not None

    def sign_s(self) -> float:
        """When this connection last gave any sign of life, its beginning included."""
        return max(self._attempt_s, self._bytes_s, self._decoded_s, self._video_s)

    def unchanging(self, facts: PictureFacts) -> Stall | None:
        """Whether the pictures have stood, or gone round, for long enough to be frozen."""
        if facts.still_s >= self.limits.still_s:
            return Stall.STILL
        if facts.loop_s >= self.limits.still_s:
            return Stall.LOOP
        return None

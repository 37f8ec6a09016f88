"""What a feed should be, and in what it differs."""

from __future__ import annotations

from dataclasses import dataclass, fields

from monitor.types import StreamInfo

#: 23.976 and 24, or 29.97 and 30, differ by 1 in 1000; what a container rounds a rate to differs by less than this.
_FPS_TOLERANCE = 0.0005


@dataclass(frozen=True, slots=True)
class ExpectedFormat:
    """Facts of a feed as they should be; None is not looked at. Fields are those of ``StreamInfo``."""

    codec: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    interlaced: bool | None = None
    pixel_format: str | None = None
    audio_codec: str | None = None

    def mismatches(self, info: StreamInfo) -> list[str]:
        """What differs, each as ``width 1280, not 1920``; a rate that the feed does not tell is no difference."""
        found = []
        for field in fields(self):
            wanted, is_now = getattr(self, field.name), getattr(info, field.name)
            if wanted is None:
                continue
            if field.name == "fps":
                if is_now is None or abs(is_now - wanted) <= _FPS_TOLERANCE * wanted:
                    continue
                is_now = f"{is_now:.3f}"
            elif wanted == is_now:
                continue
            found.append(f"{field.name} {'none' if is_now is None else is_now}, not {wanted}")
        return found

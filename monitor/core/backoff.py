"""How long to wait before the next attempt."""

from __future__ import annotations

from random import Random

#: Doublings after which the cap surely holds; keeps the power finite over years of attempts.
_MAX_DOUBLINGS = 32


class Backoff:
    """Exponential back-off with full jitter, which forgets after lasting success.

    Full jitter (uniform between 0 and the bound) spreads a crowd of streams that lost the same server. The
    cap is low because a live feed that is back should be seen within seconds. A success counts only once it
    has lasted: a server that accepts and drops at once is not hammered.

    Args:
        initial_s: Bound of the first wait, seconds.
        cap_s: Bound of every wait.
        reset_after_s: A success this long starts over.
        rng: Source of the jitter.
    """

    def __init__(
        self,
        initial_s: float = 0.25,
        cap_s: float = 2.0,
        reset_after_s: float = 30.0,
        rng: Random | None = None,
    ) -> None:
        if not 0 < initial_s <= cap_s or reset_after_s < 0:
            raise ValueError(
                f"need 0 < initial_s <= cap_s, reset_after_s >= 0, got {initial_s}, {cap_s}, {reset_after_s}"
            )
        self._initial_s = initial_s
        self._cap_s = cap_s
        self._reset_after_s = reset_after_s
        self._rng = Random() if rng is None else rng
        self._attempts = 0
        self._success_since_s: float | None = None

    @property
    def attempts(self) -> int:
        """Attempts since the last lasting success."""
        return self._attempts

    def delay(self) -> float:
        """Seconds to wait before the attempt that follows the failure just seen."""
        self._success_since_s = None
        bound = min(self._cap_s, self._initial_s * 2 ** min(self._attempts, _MAX_DOUBLINGS))
        self._attempts += 1
        return self._rng.uniform(0.0, bound)

    def succeeded(self, now_s: float) -> None:
        """Says that all is well at this time (monotonic); call again while it is."""
        if self._success_since_s is None:
            self._success_since_s = now_s
        elif now_s - self._success_since_s >= self._reset_after_s:
            self._attempts = 0

"""How far the analysed rate is lowered while the machine is too small: one decision for all streams.

Streams of one priority always share one rate, so that none of them pays for another; a lower priority is down at its
lowest rate before the next one loses anything. There is no turn-taking between neighbouring rates: each change costs a
stream the warm-up of another head.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import mean

#: Samples that wait longer than this, and longer than two sampling periods, say that demand exceeds capacity. With room
#: to spare the streams' ticks still come together, and wait for each other for up to one period.
LATE_S = 0.25
_LATE_PERIODS = 2.0
#: A backlog that the engine's own speed does not explain must last this long: a burst of a feed, a pause of all.
_UNEXPLAINED_S = 2.0
#: Share of capacity that is planned with on the way down; the rest is the loop's, and what estimates are wrong by.
_PLAN = 0.8
#: And on the way up. What lies between is the hysteresis: capacity must grow by a ninth before a rate comes back.
_PLAN_UP = 0.72
#: After a change, until its effect can be judged.
_SETTLE_S = 1.0
#: Without a backlog for this long, it is looked for room.
CALM_S = 5.0
#: An attempt that fails within this time was wrong about capacity; the next waits twice as long, up to the longest.
_PROVE_S = 30.0
_LONGEST_CALM_S = 600.0
#: So much more capacity, or so much less demand, than attempts trusted in is another situation.
_MORE = 1.25
_LESS = 0.95
#: And so much more time to spare for the readers.
_MORE_SPARE = 0.15
#: The first pictures of an engine are slow.
_WARM_S = 1.0
#: Windows over which capacity is taken: how it is now, and how it has been.
_NOW_S = 0.6
_BEFORE_S = 5.0


def reference_only(rates: Sequence[float] | Sequence[Fraction], rung: int) -> bool:
    """Whether a ladder's rung has the rate of the one before it: there only pictures that others need are decoded."""
    return rung > 0 and rates[rung] == rates[rung - 1]


@dataclass(frozen=True, slots=True)
class Load:
    """What the pipeline says of itself at one moment; counters count since the start.

    Attributes:
        pictures: Through the engine, whole batches.
        busy_s: Seconds the engine has spent on them.
        late_s: How long the sample that waits longest has waited.
        dropped: Samples dropped since they had waited too long, or for want of room.
        live: Streams that deliver pictures now.
        behind_s: How far the reader that is slowest has fallen behind its feed.
        spare: Share of their time that readers wait for their feeds, 0-1.
    """

    pictures: int
    busy_s: float
    late_s: float
    dropped: int
    live: Collection[str]
    behind_s: float = 0.0
    spare: float = 1.0


class Shedding:
    """Chooses every stream's rung of the ladder; call ``step`` a few times a second. Time is an argument.

    It goes down once samples wait although the engine works: at once to the rates that its measured speed allows. Where
    readers fall behind their feeds, it goes down step by step, to the last rung, at which they need not decode all
    pictures. It goes up when nothing has waited for a while and the measured speed has room for more.

    Args:
        rates: Samples a second of each rung, falling; one alone means that nothing can be shed. The last may be twice
            there: at that rung only pictures that others refer to are decoded.
        priorities: Of each stream; lower ones are shed first.

    Raises:
        ValueError: No rates, or they do not fall.
    """

    def __init__(self, rates: Sequence[float], priorities: Mapping[str, int]) -> None:
        falling = rates[:-1] if len(rates) > 2 and rates[-1] == rates[-2] else rates
        if not rates or any(b >= a for a, b in pairwise(falling)) or rates[-1] <= 0:
            raise ValueError(f"rates must be positive and fall, got {list(rates)}")
        self.rates = tuple(float(rate) for rate in rates)
        self._level = 0
        self.prioritise(priorities)
        self._history: deque[tuple[float, Load]] = deque()
        self._warm_s: float | None = None
        self._late_since_s: float | None = None
        self._overloaded = False
        #: What was shed last was shed for the readers, whose speed is not known.
        self._for_readers = False
        self._restless_s = float("-inf")
        self._changed_s = float("-inf")
        #: When the last attempt to go up was made, until it has held or failed.
        self._raised_s: float | None = None
        self._calm_s = CALM_S
        #: The most capacity and the demand that attempts to go up have trusted in since one last held.
        self._trusted: tuple[float, float] | None = None
        #: The most time to spare, likewise.
        self._trusted_spare = 1.0

    def prioritise(self, priorities: Mapping[str, int]) -> None:
        """Takes other streams or priorities; what is shed stays, as far as there is as much to shed."""
        self._classes = sorted(set(priorities.values()))
        self._class_of = {stream: self._classes.index(priority) for stream, priority in priorities.items()}
        #: Live streams of each class.
        self._live: list[int] = [0] * len(self._classes)
        self._level = min(self._level, self._lowest)

    @property
    def level(self) -> int:
        """Steps down from everything at its full rate."""
        return self._level

    def rung(self, stream: str) -> int:
        """Index into ``rates`` of a stream's rate."""
        return self._rung(self._level, self._class_of[stream])

    def reference_only(self, rung: int) -> bool:
        """Whether pictures that no other one refers to are not decoded at this rung."""
        return reference_only(self.rates, rung)

    @property
    def overloaded(self) -> bool:
        """Samples wait although everything is at its lowest rate: not all of them can be analysed."""
        return self._overloaded

    @property
    def shed(self) -> float:
        """Share of the samples due at full rates that the present rates leave out, 0-1, of the live streams."""
        full = self._demand(0)
        return 1 - self._demand(self._level) / full if full else 0.0

    def step(self, now_s: float, load: Load) -> bool:
        """Looks at the load and decides; whether rates have changed."""
        self._live = [0] * len(self._classes)
        for stream in load.live:
            self._live[self._class_of[stream]] += 1
        before = self._history[-1][1].dropped if self._history else load.dropped
        self._remember(now_s, load)
        if self._raised_s is not None and now_s - self._raised_s >= max(_PROVE_S, 2 * self._calm_s):
            self._calm_s, self._trusted, self._raised_s = CALM_S, None, None
            self._trusted_spare = 1.0
        if not self._is_late(load) and load.dropped == before:
            self._late_since_s = None
            return self._raise(now_s)
        self._restless_s = now_s
        if self._late_since_s is None:
            self._late_since_s = now_s
            return False  # the next look confirms it
        return self._lower(now_s, behind=load.behind_s > LATE_S)

    def _remember(self, now_s: float, load: Load) -> None:
        if self._warm_s is None and load.pictures:
            self._warm_s = now_s + _WARM_S
        self._history.append((now_s, load))
        while len(self._history) > 2 and self._history[1][0] <= now_s - _BEFORE_S:
            self._history.popleft()

    def _late_limit_s(self) -> float:
        # The class that is shed first is the slowest.
        return max(LATE_S, _LATE_PERIODS / self.rates[self._rung(self._level, 0)])

    def _is_late(self, load: Load) -> bool:
        return load.late_s > self._late_limit_s() or load.behind_s > LATE_S

    def _lower(self, now_s: float, *, behind: bool) -> bool:
        warm = self._warm_s is not None and now_s >= self._warm_s
        if self._level == self._lowest and self._late_since_s is not None:
            self._overloaded |= warm and now_s - self._late_since_s >= _UNEXPLAINED_S
        if self._level == self._lowest or not warm or now_s < self._changed_s + _SETTLE_S:
            return False
        capacity = self._capacity(now_s, _NOW_S)
        if capacity is not None and self._demand(self._level) > _PLAN * capacity:
            level = self._first_that_fits(self._level + 1, _PLAN * capacity)
        elif behind or (self._late_since_s is not None and now_s - self._late_since_s >= _UNEXPLAINED_S):
            level = self._level + 1
        else:
            return False
        if self._raised_s is not None:
            self._calm_s, self._raised_s = min(2 * self._calm_s, _LONGEST_CALM_S), None
        self._for_readers = behind
        self._change(now_s, level)
        return True

    def _raise(self, now_s: float) -> bool:
        if now_s - self._restless_s >= CALM_S:
            self._overloaded = False
        if not self._level:
            return False
        capacity = self._capacity(now_s, _BEFORE_S)
        spare_is_more = self._spare(now_s) > self._trusted_spare + _MORE_SPARE
        if spare_is_more or (capacity is not None and self._is_another_situation(capacity)):
            self._calm_s = CALM_S
        if now_s - max(self._restless_s, self._changed_s) < self._calm_s:
            return False
        # Nothing to measure by is nothing to analyse.
        room = float("inf") if not self._demand(0) else 0.0 if capacity is None else _PLAN_UP * capacity
        level = self._first_that_fits(self._level - 1 if self._for_readers else 0, room)
        if level >= self._level:
            return False
        if capacity is not None:
            most = capacity if self._trusted is None else max(capacity, self._trusted[0])
            self._trusted = most, self._demand(0)
        spare = self._spare(now_s)
        self._trusted_spare = spare if self._calm_s == CALM_S else max(self._trusted_spare, spare)
        self._change(now_s, level)
        self._raised_s = now_s
        return True

    def _is_another_situation(self, capacity: float) -> bool:
        if self._trusted is None:
            return False
        trusted, demand = self._trusted
        return capacity > _MORE * trusted or self._demand(0) < _LESS * demand

    def _spare(self, now_s: float) -> float:
        """The readers' time to spare over the last seconds."""
        return mean(load.spare for at_s, load in self._history if at_s >= now_s - _BEFORE_S)

    def _change(self, now_s: float, level: int) -> None:
        self._level, self._changed_s, self._late_since_s = level, now_s, None

    def _first_that_fits(self, first: int, room: float) -> int:
        return next((level for level in range(first, self._lowest) if self._demand(level) <= room), self._lowest)

    def _capacity(self, now_s: float, window_s: float) -> float | None:
        """Pictures a second of engine time in the last seconds; None where it finished none."""
        newest = self._history[-1][1]
        within = [load for at_s, load in self._history if at_s >= now_s - window_s - 1e-9]
        # A slow engine finishes no batch in a short window.
        for oldest in [*within[:1], *(load for _, load in reversed(self._history))]:
            if newest.pictures > oldest.pictures and newest.busy_s > oldest.busy_s:
                return (newest.pictures - oldest.pictures) / (newest.busy_s - oldest.busy_s)
        return None

    @property
    def _lowest(self) -> int:
        return len(self._classes) * (len(self.rates) - 1)

    def _rung(self, level: int, class_: int) -> int:
        steps = len(self.rates) - 1
        return min(steps, max(0, level - steps * class_))

    def _demand(self, level: int) -> float:
        return sum(count * self.rates[self._rung(level, class_)] for class_, count in enumerate(self._live))

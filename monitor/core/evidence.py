"""What an alert leaves behind for whoever asks later: its worst picture, the seconds around it, what was measured.

Of the seconds before a raise the last minute is kept; of those while the alert is up all, thinned out as they get many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from monitor.core.alert_book import AlertBook
from monitor.core.alerts import CLEARED, RAISED, AlertRule
from monitor.types import AlertEvent, Condition, Status

#: Seconds before a raise: what led to it begins before the first breach.
BEFORE_S = 60
#: Most points of one curve: 15 minutes of seconds, or an hour and more of every fourth.
MOST_POINTS = 900
#: Metrics told from scores, whose pictures are as old as the score's newest sample. Others are of this moment.
_OF_SCORES = frozenset({"drop", "score", "score_10s", "score_60s", "score_min_60s", "band"})
#: The middle of the second that a score is of.
_HALF_WINDOW_S = 0.5


@dataclass(frozen=True, slots=True)
class Still:
    """A small picture of a stream.

    Attributes:
        received_s: When its frame was decoded, monotonic seconds.
        jpeg: The picture, a whole JPEG file.
        width: Pixels.
        height: Pixels.
    """

    received_s: float
    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Moment:
    """One second of a stream.

    Attributes:
        at_s: Monotonic seconds.
        ts: Unix ms.
        age_s: Age of the newest sample in the score; None without one.
        status: Whether its score could be trusted.
        condition: What the monitor saw.
        metrics: What the rules saw, by metric; None is unknown.
        baseline: The stream's usual score.
        cause: Most probable cause of bad quality.
        cause_p: Its probability.
    """

    at_s: float
    ts: int
    age_s: float | None
    status: Status
    condition: Condition
    metrics: Mapping[str, float | None]
    baseline: float | None = None
    cause: str | None = None
    cause_p: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one alert, as of its raise or of its clear.

    Attributes:
        event: The raise or the clear.
        metric: What its rule watches.
        raised: The second of the raise; None where that was before a restart.
        cleared: The second of the clear; None for a raise.
        worst: The worst second so far; None where that was before a restart.
        still: The picture nearest to it; None where there is none, or none worse than what an earlier run kept.
        still_ts: When that picture was decoded, unix ms.
        curve: The seconds around it, in order.
        whole: It holds the alert from its beginning; False for an alert that an earlier run raised.
    """

    event: AlertEvent
    metric: str
    raised: Moment | None
    cleared: Moment | None
    worst: Moment | None
    still: Still | None
    still_ts: int | None
    curve: tuple[Moment, ...]
    whole: bool


class AlertTrail:
    """Gathers the evidence of one stream's alerts, second by second. Not for several threads.

    Args:
        book: The stream's alerts; those that are up already are an earlier run's.
        still_near: The picture that arrived nearest to a moment (monotonic seconds); None where there are none.
        before_s: Seconds before a raise that are kept.
        most_points: Most points of one curve.
    """

    def __init__(
        self,
        book: AlertBook,
        still_near: Callable[[float], Still | None],
        *,
        before_s: int = BEFORE_S,
        most_points: int = MOST_POINTS,
    ) -> None:
        self._book = book
        self._still_near = still_near
        self._most_points = most_points
        self._before: deque[Moment] = deque(maxlen=before_s)
        self._open = {
            event.id: _Open(book.rule(event.rule), self._take, most_points, worst_value=event.value, whole=False)
            for event in book.active
        }

    def second(self, moment: Moment, events: Iterable[AlertEvent]) -> list[Evidence]:
        """Takes a second and the raises and clears it led to; the evidence of each."""
        self._before.append(moment)
        for alert in self._open.values():
            alert.add(moment)
        found = []
        for event in events:
            if event.status == RAISED:
                alert = _Open(self._book.rule(event.rule), self._take, self._most_points)
                for earlier in self._before:
                    alert.add(earlier)
                alert.judge_from(event, moment)
                self._open[event.id] = alert
            elif event.status == CLEARED and event.id in self._open:
                alert = self._open.pop(event.id)
            else:
                continue
            found.append(alert.evidence(event, moment))
        return found

    def _take(self, moment: Moment, metric: str) -> tuple[Still, int] | None:
        shown_s = moment.at_s
        if metric in _OF_SCORES and moment.age_s is not None:
            shown_s -= moment.age_s + _HALF_WINDOW_S
        still = self._still_near(shown_s)
        if still is None:
            return None
        return still, moment.ts - round((moment.at_s - still.received_s) * 1000)


class _Open:
    """One alert that is up."""

    def __init__(
        self,
        rule: AlertRule,
        take: Callable[[Moment, str], tuple[Still, int] | None],
        most_points: int,
        *,
        worst_value: float | None = None,
        whole: bool = True,
    ) -> None:
        self._rule, self._take, self._whole = rule, take, whole
        self._most_points = most_points
        self._curve: list[Moment] = []
        self._step = 1  # seconds a point of the curve stands for
        self._skipped = 0
        # Seconds before the raise are judged once, at the raise: the worst of them is the event's own.
        self._judging = not whole
        self._worst_value = worst_value
        self._raised: Moment | None = None
        self._worst: Moment | None = None
        self._still: tuple[Still, int] | None = None

    def add(self, moment: Moment) -> None:
        """Takes one second."""
        self._draw(moment)
        if self._judging:
            self._judge(moment)

    def judge_from(self, event: AlertEvent, now: Moment) -> None:
        """The alert is raised; its worst second so far is among those before."""
        self._raised = now
        worst_at = event.raised_at if event.worst_at is None else event.worst_at
        worst = min(self._curve, key=lambda moment: abs(moment.ts / 1000 - worst_at))
        self._worst, self._worst_value = worst, event.value
        self._still = self._take(worst, self._rule.metric)
        self._judging = True

    def evidence(self, event: AlertEvent, now: Moment) -> Evidence:
        """All that is known of it."""
        still, still_ts = self._still or (None, None)
        return Evidence(
            event,
            self._rule.metric,
            self._raised,
            now if event.status == CLEARED else None,
            self._worst,
            still,
            still_ts,
            tuple(self._curve),
            self._whole,
        )

    def _judge(self, moment: Moment) -> None:
        value = moment.metrics.get(self._rule.metric)
        if value is None:
            return
        if self._worst_value is None or self._rule.worse(value, self._worst_value):
            self._worst, self._worst_value = moment, value
            self._still = self._take(moment, self._rule.metric) or self._still

    def _draw(self, moment: Moment) -> None:
        self._skipped += 1
        if self._skipped < self._step and self._curve and not self._worse(moment, self._curve[-1]):
            return
        if self._skipped < self._step:
            # Within one step the worst second stands for all.
            self._curve[-1] = moment
            return
        self._skipped = 0
        self._curve.append(moment)
        if len(self._curve) > self._most_points:
            pairs = zip(self._curve[::2], self._curve[1::2], strict=False)
            odd = self._curve[-1:] if len(self._curve) % 2 else []
            self._curve = [second if self._worse(second, first) else first for first, second in pairs] + odd
            self._step *= 2

    def _worse(self, moment: Moment, other: Moment) -> bool:
        a, b = (each.metrics.get(self._rule.metric) for each in (moment, other))
        return a is not None and (b is None or self._rule.worse(a, b))

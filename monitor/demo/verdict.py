"""Were the scripted faults alerted, with the right cause, in time, and cleared?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.demo.script import Expected
from monitor.types import AlertEvent


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one scripted fault.

    Attributes:
        expected: What should have come.
        raised: The alert that did, if any.
        cleared: Its clear.
        raised_after_s: From the start of the fault to the alert.
    """

    expected: Expected
    raised: AlertEvent | None
    cleared: AlertEvent | None
    raised_after_s: float | None

    @property
    def right(self) -> bool:
        """Raised in time with the right cause, and cleared."""
        return self.raised is not None and self.cleared is not None and self.cause_right

    @property
    def cause_right(self) -> bool:
        """The alert names the cause, where one was to be named."""
        return self.raised is not None and self.expected.cause in (None, self.raised.cause)

    def line(self) -> str:
        """One line for people."""
        wanted = self.expected
        what = f"{wanted.feed}: {str(wanted.impairment).replace('_', ' ')}"
        if self.raised is None:
            return f"MISSED  {what}: no {wanted.rule} alert"
        named = f" as {self.raised.cause}" if wanted.cause is not None else ""
        after = f"after {self.raised_after_s:.1f} s"
        if not self.cause_right:
            return f"WRONG   {what}: {wanted.rule} {after}{named}, expected {wanted.cause}"
        if self.cleared is None:
            return f"STUCK   {what}: {wanted.rule} {after}{named}, not cleared"
        return f"ok      {what}: {wanted.rule} {after}{named}, cleared"


def judge(wanted: Sequence[Expected], started_at: float, alerts: Sequence[AlertEvent]) -> list[Verdict]:
    """Matches alerts to the script.

    Args:
        wanted: From ``script.expected``.
        started_at: UTC seconds of the script's start.
        alerts: Raises and clears, in order.
    """
    verdicts = []
    for one in wanted:
        raised = next(
            (
                a
                for a in alerts
                if a.status == "raised"
                and (a.stream, a.rule) == (one.feed, one.rule)
                and one.raise_from_s <= a.raised_at - started_at <= one.raise_by_s
            ),
            None,
        )
        cleared = None
        after = None
        if raised is not None:
            after = raised.raised_at - started_at - one.raise_from_s
            cleared = next(
                (
                    a
                    for a in alerts
                    if a.status == "cleared"
                    and a.id == raised.id
                    and a.cleared_at is not None
                    and a.cleared_at - started_at <= one.clear_by_s
                ),
                None,
            )
        verdicts.append(Verdict(one, raised, cleared, after))
    return verdicts

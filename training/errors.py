"""Errors of the offline tools.

::

    TrainingError                   anything a user may be shown as one line: exit status 1
     ├─ UsageError                  the command line asks for something impossible: exit status 2
     └─ DataError                   files or labels are missing, damaged or contradict each other
"""

from __future__ import annotations

from collections.abc import Sequence


class TrainingError(Exception):
    """Something went wrong that a user can be told in one line."""


class UsageError(TrainingError):
    """The command line is wrong; the process exits with status 2."""


class DataError(TrainingError):
    """Clips, labels or features cannot be used.

    Args:
        subject: What was being read, for example a scores file.
        problems: Every single fault found, so that a user mends them in one go.
    """

    def __init__(self, subject: str, problems: Sequence[str]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{subject}: {count}: " + "; ".join(problems))
        self.subject = subject
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type[DataError], tuple[str, tuple[str, ...]]]:
        # Worker processes hand errors over as pickles, which would call this with the message alone.
        return type(self), (self.subject, self.problems)

"""Worker processes of the offline tools: how many are asked for, and what happens when one of them dies."""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from training.errors import TrainingError


def parse_jobs(text: str) -> int:
    """A number of processes, 1 or more; an argparse type."""
    try:
        jobs = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes") from error
    if jobs < 1:
        raise argparse.ArgumentTypeError(f"at least one process is needed, not {jobs}")
    return jobs


@contextmanager
def workers(
    jobs: int, start: Callable[..., object] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool of new processes; where anything fails, what has not begun is dropped.

    They are spawned, not forked: forks of a process with threads (torch, OpenVINO) may hang.

    Args:
        jobs: Processes at most.
        start: Called in each before its first work.
        arguments: Of ``start``.

    Raises:
        TrainingError: A process died of something other than an exception.
    """
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), start, arguments) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise TrainingError(
                "a worker process died; where memory ran out, fewer --jobs need less. What is finished is kept"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

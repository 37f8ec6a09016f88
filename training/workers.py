"""Worker processes of the offline tools: how many are asked for, and what happens when one of them dies."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import threading
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


def one_thread() -> None:
    """For ``start`` of `workers`: torch on one thread.

    A core each is faster than all cores on one piece of work, and gives the same figures on machines of any size.
    """
    import torch  # not every worker needs it

    torch.set_num_threads(1)


@contextmanager
def workers(
    jobs: int, start: Callable[..., object] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool of new processes; where anything fails, what has not begun is dropped.

    They are spawned, not forked: forks of a process with threads (torch, OpenVINO) may hang. They end with this
    process, also where it is killed.

    Args:
        jobs: Processes at most.
        start: Called in each before its first work.
        arguments: Of ``start``.

    Raises:
        TrainingError: A process died of something other than an exception.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _begin, (start, arguments)) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise TrainingError(
                "a worker process died; where memory ran out, fewer --jobs need less. What is finished is kept"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin(start: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    """First thing in a worker."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        # Workers hold both ends of the queue that they wait on, so they would never see a killed parent's end.
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, name="vqwatch-follow-parent", daemon=True).start()
    if start is not None:
        start(*arguments)

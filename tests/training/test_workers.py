"""Worker processes that die, and numbers of them that cannot be."""

from __future__ import annotations

import argparse
import os
import pickle
import signal
import subprocess
import sys

import psutil
import pytest

from engines import EngineError, PictureError
from training.errors import DataError, TrainingError, UsageError
from training.workers import parse_jobs, workers


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_one_line() -> None:
    with pytest.raises(TrainingError, match="a worker process died") as caught, workers(1) as pool:
        pool.submit(die).result()
    assert "\n" not in str(caught.value)


def test_workers_end_with_a_killed_parent() -> None:
    program = (
        "import os, time\n"
        "from training.workers import workers\n"
        "if __name__ == '__main__':\n"
        "    with workers(1) as pool:\n"
        "        print(pool.submit(os.getpid).result(), flush=True)\n"
        "        pool.submit(time.sleep, 300).result()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        worker.wait(timeout=20)


def test_what_workers_raise_is_passed_on() -> None:
    with pytest.raises(ZeroDivisionError), workers(1) as pool:
        pool.submit(divmod, 1, 0).result()


def broken_clips() -> None:
    raise DataError("features", ["a.mp4: torn", "b.mp4: empty"])


def test_a_workers_data_error_keeps_its_problems() -> None:
    with pytest.raises(DataError) as caught, workers(1) as pool:
        pool.submit(broken_clips).result()
    assert (caught.value.subject, caught.value.problems) == ("features", ("a.mp4: torn", "b.mp4: empty"))
    assert str(caught.value) == "features: 2 problems: a.mp4: torn; b.mp4: empty"


@pytest.mark.parametrize("error", [UsageError("a"), TrainingError("a"), PictureError("a"), EngineError("a")])
def test_errors_survive_the_way_out_of_a_worker(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "many", ""])
def test_at_least_one_process_is_needed(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="process"):
        parse_jobs(text)
    assert parse_jobs("3") == 3

"""The process that forks reader processes, and the monitor's hold on it.

It imports FFmpeg and numpy once; what it forks shares them, so a reader costs some megabytes and milliseconds, not an
interpreter. It runs no thread, so that forking it is safe, and reads no feed, so that none can harm it. The fork server
of ``multiprocessing`` would import the monitor's main module into every reader, and needs a second process beside it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection, wait
from typing import NamedTuple

_PID = struct.Struct("@i")
#: How long readers may take to end once the monitor has, and the server with them.
_READERS_END_S = 1.5
_END_S = 3.0


class ReaderProcess(NamedTuple):
    """A reader process: its number, our end of its socket, and where its exit code will come from."""

    pid: int
    pipe: Connection
    status: Connection

    def exit_code(self, timeout_s: float) -> int | None:
        """Waits until it has ended; negative for a signal, None where it has not or nobody knows."""
        if not wait([self.status], timeout_s):
            return None
        try:
            (code,) = _PID.unpack(self.status.recv_bytes())
        except (EOFError, OSError):
            return None
        return int(code)

    def kill(self) -> None:
        """Ends it at once; nothing where it has ended, as long as its exit code was not asked for."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class ReaderServer:
    """Starts reader processes. Its methods may be called by any thread, and wait.

    It ends with ``close``, and with this process however that ends; so do the readers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Starts the process where it does not run; it then imports for half a second, for which nobody waits here.

        Raises:
            OSError: No process can be started.
        """
        with self._lock:
            self._start()

    def fork(self) -> ReaderProcess:
        """A new reader process.

        Raises:
            OSError: None can be started.
        """
        ours, theirs = socket.socketpair()
        status, tells = os.pipe()
        try:
            with self._lock:
                self._start()
                assert self._control is not None
                socket.send_fds(self._control, [b"r"], [theirs.fileno(), tells])
                answer = self._control.recv(_PID.size)
            if len(answer) < _PID.size:
                raise OSError("the process that starts readers has ended")
            (pid,) = _PID.unpack(answer)
            if pid < 0:
                raise OSError(-pid, os.strerror(-pid))
        except BaseException:
            ours.close()
            os.close(status)
            raise
        finally:
            theirs.close()
            os.close(tells)
        return ReaderProcess(pid, Connection(ours.detach()), Connection(status, writable=False))

    def close(self) -> None:
        """Ends the process and the readers that still run."""
        with self._lock:
            self._end()

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._end()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "monitor.pipeline.reader_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ
                | {
                    "PYTHONPATH": os.pathsep.join(folder or os.getcwd() for folder in sys.path),
                    # A reader's sums are small: threads for them would only take memory.
                    "OPENBLAS_NUM_THREADS": "1",
                    "OMP_NUM_THREADS": "1",
                },
                # Ctrl-C is for the monitor, which then ends its readers in order.
                start_new_session=True,
            )
        self._control = ours

    def _end(self) -> None:
        process, control, self._process, self._control = self._process, self._control, None, None
        if control is not None:
            control.close()
        if process is not None:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main() -> None:
    """The process itself: forks when asked, until nobody is there to ask."""
    # Imported by the process alone: the monitor itself decodes nothing where its readers are processes.
    from monitor.pipeline.reader_child import serve

    control = socket.socket(fileno=int(sys.argv[1]))
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    statuses: dict[int, Connection] = {}
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    # What is imported by now stays out of the collector's way, whose marks would unshare it.
    gc.collect()
    gc.freeze()
    while True:
        ready = {key.fileobj for key, _ in selector.select()}
        if woken in ready:
            os.read(woken, 4096)
            _reap(statuses)
        if control not in ready:
            continue
        try:
            asked, fds, _, _ = socket.recv_fds(control, 1, 2)
        except OSError:
            break  # the monitor was killed
        if not asked:
            break
        pipe, status = fds
        try:
            pid = os.fork()
        except OSError as error:
            os.close(pipe)
            os.close(status)
            _answer(control, -(error.errno or 1))
            continue
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            selector.close()
            control.close()
            for fd in (wakes, woken, status):
                os.close(fd)
            for other in statuses.values():
                other.close()
            serve(Connection(pipe))
        os.close(pipe)
        statuses[pid] = Connection(status, readable=False)
        _answer(control, pid)
    _end_all(statuses)


def _answer(control: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # the monitor was killed; the next look at the socket ends this process
        control.send(_PID.pack(number))


def _end_all(statuses: dict[int, Connection]) -> None:
    """Waits for readers, which see the end of the monitor too; kills those that do not end."""
    until_s = time.monotonic() + _READERS_END_S
    while statuses and time.monotonic() < until_s:
        time.sleep(0.01)
        _reap(statuses)
    for pid in statuses:
        os.kill(pid, signal.SIGKILL)
    while statuses:
        os.waitpid(statuses.popitem()[0], 0)


def _reap(statuses: dict[int, Connection]) -> None:
    """Tells the exit codes of those that have ended."""
    while statuses:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        told = statuses.pop(pid, None)
        if told is not None:
            with told, contextlib.suppress(OSError):
                told.send_bytes(_PID.pack(os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    main()

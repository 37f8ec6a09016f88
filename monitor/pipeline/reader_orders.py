"""What the monitor and its reader processes say to each other."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """What a message of the process holds."""

    SAMPLE = 0
    DROPPED = 1
    STILL = 2
    READINGS = 3
    OPENED = 4
    ENDED = 5


class Order(IntEnum):
    """What a message to the process asks for."""

    READ = 0
    STOP = 1
    RUNG = 2
    END = 3

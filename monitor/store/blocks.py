"""A minute of seconds, or an hour of minutes, as bytes. Pure.

Numbers are integers of a field's last decimal, column after column, as differences along time; like bytes of all
numbers stand together, which is what zlib makes small: steady columns cost next to nothing.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Iterator, Sequence

import numpy as np

from monitor.core.record import FIELDS, Field, Record, numbers_of, record_from

#: Stands for an unknown value.
_UNKNOWN = -(2**31)
_LIMIT = 2**31 - 1
_HEADER = struct.Struct("<HHH")  # layout, rows, columns
_SCALES = tuple(10**field.decimals for field in FIELDS)
#: Numbers in a row: the offset in the block (ms), then the fields.
WIDTH = 1 + len(FIELDS)


class BadBlock(ValueError):
    """The bytes are not what was written."""


class Rows:
    """Rows of one block, in order of time.

    Args:
        start_ms: Unix ms from which the block's offsets count.
    """

    def __init__(self, start_ms: int) -> None:
        self.start_ms = start_ms
        self._numbers = array("i")

    def __len__(self) -> int:
        return len(self._numbers) // WIDTH

    def put(self, record: Record) -> None:
        """Appends a record; what stands at its time or after it gives way to it.

        A wall clock that was set back would else leave two pasts.
        """
        offset = record.ts - self.start_ms
        while self._numbers and self._numbers[-WIDTH] >= offset:
            del self._numbers[-WIDTH:]
        self._numbers.extend(_row(offset, record))

    def replace(self, record: Record) -> None:
        """Puts a record in its place, over one of the same time."""
        offset = record.ts - self.start_ms
        at = len(self._numbers)
        while at and self._numbers[at - WIDTH] >= offset:
            at -= WIDTH
        same = at < len(self._numbers) and self._numbers[at] == offset
        self._numbers[at : at + (WIDTH if same else 0)] = array("i", _row(offset, record))

    def records(self) -> Iterator[Record]:
        """All of them."""
        for at in range(0, len(self._numbers), WIDTH):
            offset, *numbers = self._numbers[at : at + WIDTH]
            yield _record(self.start_ms + offset, FIELDS, numbers)

    def packed(self, layout: int) -> bytes:
        """The block as bytes; ``layout`` is the number under which the file knows :data:`FIELDS`."""
        rows = np.frombuffer(self._numbers, np.int32).reshape(-1, WIDTH)
        # Differences wrap round at 32 bits, and back again when they are summed.
        steps = np.diff(rows.T, axis=1, prepend=np.int32(0))
        return _HEADER.pack(layout, len(rows), WIDTH) + zlib.compress(_shuffled(steps), 6)

    @classmethod
    def unpacked(cls, start_ms: int, content: bytes, fields: Sequence[Field]) -> Rows:
        """Rows that go on where the bytes end; written with other fields they are put into today's."""
        rows = cls(start_ms)
        if tuple(fields) == FIELDS:
            rows._numbers.frombytes(_table(content, fields).tobytes())
        else:
            for record in records_in(start_ms, content, fields):
                rows.put(record)
        return rows


def layout_in(content: bytes) -> int:
    """Number of the layout that a block was written with."""
    if len(content) < _HEADER.size:
        raise BadBlock("a block of history is cut off")
    number: int = _HEADER.unpack_from(content)[0]
    return number


def records_in(start_ms: int, content: bytes, fields: Sequence[Field]) -> Iterator[Record]:
    """Records of a block.

    Raises:
        BadBlock: The bytes are damaged.
    """
    for offset, *numbers in _table(content, fields).tolist():
        yield _record(start_ms + offset, fields, numbers)


def columns_in(start_ms: int, content: bytes, fields: Sequence[Field]) -> dict[str, np.ndarray]:
    """Columns of a block as float64, NaN where unknown; ``ts`` is unix ms.

    Raises:
        BadBlock: The bytes are damaged.
    """
    table = _table(content, fields)
    columns = {"ts": table[:, 0].astype(np.float64) + start_ms}
    for number, field in enumerate(fields, start=1):
        column = table[:, number].astype(np.float64)
        column[table[:, number] == _UNKNOWN] = np.nan
        columns[field.name] = column / 10**field.decimals
    return columns


def _row(offset: int, record: Record) -> list[int]:
    row = [offset]
    for value, scale in zip(numbers_of(record), _SCALES, strict=True):
        row.append(_UNKNOWN if value is None else max(-_LIMIT, min(_LIMIT, round(value * scale))))
    return row


def _record(ts: int, fields: Sequence[Field], numbers: Sequence[int]) -> Record:
    known = {
        field.name: number / 10**field.decimals
        for field, number in zip(fields, numbers, strict=True)
        if number != _UNKNOWN
    }
    try:
        return record_from(ts, known)
    except ValueError as error:
        raise BadBlock(str(error)) from error


def _shuffled(numbers: np.ndarray) -> bytes:
    return np.ascontiguousarray(numbers).view(np.uint8).reshape(-1, 4).T.tobytes()


def _table(content: bytes, fields: Sequence[Field]) -> np.ndarray:
    try:
        _, count, width = _HEADER.unpack_from(content)
        plain = zlib.decompress(content[_HEADER.size :])
    except (struct.error, zlib.error) as error:
        raise BadBlock("a block of history cannot be read") from error
    if width != len(fields) + 1 or len(plain) != count * width * 4:
        raise BadBlock("a block of history has another size than it says")
    steps = np.frombuffer(plain, np.uint8).reshape(4, -1).T.copy().view(np.int32).reshape(width, count)
    return np.ascontiguousarray(np.cumsum(steps, axis=1, dtype=np.int32).T)

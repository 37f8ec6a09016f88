"""Train, validation and test parts that share no content.

The order of groups is decided by a hash of seed and group name. So a split depends on nothing but these: not
on the order of clips, the model, the machine or the version of a random generator, and every model that is
given the same seeds is compared on the same splits.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

#: Shares of the groups, as VSFA released them.
DEFAULT_SHARES = (0.6, 0.2, 0.2)

GROUPINGS = ("content", "stem")


@dataclass(frozen=True, slots=True)
class Split:
    """Which groups are on which side; every group of the data set is on exactly one.

    Attributes:
        seed: It was drawn with.
        train: Names of the groups to train on.
        validation: Names of the groups that choose the epoch.
        test: Names of the groups that are scored once.
    """

    seed: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def indices(self, groups: Sequence[str]) -> dict[str, list[int]]:
        """Positions of each side's clips, by ``train``, ``validation`` and ``test``.

        Args:
            groups: Group name of every clip.

        Raises:
            ValueError: A clip's group is on no side.
        """
        sides = {name: side for side in ("train", "validation", "test") for name in getattr(self, side)}
        strangers = sorted(set(groups) - set(sides))
        if strangers:
            raise ValueError(f"groups on no side of the split: {', '.join(strangers)}")
        found: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
        for index, group in enumerate(groups):
            found[sides[group]].append(index)
        return found

    def to_json(self) -> dict[str, object]:
        """Plain values for a file; `from_json` turns them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, object]) -> Split:
        """Inverse of `to_json`.

        Raises:
            ValueError: Keys are missing or have other types.
        """
        try:
            sides = [values[side] for side in ("train", "validation", "test")]
            seed = values["seed"]
        except KeyError as error:
            raise ValueError(f"split lacks {error}") from error
        if not isinstance(seed, int) or not all(isinstance(side, list | tuple) for side in sides):
            raise ValueError("split must hold an integer seed and three lists of names")
        train, validation, test = (tuple(str(name) for name in side) for side in sides)  # type: ignore[attr-defined]
        return cls(seed, train, validation, test)


def split_groups(groups: Sequence[str], seed: int, shares: tuple[float, float, float] = DEFAULT_SHARES) -> Split:
    """Draw one split.

    The sizes are VSFA's: the first ceil(train share x N) groups train, those from ceil((1 - test share) x N)
    on test, the rest validate.

    Args:
        groups: Group name of every clip, in any order, repeated as often as it has clips: contents, or stems
            where halves of one recording must not be torn apart.
        seed: Same seed and names, same split.
        shares: Of train, validation and test; they add up to 1, validation may be 0.

    Raises:
        ValueError: The shares do not add up, or there are too few groups to put one on each side.
    """
    train, validation, test = shares
    if min(shares) < 0 or train == 0 or test == 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-9):
        raise ValueError(f"shares must be positive and add up to 1, got {shares}")

    def rank(name: str) -> bytes:
        return hashlib.sha256(f"{seed}/{name}".encode()).digest()

    names = sorted(set(groups), key=rank)
    # 0.6 * 45 is 27.000000000000004 by way of 1 - 0.2 - 0.2; the ceiling must not see that.
    first = math.ceil(round(train * len(names), 9))
    second = math.ceil(round((1 - test) * len(names), 9))
    sides = names[:first], names[first:second], names[second:]
    if not sides[0] or not sides[2] or (validation > 0 and not sides[1]):
        raise ValueError(f"{len(names)} groups are too few for shares {shares}")
    return Split(seed, *(tuple(sorted(side)) for side in sides))

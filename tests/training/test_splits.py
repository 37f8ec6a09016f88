"""Splits share no group, repeat by seed, and have VSFA's sizes."""

from __future__ import annotations

import json

import pytest

from training.splits import Split, split_groups

CONTENTS = [f"content{i:02d}" for i in range(45) for _ in range(7)]
#: Stems with one or two contents of seven versions each, as in LIVE-APV.
STEMS = [f"stem{min(i, 23) if i < 24 else 24 + (i - 24) // 2:02d}" for i in range(45) for _ in range(7)]


@pytest.mark.parametrize("groups", [CONTENTS, STEMS])
def test_no_group_is_on_two_sides_for_a_thousand_seeds(groups: list[str]) -> None:
    for seed in range(1000):
        sides = split_groups(groups, seed).indices(groups)
        seen = [{groups[i] for i in side} for side in sides.values()]
        assert len(seen[0]) + len(seen[1]) + len(seen[2]) == len(seen[0] | seen[1] | seen[2])
        assert sorted(i for side in sides.values() for i in side) == list(range(len(groups)))


@pytest.mark.parametrize(("n", "sizes"), [(45, (27, 9, 9)), (33, (20, 7, 6)), (5, (3, 1, 1)), (10, (6, 2, 2))])
def test_sizes_are_those_of_vsfa(n: int, sizes: tuple[int, int, int]) -> None:
    split = split_groups([f"g{i}" for i in range(n)], 3)
    assert (len(split.train), len(split.validation), len(split.test)) == sizes


def test_a_split_is_the_same_whatever_the_order_of_clips() -> None:
    assert split_groups(CONTENTS, 7) == split_groups(CONTENTS[::-1], 7)
    assert split_groups(CONTENTS, 7) != split_groups(CONTENTS, 8)


def test_a_split_never_changes_between_versions() -> None:
    split = split_groups([f"g{i}" for i in range(8)], 0)
    assert (split.train, split.validation, split.test) == (
        ("g2", "g3", "g4", "g5", "g7"),
        ("g0", "g1"),
        ("g6",),
    )


def test_every_group_is_tested_about_equally_often() -> None:
    tests = [name for seed in range(500) for name in split_groups(CONTENTS, seed).test]
    counts = [tests.count(name) for name in sorted(set(CONTENTS))]
    # 500 draws at p = 0.2: standard deviation 9, so 45 groups stay within four of it.
    assert 64 < min(counts) <= max(counts) < 136


def test_validation_may_be_empty() -> None:
    split = split_groups(CONTENTS, 1, (0.8, 0.0, 0.2))
    assert (len(split.train), len(split.validation), len(split.test)) == (36, 0, 9)


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.2), (1.0, 0.0, 0.0), (1.2, -0.4, 0.2)])
def test_impossible_shares_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="shares"):
        split_groups(CONTENTS, 0, shares)


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        split_groups(["a", "b"], 0)


def test_a_split_survives_json() -> None:
    split = split_groups(CONTENTS, 11)
    assert Split.from_json(json.loads(json.dumps(split.to_json()))) == split
    with pytest.raises(ValueError, match="lacks 'test'"):
        Split.from_json({"seed": 1, "train": [], "validation": []})


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(ValueError, match="stranger"):
        split_groups(CONTENTS, 0).indices(["content00", "stranger"])

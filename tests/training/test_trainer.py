"""Training runs on small planted data."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")

from training.errors import DataError, TrainingError, UsageError  # noqa: E402
from training.feature_set import FeatureSet  # noqa: E402
from training.models import ROWS, QualityHead  # noqa: E402
from training.projection import Projection  # noqa: E402
from training.splits import Split, split_groups  # noqa: E402
from training.trainer import RECIPES, Recipe, load_run, predict, train_run  # noqa: E402

pytestmark = pytest.mark.train

WIDTH = 16
SMALL = replace(ROWS["sub-GRU"], reduced=8, hidden=4, tau=3)
QUICK = Recipe(epochs=12, batch=8, lr=1e-2, schedule="cosine")


def planted(temporal: bool, contents: int = 20, versions: int = 3, domains: int = 1) -> FeatureSet:
    """Clips whose label is a level in the features, or (temporal) only in how often they alternate."""
    rng = np.random.default_rng(0)
    direction = rng.normal(size=WIDTH)
    features, labels = [], []
    for clip in range(contents * versions):
        length = 8 * int(rng.integers(1, 4))  # whole periods, so that a clip's mean says nothing
        level = rng.uniform(0, 1)
        noise = 0.3 * rng.normal(size=(length, WIDTH))
        if temporal:
            period = 2 if level < 0.5 else 8
            track = 2.0 * np.where(np.arange(length) % period < period // 2, 1.0, -1.0)
            level = 0.2 if period == 2 else 0.9
        else:
            track = np.full(length, level)
        features.append((noise + track[:, None] * direction).astype(np.float32))
        labels.append(level * (10 ** (clip % domains)) * 5 + 1)
    names = tuple(f"clip{i:03d}" for i in range(contents * versions))
    groups = tuple(f"content{i // versions:02d}" for i in range(len(names)))
    sources = tuple(f"d{i % domains}" for i in range(len(names)))
    return FeatureSet(names, tuple(features), np.array(labels), groups, groups, ("",) * len(names), sources)


@pytest.fixture
def split() -> Split:
    return split_groups(planted(False).contents, 1)


def test_a_run_learns_and_leaves_a_complete_folder(tmp_path: Path, split: Split) -> None:
    data = planted(False)
    result = train_run(data, split, "content", SMALL, QUICK, 1, tmp_path / "run", "sub-GRU")
    assert result.test.srocc > 0.9
    assert result.test.rmse < 1.0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "config.json",
        "split.json",
        "history.csv",
        "predictions.csv",
        "metrics.json",
        "best.pt",
        "alignment.pt",
    }
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["row"], config["seed"], config["by"], config["head"]["features"]) == (
        "sub-GRU",
        1,
        "content",
        WIDTH,
    )
    with (tmp_path / "run" / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert len(history) == 12
    best = max(range(12), key=lambda epoch: (float(history[epoch]["validation_srocc"]), -epoch))
    assert result.best_epoch == best
    with (tmp_path / "run" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["clip"] for row in rows} == set(data.names)
    assert {row["side"] for row in rows} == {"train", "validation", "test"}


def test_the_same_seed_gives_the_same_run_and_another_does_not(tmp_path: Path, split: Split) -> None:
    data = planted(False)
    recipe = replace(QUICK, epochs=3, components=6)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(len(name) + seed * 100)
        train_run(data, split, "content", SMALL, recipe, seed, tmp_path / name)

    def read(name: str, file: str) -> str:
        return (tmp_path / name / file).read_text()

    assert read("a", "metrics.json") == read("b", "metrics.json")
    assert read("a", "predictions.csv") == read("b", "predictions.csv")
    assert read("a", "predictions.csv") != read("c", "predictions.csv")


def test_training_leaves_the_global_random_state_alone(tmp_path: Path, split: Split) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train_run(planted(False), split, "content", SMALL, replace(QUICK, epochs=1), 1, tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_recurrent_row_learns_what_no_time_cannot(tmp_path: Path, split: Split) -> None:
    data = planted(True)
    found = {}
    for row in ("sub-GRU", "sub-LSTM", "no-time"):
        head = replace(ROWS[row], reduced=8, hidden=8, tau=3)
        recipe = replace(QUICK, epochs=15)
        found[row] = train_run(data, split, "content", head, recipe, 3, tmp_path / row).test.lcc
    assert found["sub-GRU"] > 0.8
    assert found["sub-LSTM"] > 0.8
    assert found["no-time"] < 0.5


def test_stored_weights_give_the_stored_predictions(tmp_path: Path, split: Split) -> None:
    data = planted(False)
    recipe = replace(QUICK, components=6, epochs=4)
    train_run(data, split, "content", SMALL, recipe, 1, tmp_path / "run")
    head, criterion, back, config = load_run(tmp_path / "run")
    assert back == split
    assert head.config.features == WIDTH
    again = predict(head, criterion, data.features, torch.zeros(60, dtype=torch.int64), range(60))
    with (tmp_path / "run" / "predictions.csv").open() as file:
        stored = [float(row["prediction"]) for row in csv.DictReader(file)]
    assert again.tolist() == pytest.approx(stored, abs=1e-6)
    assert config["by"] == "content"


def test_mixed_domains_are_ranked_each_on_its_own_scale(tmp_path: Path, split: Split) -> None:
    data = planted(False, domains=2)
    recipe = replace(QUICK, loss="mixed")
    train_run(data, split, "content", replace(SMALL, bounded=True), recipe, 1, tmp_path / "run")
    head, criterion, _, _ = load_run(tmp_path / "run")
    domains = torch.tensor([int(d[1]) for d in data.domains])
    predicted = predict(head, criterion, data.features, domains, range(60))
    for domain in (0, 1):
        inside = domains.numpy() == domain
        assert np.corrcoef(predicted[inside], data.labels[inside])[0, 1] > 0.9


def test_published_recipe_is_the_released_one() -> None:
    assert RECIPES["published"] == Recipe(2000, 16, 1e-5, "constant", "l1", None)


def test_projection_folds_and_unfolds_without_changing_a_score() -> None:
    data = planted(False)
    torch.manual_seed(0)
    projection = Projection.fit(data.features, 6)
    small = projection.fold(QualityHead(replace(SMALL, features=WIDTH)))
    full = projection.unfold(small)
    for array in data.features[:5]:
        clip = torch.from_numpy(array)
        projected = torch.from_numpy(projection.project(array))
        torch.testing.assert_close(full(clip, [len(clip)]), small(projected, [len(clip)]), atol=1e-5, rtol=0)


def test_a_full_rank_projection_starts_from_the_same_head() -> None:
    data = planted(False)
    torch.manual_seed(0)
    projection = Projection.fit(data.features, WIDTH)
    head = QualityHead(replace(SMALL, features=WIDTH))
    clip = torch.from_numpy(data.features[0])
    small = projection.fold(head)(torch.from_numpy(projection.project(data.features[0])), [len(clip)])
    torch.testing.assert_close(small, head(clip, [len(clip)]), atol=1e-5, rtol=0)


def test_a_finished_run_is_not_overwritten(tmp_path: Path, split: Split) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(UsageError, match="finished run"):
        train_run(planted(False), split, "content", SMALL, QUICK, 1, tmp_path)


def test_a_split_of_other_contents_is_refused(tmp_path: Path) -> None:
    other = Split(0, ("a",), ("b",), ("c",))
    with pytest.raises(DataError, match="no side"):
        train_run(planted(False), other, "content", SMALL, QUICK, 1, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "bounded"), [({"loss": "mixed"}, False), ({"loss": "l3"}, False), ({"schedule": "up"}, False)]
)
def test_recipes_that_make_no_sense_are_refused(
    tmp_path: Path, split: Split, change: dict[str, str], bounded: bool
) -> None:
    recipe = replace(QUICK, **change)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        train_run(planted(False), split, "content", replace(SMALL, bounded=bounded), recipe, 1, tmp_path / "run")


def test_an_exploding_loss_ends_the_run_by_name(tmp_path: Path, split: Split) -> None:
    head = replace(ROWS["no-time"], reduced=8)
    with pytest.raises(TrainingError, match="no longer a number"):
        train_run(planted(False), split, "content", head, replace(QUICK, lr=1e30), 1, tmp_path / "run")


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a finished run"):
        load_run(tmp_path)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monitor.demo.encoder import TsSender
from monitor.demo.impairments import LOOK_AHEAD
from monitor.demo.material import FileMaterial
from monitor.errors import UsageError


def recorded(path: Path, fps: float, count: int, size: tuple[int, int] = (160, 96)) -> Path:
    """A file whose picture n has a luma of 40 + 4 n."""
    sender = TsSender(str(path), *size, fps)
    for number in range(count):
        picture = np.full((size[1] * 3 // 2, size[0]), 128, np.uint8)
        picture[: size[1]] = 40 + 4 * number
        sender.send(picture, number, 2.0)
    sender.close()
    return path


def shown(material: FileMaterial, numbers: range) -> list[int]:
    """Which of the file's pictures stands at each number."""
    return [round((float(material.picture(n)[: material.height].mean()) - 40) / 4) for n in numbers]


def test_a_file_of_the_same_rate_plays_picture_by_picture_and_starts_again(tmp_path: Path) -> None:
    material = FileMaterial(recorded(tmp_path / "a.ts", 25.0, 10), 25.0)
    assert shown(material, range(23)) == [*range(10), *range(10), 0, 1, 2]
    material.close()


def test_a_faster_file_loses_pictures_evenly(tmp_path: Path) -> None:
    material = FileMaterial(recorded(tmp_path / "a.ts", 50.0, 20), 25.0)
    assert shown(material, range(9)) == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    material.close()


def test_a_slower_file_repeats_pictures_evenly(tmp_path: Path) -> None:
    material = FileMaterial(recorded(tmp_path / "a.ts", 12.5, 6), 25.0)
    assert shown(material, range(8)) == [0, 0, 1, 1, 2, 2, 3, 3]
    material.close()


def test_an_effect_can_look_ahead_and_come_back(tmp_path: Path) -> None:
    material = FileMaterial(recorded(tmp_path / "a.ts", 25.0, 10), 25.0)
    for number in range(5, 15):
        assert shown(material, range(number + LOOK_AHEAD, number + LOOK_AHEAD + 1)) == [(number + LOOK_AHEAD) % 10]
        assert shown(material, range(number, number + 1)) == [number % 10]
    material.close()


def test_pictures_are_scaled_to_fit_and_never_enlarged(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.ts", 25.0, 2, (320, 180))
    assert (FileMaterial(path, 25.0).width, FileMaterial(path, 25.0).height) == (320, 180)
    small = FileMaterial(path, 25.0, box=(160, 160))
    assert (small.width, small.height) == (160, 88)
    assert small.picture(0).shape == (132, 160)


def test_a_missing_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^cannot read .*nope\.ts: No such file or directory$"):
        FileMaterial(tmp_path / "nope.ts", 25.0)


def test_a_file_that_is_no_video_is_refused_in_one_line(tmp_path: Path) -> None:
    text, archive = tmp_path / "notes.txt", tmp_path / "archive.zip"
    text.write_text("not a video\n" * 50)
    archive.write_bytes(b"PK\x03\x04" + bytes(range(256)) * 8)
    with pytest.raises(UsageError, match=r"^.*notes\.txt holds no video$"):
        FileMaterial(text, 25.0)
    with pytest.raises(UsageError, match=r"^cannot read .*archive\.zip: Invalid data found when processing input$"):
        FileMaterial(archive, 25.0)

"""Images that sandboxes have their files on."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wit.sandboxes.local.disks import Disks, is_clean, missing_programs

MIB = 1024 * 1024
FEATURES_AT, HAS_JOURNAL = 1024 + 0x5C, 0x4
"""s_feature_compat of ext4's superblock."""


@pytest.mark.parametrize("size", [8 * MIB, 100 * MIB, 1024 * MIB])
def test_an_image_has_a_journal_and_takes_little(tmp_path: Path, size: int) -> None:
    if missing := missing_programs():
        pytest.skip(missing)
    folder = tmp_path / "one"
    folder.mkdir()
    image = Path(Disks("image", tmp_path / "templates").make(folder, size)["path"])
    with image.open("rb") as file:
        file.seek(FEATURES_AT)
        assert int.from_bytes(file.read(4), "little") & HAS_JOURNAL
    assert image.stat().st_size == size
    assert image.stat().st_blocks * 512 < 4 * MIB


def test_an_image_that_was_not_unmounted_is_checked(tmp_path: Path) -> None:
    if missing := missing_programs():
        pytest.skip(missing)
    disks = Disks("image", tmp_path / "templates")
    image = Path(disks.make(tmp_path, 32 * MIB)["path"])
    assert is_clean(image)
    subprocess.run(["debugfs", "-w", "-R", "feature needs_recovery", image], check=True)
    assert not is_clean(image)
    disks.make(tmp_path, 32 * MIB)
    assert is_clean(image)


def test_many_at_once_that_want_the_first_of_its_size(tmp_path: Path) -> None:
    if missing := missing_programs():
        pytest.skip(missing)
    disks = Disks("image", tmp_path / "templates")
    folders = [tmp_path / str(number) for number in range(8)]
    for folder in (tmp_path / "templates", *folders):
        folder.mkdir()
    with ThreadPoolExecutor(len(folders)) as pool:
        images = [
            Path(disk["path"]) for disk in pool.map(lambda f: disks.make(f, 64 * MIB), folders)
        ]
    assert all(is_clean(image) and image.stat().st_size == 64 * MIB for image in images)
    assert len({image.read_bytes() for image in images}) == 1

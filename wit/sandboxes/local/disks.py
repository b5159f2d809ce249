"""What sandboxes have their files on: images with a file system, folders, or memory.

An image is a sparse file with ext4, copied from a ready one of the same size, so that a new disk
takes a millisecond. It has a journal, though a small one: without any, ext4 gives the inodes of
removed files to nobody for minutes, and looks past each of them for every new file, so that whoever
removes 5 000 files and makes them again waits for seconds. Everything here blocks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import attrs

from wit.sandboxes.local.keeper.walls import FOLDERS, Disk
from wit.sandboxes.local.profile import ETC

MIB = 1024 * 1024
LEAST_BYTES = 8 * MIB
BYTES_PER_INODE = 8192
JOURNAL_SHARE, MAX_JOURNAL_MIB = 64, 16
"""One part in so many of a disk is its journal, 1 MiB at least."""
PROGRAM_SECONDS = 120

_SUPERBLOCK_AT, _STATE_AT, _INCOMPATIBLE_AT = 1024, 0x3A, 0x60
_VALID, _NEEDS_RECOVERY = 0x1, 0x4
"""Bits of s_state and s_feature_incompat in ext4's superblock."""


@attrs.frozen
class Disks:
    """``kind`` is that of :class:`~wit.sandboxes.local.keeper.walls.Disk`."""

    kind: str
    templates: Path
    _making: Lock = attrs.field(factory=Lock, init=False, eq=False, repr=False)

    def make(self, folder: Path, size: int) -> Disk:
        """The disk of a sandbox that has ``folder``; made unless it is there.

        Raises OSError, subprocess.SubprocessError.
        """
        size = max(size, LEAST_BYTES) // 4096 * 4096
        disk = Disk(
            kind=self.kind,  # type: ignore[typeddict-item]
            path=str(folder / ("disk.img" if self.kind == "image" else "disk")),
            bytes=size,
            inodes=max(1024, size // BYTES_PER_INODE),
            etc=ETC,
        )
        if self.kind == "image":
            self._image(Path(disk["path"]), size)
        elif self.kind == "folder":
            # Open to the sandbox's user; nobody comes by its path, as the folder above is closed.
            os.makedirs(disk["path"], exist_ok=True)
            os.chmod(disk["path"], 0o755)  # noqa: S103
        return disk

    def _image(self, image: Path, size: int) -> None:
        if image.exists():
            if not is_clean(image):
                _run("e2fsck", "-fp", str(image), fine=(0, 1))
            return
        template = self.templates / f"{size}.img"
        with self._making:  # many may want the first of its size
            if not template.exists():
                make_image(template, size)
        copy_sparse(template, image)


def is_clean(image: Path) -> bool:
    """Whether it was unmounted as it should be, and nothing was found to be wrong."""
    with image.open("rb") as file:
        file.seek(_SUPERBLOCK_AT)
        superblock = file.read(128)
    state = int.from_bytes(superblock[_STATE_AT : _STATE_AT + 2], "little")
    features = int.from_bytes(superblock[_INCOMPATIBLE_AT : _INCOMPATIBLE_AT + 4], "little")
    return state == _VALID and not features & _NEEDS_RECOVERY


def make_image(path: Path, size: int) -> None:
    """An ext4 file system that holds what every sandbox begins with, and no ``lost+found``."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_suffix(f".{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.truncate(size)
        with tempfile.TemporaryDirectory() as content:
            for name, mode in FOLDERS.items():
                os.mkdir(f"{content}/{name}")
                os.chmod(f"{content}/{name}", mode)
            os.mkdir(f"{content}/etc")
            for name, text in ETC.items():
                Path(content, "etc", name).write_text(text)
            os.chmod(content, 0o755)  # noqa: S103
            journal = min(max(1, size // JOURNAL_SHARE // MIB), MAX_JOURNAL_MIB)
            lazily = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
            _run(
                *("mkfs.ext4", "-q", "-F", "-m", "0", "-J", f"size={journal}", "-d", content),
                *("-i", str(BYTES_PER_INODE), "-E", lazily, str(beside)),
            )
        _run("debugfs", "-w", "-R", "rmdir lost+found", str(beside))
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy what is not a hole; file systems that can share blocks do."""
    beside = target.with_suffix(".new")
    with source.open("rb") as reading, beside.open("wb") as writing:
        size = os.fstat(reading.fileno()).st_size
        os.truncate(writing.fileno(), size)
        at = 0
        while at < size:
            try:
                at = os.lseek(reading.fileno(), at, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole from here on
                break
            end = os.lseek(reading.fileno(), at, os.SEEK_HOLE)
            while at < end:
                done = os.copy_file_range(reading.fileno(), writing.fileno(), end - at, at, at)
                if not done:
                    break
                at += done
    beside.rename(target)


def missing_programs() -> str | None:
    """What keeps us from making images, as advice."""
    for program in ("mkfs.ext4", "debugfs", "e2fsck"):
        if shutil.which(program, path=_PATH) is None:
            return "install the package e2fsprogs"
    if not os.path.exists("/dev/loop-control"):
        return "load the kernel module loop"
    return None


_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


def _run(program: str, *arguments: str, fine: Sequence[int] = (0,)) -> None:
    done = subprocess.run(
        [shutil.which(program, path=_PATH) or program, *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={"PATH": _PATH},
        timeout=PROGRAM_SECONDS,
    )
    if done.returncode not in fine:
        error = done.stderr.decode(errors="replace").strip()
        raise OSError(f"{program}: {error[-500:]}")

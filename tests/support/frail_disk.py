"""A disk that fails as real ones do: from a moment on, the system answers reads and writes with errors."""

from __future__ import annotations

import fcntl
import gc
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

MIB = 24
_SHUT_DOWN = 0x8004587D
"""Linux' ``EXT4_IOC_SHUTDOWN``."""


@dataclass(frozen=True)
class FrailDisk:
    """An ext4 that lies in a file, mounted at ``folder``. What was written before it fails is on it."""

    folder: Path
    image: Path

    def turn_read_only(self) -> None:
        """As a system does with a disk that has errors: what is open for writing cannot be written any more, either."""
        _run("sync", "--file-system", self.folder)
        _run("mount", "-o", "remount,abort", self.folder)

    def lose(self) -> None:
        """As with a network share whose server is gone: every file answers with EIO."""
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _SHUT_DOWN, struct.pack("I", 0))
        finally:
            os.close(handle)

    def bring_back(self) -> None:
        """The same disk, sound again."""
        gc.collect()  # what maps its files keeps it
        _run("umount", self.folder)
        self.mount()

    def mount(self) -> None:
        _run("mount", "-o", "loop", self.image, self.folder)


@contextmanager
def frail_disk(folder: Path) -> Iterator[FrailDisk]:
    """Mounts one; skips the test where that is not allowed."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux lets a disk fail on demand")
    folder.mkdir()
    disk = FrailDisk(folder, folder.with_name(f"{folder.name}.ext4"))
    with disk.image.open("wb") as image:
        image.truncate(MIB << 20)
    try:
        _run("mkfs.ext4", "-q", "-F", disk.image)
        disk.mount()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be made and mounted here: {getattr(error, 'stderr', error)}".strip())
    (folder / "lost+found").rmdir()
    try:
        yield disk
    finally:
        gc.collect()
        _run("umount", "--lazy", folder)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)

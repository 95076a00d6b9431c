"""Tells disks of this machine from disks that several machines share."""

from __future__ import annotations

from pathlib import Path

# Any other is taken for shared, which is right everywhere and only shuts out a second reader.
_LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "ramfs", "overlay", "bcachefs", "reiserfs"}
_MOUNTS = Path("/proc/mounts")


def is_local(folder: Path) -> bool:
    """Tells whether a folder surely lies on a disk of this machine alone."""
    try:
        lines = [line.split() for line in _MOUNTS.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return False
    mounts = {Path(_unescaped(fields[1])): fields[2] for fields in lines}  # of several on one folder the last counts
    place = folder.resolve()
    return next((mounts[above] in _LOCAL for above in (place, *place.parents) if above in mounts), False)


def _unescaped(text: str) -> str:
    """Blanks and the like are written as octal numbers in the list of mounts."""
    return text.encode().decode("unicode_escape").encode("latin-1").decode("utf-8", "surrogateescape")

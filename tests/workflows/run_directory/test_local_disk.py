"""Disks of one machine are told from those that machines share, and what is unknown counts as shared."""

from __future__ import annotations

import pytest

from petavox.workflows.run_directory import local_disk


@pytest.mark.parametrize(
    ("folder", "local"),
    [
        ("/scratch/run", True),
        ("/scratch/far away/run", False),
        ("/lustre/run", False),
        ("/scratch/far", True),
        ("/new", True),
        ("/unheard/of", False),
    ],
)
def test_the_innermost_mount_says_what_a_folder_lies_on(tmp_path, monkeypatch, folder, local):
    mounts = ["none / rootfs rw", "/dev/a / ext4 rw", "/dev/b /scratch xfs rw", r"nas:/x /scratch/far\040away nfs4 rw"]
    mounts += ["mgs:/l /lustre lustre rw", "z /unheard newfs rw"]
    (tmp_path / "mounts").write_text("\n".join(mounts) + "\n")
    monkeypatch.setattr(local_disk, "_MOUNTS", tmp_path / "mounts")
    assert local_disk.is_local(local_disk.Path(folder)) == local


def test_without_a_list_of_mounts_every_disk_counts_as_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(local_disk, "_MOUNTS", tmp_path / "nowhere")
    assert not local_disk.is_local(tmp_path)

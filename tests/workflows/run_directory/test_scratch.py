"""Scratch folders are gone afterwards, whatever happens, and a parent that refuses says what to do."""

from __future__ import annotations

import pytest

from petavox.pipeline.errors import StorageError
from petavox.workflows.run_directory.scratch import scratch_folder


@pytest.mark.parametrize("fails", [False, True])
def test_a_scratch_folder_is_removed_with_what_it_holds_and_its_parent_stays(tmp_path, fails):
    def use():
        with scratch_folder(tmp_path / "parent", ".run-", "Choose another.") as folder:
            assert folder.name.startswith(".run-")
            (folder / "table").write_text("large")
            if fails:
                raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            use()
    else:
        use()
    assert list((tmp_path / "parent").iterdir()) == []


def test_two_at_once_do_not_meet(tmp_path):
    with scratch_folder(tmp_path, ".run-", "") as one, scratch_folder(tmp_path, ".run-", "") as other:
        assert one != other


def test_a_parent_that_refuses_is_named_with_the_cure(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(StorageError, match=r"file cannot be written: .*Choose another with --scratch\."),
        scratch_folder(tmp_path / "file", ".run-", "Choose another with --scratch."),
    ):
        pass

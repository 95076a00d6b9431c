"""Compiled kernels find a folder of the user's own where neither the code nor the home can be written."""

import os
import stat

import pytest

from petavox.pipeline import kernel_cache


@pytest.fixture
def read_only(tmp_path, monkeypatch):
    """A place where nothing but the folder for temporary files can be written."""
    writable = tmp_path / "tmp"
    writable.mkdir()
    monkeypatch.setattr(kernel_cache.tempfile, "gettempdir", lambda: str(writable))
    monkeypatch.setattr(kernel_cache.os, "access", lambda folder, _: writable in [folder, *folder.parents])
    monkeypatch.delenv(kernel_cache.VARIABLE, raising=False)
    return writable


def test_a_folder_that_can_be_written_is_left_to_numba(read_only, monkeypatch):
    monkeypatch.setenv(kernel_cache.VARIABLE, str(read_only / "mine"))
    kernel_cache.find_kernel_cache()
    assert os.environ[kernel_cache.VARIABLE] == str(read_only / "mine")


@pytest.mark.parametrize("given", [None, "/nowhere/at/all"])
def test_without_one_kernels_go_to_a_folder_that_only_the_user_can_write(read_only, monkeypatch, given):
    if given:
        monkeypatch.setenv(kernel_cache.VARIABLE, given)
    kernel_cache.find_kernel_cache()
    (folder,) = read_only.iterdir()
    assert os.environ[kernel_cache.VARIABLE] == str(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_others_can_write_is_not_used(read_only):
    known = read_only / f"petavox-kernels-{os.getuid()}"
    known.mkdir()
    known.chmod(0o777)
    kernel_cache.find_kernel_cache()
    assert os.environ[kernel_cache.VARIABLE] != str(known)

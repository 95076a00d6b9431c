"""Small files are there whole, or not at all."""

import pytest

from petavox.pipeline.errors import StorageError
from petavox.pipeline.files import replacing, write_bytes, write_text


def test_a_text_replaces_what_was_there_and_leaves_nothing_else(tmp_path):
    write_text(tmp_path / "a.json", "old")
    write_text(tmp_path / "a.json", "new: 10¹⁵")
    assert (tmp_path / "a.json").read_text("utf-8") == "new: 10¹⁵"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_what_cannot_be_written_whole_leaves_the_old_text(tmp_path, monkeypatch):
    write_text(tmp_path / "a.json", "old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    with pytest.raises(StorageError, match=r"a\.json could not be written: No space left"):
        write_text(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text("utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def half_written(path, error):
    with replacing(path, "Table ") as scratch:
        scratch.write_bytes(b"half")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_is_interrupted_leaves_the_old_file_and_nothing_else(tmp_path, error):
    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(error):
        half_written(tmp_path / "a", error)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_error_says_what_the_file_is(tmp_path):
    with pytest.raises(StorageError, match=r"Table .*gone/a could not be written: No such file"):
        half_written(tmp_path / "gone" / "a", OSError)

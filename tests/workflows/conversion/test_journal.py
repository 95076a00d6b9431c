"""A conversion that was interrupted goes on; two into one name never mix; a full disk loses nothing."""

import errno
import multiprocessing
import threading

import numpy as np
import pytest
from fakes.foreign import GREY, SIZE, pages

from petavox.pipeline.errors import RequestError, StorageError, VolumeError
from petavox.pipeline.volumes import Volume, open_volume
from petavox.workflows.conversion import convert as module
from petavox.workflows.conversion.convert import convert
from petavox.workflows.conversion.options import SourceOptions

OPTIONS = SourceOptions(voxel_size=SIZE)


@pytest.fixture
def in_regions(monkeypatch):
    """Conversions proceed in 48 small regions."""
    monkeypatch.setattr(module, "SHARD", (4, 8, 8))
    monkeypatch.setattr(module, "REGION_BYTES", 4 * 8 * 8)


class Interrupted:
    """A source that is read region by region, until something happens at one of them."""

    def __init__(self, monkeypatch, at, error):
        self.read, self.at, self.error = [], at, error
        original = module._read

        def read(source, box, journal):
            if len(self.read) == self.at:
                raise self.error
            self.read.append(box)
            return original(source, box, journal)

        monkeypatch.setattr(module, "_read", read)


@pytest.mark.parametrize("at", [0, 1, 11])
def test_the_same_command_goes_on_where_it_stopped(in_regions, tmp_path, monkeypatch, at):
    source, target = pages(tmp_path / "em.tif", GREY), tmp_path / "out.zarr"
    stopped = Interrupted(monkeypatch, at, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        convert(source, target, OPTIONS)
    assert not target.exists()
    stopped.at = -1
    done = convert(source, target, OPTIONS)
    np.testing.assert_array_equal(done.volume.read(done.volume.spec.box), GREY)
    assert len(stopped.read) == len(set(stopped.read)) == 24  # nothing is read twice
    assert (done.low, done.high) == (GREY.min(), GREY.max())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["em.tif", "out.zarr"]


@pytest.mark.parametrize("change", ["source", "size", "box"])
def test_what_something_else_has_left_is_thrown_away_aloud(in_regions, tmp_path, monkeypatch, change):
    source, target, said = pages(tmp_path / "em.tif", 255 - GREY), tmp_path / "out.zarr", []
    stopped = Interrupted(monkeypatch, 5, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        convert(source, target, OPTIONS, box=module.Box((0, 0, 0), (4, 20, 25)) if change == "box" else None)
    stopped.at, stopped.read = -1, []
    if change == "source":
        pages(source, GREY, compression="zlib")
    expected = GREY if change == "source" else 255 - GREY
    done = convert(
        source, target, SourceOptions(voxel_size=(40, 4, 4)) if change == "size" else OPTIONS, tell=said.append
    )
    np.testing.assert_array_equal(done.volume.read(done.volume.spec.box), expected)
    assert "thrown away" in " ".join(said)


def test_a_full_disk_loses_nothing(in_regions, tmp_path, monkeypatch):
    source, target, written = pages(tmp_path / "em.tif", GREY), tmp_path / "out.zarr", []
    write = Volume.write

    def full(volume, box, array):
        if len(written) == 7:
            raise StorageError("No space left on device") from OSError(errno.ENOSPC, "No space left on device")
        written.append(box)
        write(volume, box, array)

    monkeypatch.setattr(Volume, "write", full)
    with pytest.raises(StorageError, match="No space left"):
        convert(source, target, OPTIONS)
    monkeypatch.setattr(Volume, "write", write)
    stopped = Interrupted(monkeypatch, -1, None)
    done = convert(source, target, OPTIONS)
    np.testing.assert_array_equal(done.volume.read(done.volume.spec.box), GREY)
    assert len(stopped.read) == 24 - 7


def test_of_a_source_that_is_bad_nothing_is_left(in_regions, tmp_path, monkeypatch):
    source = pages(tmp_path / "em.tif", GREY)
    for error in (VolumeError("coloured"), StorageError("damaged")):

        def read(box, error=error):
            raise error

        def bad(opened, box, journal, read=read, original=module._read):
            return original(module.Source(**(vars(opened) | {"read": read})), box, journal)

        with monkeypatch.context() as patch:
            patch.setattr(module, "_read", bad)
            with pytest.raises(type(error)):
                convert(source, tmp_path / "out.zarr", OPTIONS)
        assert [path.name for path in tmp_path.iterdir()] == ["em.tif"]


def test_only_one_conversion_into_a_name_is_at_work(in_regions, tmp_path, monkeypatch):
    source, target = pages(tmp_path / "em.tif", GREY), tmp_path / "out.zarr"
    reached, may_go_on = threading.Event(), threading.Event()
    original = module._copy

    def copy(*arguments):
        reached.set()
        may_go_on.wait(60)
        original(*arguments)

    monkeypatch.setattr(module, "_copy", copy)
    first = threading.Thread(target=convert, args=(source, target, OPTIONS))
    first.start()
    try:
        assert reached.wait(60)
        with pytest.raises(RequestError, match=r"Another conversion into .*out\.zarr is at work"):
            convert(source, target, OPTIONS)
    finally:
        may_go_on.set()
        first.join()
    np.testing.assert_array_equal(open_volume(target).read(open_volume(target).spec.box), GREY)
    with pytest.raises(VolumeError, match="exists and is not overwritten"):
        convert(source, target, OPTIONS)


def _convert_or_refuse(source, target, answers):
    try:
        convert(source, target, OPTIONS)
        answers.put("done")
    except (RequestError, StorageError) as error:
        answers.put(type(error).__name__)


def test_of_many_processes_at_once_one_makes_the_whole_volume(tmp_path):
    source, target = pages(tmp_path / "em.tif", GREY), tmp_path / "out.zarr"
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    started = [context.Process(target=_convert_or_refuse, args=(source, target, answers)) for _ in range(3)]
    for process in started:
        process.start()
    found = sorted(answers.get(timeout=120) for _ in started)
    for process in started:
        process.join()
    assert found.count("done") == 1
    np.testing.assert_array_equal(open_volume(target).read(open_volume(target).spec.box), GREY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["em.tif", "out.zarr"]


def test_a_name_that_was_taken_meanwhile_is_kept(tmp_path, monkeypatch):
    source, target = pages(tmp_path / "em.tif", GREY), tmp_path / "out.zarr"
    original = module._copy

    def copy(*arguments):
        original(*arguments)
        target.mkdir()
        (target / "precious").touch()

    monkeypatch.setattr(module, "_copy", copy)
    with pytest.raises(RequestError, match="has come into being meanwhile"):
        convert(source, target, OPTIONS)
    assert [path.name for path in target.iterdir()] == ["precious"]

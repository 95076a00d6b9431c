"""`petavox convert` on the command line: one line on standard output, remarks and refusals on standard error."""

import os
import subprocess
import sys

import numpy as np
import pytest
from fakes.foreign import GREY, pages

from petavox.pipeline.volumes import open_volume
from petavox.workflows import cli
from petavox.workflows.conversion import convert as module


@pytest.fixture
def petavox(monkeypatch, capfd):
    """Runs a command line in this process: its exit status, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["petavox", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        out, err = capfd.readouterr()
        return exited.value.code, out, err

    return run


def test_it_ends_with_one_line_and_says_what_is_odd(petavox, tmp_path):
    source = pages(tmp_path / "em.tif", GREY, photometric="miniswhite")
    options = ("--voxel-size", "6,6,30", "--preview", tmp_path / "em.png")
    status, out, err = petavox("convert", source, tmp_path / "out.zarr", *options)
    assert status == 0
    assert out.count("\n") == 1
    assert out.startswith(f"{tmp_path}/out.zarr: 7 sections, page 0 to page 6; 7 × 20 × 25 voxels")
    assert "0 is white" in err
    assert "finer along z" in err
    assert (tmp_path / "em.png").is_file()


def test_options_reach_the_source(petavox, tmp_path):
    source = pages(tmp_path / "em.tif", np.stack([GREY, GREY, 255 - GREY], -1), photometric="rgb")
    options = ("--voxel-size", "30,6,6", "--channel", "2")
    assert petavox("convert", source, tmp_path / "out.zarr", *options)[0] == 0
    volume = open_volume(tmp_path / "out.zarr")
    np.testing.assert_array_equal(volume.read(volume.spec.box), 255 - GREY)


def test_a_refusal_is_one_message_and_status_2(petavox, tmp_path):
    status, out, err = petavox("convert", pages(tmp_path / "em.tif", GREY), tmp_path / "out.zarr")
    assert (status, out) == (2, "")
    assert err.startswith("petavox: ")
    assert "--voxel-size 30,6,6" in err


@pytest.mark.parametrize(("at", "said"), [("_check_apart", "begins anew"), ("_copy", "The same command continues")])
def test_stopped_it_says_whether_anything_is_kept(petavox, tmp_path, monkeypatch, at, said):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, at, stop)
    source = pages(tmp_path / "em.tif", GREY)
    status, _, err = petavox("convert", source, tmp_path / "out.zarr", "--voxel-size", "30,6,6")
    assert status == 130
    assert said in err
    assert (tmp_path / ".out.zarr.partial").exists() == ("continues" in said)


def test_without_a_place_for_kernels_the_variable_is_named(tmp_path):
    """In a process of its own, since kernels that are compiled stay so."""
    code = (
        "import os, sys\n"
        "os.access = lambda *_: False\n"
        "import tempfile; tempfile.gettempdir = lambda: '/nonexistent'; tempfile.mkdtemp = None\n"
        "from numba.core import caching\n"
        "caching._CacheLocator.ensure_cache_path = lambda self: (_ for _ in ()).throw(OSError('read-only'))\n"
        "sys.argv = ['petavox', 'evaluate', 'a', 'b']\n"
        "from petavox.workflows import cli\n"
        "from petavox.workflows.analysis import evaluate\n"
        "def compiled(*_, **__):\n"
        "    from petavox.pipeline.evaluation import contingency\n"
        "evaluate.scoring_remarks = lambda *_: ()\n"
        "evaluate.evaluate_volumes = compiled\n"
        "cli.main()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    ended = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, env=environment)
    assert ended.returncode == 2
    assert "Set NUMBA_CACHE_DIR" in ended.stderr

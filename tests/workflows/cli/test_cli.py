"""The command line: exit statuses, results on standard output and everything else on standard error, short errors."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume
from petavox.workflows import cli
from petavox.workflows.cli.doctor import cudnn_version

SHAPE = (6, 20, 20)


@pytest.fixture
def petavox(monkeypatch, capfd):
    """Runs a command line in this process: its exit status, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["petavox", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        out, err = capfd.readouterr()
        return exited.value.code, out, err

    monkeypatch.delenv("PETAVOX_DEBUG", raising=False)
    return run


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    random = np.random.default_rng(1)
    spec = VolumeSpec(SHAPE, "uint8", (30, 6, 6), channels=3, offsets=((1, 0, 0), (0, 1, 0), (0, 0, 1)), chunk=SHAPE)
    affinities = random.integers(0, 256, (3, *SHAPE)).astype(np.uint8)
    create_volume(folder / "affinities.zarr", spec).write(Box.of_shape(SHAPE), affinities)
    truth = create_volume(folder / "truth.zarr", VolumeSpec(SHAPE, "uint64", (30, 6, 6), chunk=SHAPE))
    truth.write(Box.of_shape(SHAPE), np.ones(SHAPE, np.uint64))
    path = folder / "recipe.toml"
    path.write_text(
        """
        input.affinities = "affinities.zarr"
        blocks.shape = [6, 10, 20]
        evaluate.truth = "truth.zarr"
        cluster.kind = "serial"
        """
    )
    return path


@pytest.fixture(scope="module")
def directory(recipe):
    """A run of the recipe that is done."""
    directory = recipe.parent / "run"
    command = [
        sys.executable,
        "-P",
        "-m",
        "petavox.workflows.cli",
        "run",
        str(recipe),
        "--run",
        str(directory),
        "--json",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout)["exit_status"] == 0
    return directory


def test_help_is_had_without_loading_what_computes():
    code = (
        "import sys; sys.argv = ['petavox', '--help']\n"
        "from petavox.workflows.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numba', 'dask', 'distributed', 'tensorstore', 'zarr', 'pyarrow'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    for command in (
        "demo",
        "convert",
        "plan",
        "run",
        "cut",
        "verify",
        "status",
        "retry",
        "evaluate",
        "train",
        "models",
        "doctor",
    ):
        assert f"\n  {command} " in out
    assert out.endswith("[]\n")


def test_a_run_prints_its_scores_and_a_done_one_costs_nothing(petavox, recipe, directory):
    status, out, err = petavox("run", recipe, "--run", directory)
    assert status == 0
    assert "adapted Rand error" in out
    assert "Everything is done already." in err
    assert "report.html" in err


def test_json_is_alone_on_standard_output(petavox, recipe, directory):
    for command in (
        ("run", recipe, "--run", directory),
        ("retry", directory),
        ("status", directory),
        ("plan", recipe, "--run", directory),
        ("evaluate", directory / "segmentation.zarr", recipe.parent / "truth.zarr"),
    ):
        status, out, _ = petavox(*command, "--json")
        assert status == 0
        assert json.loads(out)


def test_the_recipe_in_a_run_directory_continues_that_run(petavox, directory):
    status, out, _ = petavox("run", directory / "recipe.toml", "--json")
    assert (status, json.loads(out)["directory"]) == (0, str(directory))


def test_status_and_plan_show_a_line_for_every_stage(petavox, recipe, directory):
    for command in (("status", directory), ("plan", recipe, "--run", directory)):
        status, out, _ = petavox(*command)
        assert status == 0
        for stage in ("supervoxels", "faces", "agglomerate-0", "assign-1", "relabel", "contingency", "scores"):
            assert f"{stage} " in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "nowhere.toml"], "nowhere.toml cannot be read"),
        (["run", "RECIPE", "--set", "supervoxels.lo=0.1"], "Did you mean 'supervoxels.low'?"),
        (["run", "RECIPE", "--set", "input.affinities=nowhere.zarr"], "nowhere.zarr"),
        (["run", "RECIPE", "--set", "input.affinities=truth.zarr"], "Affinities have the axes c, z, y, x"),
        (
            ["run", "RECIPE", "--set", "input.offsets=[[1,0,0],[0,1,0],[0,0,3]]"],
            "nearest-neighbour channel for every axis",
        ),
        (["run", "RECIPE", "--set", "blocks.shape=[3,10,10]", "--set", "output.chunk=[2,10,10]"], "whole chunks"),
        (["run", "RECIPE", "--set", "cluster.memory=1MB"], "A worker may use 1 MB"),
        (["run", "RECIPE", "--cluster", "cloud"], "'serial', 'local' or 'slurm'"),
        (["run", "RECIPE", "--workers", "0"], "cluster.workers"),
        (["plan", "RECIPE", "--set", "evaluate.truth=nowhere.zarr"], "nowhere.zarr"),
        (["status", "FOLDER"], "holds a ledger.sqlite"),
        (["retry", "FOLDER"], "holds a ledger.sqlite"),
        (["evaluate", "FOLDER/truth.zarr", "FOLDER/truth.zarr", "--offset", "1,2"], "--offset takes three numbers"),
        (["evaluate", "FOLDER/truth.zarr", "FOLDER/truth.zarr", "--box", "1:2"], "--box takes three ranges"),
        (["run", "RECIPE", "--bogus"], "No such option"),
        (["bogus"], "No such command"),
    ],
)
def test_a_wrong_request_takes_one_screen_and_exits_with_2(petavox, recipe, tmp_path, arguments, complaint):
    words = [word.replace("RECIPE", str(recipe)).replace("FOLDER", str(recipe.parent)) for word in arguments]
    new = ["--run", str(tmp_path / "new")] if words[0] in ("run", "plan") else []
    status, out, err = petavox(*words, *new)
    assert status == 2
    assert out == ""
    assert complaint in " ".join(err.split())
    assert len(err.splitlines()) < 24
    assert "Traceback" not in err
    assert not (tmp_path / "new").exists()


def test_debug_shows_the_traceback(petavox, monkeypatch):
    monkeypatch.setenv("PETAVOX_DEBUG", "")  # so that it is as before, afterwards
    status, _, err = petavox("run", "nowhere.toml", "--debug")
    assert status == 2
    assert "Traceback" in err


def test_what_nobody_foresaw_exits_with_1_and_says_how_to_see_more(petavox, directory, monkeypatch):
    monkeypatch.setattr("petavox.workflows.cli.show_status.status_json", lambda found: 1 / 0)
    status, _, err = petavox("status", directory, "--json")
    assert status == 1
    assert "ZeroDivisionError" in err
    assert "--debug" in err


def test_a_run_with_failed_blocks_exits_with_1_names_them_and_says_how_to_retry(petavox, recipe, tmp_path, monkeypatch):
    from petavox.tasks import relabel
    from petavox.workflows.execution import retries

    real = relabel.run
    monkeypatch.setattr(retries, "MAX_FAILURES", 1)
    monkeypatch.setattr(relabel, "run", lambda config, index: 1 / 0 if index[1] else real(config, index))
    status, out, err = petavox("run", recipe, "--run", tmp_path / "run", "--json")
    assert status == 1
    assert json.loads(out)["failed"] == 1
    assert "relabel (0, 1, 0), tried 1 times: ZeroDivisionError: division by zero" in err
    assert f"petavox retry {tmp_path / 'run'}" in err
    assert "relabel" in petavox("status", tmp_path / "run")[1]
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", ["petavox", "retry", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    assert exited.value.code == 0


def test_ctrl_c_exits_with_130_and_says_how_to_go_on(petavox, recipe, tmp_path, monkeypatch):
    from petavox.tasks import faces

    def stopped(config, index):
        raise KeyboardInterrupt

    monkeypatch.setattr(faces, "run", stopped)
    status, out, err = petavox("run", recipe, "--run", tmp_path / "run")
    assert (status, out) == (130, "")
    assert "same command continues" in err


@pytest.mark.parametrize(("number", "said"), [(91002, "9.10.2"), (90100, "9.1.0"), (8902, "8.9.2")])
def test_the_doctor_writes_the_version_of_cudnn_as_it_is_known(number, said):
    assert cudnn_version(number) == said
    assert "CPUs alone" in cudnn_version(None)


def test_the_doctor_tells_versions_and_whether_all_is_well(petavox):
    status, out, _ = petavox("doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(out)}
    assert {"petavox", "python", "numpy", "cores", "memory", "GPU", "cuDNN", "kernel cache"} <= set(findings)
    assert status == (0 if all(finding["good"] for finding in findings.values()) else 1)


def test_the_version_is_said_and_nothing_else(petavox):
    code, out, err = petavox("--version")
    assert (code, err) == (0, "")
    assert out.startswith("petavox ")


def test_a_recipe_of_another_kind_names_its_command(petavox, recipe, tmp_path):
    training = tmp_path / "train.toml"
    training.write_text('voxel_size = [30, 6, 6]\n[[volume]]\nraw = "em.zarr"\n')
    code, _, err = petavox("plan", training)
    assert code == 2
    assert "for `petavox train`" in err
    code, _, err = petavox("train", recipe)
    assert code == 2
    assert "for `petavox run`" in err


def test_a_folder_in_place_of_a_recipe_names_the_recipe_inside(petavox, recipe):
    code, _, err = petavox("plan", recipe.parent)
    assert code == 2
    assert f"is a folder. Name the file, such as {recipe}" in err


def test_a_folder_of_images_in_place_of_a_volume_names_convert(petavox, recipe, tmp_path):
    (tmp_path / "section_001.png").touch()
    code, _, err = petavox("plan", recipe, "--set", f"input.affinities={tmp_path}")
    assert code == 2
    assert f"petavox convert {tmp_path} DST.zarr --voxel-size" in err


def test_truth_and_segmentation_the_wrong_way_round_are_remarked_on(petavox, directory, recipe):
    segmentation, truth = directory / "segmentation.zarr", recipe.parent / "truth.zarr"
    code, _, err = petavox("evaluate", truth, segmentation)
    assert code == 0
    assert f"name it first: petavox evaluate {segmentation} {truth}" in err
    assert "name it first" not in petavox("evaluate", segmentation, truth)[2]


def test_metadata_may_be_laid_over_the_truth(petavox, directory, recipe):
    volumes = directory / "segmentation.zarr", recipe.parent / "truth.zarr"
    code, _, err = petavox("evaluate", *volumes, "--voxel-size", "60,6,6")
    assert code == 2
    assert "(60.0, 6.0, 6.0)" in err
    assert petavox("evaluate", *volumes, "--voxel-size", "30,6,6", "--axes", "zyx")[0] == 0

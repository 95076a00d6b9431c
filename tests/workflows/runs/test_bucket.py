"""A run whose input, outputs and tables lie in a bucket is the run on a disk, also when its driver is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from fakes.shuffled import Silent

from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.locations import Location
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume
from petavox.workflows.cli.doctor_storage import examine_storage
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.run_directory.ledger import Ledger
from petavox.workflows.runs.audit import audit
from petavox.workflows.runs.cut import plan_cut
from petavox.workflows.runs.run import run

moto = pytest.importorskip("moto.server")
make_server = pytest.importorskip("werkzeug.serving").make_server

SHAPE = (12, 40, 40)
OFFSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
RECIPE = """
input.affinities = "{at}/affinities.zarr"
blocks.shape = [6, 20, 20]
supervoxels.high = 0.9
agglomeration.threshold = 0.5
evaluate.truth = "{at}/truth.zarr"
cluster.kind = "serial"
"""
ELSEWHERE = """
[output]
segmentation = "{at}/{name}/segmentation.zarr"
intermediate = "{at}/{name}"
"""


class Flaky:
    """A server that is too busy for every fifth request while it is told to be, twelve times in all."""

    def __init__(self, application):
        self.application, self.busy, self.refused, self._asked = application, False, 0, 0

    def __call__(self, environment, respond):
        self._asked += self.busy
        if self.busy and self.refused < 12 and self._asked % 5 == 0:
            self.refused += 1
            environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
            respond("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]
        return self.application(environment, respond)


@pytest.fixture(scope="module")
def server():
    return Flaky(moto.DomainDispatcherApplication(moto.create_backend_app))


@pytest.fixture(scope="module")
def bucket(server):
    """The address of an empty bucket on a server of this machine."""
    listening = make_server("127.0.0.1", 0, server, threaded=True)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    host, port = listening.server_address
    given = pytest.MonkeyPatch()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        given.setenv(name, value)
    import boto3

    boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").create_bucket(Bucket="lab")
    yield "s3://lab/data"
    given.undo()
    listening.shutdown()
    listening.server_close()
    thread.join()


def put(at):
    random = np.random.default_rng(2)
    affinities = random.integers(0, 256, (3, *SHAPE)).astype(np.uint8)
    spec = VolumeSpec(SHAPE, "uint8", (30, 6, 6), channels=3, offsets=OFFSETS, chunk=(6, 20, 20))
    create_volume(f"{at}/affinities.zarr", spec).write(Box.of_shape(SHAPE), affinities)
    truth = create_volume(f"{at}/truth.zarr", VolumeSpec(SHAPE, "uint64", (30, 6, 6), chunk=(6, 20, 20)))
    objects = np.kron(np.arange(1, 28, dtype=np.uint64).reshape(3, 3, 3), np.ones((4, 14, 14), np.uint64))
    truth.write(Box.of_shape(SHAPE), objects[:, :40, :40])


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The run on a disk: its segmentation and its scores."""
    folder = tmp_path_factory.mktemp("local")
    put(folder)
    (folder / "recipe.toml").write_text(RECIPE.format(at=folder))
    ending = run(load(folder / "recipe.toml"), folder / "run", Silent())
    return open_volume(folder / "run" / "segmentation.zarr").read(Box.of_shape(SHAPE)), ending.scores


@pytest.fixture(scope="module")
def stored(bucket):
    put(bucket)
    return bucket


def recipe_in(bucket, folder, name):
    path = folder / f"{name}.toml"
    path.write_text(RECIPE.format(at=bucket) + ELSEWHERE.format(at=bucket, name=name))
    return path


def segmentation(bucket, name):
    return open_volume(f"{bucket}/{name}/segmentation.zarr").read(Box.of_shape(SHAPE))


def test_a_run_in_a_bucket_is_the_run_on_a_disk(stored, local, tmp_path):
    ending = run(load(recipe_in(stored, tmp_path, "whole")), tmp_path / "run", Silent())
    assert ending.exit_status == 0
    assert np.array_equal(segmentation(stored, "whole"), local[0])
    assert ending.scores == local[1]
    assert not (tmp_path / "run" / "tables").exists()
    assert not (tmp_path / "run" / "supervoxels.zarr").exists()
    assert audit(tmp_path / "run", Silent).findings.count == 0
    recipe, directory = plan_cut(tmp_path / "run", "0.3", ["output.segmentation=segmentation.zarr"])
    assert run(recipe, directory, Silent()).exit_status == 0


def test_what_is_damaged_in_a_bucket_is_found_and_made_again(stored, local, tmp_path):
    run(load(recipe_in(stored, tmp_path, "damaged")), tmp_path / "run", Silent())
    tables = Location(f"{stored}/damaged/tables/supervoxels/0/0")
    tables.write("1.parquet", b"nonsense")
    found = audit(tmp_path / "run", Silent, repair=True)
    assert found.findings.count == 1
    assert found.exit_status == 0
    assert audit(tmp_path / "run", Silent).findings.count == 0
    assert np.array_equal(segmentation(stored, "damaged"), local[0])


def test_a_driver_that_is_killed_goes_on_in_the_bucket(stored, local, tmp_path):
    path = recipe_in(stored, tmp_path, "killed")
    command = [sys.executable, "-P", "-m", "petavox.workflows.cli", "run", str(path), "--run", str(tmp_path / "run")]
    for _ in range(2):
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=dict(os.environ), text=True) as driver:
            for line in driver.stderr:
                if " of 8" in line:
                    driver.send_signal(signal.SIGKILL)
                    break
        assert driver.returncode == -signal.SIGKILL
    ended = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout)["exit_status"] == 0
    assert np.array_equal(segmentation(stored, "killed"), local[0])


def test_a_server_that_is_too_busy_is_asked_again(stored, local, tmp_path, server):
    server.busy = True
    try:
        ending = run(load(recipe_in(stored, tmp_path, "busy")), tmp_path / "run", Silent())
    finally:
        server.busy = False
    assert server.refused == 12
    assert ending.exit_status == 0
    assert np.array_equal(segmentation(stored, "busy"), local[0])
    with Ledger(tmp_path / "run" / "ledger.sqlite") as ledger:
        assert all(summary.attempts == summary.tasks for summary in ledger.summaries()), "no task noticed"


def test_doctor_tries_every_right_and_leaves_nothing(bucket):
    findings = examine_storage(f"{bucket}/new")
    assert [finding.name for finding in findings] == ["write", "read", "overwrite", "read it whole", "list", "remove"]
    assert all(finding.good for finding in findings)
    assert Location(f"{bucket}/new").names() == []
    (refused,) = examine_storage("s3://not-there/data")
    assert (refused.name, refused.good) == ("write", False)
    assert "not-there" in refused.advice


def test_nothing_in_a_bucket_that_another_run_made_is_written_over(stored, tmp_path):
    path = recipe_in(stored, tmp_path, "mine")
    run(load(path), tmp_path / "run", Silent())
    with pytest.raises(RequestError, match=r"s3://lab/data/mine/\S+, which exists and was not made by this run"):
        run(load(path), tmp_path / "other", Silent())


def test_another_recipe_replaces_what_the_run_has_made_in_the_bucket(stored, tmp_path):
    path = recipe_in(stored, tmp_path, "again")
    run(load(path), tmp_path / "run", Silent())
    before = segmentation(stored, "again")
    ending = run(load(path, ["agglomeration.threshold=0.3"]), tmp_path / "run", Silent())
    assert ending.exit_status == 0
    assert not np.array_equal(segmentation(stored, "again"), before)


def test_places_in_which_others_lie_are_refused_and_nothing_is_removed(stored, tmp_path):
    Location(stored).write("others/notes.txt", b"keep")
    before = Location("s3://lab").names()
    path = recipe_in(stored, tmp_path, "unused")
    refused = {
        f"output.segmentation={stored}/others": "exists and was not made by this run",
        "output.segmentation=s3://lab": "lie in one another",
        f"output.segmentation={stored}/affinities.zarr/segmentation": "lie in one another",
    }
    for override, why in refused.items():
        with pytest.raises(RequestError, match=why):
            run(load(path, [override]), tmp_path / "run", Silent())
    assert Location("s3://lab").names() == before

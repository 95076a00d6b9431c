"""Job scripts are plain text that says all there is to a job."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from petavox.cluster.batch.jobs import GpuJobs, Jobs
from petavox.cluster.batch.scripts import job_name, worker_script
from petavox.cluster.batch.slurm import Slurm

FOLDER = Path("/some/run/cluster")


def text(jobs=None, pool="cpu", count=3, folder=FOLDER):
    return worker_script(Slurm(), jobs or Jobs(), pool, "a1b2", folder, count)


def options(script):
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]


def test_a_script_asks_for_what_the_recipe_says_and_no_more():
    jobs = GpuJobs(
        partition="a100", account="lab", qos="low", walltime="90min", memory="16GiB", cores=4, gpus=2, gres="gpu:a100"
    )
    assert options(text(jobs, "gpu")) == [
        "--job-name=petavox-a1b2-gpu",
        "--array=0-2",
        "--output=/some/run/cluster/logs/gpu-%A_%a.txt",
        "--no-requeue",
        *("--partition=a100", "--account=lab", "--qos=low"),
        *("--nodes=1", "--ntasks=1", "--cpus-per-task=4", "--mem=16384M", "--time=90", "--gres=gpu:a100:2"),
    ]
    assert not {"partition", "account", "qos", "gres"} & {o.strip("-").partition("=")[0] for o in options(text())}


def test_modules_prologue_and_scratch_come_before_the_worker_which_replaces_the_shell():
    jobs = Jobs(
        modules=("cuda/12", "gcc"), prologue=("source /lab/env.sh",), scratch="$SCRATCH/me", options=("--nice",)
    )
    body = text(jobs).splitlines()
    order = [
        "module load cuda/12",
        "module load gcc",
        "source /lab/env.sh",
        'export TMPDIR="$SCRATCH/me" && mkdir -p "$TMPDIR"',
    ]
    assert [body.index(line) for line in order] == sorted(body.index(line) for line in order)
    assert body[-1].startswith("exec ")
    assert "#SBATCH --nice" in body


def test_workers_ignore_the_current_folder_and_use_one_core():
    body = text().splitlines()
    assert "export PYTHONSAFEPATH=1" in body
    assert "export OMP_NUM_THREADS=1" in body
    assert shlex.split(body[-1])[2:5] == ["-P", "-m", "petavox.cluster.batch.worker"]


def test_only_workers_of_the_gpu_pool_see_gpus():
    hidden = "export CUDA_VISIBLE_DEVICES="
    assert hidden in text().splitlines()
    assert hidden not in text(GpuJobs(), "gpu")


def test_the_worker_gets_less_memory_than_its_job_has():
    words = shlex.split(text(Jobs(memory="10GB")).splitlines()[-1])
    assert int(words[words.index("--memory") + 1]) == 9 * 10**9


@pytest.mark.parametrize("name", ["it's here", "100%", "$HOME"])
def test_any_folder_will_do(name, tmp_path):
    script = text(folder=tmp_path / name)
    words = shlex.split(script.splitlines()[-1])
    assert words[words.index("--session") + 1] == str(tmp_path / name / "session.json")
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"minimum": 5, "maximum": 4}, "'minimum' must not exceed 'maximum'"),
        ({"walltime": "10min", "margin": "6min"}, "'margin' must not exceed half of 'walltime'"),
        ({"walltime": "soon"}, "must be a duration"),
        ({"prologue": ("one\ntwo",)}, "must be one line"),
        ({"options": ("constraint=a100",)}, "must be an option of sbatch"),
        ({"partition": ""}, "not empty"),
        ({"nodes": 3}, "Extra inputs"),
    ],
)
def test_pools_that_make_no_sense_are_refused(wrong, complaint):
    with pytest.raises(ValidationError, match=complaint):
        Jobs(**wrong)


def test_names_tell_runs_and_parts_apart():
    assert len({job_name(run, part) for run in ("a", "b") for part in ("cpu", "gpu", "driver")}) == 6

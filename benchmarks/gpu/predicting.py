"""The steps that measure `petavox predict` as a command, from a volume on disk to affinities on disk."""

from __future__ import annotations

import contextlib
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from data import UNPACKED, loads
from on_gpu import Setting

VOLUME = UNPACKED / "tiled.zarr"
TILES = (2, 4, 4)
SMALL = ("model.overlap=[6,48,48]", "model.rim=[2,16,16]")
HALF = ("model.overlap=[9,80,80]",)
LARGE = ("model.patch=[30,320,320]", *SMALL)
TINY_SMALL = ("model.overlap=[2,10,10]", "model.rim=[1,3,3]", "model.patch=[4,32,32]")
LARGE_BLOCKS = "blocks.shape=[96,1024,1024]"


def tile(setting: Setting) -> dict[str, Any]:
    """Sections of SNEMI3D, mirrored side by side, as a volume on disk."""
    import tifffile

    from petavox.pipeline.geometry import Box, triple
    from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume

    file = UNPACKED / "snemi3d" / "raw.tif"
    part = tifffile.imread(file) if file.exists() else loads(setting)["crop"]
    if setting.tiny:
        part = part[:4, :48, :48]
    for axis, count in enumerate((1, 1, 2) if setting.tiny else TILES):
        pair = np.concatenate([part, np.flip(part, axis)], axis)
        part = np.take(np.concatenate([pair] * (-(-count // 2)), axis), range(count * part.shape[axis]), axis)
    shape = triple(part.shape)
    chunk = triple([min(n, c) for n, c in zip(shape, (32, 64, 64), strict=True)])
    shard = triple([-(-min(n, s) // c) * c for n, s, c in zip(shape, (32, 512, 512), chunk, strict=True)])
    create_volume(VOLUME, VolumeSpec(shape, "uint8", (30.0, 6.0, 6.0), chunk=chunk, shard=shard))
    volume = open_volume(VOLUME, writable=True, threads=16)
    began = time.monotonic()
    for slab in Box.of_shape(shape).slabs(shard[0]):
        volume.write(slab, part[slab.slices()])
    return {"shape": list(shape), "write_s": round(time.monotonic() - began, 1)}


def answers_by_device(setting: Setting) -> dict[str, Any]:
    """Differences, in grey levels, of a crop that this GPU predicts in two block shapes from what this CPU predicts."""
    import torch
    from measurements import differences

    from petavox.pipeline.affinities.checkpoint import find_checkpoint, load_checkpoint
    from petavox.pipeline.affinities.prediction import Inference, Predictor
    from petavox.pipeline.geometry import BlockGrid, triple

    crop = loads(setting)["crop"]
    crop = crop[:12, :64, :64].copy() if setting.tiny else crop
    crop[:, :, 40:50] = 0  # hardly any patch holds no image, but some voxels do not
    shape, torch_threads = triple(crop.shape), min(12, torch.get_num_threads())
    torch.set_num_threads(torch_threads)
    answers = {}
    for device, precision, block in (
        ("cpu", "float32", shape),
        (setting.device, "float32", shape),
        (setting.device, "float32", (16, 96, 96)),
        (setting.device, "bfloat16", shape),
    ):
        config, network = load_checkpoint(find_checkpoint("snemi3d"))
        assert config.normalisation is not None
        patch = (4, 32, 32) if setting.tiny else config.patch
        overlap, rim = ((2, 10, 10), (1, 3, 3)) if setting.tiny else ((6, 48, 48), (2, 16, 16))
        use = Inference(
            patch=patch,
            normalisation=config.normalisation,
            fill_value=0.0,
            batch=2,
            device=device,  # type: ignore[arg-type]
            precision=precision,  # type: ignore[arg-type]
            overlap=overlap,
            rim=rim,
        )
        predictor = Predictor(network, use)
        found, grid = np.zeros((3, *shape), np.uint8), BlockGrid(shape, block)
        for index in grid.indices():
            box = grid.box(index)
            found[:, *box.slices()] = predictor.predict(lambda b: crop[b.slices()], shape, box, 8)
        answers[f"{device} {precision} {block}"] = found
    first, *others = answers.items()
    return {name: differences(first[1], found) for name, found in others}


def predict_small(setting: Setting) -> dict[str, Any]:
    """Patches as they are trained on, that overlap little."""
    return predicted(setting, LARGE_BLOCKS, *SMALL)


def predict_large(setting: Setting) -> dict[str, Any]:
    """Larger patches that overlap little, two processes on the GPU."""
    return predicted(setting, LARGE_BLOCKS, *LARGE)


def predict_alone(setting: Setting) -> dict[str, Any]:
    """The same by one process."""
    return predicted(setting, LARGE_BLOCKS, *LARGE, processes=1)


def predict_three(setting: Setting) -> dict[str, Any]:
    """The same by three processes."""
    return predicted(setting, LARGE_BLOCKS, *LARGE, processes=3)


def predict_half_precision(setting: Setting) -> dict[str, Any]:
    """The same in bfloat16."""
    return predicted(setting, LARGE_BLOCKS, *LARGE, "model.precision=bfloat16")


def predict_default_blocks(setting: Setting) -> dict[str, Any]:
    """The same in blocks of the default shape."""
    return predicted(setting, *LARGE)


def predict_half_overlap(setting: Setting) -> dict[str, Any]:
    """Patches that overlap by half, in large blocks."""
    return predicted(setting, LARGE_BLOCKS, *HALF)


def predicted(setting: Setting, *changes: str, processes: int = 2) -> dict[str, Any]:
    """M voxels a second of the whole command, of its tasks from the first's start to the last's end, and of later ones.

    The tasks that each process begins with load the network and find its fastest kernels; `later` leaves them out.
    """
    from petavox.pipeline.volumes import open_volume

    voxels = prod(open_volume(VOLUME).spec.shape) / 1e6
    if setting.tiny:
        changes = ("blocks.shape=[4,32,32]", *TINY_SMALL)
    where = ["--cluster", "local", "--set", f"cluster.workers_per_gpu={processes}", "--set", "cluster.gpus=1"]
    if setting.device == "cpu":
        where = ["--cluster", "serial"]
    with tempfile.TemporaryDirectory() as name, sampled_gpu(setting) as busy:
        run = Path(name) / "run"
        command = [sys.executable, "-P", "-m", "petavox.workflows.cli", "predict", str(VOLUME), f"{name}/out.zarr"]
        command += ["--checkpoint", "snemi3d", "--run", str(run), *where, "--set", "cluster.memory=24GB"]
        for change in (f"model.device={setting.device}", *changes):
            command += ["--set", change]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.monotonic() - began
        assert done.returncode == 0, done.stdout[-500:] + done.stderr[-1200:]
        tasks = tasks_of(run / "ledger.sqlite")
        written = sum(file.stat().st_size for file in Path(name, "out.zarr").rglob("*") if file.is_file())
    first = {worker: min(end - length for w, end, length, _, _ in tasks if w == worker) for worker, *_ in tasks}
    start, end = min(first.values()), max(end for _, end, *_ in tasks)
    later = [task for task in tasks if task[1] - task[2] > first[task[0]]]
    found = {
        "command": round(voxels / seconds, 1),
        "tasks": round(voxels / (end - start), 1),
        "seconds": round(seconds, 1),
        "before_tasks_s": round(start - (time.time() - (time.monotonic() - began)), 1),
        "blocks": len(tasks),
        "bytes_a_voxel": round(written / voxels / 1e6, 2),
        "task_peak_gb": round(max(task[4] for task in tasks) / 1e9, 2),
        "largest_process_gb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9, 2),
        "m_voxels": round(voxels),
        **busy,
    }
    if later:
        window = max(task[1] for task in later) - min(task[1] - task[2] for task in later)
        found["later"] = round(sum(task[3] for task in later) / 1e6 / window, 1)
        found["block_s"] = [round(task[2], 2) for task in tasks]
    return found


def tasks_of(ledger: Path) -> list[tuple[str, float, float, int, int]]:
    """Of each task: worker, when it ended, its seconds, voxels, and peak memory."""
    with closing(sqlite3.connect(ledger)) as database:
        query = "SELECT worker, ended, seconds, voxels, peak_memory FROM tasks WHERE stage = 'predict' ORDER BY ended"
        return list(database.execute(query))


@contextlib.contextmanager
def sampled_gpu(setting: Setting) -> Iterator[dict[str, Any]]:
    """How busy the GPU was, in percent of the time: on the whole, and from when it first was to when it last was."""
    found: dict[str, Any] = {}
    if setting.device == "cpu":
        yield found
        return
    command = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-lms", "200"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield found
        finally:
            process.terminate()
            output, _ = process.communicate()
            with suppress(ValueError):
                samples = [tuple(map(int, line.split(","))) for line in output.splitlines() if line.count(",") == 1]
                busy = [share for share, _ in samples]
                used = [i for i, share in enumerate(busy) if share > 0]
                if used:
                    at_work = busy[used[0] : used[-1] + 1]
                    found |= {
                        "gpu_busy": round(sum(at_work) / len(at_work)),
                        "gpu_gb": round(max(memory for _, memory in samples) / 1024, 1),
                    }
                    print(json.dumps(busy), flush=True)

"""The steps that measure: whether every CUDA path answers as a CPU does, and how fast it is."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import UNPACKED, loads
from numpy.typing import NDArray
from on_gpu import Setting

PACKAGES = ("torch", "numpy", "numba", "tensorstore", "pydantic", "triton", "pillow", "distributed", "scikit-image")
NORMALISATION = {"mean": 126.0, "deviation": 33.0}


def environment(setting: Setting) -> dict[str, Any]:
    """Versions, and the two ceilings: bytes copied and bf16 products, a second."""
    found: dict[str, Any] = {"python": platform.python_version(), "cores": os.cpu_count(), "packages": {}}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found["packages"][name] = version(name)
    if setting.device == "cpu":
        return found
    found |= {"gpu": torch.cuda.get_device_name(), "cudnn": torch.backends.cudnn.version()}
    found["gib"] = round(torch.cuda.mem_get_info()[1] / 2**30, 1)
    source, target = (torch.empty(2**32, dtype=torch.uint8, device="cuda") for _ in range(2))
    found["copy_tb_per_s"] = round(2 * 2**32 / seconds_of(setting, lambda: target.copy_(source)) / 1e12, 2)
    square = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    found["bf16_tflop_per_s"] = round(2 * 8192**3 / seconds_of(setting, lambda: square @ square) / 1e12)
    return found


def kernels(setting: Setting) -> dict[str, Any]:
    """The segments of stored affinities must be those of the machine that packed them, bit for bit."""
    from petavox.pipeline.checksums import of_array
    from petavox.pipeline.segment import segment

    content = loads(setting)
    found = of_array(segment(content["crop-affinities"], high="0.95", threshold="0.3"))
    assert found == content["crop-segments"].item(), "other segments than at home"
    return {"equal": True}


def answers(setting: Setting) -> dict[str, Any]:
    """How far every kind of arithmetic is from float32 on this CPU, in grey levels, on two patches."""
    from petavox.pipeline.affinities.checkpoint import find_checkpoint, load_checkpoint

    crop, found = loads(setting)["crop"], {}
    for name in ("snemi3d", "fib25"):
        config, _ = load_checkpoint(find_checkpoint(name))
        patch = tuple(
            min(p, n // m * m) for p, n, m in zip(config.patch, crop.shape, config.network.multiple, strict=True)
        )
        grey = torch.from_numpy(crop[tuple(slice(0, n) for n in patch)].astype(np.float32))
        images = torch.stack([grey, grey.flip(2)])[:, None].sub(NORMALISATION["mean"]).div(NORMALISATION["deviation"])
        at_home = grey_levels(engine(name, "cpu")(images))
        kinds = product(("float32", "tf32", "bfloat16"), (False, True)) if setting.device == "cuda" else ()
        for precision, compiled in kinds:
            tf32 = precision == "tf32"
            torch.backends.cudnn.allow_tf32 = tf32
            there = engine(name, "cuda", "float32" if tf32 else precision, compiled)(images.cuda())
            found[f"{name} {precision}{' compiled' * compiled}"] = differences(at_home, grey_levels(there.cpu()))
        if setting.device == "cpu":
            found[name] = differences(at_home, grey_levels(engine(name, "cpu")(images)))
    return found


def blocks(setting: Setting) -> dict[str, Any]:
    """Differences of the affinities of a crop from home's, and between block shapes and batches."""
    from petavox.pipeline.geometry import BlockGrid, Box, triple

    content = loads(setting)
    crop, shape = content["crop"], triple(content["crop"].shape)
    found, first = {}, content["crop-affinities"]
    for block, batch in (((32, 192, 192), 2), ((16, 96, 192), 2), ((32, 192, 192), 16))[: 1 if setting.tiny else 3]:
        predictor = made_predictor("snemi3d", setting.device, batch=batch)
        result = np.zeros_like(first)
        grid = BlockGrid(shape, block)
        for index in grid.indices():
            box = grid.box(index)
            part = predictor.predict(lambda b: crop[b.slices()], shape, box, box.shape[0])
            result[:, *box.slices()] = part
        found[f"blocks {block}, batch {batch}"] = differences(first, result)
        assert Box.of_shape(shape).voxels == result[0].size
    return found


def memory(setting: Setting) -> dict[str, Any]:
    """With too little memory for a batch, half as many patches are computed together, and the answer is the same."""
    made = engine("snemi3d", setting.device)
    patches = (
        torch.randn(16, 1, 18, 160, 160, device=setting.device) if not setting.tiny else torch.randn(2, 1, 4, 32, 32)
    )
    made.batch = made._together = len(patches)
    expected = made(patches)
    if setting.device == "cpu":
        return {"together": made._together}
    torch.cuda.empty_cache()
    peak, total = torch.cuda.max_memory_allocated(), torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(
        (torch.cuda.memory_allocated() + 0.6 * (peak - torch.cuda.memory_allocated())) / total
    )
    found = made(patches)
    assert made._together < 16, "memory sufficed"
    return {"together": made._together, "levels": differences(grey_levels(expected.cpu()), grey_levels(found.cpu()))}


def training_smoke(setting: Setting) -> dict[str, Any]:
    """A few steps in every way that a network may be trained, which must learn; the same patch drawn twice is equal."""
    steps, found = 4, {}
    small = {} if setting.tiny else {"patch": (10, 64, 64)}  # losses of pairs of voxels are slow to compile, and slow
    for name, changes in {
        "float32": {},
        "bfloat16, batch 8": {"precision": "bfloat16", "batch": 1 if setting.tiny else 8},
        "descriptors": {"descriptors": (2.0, 6.0, 6.0), **small},
        "maximin": {"maximin_weight": 0.1, **small},
    }.items():
        with tempfile.TemporaryDirectory() as folder:
            made = trainer(setting, Path(folder), steps=steps, **changes)
            made.run()
            losses = [json.loads(line) for line in (Path(folder) / "training_log.jsonl").read_text().splitlines()]
            values = [line["loss"] for line in losses if "loss" in line]
            assert np.isfinite(values).all(), values
            again = trainer(setting, Path(folder), steps=steps + 1, **changes)
            again.begin()
            assert again.state.next_step == steps
            again.run()
            one, two = (made.sampler.draw(5) for _ in range(2))
            assert torch.equal(one.image, two.image), "a patch drawn twice differs"
            assert torch.equal(one.targets, two.targets), "a patch drawn twice differs"
            assert {tensor.device.type for tensor in one.tensors()} == {setting.device}
            found[name] = [round(values[0], 3), round(values[-1], 3)]
            print(found, flush=True)
    return found


def training_rates(setting: Setting) -> dict[str, Any]:
    """M patch voxels a second: whole steps, draws alone, and steps with patches that are there."""
    found = {}
    for widths, batch in (((16, 32, 48, 64, 80), 8), ((24, 48, 72, 96, 120), 8), ((24, 48, 72, 96, 120), 16)):
        with tempfile.TemporaryDirectory() as folder:
            made = trainer(
                setting, Path(folder), widths=widths, precision="bfloat16", batch=1 if setting.tiny else batch
            )
            numbers = iter(range(10**6))
            count = len(made.share)

            def draws(made: Any = made, numbers: Any = numbers, count: int = count) -> list[Any]:
                return [made.sampler.draw(next(numbers)) for _ in range(count)]

            ready = draws()
            voxels = count * prod(made.config.patch) / 1e6
            found[f"{widths[0]} maps, batch {batch}"] = {
                "steps": round(voxels / seconds_of(setting, lambda m=made, r=ready: m._step(0, r)), 1),
                "draws": round(voxels / seconds_of(setting, draws), 1),
            }
    return found


def worker(setting: Setting) -> dict[str, Any]:
    """`petavox predict` and `petavox run` by commands, with a worker on the GPU: memory, and voxels a second."""
    from petavox.pipeline.geometry import Box, triple
    from petavox.pipeline.volumes import VolumeSpec, create_volume

    file = UNPACKED / "snemi3d" / "raw.tif"
    import tifffile

    raw = tifffile.imread(file) if file.exists() else loads(setting)["crop"]
    raw = raw[:4, :32, :32] if setting.tiny else raw
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shape = triple(raw.shape)
        spec = VolumeSpec(
            shape=shape, dtype="uint8", voxel_size=(30.0, 6.0, 6.0), chunk=triple([min(32, n) for n in shape])
        )
        create_volume(folder / "raw.zarr", spec).write(Box.of_shape(shape), raw)
        cluster = {
            "a GPU worker": ["--cluster", "local", "--set", "cluster.gpus=1", "--set", "cluster.memory=16GB"],
            "serial": ["--cluster", "serial"],
        }
        for way, arguments in list(cluster.items())[1:] if setting.device == "cpu" else list(cluster.items())[:1]:
            out = folder / f"{way.replace(' ', '_')}.zarr"
            command = [
                sys.executable,
                "-P",
                "-m",
                "petavox.workflows.cli",
                "predict",
                str(folder / "raw.zarr"),
                str(out),
            ]
            command += [
                "--checkpoint",
                "snemi3d",
                "--set",
                f"model.device={setting.device}",
                "--run",
                str(folder / way),
            ]
            began = time.monotonic()
            done = subprocess.run([*command, *arguments], capture_output=True, text=True)
            seconds = time.monotonic() - began
            assert done.returncode == 0, done.stdout[-600:] + done.stderr[-1500:]
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
            found[way] = {
                "seconds": round(seconds, 1),
                "m_voxels": round(prod(shape) / 1e6, 2),
                "largest_process": peak,
            }
    return found


def network_rates(setting: Setting) -> dict[str, Any]:
    """M patch voxels a second of the engine alone, by network, precision, compilation and batch."""
    found: dict[str, Any] = {}
    patch = (4, 32, 32) if setting.tiny else (18, 160, 160)
    for name, precision, compiled, batch in (
        ("snemi3d", "float32", False, 16),
        ("snemi3d", "bfloat16", False, 16),
        ("snemi3d", "bfloat16", True, 16),
        ("snemi3d", "bfloat16", True, 32),
        ("snemi3d", "float32", True, 16),
        ("paper", "bfloat16", False, 16),
        ("paper", "bfloat16", True, 16),
    )[: 1 if setting.tiny else 7]:
        made = engine(name, setting.device, precision, compiled)
        made.batch = made._together = batch
        patches = torch.randn(2 if setting.tiny else batch, 1, *patch, device=setting.device)
        began = time.monotonic()
        made(patches)
        first = time.monotonic() - began
        rate = patches.numel() / 1e6 / seconds_of(setting, lambda m=made, p=patches: m(p))
        found[f"{name} {precision}{' compiled' * compiled} {batch}"] = {
            "rate": round(rate, 1),
            "first_s": round(first, 1),
        }
        print(found, flush=True)
    return found


def seconds_of(setting: Setting, call: Callable[[], Any], repeats: int = 7) -> float:
    """The median seconds of calls after two that are not counted."""
    times = []
    for _ in range(3 if setting.tiny else repeats + 2):
        if setting.device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        if setting.device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return sorted(times[2:])[len(times[2:]) // 2]


def engine(name: str, device: str, precision: str = "float32", compiled: bool = False) -> Any:
    """An engine of a shipped network, or of one of the paper's shape; on a GPU compiled only where asked."""
    from petavox.pipeline.affinities.checkpoint import find_checkpoint, load_checkpoint
    from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
    from petavox.pipeline.networks.engine import Engine

    torch.manual_seed(0)
    network = ResidualSymmetricUNet(NetworkConfig()) if name == "paper" else load_checkpoint(find_checkpoint(name))[1]
    return Engine(network, 3, device, precision, 1, 2, compiled)  # type: ignore[arg-type]


def made_predictor(name: str, device: str, batch: int) -> Any:
    from petavox.pipeline.affinities.checkpoint import find_checkpoint, load_checkpoint
    from petavox.pipeline.affinities.prediction import Inference, Predictor

    config, network = load_checkpoint(find_checkpoint(name))
    assert config.normalisation is not None
    return Predictor(
        network,
        Inference(
            patch=config.patch,
            normalisation=config.normalisation,
            fill_value=0.0,
            batch=batch,
            device=device,  # type: ignore[arg-type]
        ),
    )


def trainer(setting: Setting, folder: Path, **changes: Any) -> Any:
    """A trainer on stripes of noise, of patches as those of SNEMI3D."""
    from petavox.pipeline.affinities.augmentation_config import AugmentationConfig
    from petavox.pipeline.affinities.network_config import NetworkConfig
    from petavox.pipeline.affinities.sampling import TrainingVolume
    from petavox.pipeline.affinities.training import Trainer, TrainingConfig
    from petavox.pipeline.networks.normalisation import Normalisation

    shape, patch = ((8, 64, 64), (4, 32, 32)) if setting.tiny else ((40, 512, 512), (18, 160, 160))
    random = np.random.default_rng(0)
    labels = (np.indices(shape) // np.array((6, 24, 24))[:, None, None, None]).transpose(1, 2, 3, 0) @ (1, 40, 1600) + 1
    image = (random.normal(120, 40, shape) + 30 * (labels % 3)).clip(0, 255).astype(np.uint8)
    network = {key: changes.pop(key) for key in ("widths", "descriptors") if key in changes}
    config = {
        "patch": patch,
        "steps": 1000,
        "warm_up": 2,
        "device": setting.device,
        "log_every": 1,
        "keep": "last",
        **changes,
    }
    return Trainer(
        NetworkConfig(stride=(1, 2, 2), **{"widths": (8, 16) if setting.tiny else (16, 32, 48, 64, 80), **network}),
        AugmentationConfig(warp=0.5, elastic=0.25, displacement=4),
        TrainingConfig(**config),
        [TrainingVolume(image, labels.astype(np.uint16), np.ones(shape, bool), Normalisation(**NORMALISATION))],
        folder,
        voxel_size=(30.0, 6.0, 6.0),
        provenance={},
    )


def grey_levels(affinities: torch.Tensor) -> NDArray[np.uint8]:
    return affinities.mul(255).round().byte().numpy()


def differences(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> dict[str, float]:
    """The share of values that differ, that differ by more than a grey level, and the largest difference."""
    off = np.abs(a.astype(np.int16) - b)
    return {
        "any": round(float((off > 0).mean()), 6),
        "by_more": round(float((off > 1).mean()), 6),
        "most": int(off.max()),
    }

"""Kill −9 of a training in the background, at random moments."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from petavox.workflows.models.benchmark_lock import FOLDER

from .case import Case, Fault
from .driver import Driver

KILLS = 20
STEPS = 800
RECIPE = """
voxel_size = [30.0, 6.0, 6.0]
[network]
widths = [8, 12, 16]
stride = [1, 2, 2]
[training]
patch = [8, 64, 64]
warm_up = 20
threads = 1
log_every = 1
save_every = 5
[augmentation]
warp = 0.5
elastic = 0.5
displacement = 6
[[phantom]]
seed = 4
shape = [16, 128, 128]
"""


def idle(case: Case) -> None:
    """Kills a training again and again, and compares it with one that nothing disturbed."""
    recipe = case.folder / "train.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    whole, killed = case.folder / "whole", case.folder / "killed"
    status = _train(case, recipe, whole).wait()
    case.expect(status == 0, f"the undisturbed training ends with exit status {status}")
    while case.injected < KILLS:
        driver = _train(case, recipe, killed)
        if not driver.until(partial(_reaches, killed, _steps(killed) + case.random.randint(1, 30))):
            break
        case.pause(0.0, 0.1)
        driver.kill(everything=True)
        case.injected += 1
    case.expect(case.injected == KILLS, f"it ended after {case.injected} kills")
    status = _train(case, recipe, killed).wait()
    case.repeated = _steps(killed) - STEPS
    case.expect(status == 0, f"exit status {status} instead of 0")
    case.expect(_same(load_file(whole / "state.safetensors"), load_file(killed / "state.safetensors")), "other states")
    for name in ("last", "longer"):
        made, wanted = ((folder / name / "weights.safetensors").read_bytes() for folder in (killed, whole))
        case.expect(made == wanted, f"other weights in {name}/")
    case.notes.append(f"{STEPS} steps, of which {case.repeated} were done twice, as far as the log knows")


def _train(case: Case, recipe: Path, directory: Path) -> Driver:
    words = ("train", str(recipe), "--idle", "--out", str(directory), "--set", f"training.steps={STEPS}")
    return case.start(*words, environment={FOLDER: str(case.folder / "locks")})  # else it waits for this benchmark


def _steps(directory: Path) -> int:
    """Steps that a log has, those that were done twice twice."""
    log = directory / "training_log.jsonl"
    return log.read_text(encoding="utf-8").count('"loss"') if log.exists() else 0


def _reaches(directory: Path, steps: int) -> bool:
    return _steps(directory) >= steps


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


FAULTS = (
    Fault(
        "training-killed",
        f"kill −9 of `petavox train --idle`, {KILLS} times at random moments",
        "`petavox train --idle` again goes on; weights and state are, bit for bit, those of a training without kills",
        idle,
    ),
)

"""Rehearses the calls on a CPU: in a bare copy, without what that machine lacks, with faults among the steps.

    python benchmarks/gpu/rehearse.py [--seconds S]

`pack.py` must have run before.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from calls import CARRIED, LONGEST, call

ROOT = Path(__file__).parents[2]
LACKING = ("zarr", "numcodecs", "bokeh", "imagecodecs", "bioimage_cpp", "ome_zarr", "h5py")
LARGEST_TRANSFER, LARGEST_FILE, MOST_FILES = 64 * 2**20, 16 * 2**20, 8
BLOCKER = """
import sys
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Lacking())
"""


def bare_copy(target: Path, carried: tuple[str, ...]) -> int:
    """The tracked files and the carried folders; how many bytes travel."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target / name)
    for folder in carried:
        shutil.copytree(ROOT / folder, target / folder, dirs_exist_ok=True)
    return sum(file.stat().st_size for file in target.rglob("*") if file.is_file())


def rehearse(what: str, seconds: int, folder: Path, steps: str = "") -> tuple[Path, str]:
    """Runs one call as that machine would; the folder that comes back, and the output."""
    copy, out, site = folder / f"copy-{what}{steps}", folder / f"out-{what}{steps}", folder / "site"
    for made in (copy, out, site):
        made.mkdir(parents=True, exist_ok=True)
    size = bare_copy(copy, CARRIED[what])
    assert size < LARGEST_TRANSFER, f"{what} carries {size} bytes"
    shutil.copytree(ROOT / ".gpu1", folder / "loads" / ".gpu1", dirs_exist_ok=True)  # from the call before
    (site / "pydantic").mkdir(exist_ok=True)  # the wheels are for another Python
    (site / "sitecustomize.py").write_text(BLOCKER.format(names=set(LACKING)))
    line = call(steps or what, seconds, "--device cpu --tiny")
    assert len(line) <= LONGEST
    (site / "pydantic").rmdir()
    line = (
        line.replace("[ -d /tmp/site/pydantic ]", "true")
        .replace("/tmp/", f"{folder}/")
        .replace("python3", sys.executable)
    )
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "OUT": str(out),
        "PETAVOX_GPU_FOLDER": str(folder / "data"),
    }
    done = subprocess.run(
        ["bash", "-c", line], cwd=copy, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout[-3000:]
    files = [file for file in out.rglob("*") if file.is_file()]
    assert len(files) <= MOST_FILES, files
    assert all(file.stat().st_size <= LARGEST_FILE for file in files)
    assert all(file.parent == out for file in files)
    return out, done.stdout


def lines_of(out: Path) -> dict[str, dict[str, object]]:
    return {line["step"]: line for line in map(json.loads, (out / "steps.jsonl").read_text().splitlines())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--only", help="one call")
    given = parser.parse_args()
    seconds = given.seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.only:
            out, output = rehearse(given.only, seconds, folder)
            print(output[-9000:])
            sys.exit(not all(line["ok"] for line in lines_of(out).values()))
        found = lines_of(rehearse("measure", 60, folder, "faults")[0])
        assert [found[step]["ok"] for step in ("raises", "hangs", "crashes", "talks")] == [False, False, False, True]
        assert found["environment"]["ok"], found
        out, output = rehearse("measure", seconds, folder)
        wrong = {step: line for step, line in lines_of(out).items() if not line["ok"]}
        print(output[-6000:])
        assert not wrong, json.dumps(wrong, indent=1)
        out, output = rehearse("measure2", seconds, folder)
        wrong = {step: line for step, line in lines_of(out).items() if not line["ok"]}
        print(output[-6000:])
        assert not wrong, json.dumps(wrong, indent=1)
        out, output = rehearse("train", 110, folder)
        print(output[-3000:])
        assert {file.name for file in out.iterdir()} >= {
            f"{network}-{file}"
            for network in ("snemi3d", "fib25")
            for file in ("weights.safetensors", "config.json", "log.gz")
        }
        out, _ = rehearse("measure", 1, folder)  # all of the time is gone
        assert not any(line["ok"] for line in lines_of(out).values())
    print("The rehearsal passed.")


if __name__ == "__main__":
    main()

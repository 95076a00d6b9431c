"""The calls that a machine with a GPU gets, as one line of shell each, and the folders that travel with them.

    python benchmarks/gpu/calls.py

They run in the root of a copy of the tracked files, with an empty folder $OUT whose files come back.
"""

from __future__ import annotations

LONGEST = 2000
PREPARE = (
    "[ -d /tmp/site/pydantic ] || python3 -m pip install -q --no-index --no-deps --no-compile --target /tmp/site "
    ".whl/*.whl; ln -sfn $PWD /tmp/site/petavox; mkdir -p /tmp/loads; cp -r .gpu1 .gpu2 /tmp/loads/ 2>/dev/null; "
    "export PYTHONPATH=/tmp/site PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/tmp/numba; "
)
RUN = (
    "timeout -k 5 {limit} python3 -P benchmarks/gpu/on_gpu.py {what} --seconds {seconds} --data /tmp/loads --out $OUT "
    "{more}"
)
CARRIED = {"measure": (".whl", ".gpu1"), "measure2": (".whl", ".gpu1"), "train": (".gpu2",)}


def call(what: str, seconds: int, more: str = "") -> str:
    """The command line of a call; its own limit is a little above the seconds that its steps are given."""
    return PREPARE + RUN.format(what=what, seconds=seconds, limit=seconds + 12, more=more).strip()


if __name__ == "__main__":
    for what, seconds in (("measure", 190), ("train", 350), ("measure2", 150)):
        print(f"# carry {', '.join(CARRIED[what])}; at most {seconds + 20} s\n{call(what, seconds)}")

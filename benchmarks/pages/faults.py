"""Writes docs/faults.md from the JSON file of the last `make chaos`, so that the page never says anything else.

python -m benchmarks.pages.faults [--results FILE] [--page FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..harness.commits import ROOT, UNKNOWN, staleness

COLUMNS = {
    "fault": "fault",
    "expected": "expected",
    "result": "result",
    "injected": "injected",
    "repeated": "attempts repeated",
    "redone": "done tasks redone",
    "lost": "tasks lost",
    "seconds": "s",
}
HEAD = """# Faults

`make chaos` (`python -m benchmarks.chaos [NAME …] [--seed N]`) injects every fault below into real runs of
`petavox run`: a phantom of {shape} voxels in {blocks} blocks of {block}, two workers. Moments and victims are drawn
from a seed, which is printed. After each fault the run is continued as the table says, and its segmentation is
compared, by a hash of all voxels, with that of a serial run that nothing disturbed. No process of a driver may be left
60 s after its end. A training is compared, by all its weights, with one that nothing disturbed.

This page is written by `python -m benchmarks.pages.faults` from `benchmarks/results/chaos.json`.

- *attempts repeated*: attempts in the ledger beyond the first of each task, cut short or failed by the fault.
- *done tasks redone*: tasks that the ledger had as done, and that were done again although nothing asked for it.
- *tasks lost*: tasks that are not done in the end.

Small disks and network namespaces need root, the jumping clock a C compiler, the rows of SLURM a SLURM. What a machine
cannot have is reported as not run. Nothing in petavox knows of these faults: a bad block is made by wrapping the
function that workers call (`benchmarks/chaos/misbehaving.py`).

For every Sunday night, in crontab: `0 3 * * 0 cd CLONE && make chaos`. Exit status 1: something that was expected did
not hold.
"""


def _times(shape: list[int]) -> str:
    return " × ".join(map(str, shape))


def cell(value: Any) -> str:
    return str(value).replace("|", "/").replace("\n", " ")


def write_page(results: Path, page: Path) -> None:
    document = json.loads(results.read_text(encoding="utf-8"))
    shape, block = document["shape"], document["block"]
    lines = [HEAD.format(shape=_times(shape), block=_times(block), blocks=document["blocks"])]
    lines += ["| " + " | ".join(COLUMNS.values()) + " |", "|---" * len(COLUMNS) + "|"]
    for row in document["rows"]:
        shown = row if row["result"] == "passed" else {**row, "result": f"**{row['result']}**"}
        figures = dict.fromkeys(("injected", "repeated", "redone", "lost", "seconds"), "")
        shown = shown if row["result"] != "not run" else {**shown, **figures}
        lines.append("| " + " | ".join(cell(shown[key]) for key in COLUMNS) + " |")
    told = [f"- {row['name']}: {cell(note)}" for row in document["rows"] for note in row["notes"]]
    lines += ["", "## Notes", "", *told, ""]
    commits = dict.fromkeys(row.get("commit") for row in document["rows"])
    reasons = dict.fromkeys(filter(None, (staleness("chaos", commit) for commit in commits)))
    lines += [f"**Not of today's code: {why}.**\n" for why in reasons]
    days = sorted({row["date"] for row in document["rows"]})
    seeds = sorted({row["seed"] for row in document["rows"]})
    at = ", ".join(commit or UNKNOWN for commit in commits)
    lines += [
        f"<small>{', '.join(days)}; commit {at}; {document['cores']} cores; seeds {', '.join(map(str, seeds))}</small>"
    ]
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "chaos.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "faults.md")
    settings = parser.parse_args()
    write_page(settings.results, settings.page)
    print(settings.page)


if __name__ == "__main__":
    main()

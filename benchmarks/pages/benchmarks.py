"""Writes docs/benchmarks.md from the JSON files of the results, so that the page never says anything else than they do.

python -m benchmarks.pages.benchmarks [--results DIR] [--page FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from petavox.cluster.quantities import in_bytes

from ..harness.commits import UNKNOWN, staleness
from ..harness.measure import RESULTS, ROOT
from ..runs.extrapolation import extrapolate

NODE_MEMORY = 64e9
Result = dict[str, Any]
Column = tuple[str, str, Callable[[Any], str]]


def number(value: Any) -> str:
    """Four digits, thousands apart."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def columns(*wanted: str, **as_bytes: str) -> tuple[Column, ...]:
    """`key=heading` is a number; keys given by name are bytes."""
    split = [text.partition("=") for text in wanted]
    numbers = tuple((key, heading or key.replace("_", " "), number) for key, _, heading in split)
    return numbers + tuple((key, heading, in_bytes) for key, heading in as_bytes.items())


FAILED: tuple[Column, ...] = (("error", "not measured", lambda value: str(value)[:60]),)
TITLES: dict[str, tuple[str, str, tuple[Column, ...]]] = {
    "kernels": (
        "Kernels, one core",
        "Each kernel alone on the whole array, kernels loaded, and what else there is for the same work. Memory is what"
        " the process held at most beyond its inputs.",
        columns("kernel", "tool", "voxels", "seconds=s", "rate=M voxel/s", memory="memory") + FAILED,
    ),
    "waterz_chain": (
        "Affinities to segments against waterz",
        "Supervoxels, contacts, mean linkage and relabelling in memory, same low, high and threshold, one core each."
        " The conversion to float32 that waterz needs is not counted.",
        columns("high", "tool", "voxels", "seconds=s", "rate=M voxel/s", memory="memory"),
    ),
    "accuracy": (
        "Accuracy against waterz",
        "The same affinities; low, high and threshold chosen on one half of the truth, scored on the other.",
        columns(
            *("tool", "linkage", "low", "high", "threshold", "error_tuning_half=error, tuning half"),
            *("adapted_rand_error=error, other half", "voi_split=VOI split", "voi_merge=VOI merge"),
        )
        + FAILED,
    ),
    "blockwise": (
        "Blockwise runs against kernels in memory",
        "In memory: two processes call `petavox.segment` on pieces of a half each, affinities loaded. Blockwise:"
        " `petavox run` from stored affinities to the stored segmentation on two workers, with reading, compression and"
        " tables.",
        columns("what", "voxels", "seconds=s", "rate=M voxel/s", "worker_seconds=s of both workers"),
    ),
    "memory": (
        "Memory of block tasks",
        "What a task adds at most to a fresh process with imports and kernels loaded; a block's bytes are the arrays of"
        " its task (affinities 3, fragments 4, segments and truth 8 bytes a voxel).",
        columns("stage", "times_block=of the block's bytes", "plan_off=plan off by %", added="peak", planned="planned"),
    ),
    "inference": (
        "The network on a CPU",
        "The network of Lee et al. (28-36-48-64-80), patches of 18 × 160 × 160: as it is trained, in float32, and as"
        " workers run it; two cores are two processes. Below, how many voxels the patches of all blocks have, over"
        " those of one array: a patch that several blocks need is computed by each of them.",
        columns("what", "cores", "batch", "seconds=s", "rate=M voxel/s", "extra=over one array"),
    ),
    "multicut": (
        "Multicut over blocks",
        "Energy against bioimage-cpp's solve of the whole contact graph; less is better.",
        columns("solved", "energy", "gap", "gain_lost=gain lost", "clusters", "seconds=s"),
    ),
    "blocks": (
        "Blocks, workers and crashes",
        "A hash of all voxels of the segmentation, whatever the blocks, the workers and the interruptions.",
        columns("block", "cluster", "workers", "killed", "tasks", "seconds=s", "sha256"),
    ),
    "noop": (
        "The run loop alone",
        "Blocks that do nothing, in five stages with dependencies, through run loop, ledger and two local workers;"
        " stopped at 99 % and continued. Memory is the driver's, with the scheduler in it; seconds count from the start"
        " of its process.",
        columns("what", "done", "seconds=s", bytes="driver"),
    ),
    "overhead": (
        "A run beyond its tasks",
        "`petavox run` on two workers over a volume of the size of SNEMI3D, in seconds of the command: the tasks' own,"
        " shared out over the workers; until the first; waiting for one another; with no task on any worker; after the"
        " last.",
        columns("command", "tasks", "start", "waiting", "between", "end", "overhead=overhead, %"),
    ),
    "plan": (
        "Planning",
        "`petavox plan` of volumes of which only the metadata exists: seconds of the clock and of the processor, and"
        " what the process held at most.",
        columns(
            "voxels", "source=from", "blocks", "tasks", "seconds=s", "processor_seconds=processor, s", memory="memory"
        ),
    ),
    "whole": (
        "Real data, from raw sections to scored segments",
        "`petavox run` of `benchmarks/snemi3d.toml` and `fib25.toml`, shipped networks, two workers, the whole"
        " command; FIB-25 is z 125–250. Seconds of tasks are those of both workers. Errors are those of the labels that"
        " the README names.",
        columns(
            *("run", "voxels", "seconds=s", "rate=M voxel/s", "predict_seconds=predict, s of tasks"),
            *("other_seconds=all else, s of tasks", "adapted_rand_error=error", "precision", "recall"),
            worker_memory="worker",
            driver_memory="driver",
        ),
    ),
    "scale": (
        "While the volume doubles",
        "Mirrored affinities, two workers. ns: of all tasks together, a voxel.",
        columns(
            *("voxels", "tasks", "seconds=s", "ns_a_voxel=ns a voxel"),
            *(f"{kind}_ns_a_voxel={kind}, ns" for kind in ("supervoxels", "faces", "agglomerate", "assign", "relabel")),
            supervoxels_peak_memory="worker, block tasks",
            worker_peak_memory="worker, any task",
            driver_peak_memory="driver",
            table_bytes="tables",
        ),
    ),
}


def table(chosen: Sequence[Column], rows: Iterable[Result]) -> list[str]:
    """A Markdown table; columns that no row has are left out."""
    found = list(rows)
    chosen = [column for column in chosen if any(row.get(column[0]) is not None for row in found)]
    lines = ["| " + " | ".join(heading for _, heading, _ in chosen) + " |", "|---" * len(chosen) + "|"]
    for row in found:
        cells = ("" if row.get(key) is None else show(row[key]) for key, _, show in chosen)
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return [*lines, ""]


def targets(results: Sequence[Result]) -> list[str]:
    rows = [
        {
            "what": f"{line['what']} ({result['name']})",
            "measured": f"{number(line['measured'])}{line['unit']}",
            "target": f"{'≥' if line['at_least'] else '≤'} {number(line['limit'])}{line['unit']}",
            "met": "yes" if line["met"] else "**no**",
            "code": "" if stale(result) is None else "changed since" if result.get("commit") else "unknown",
        }
        for result in results
        for line in result["targets"]
    ]
    lines = table(columns("what", "measured", "target", "met", "code"), rows)
    return lines if any(row["code"] for row in rows) else table(columns("what", "measured", "target", "met"), rows)


def stale(result: Result) -> str | None:
    """Why a result may say something else than its code would today."""
    return staleness(result["name"], result.get("commit"))


def plan_further(result: Result) -> list[str]:
    """What a small run took, and estimates over it."""
    measured = columns("stage", "tasks", "basis", "seconds=s", written="written", memory="memory")
    ratios = columns(
        *(f"{name}_calibrated={name}, calibrated ×" for name in ("seconds", "written", "memory")),
        *(f"{name}_table={name}, table ×" for name in ("seconds", "written", "memory")),
    )
    return [
        "A run on one worker, and its estimates over what it took, with a calibration and by the table of rates alone."
        " Memory is what the largest task added to its worker:\n",
        *table((*measured, *ratios), result["stages"]),
    ]


def scale_further(result: Result) -> list[str]:
    """The octree level by level as measured, the fit, and what it comes to for 10¹⁵ voxels."""
    levels = columns(
        *("voxels", "level", "nodes", "surface_a_node=open surface", "given_contacts_a_node=contacts given"),
        *("residual_nodes_a_node=nodes passed up", "residual_contacts_a_node=contacts passed up"),
        "seconds_a_node=s a node",
        table_bytes_a_node="tables a node",
    )
    fit, far = result["fit"], extrapolate(result)
    sizes = {key: value for key, value in far["totals"].items() if key.endswith(("bytes", "memory"))}
    rows = [
        {"what": key.replace("_", " "), "value": in_bytes(value) if key in sizes else number(value)}
        for key, value in far["totals"].items()
    ]
    ahead = columns(
        *("level", "nodes", "voxels", "surface=open surface", "given_contacts=contacts given", "seconds=s a node"),
        "too_many_contacts=more than one node can hold",
        memory="memory a node",
        table_bytes="tables a node",
    )
    return [
        "Means over the nodes of each octree level:\n",
        *table(levels, result["levels"]),
        f"Contacts passed up go with open surface to the power {fit['exponent']:.3f}, over {fit['nodes']} nodes"
        f" (standard deviation of the logarithm {fit['scatter']:.2f}).\n",
        "### Continued to 10¹⁵ voxels\n",
        "A straight continuation, not a measurement: `benchmarks/runs/extrapolation.py` says how.\n",
        *table(columns("what", "value"), rows),
        *table(ahead, far["levels"]),
        what_breaks(far["levels"]),
        "",
    ]


def what_breaks(levels: Sequence[Result]) -> str:
    """Whether every octree node of the large volume fits a machine, or up to what size it does."""
    worst = max(levels, key=lambda row: row["memory"])
    first = next((row for row in levels if row["memory"] > NODE_MEMORY), None)
    text = (
        f"**What breaks first: the memory of large octree nodes.** The largest takes {in_bytes(worst['memory'])} (level"
        f" {worst['level']}, {number(worst['given_contacts'])} contacts)."
    )
    if first is not None:
        text += f" {in_bytes(NODE_MEMORY)} are passed from nodes of {number(first['voxels'])} voxels on."
    if any(row["too_many_contacts"] for row in levels):
        text += " One task cannot number the contacts of the largest ones."
    return text + (
        " What goes up are contacts between segments that run on beyond a node; small supervoxels that a face cuts do"
        " not (docs/segmentation.md, seams)."
    )


def section(result: Result) -> list[str]:
    title, text, chosen = TITLES[result["name"].partition("-")[0]]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items() if version)
    lines = [f"## {title}" + (f" ({result['name'].partition('-')[2]})" if "-" in result["name"] else ""), "", text, ""]
    if (why := stale(result)) is not None:
        lines += [f"**Not of today's code: {why}.**", ""]
    lines += table(chosen, result["rows"])
    if result["name"].startswith("scale"):
        lines += scale_further(result)
    if result["name"].startswith("plan"):
        lines += plan_further(result)
    hidden = ("results", "work", "name")
    settings = " ".join(f"{k}={v}" for k, v in result["settings"].items() if v is not None and k not in hidden)
    memory, day = in_bytes(result["memory_bytes"]), result["date"]
    commit = result.get("commit", UNKNOWN)
    circumstances = f"{day}, commit {commit}, {result['cpu']}, {result['cores']} cores, {memory}; memory bandwidth"
    of_the_day = f"{result['bandwidth']:.0f} M voxel/s, load before {result['load_before']}"
    return [*lines, f"<small>{circumstances} {of_the_day}; {versions}; {settings}</small>", ""]


def write_page(results: Path, page: Path) -> None:
    documents = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))}
    known = [document for kind in TITLES for name, document in documents.items() if name.partition("-")[0] == kind]
    lines = [
        "# Benchmarks",
        "",
        "Written by `python -m benchmarks.pages.benchmarks` from `benchmarks/results/`; `make bench` measures",
    ]
    lines += [
        "anew. Medians of repeated calls in fresh processes. The floors of kernels go with the memory bandwidth of"
    ]
    lines += ["the day: three float32 read and one uint64 written a voxel, on one core.", "", *targets(known)]
    for document in known:
        lines += section(document)
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks.md")
    settings = parser.parse_args(arguments)
    write_page(settings.results, settings.page)
    print(settings.page)


if __name__ == "__main__":
    main()

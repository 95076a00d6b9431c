"""Time in storage and compression against time in kernels, and what the defaults of chunks, shards and codecs rest on.

    python -m benchmarks.runs.storage [RUN] [--name NAME] [--repeats 5]
    python -m benchmarks.runs.storage --table benchmarks/results/storage.json …

Takes the recipe and the affinities of a run directory (the demo's unless told) and

1. `stages`: runs every stage anew, block by block in this process; the last block of each, which has all neighbours
   before it, is then repeated, and its calls of volumes and tables are timed apart from the rest;
2. `volumes`: writes one block of affinities, fragments and segmentation and reads it with a halo of one voxel, by chunk
   shape, with and without shards, and by codec;
3. `tables`: writes and reads the largest table of each stage, by compression and encoding.

Seconds are processor time over all threads, medians; files come from the page cache. With --table, prints the tables of
docs/storage.md from results that were measured before.
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorstore as ts

from petavox import tasks
from petavox.pipeline import tables
from petavox.pipeline.geometry import Box, Triple
from petavox.pipeline.locations import CACHE_BYTES
from petavox.pipeline.volumes import Volume, create_volume, open_volume
from petavox.workflows.conversion.convert import convert
from petavox.workflows.planning.plan import Plan, make_plan
from petavox.workflows.recipes.segmentation_recipe import Input, load

from ..harness import measure
from .storage_tables import CHOSEN, CHUNK, Row, print_tables

BLOCK: Triple = (64, 512, 512)
LARGE_CHUNK: Triple = (64, 128, 128)  # with CHUNK, of the comparison of shards with files of one chunk each
CHUNKS: tuple[Triple, ...] = (
    (16, 64, 64),
    (32, 64, 64),
    (64, 64, 64),
    (16, 128, 128),
    (32, 128, 128),
    (64, 128, 128),
    (16, 256, 256),
    (64, 256, 256),
    BLOCK,
)


def _zstd(level: int) -> dict[str, Any]:
    return {"name": "zstd", "configuration": {"level": level}}


def _blosc(name: str, level: int, shuffle: str) -> dict[str, Any]:
    return {"name": "blosc", "configuration": {"cname": name, "clevel": level, "shuffle": shuffle, "blocksize": 0}}


CODECS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "zstd 1": [_zstd(1)],
    "zstd 3": [_zstd(3)],
    "zstd 5": [_zstd(5)],
    "blosc lz4": [_blosc("lz4", 5, "noshuffle")],
    "blosc lz4, shuffle": [_blosc("lz4", 5, "shuffle")],
    "blosc lz4, bitshuffle": [_blosc("lz4", 5, "bitshuffle")],
    "blosc zstd 1, shuffle": [_blosc("zstd", 1, "shuffle")],
    "blosc zstd 1, bitshuffle": [_blosc("zstd", 1, "bitshuffle")],
    "gzip 5": [{"name": "gzip", "configuration": {"level": 5}}],
}

PLAIN, SPLIT, DELTA, DICTIONARY = "plain", "BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED", "dictionary"
TABLES: tuple[tuple[str, int | None, str], ...] = (
    ("none", None, PLAIN),
    ("snappy", None, PLAIN),
    ("lz4", None, PLAIN),
    ("lz4", None, SPLIT),
    ("zstd", 1, PLAIN),
    ("zstd", 1, DICTIONARY),
    ("zstd", 1, DELTA),
    ("zstd", 1, SPLIT),
    ("zstd", 3, PLAIN),
    ("zstd", 3, SPLIT),
)

Call = Callable[[], Any]


def seconds(call: Call, repeats: int) -> float:
    """Processor time of a call, the median of some."""
    taken = []
    for _ in range(repeats):
        started = time.process_time()
        call()
        taken.append(time.process_time() - started)
    return statistics.median(taken)


# --- stages ---------------------------------------------------------------------------------------------------------


class Storage:
    """Adds up the processor time of the calls that read, write or open volumes and tables, the outermost only."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._inside = False

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timing(*arguments: Any, **options: Any) -> Any:
            if self._inside:
                return call(*arguments, **options)
            self._inside, started = True, time.process_time()
            try:
                return call(*arguments, **options)
            finally:
                self._inside = False
                self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - started

        return timing

    @contextmanager
    def watching(self, task: Any) -> Iterator[None]:
        patches = [
            mock.patch.object(owner, name, self.timed(kind, getattr(owner, name)))
            for owner, name, kind in (
                (Volume, "read", "volumes"),
                (Volume, "write", "volumes"),
                (task, "open_volume", "volumes"),
                (tables, "read", "tables"),
                (tables, "write", "tables"),
            )
            if hasattr(owner, name)
        ]
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in patches:
                patch.stop()


def measure_stages(plan: Plan, repeats: int) -> list[Row]:
    """Run every stage, and take the last task of each apart; leaves all volumes and tables behind."""
    for path, spec in plan.volumes.items():
        create_volume(path, spec)
    rows = []
    for stage in plan.stages:
        module = tasks.load(stage.task)
        for number in range(len(stage)):
            outcome = module.run(stage.config, stage.index(number))
        call = partial(module.run, stage.config, stage.index(len(stage) - 1))
        whole, spent = [], []
        for _ in range(repeats):
            storage = Storage()
            with storage.watching(module):
                whole.append(seconds(call, 1))
            spent.append(storage.spent)
        row = {"stage": stage.name, "voxels": outcome.voxels, "seconds": statistics.median(whole)}
        row |= {kind: statistics.median(one.get(kind, 0.0) for one in spent) for kind in ("volumes", "tables")}
        rows.append(row)
        print(*row.values(), flush=True)
    return rows


# --- volumes --------------------------------------------------------------------------------------------------------


def measure_volumes(plan: Plan, work: Path, repeats: int) -> list[Row]:
    """All codecs with one chunk shape in shards, then all chunk shapes with one codec, then two without shards."""
    places = plan.places
    paths = {"affinities": str(places.affinities), "fragments": places.fragments, "segmentation": places.segmentation}
    rows = []
    for name, path in paths.items():
        block = _block(open_volume(path))
        shape: Triple = block.shape[-3:]
        fitting = [c for c in dict.fromkeys((*CHUNKS[:-1], shape)) if not any(np.mod(shape, c))]
        wanted = [(CHUNK, codec, True) for codec in CODECS]
        wanted += [(chunk, CHOSEN[name], True) for chunk in fitting]
        wanted += [(chunk, CHOSEN[name], False) for chunk in (CHUNK, LARGE_CHUNK)]
        for chunk, codec, sharded in dict.fromkeys(wanted):
            row = measure_volume(block, chunk, codec, sharded and chunk != shape, work / "array", repeats)
            rows.append({"volume": name, **row})
            print(name, *row.values(), flush=True)
    return rows


def _block(volume: Volume) -> np.ndarray:
    """A block in the middle of a volume, with all of its channels."""
    shape = [min(b, v) // c * c for b, v, c in zip(BLOCK, volume.spec.shape, LARGE_CHUNK, strict=True)]
    start = [(v - s) // 2 for v, s in zip(volume.spec.shape, shape, strict=True)]
    return volume.read(Box(tuple(start), tuple(a + s for a, s in zip(start, shape, strict=True))))


def measure_volume(block: np.ndarray, chunk: Triple, codec: str, sharded: bool, path: Path, repeats: int) -> Row:
    """Write a block between 26 others, which are its mirror images, and read it with its halo and in sections."""
    shape: Triple = block.shape[-3:]
    unit = shape if sharded else chunk
    shutil.rmtree(path, ignore_errors=True)
    store = _create(path, block, chunk, unit, codec)
    middle = Box(shape, tuple(2 * s for s in shape))
    write = seconds(lambda: _opened(path)[(..., *middle.slices())].write(block).result(), repeats)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and file.name != "zarr.json")
    ring = middle.grow(chunk)
    for index in itertools.product(range(3), repeat=3):
        there = Box(*(tuple((i + k) * s for i, s in zip(index, shape, strict=True)) for k in (0, 1)))
        if there != middle:
            store[(..., *ring.intersect(there).slices())].write(_mirrored(block, ring.intersect(there))).result()
    halo = middle.grow((1, 1, 1))
    read = seconds(lambda: _opened(path)[(..., *halo.slices())].read().result(), repeats)
    sections = []
    for axis in range(3):
        where = [*middle.slices()]
        where[axis] = slice(where[axis].start + shape[axis] // 2, where[axis].start + shape[axis] // 2 + 1)
        sections.append(seconds(lambda at=tuple(where): _opened(path)[(..., *at)].read().result(), repeats))
    shutil.rmtree(path)
    voxels = math.prod(shape)
    channels = 1 if sharded else block.size // voxels  # each channel has chunks of its own
    return {
        "chunk": chunk,
        "sharded": sharded,
        "codec": codec,
        "block": shape,
        "nbytes": block.nbytes,
        "write": write,
        "read": read,
        "section": statistics.mean(sections),
        "bytes_per_voxel": size / voxels,
        "files_per_gigavoxel": channels * 1e9 / math.prod(unit),
    }


def _create(path: Path, block: np.ndarray, chunk: Triple, unit: Triple, codec: str) -> Any:
    """An empty array of three blocks along each axis, as petavox makes volumes but for what is compared."""
    lead = block.shape[:-3]
    codecs: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    for one in CODECS[codec]:
        typed = {"typesize": block.itemsize} if one["name"] == "blosc" else {}
        codecs.append({**one, "configuration": one["configuration"] | typed})
    codecs.append({"name": "crc32c"})
    grid = [1] * len(lead) + list(chunk)
    if unit != chunk:
        codecs = [{"name": "sharding_indexed", "configuration": {"chunk_shape": grid, "codecs": codecs}}]
        grid = [*lead, *unit]
    metadata = {
        "shape": [*lead, *(3 * s for s in block.shape[-3:])],
        "data_type": block.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": grid}},
        "codecs": codecs,
    }
    return _opened(path, metadata=metadata, create=True)


def _opened(path: Path, **options: Any) -> Any:
    """The array with a context of its own: one thread, and nothing decoded before."""
    one = {"limit": 1}
    context = ts.Context(
        {"data_copy_concurrency": one, "file_io_concurrency": one, "cache_pool": {"total_bytes_limit": CACHE_BYTES}}
    )
    kvstore = {"driver": "file", "path": f"{path}/"}
    return ts.open({"driver": "zarr3", "kvstore": kvstore, **options}, context=context).result()


def _mirrored(block: np.ndarray, box: Box) -> np.ndarray:
    """A box of the volume of 27 blocks in which each is the mirror image of the next."""
    shape = block.shape[-3:]
    at = [np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True)]
    inside = [np.where(p // s == 1, p % s, s - 1 - p % s) for p, s in zip(at, shape, strict=True)]
    return block[(..., *np.ix_(*inside))]


# --- tables ---------------------------------------------------------------------------------------------------------


def measure_tables(folder: Path, repeats: int) -> list[Row]:
    """The largest table of each stage in every way."""
    rows = []
    for stage in sorted(path for path in folder.iterdir() if path.is_dir()):
        arrays = tables.read(max(stage.rglob("*.parquet"), key=lambda path: (path.stat().st_size, path)))
        for compression, level, encoding in TABLES:
            row = {"stage": stage.name, "compression": compression, "level": level, "encoding": encoding}
            row |= _measure_table(arrays, compression, level, encoding, repeats)
            rows.append(row)
            print(*row.values(), flush=True)
    return rows


def _measure_table(arrays: tables.Arrays, compression: str, level: int | None, encoding: str, repeats: int) -> Row:
    names = [name for name, values in arrays.items() if values.dtype != np.bool_]
    encodings = {f"{name}.list.element": encoding for name in names} if encoding in (SPLIT, DELTA) else None
    columns = {name: pa.array(values) for name, values in arrays.items()}
    lists = [pa.LargeListArray.from_arrays(pa.array([0, len(c)], pa.int64()), c) for c in columns.values()]
    table = pa.Table.from_arrays(
        lists, schema=pa.schema([pa.field(name, pa.large_list(c.type)) for name, c in columns.items()])
    )
    file = io.BytesIO()

    def write() -> None:
        file.seek(0)
        file.truncate()
        pq.write_table(
            table,
            file,
            compression=compression,
            compression_level=level,
            use_dictionary=encoding == DICTIONARY,
            column_encoding=encodings,
        )

    written = seconds(write, repeats)
    read = seconds(lambda: pq.read_table(file, use_threads=False), repeats)
    nbytes = sum(values.nbytes for values in arrays.values())
    return {"nbytes": nbytes, "bytes": len(file.getvalue()), "write": written, "read": read}


# --- the page -------------------------------------------------------------------------------------------------------


def _plan(run: Path, work: Path) -> Plan:
    """The stages of a run from its affinities on, which are copied into chunks and shards of the default shapes."""
    recipe = load(run / "recipe.toml")
    affinities = convert(run / "affinities.zarr", work / "affinities.zarr").volume
    return make_plan(
        recipe.model_copy(update={"input": Input(affinities=affinities.path), "model": None}), work / "run"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("demo"), help="a run directory with affinities.zarr")
    parser.add_argument("--name", default="storage", help="of the JSON file")
    parser.add_argument("--results", type=Path, default=measure.RESULTS, help="folder of the JSON file")
    parser.add_argument("--work", type=Path, default=Path("build/bench/storage"), help="folder for scratch")
    parser.add_argument("--repeats", type=int, default=measure.REPEATS, help="timed calls, of which the median counts")
    parser.add_argument("--table", type=Path, nargs="+", help="print these results, and measure nothing")
    arguments = parser.parse_args()
    if arguments.table:
        for result in arguments.table:
            print_tables(result)
        return
    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    plan = _plan(arguments.run, arguments.work)
    stages = measure_stages(plan, arguments.repeats)
    volumes = measure_volumes(plan, arguments.work, arguments.repeats)
    measured_tables = measure_tables(Path(plan.places.tables), arguments.repeats)
    parts = {"stages": stages, "volumes": volumes, "tables": measured_tables}
    rows = [{"part": part, "rows": found} for part, found in parts.items()]
    measure.write(arguments.results, arguments.name, vars(arguments), rows, [])
    shutil.rmtree(arguments.work)
    print_tables(arguments.results / f"{arguments.name}.json")


if __name__ == "__main__":
    main()

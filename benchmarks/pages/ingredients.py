"""Writes docs/ingredients.md from what `ingredients.py` measured, so that the page never says anything else.

python -m benchmarks.pages.ingredients [--results DIR] [--page FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from itertools import product
from math import comb
from pathlib import Path
from statistics import mean

from ..harness.commits import UNKNOWN, staleness
from ..harness.judging import HIGHS, THRESHOLDS
from ..harness.measure import RESULTS, ROOT
from .benchmarks import Column, Result, columns, table

Values = Sequence[float]

BASE = "base"
MEASURES = {"accuracy": 1.0, "area": 1.0, "error": -1.0, "around": -1.0, "cremi": -1.0}
"""What is compared, and whether more of it is better."""
INTRODUCTION = """\
Small networks on FIB-25, an isotropic volume, each trained without one ingredient of the base. Written by
`python -m benchmarks.pages.ingredients` from `benchmarks/results/ingredients.json`;
`python -m benchmarks.accuracy.ingredients` measures anew.

Networks are trained on z < {depth}, x < {split}, and scored on the box beside it, z < {depth}, x ≥ {split}, from whose
labels nothing is learned. Sections from 125 on, on which the shipped network is reported, are not even read. All this
is about **short trainings ({steps} steps, patches of {patch}³) of a small network ({widths})**: a long training of a
large network may need more of an ingredient, or less. What makes the task harder, such as augmentation or further
targets, holds a short training up before it can help.

How to read the numbers:

- **Affinities** are judged without any segmentation: by balanced accuracy at 0.5, and by the area under the ROC curve,
  which no threshold enters; means of the three channels of nearest neighbours, over the whole box. No single mistake
  decides them.
- **Segmentations** scatter, for a single wrong merger may cost much. `error` is the lowest adapted Rand error over a
  grid, the same for all ({grid}).
  *The labels that choose the threshold are those that score*: none of these errors is what to expect elsewhere, and
  only differences mean something. `around` is the mean error at the best threshold and those beside it, √(VOI · error)
  the lowest over the grid of what validation during training goes by.
- {scatter}
"""
SEEDS = """\
Every variant is trained with {seeds} seeds. A difference is called **apart** when the worst seed of one is better
  than the best of the other; of two that do not differ at all, that happens by chance in {chance:.0%} of cases, for
  each measure."""
ONE_SEED = """\
Every variant is trained **once**. How much two trainings of the same would differ was not measured, so only large
  differences mean anything, and none is bold."""
TRAINED = """\
What an ingredient brings: with it minus without it, so that more is better for affinities; the error without minus the
error with it, so that more is better, too. Means over seeds, bold where apart; all else as in the base.
"""

LOOKS = """\
The base, each patch in several orientations, of which the mean or the minimum is taken: what that brings over one
orientation. Means over seeds, bold where all seeds agree.
"""
LINKAGES = """\
The base's affinities, agglomerated in other ways over the same grid: what that brings over their mean. Means over
seeds, bold where all seeds agree. The thresholds of multicut are its `bias`; the mutex watershed sees the long-range
affinities, and its supervoxels are merged by mean affinity.
"""
SEED_BY_SEED = "Measured, seed by seed:\n"


def rows_of(document: Result, part: str) -> dict[str, list[Result]]:
    """The rows of a part by what they are about, in their order, one for each seed."""
    found: dict[str, list[Result]] = {}
    for row in document["rows"]:
        if row["part"] == part:
            found.setdefault(row["what"], []).append(row)
    return found


def apart(these: Values, those: Values) -> bool:
    """Whether every one of these is larger, or every one smaller, than all of those; of one each, that says nothing."""
    return len(these) > 1 and (min(these) > max(those) or max(these) < min(those))


def chance(seeds: int) -> float:
    """How often two samples of the same are apart."""
    return min(1.0, 2 / comb(2 * seeds, seeds))


def signed(value: float, bold: bool) -> str:
    return f"**{value:+.4f}**" if bold else f"{value:+.4f}"


def each_seed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def worth(document: Result) -> list[Result]:
    """A row for each ingredient: what each measure gains by it, bold where those with and without it are apart."""
    trained, rows = rows_of(document, "trained"), []
    for entry in document["ingredients"]:
        pair = trained[BASE], trained[entry["what"]]
        own, other = pair if entry["in_base"] else pair[::-1]
        row: Result = {"ingredient": entry["ingredient"]}
        for name, sign in MEASURES.items():
            having, lacking = ([seed[name] for seed in group] for group in (own, other))
            row[name] = signed(sign * (mean(having) - mean(lacking)), apart(having, lacking))
        rows.append(row)
    return rows


HEADINGS = {
    "accuracy": "balanced accuracy",
    "area": "area",
    "error": "error",
    "around": "around",
    "cremi": "√(VOI · error)",
    "voi": "VOI",
}


def measured(rows: dict[str, list[Result]]) -> list[Result]:
    """A row for each thing that was scored: the values of every seed."""
    names = (*MEASURES, "voi")
    listed = []
    for what, seeds in rows.items():
        row = {name: each_seed(seed[name] for seed in seeds) for name in names if name in seeds[0]}
        at = dict.fromkeys(f"{seed['threshold']} ({seed['high']})" for seed in seeds)
        listed.append({"what": what, **row, "at": ", ".join(at)})
    return listed


def against_first(rows: dict[str, list[Result]], names: Sequence[str]) -> list[Result]:
    """What each of several ways to use the same networks gains over the first, bold where all seeds agree."""
    first, *_ = rows.values()
    gains: list[Result] = [{"what": what} for what in list(rows)[1:]]
    for gain, name in product(gains, names):
        pairs = zip(rows[gain["what"]], first, strict=True)
        each = [MEASURES[name] * (seed[name] - before[name]) for seed, before in pairs]
        gain[name] = signed(mean(each), len(each) > 1 and (min(each) > 0 or max(each) < 0))
    return gains


def by_threshold(rows: list[Result]) -> list[Result]:
    """The error of the base at every threshold, the mean over seeds."""
    return [
        {"threshold": threshold} | {high: mean(row["errors"][high][k] for row in rows) for high in HIGHS}
        for k, threshold in enumerate(THRESHOLDS)
    ]


def headings(*names: str) -> tuple[Column, ...]:
    return columns(*(f"{name}={HEADINGS[name]}" if name in HEADINGS else name for name in names))


def introduction(document: Result) -> str:
    settings, network = document["settings"], document["base"]["network"]
    seeds = settings["seeds"]
    depth, _, width = settings["extent"]
    return INTRODUCTION.format(
        depth=depth,
        split=width - settings["scored"],
        steps=settings["steps"],
        patch=settings["patch"],
        widths="-".join(map(str, network["widths"])),
        grid=f"thresholds {THRESHOLDS[0]} to {THRESHOLDS[-1]} after supervoxels with `high` {' or '.join(HIGHS)}",
        scatter=ONE_SEED if seeds == 1 else SEEDS.format(seeds=seeds, chance=chance(seeds)),
    )


def settings_of(document: Result) -> list[str]:
    told = {f"[{name}]": values for name, values in document["base"].items()}
    return ["```toml", *(line for name, values in told.items() for line in (name, *toml(values))), "```", ""]


def toml(values: Result) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]


def text(document: Result) -> str:
    """The whole page."""
    trained, looks, linkage = (rows_of(document, part) for part in ("trained", "variants", "linkage"))
    segments = ("error", "around", "cremi")
    every = tuple(MEASURES)
    lines = ["# What each ingredient is worth", "", introduction(document)]
    if (why := staleness("ingredients", document.get("commit"))) is not None:
        lines += [f"**Not of today's code: {why}.**", ""]
    lines += ["## Ingredients of training", "", TRAINED]
    lines += table(headings("ingredient", *every), worth(document))
    lines += [SEED_BY_SEED, *table(headings("what", *every, "voi", "at"), measured(trained))]
    lines += ["`at`: the best thresholds, and in brackets the `high` of their supervoxels.", ""]
    lines += ["## Ways to look (test-time augmentation)", "", LOOKS]
    lines += table(headings("what", *every), against_first(looks, every))
    lines += [SEED_BY_SEED, *table(headings("what", *every, "voi", "at"), measured(looks))]
    lines += ["## Linkages", "", LINKAGES]
    lines += table(headings("what", *segments), against_first(linkage, segments))
    lines += [SEED_BY_SEED, *table(headings("what", *segments, "voi", "at"), measured(linkage))]
    lines += ["## Thresholds", ""]
    lines += ["The base's error, mean linkage, by `high` and threshold; means over seeds.", ""]
    lines += table(headings("threshold", *HIGHS), by_threshold(trained[BASE]))
    lines += ["## The base", "", *settings_of(document)]
    lines += [f"<small>{document['date']}, commit {document.get('commit', UNKNOWN)}, {document['cpu']}</small>"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "ingredients.md")
    settings = parser.parse_args(arguments)
    document = json.loads((settings.results / "ingredients.json").read_text(encoding="utf-8"))
    settings.page.write_text(text(document), encoding="utf-8")
    print(settings.page)


if __name__ == "__main__":
    main()

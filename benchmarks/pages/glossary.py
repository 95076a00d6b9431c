"""docs/images/glossary/*.svg: one small drawing for each main term of the glossary.

    python -m benchmarks.pages.glossary [--out docs/images/glossary]

Most drawings show the same ten by six voxels: two cells, left and right, with the membrane between them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from html import escape
from itertools import product
from pathlib import Path

CELLS = ("aaab.ccccc", "aaabb.cccc", "aabbb.ccdd", "aabbb.cddd", "abbb.ccddd", "abbb.cdddd")
"""The supervoxel of each voxel: a and b are one cell, c and d the other, dots the membrane."""

INK, PALE, MEMBRANE = "#1f2933", "#cbd2d9", "#52606d"
BLUE, SKY, ORANGE, SAND, RED, GREEN = "#2b6cb0", "#90cdf4", "#dd6b20", "#fbd38d", "#c53030", "#2f855a"
SUPERVOXELS = {"a": BLUE, "b": SKY, "c": ORANGE, "d": SAND, ".": "#ffffff"}
SEGMENTS = {"a": BLUE, "b": BLUE, "c": ORANGE, "d": ORANGE, ".": "#ffffff"}
GREY = {"a": "#e4e7eb", "b": "#dfe3e8", "c": "#e9ecef", "d": "#dcdfe4", ".": MEMBRANE}
SIDE = 18  # pixels of a voxel

Drawing = list[str]


def rectangle(
    x: float, y: float, width: float, height: float, fill: str = "none", line: str = INK, **more: object
) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" stroke="{line}"{_more(more)}/>'
    )


def line(x1: float, y1: float, x2: float, y2: float, colour: str = INK, **more: object) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}"{_more(more)}/>'


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return line(x1, y1, x2, y2, marker_end="url(#tip)")


def circle(x: float, y: float, radius: float, fill: str) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}" stroke="{INK}"/>'


def polygon(points: Iterable[tuple[float, float]], fill: str) -> str:
    return f'<polygon points="{" ".join(f"{x:g},{y:g}" for x, y in points)}" fill="{fill}" stroke="{INK}"/>'


def text(x: float, y: float, words: str, size: int = 11, anchor: str = "start", colour: str = INK) -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _more(attributes: dict[str, object]) -> str:
    return "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())


def cells(colours: dict[str, str], x: float = 20, y: float = 16) -> Drawing:
    """The voxels, each in the colour of its supervoxel."""
    return [
        rectangle(x + SIDE * column, y + SIDE * row, SIDE, SIDE, colours[cell], "#ffffff")
        for row, names in enumerate(CELLS)
        for column, cell in enumerate(names)
    ]


def grid(x: float, y: float, columns: int, rows: int, side: float, fill: str = "#ffffff", colour: str = INK) -> Drawing:
    """Squares side by side."""
    return [
        rectangle(x + side * column, y + side * row, side, side, fill, colour)
        for row, column in product(range(rows), range(columns))
    ]


def brick(x: float, y: float, width: float, height: float, depth: float, fill: str) -> Drawing:
    """A box seen from the front, the right and above."""
    shift = depth * 0.6
    front = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    top = [(x, y), (x + shift, y - shift), (x + width + shift, y - shift), (x + width, y)]
    right = [(x + width, y), (x + width + shift, y - shift), (x + width + shift, y + height - shift)]
    return [polygon(front, fill), polygon(top, "#f5f7fa"), polygon([*right, (x + width, y + height)], PALE)]


def voxel() -> Drawing:
    stack = [part for z in (3, 2, 1, 0) for part in brick(26 + 15 * z, 62 - 15 * z, 84, 52, 18, "#e4e7eb")]
    return [
        *stack,
        *brick(26, 96, 18, 18, 18, ORANGE),
        text(190, 70, "one voxel: 30 nm along z"),
        text(190, 86, "(a section), 6 nm along y and x"),
        arrow(186, 80, 52, 100),
    ]


def section() -> Drawing:
    shown = [part for z in (3, 2, 1, 0) for part in brick(26 + 15 * z, 62 - 15 * z, 84, 52, 4, GREY["a"])]
    return [
        *shown,
        arrow(26, 126, 80, 126),
        text(84, 130, "x"),
        arrow(14, 62, 14, 108),
        text(10, 122, "y"),
        arrow(124, 112, 172, 64),
        text(176, 62, "z: one section after another"),
    ]


def affinity() -> Drawing:
    names, values = "bb.c", ("0.97", "0.04", "0.03")
    squares = [rectangle(24 + 62 * i, 40, 34, 34, GREY[name], INK) for i, name in enumerate(names)]
    edges = [
        part
        for i, value in enumerate(values)
        for colour in [GREEN if value > "0.5" else RED]
        for part in (
            line(58 + 62 * i, 57, 86 + 62 * i, 57, colour, stroke_width=4),
            text(72 + 62 * i, 34, value, anchor="middle", colour=colour),
        )
    ]
    below = ((72, "one cell"), (165, "membrane between"))
    return [*squares, *edges, *(text(x, 96, words, anchor="middle") for x, words in below)]


def offset() -> Drawing:
    p, left, up = (5, 3), (4, 3), (5, 2)
    marked = [
        rectangle(20 + SIDE * x, 16 + SIDE * y, SIDE, SIDE, fill)
        for (x, y), fill in ((p, ORANGE), (left, SKY), (up, SKY), ((0, 3), SAND))
    ]
    middle = (20 + SIDE * 5.5, 16 + SIDE * 3.5)
    return [
        *grid(20, 16, 10, 6, SIDE, "#f5f7fa", PALE),
        *marked,
        arrow(middle[0], middle[1], middle[0] - SIDE, middle[1]),
        arrow(middle[0], middle[1], middle[0], middle[1] - SIDE),
        line(middle[0], middle[1] + 5, 36, middle[1] + 5, stroke_dasharray="4 3"),
        text(206, 58, "(0, 1, 0): the one above"),
        text(206, 80, "(0, 0, 1): the one to the left"),
        text(206, 102, "(0, 0, 5): long-range"),
    ]


def supervoxel() -> Drawing:
    names = ((26, 30, "1", "#ffffff"), (96, 84, "2", INK), (180, 30, "3", INK), (190, 100, "4", INK))
    return [*cells(SUPERVOXELS), *(text(x, y, name, 12, colour=colour) for x, y, name, colour in names)]


def contact() -> Drawing:
    nodes = {"1": (44, 66, BLUE), "2": (92, 78, SKY), "3": (150, 50, ORANGE), "4": (180, 96, SAND)}
    edges = (("1", "2", "0.91", 6), ("2", "3", "0.06", 1.5), ("3", "4", "0.88", 6), ("2", "4", "0.03", 1.5))
    lines = [
        line(*nodes[a][:2], *nodes[b][:2], GREEN if score > "0.5" else RED, stroke_width=width)
        for a, b, score, width in edges
    ]
    scores = ((66, 58, "0.91"), (112, 58, "0.06"), (172, 74, "0.88"), (128, 104, "0.03"))
    return [
        *cells({name: "#eef1f4" if name != "." else PALE for name in SEGMENTS}),
        *lines,
        *(circle(x, y, 9, fill) for x, y, fill in nodes.values()),
        *(text(x, y + 4, name, anchor="middle") for name, (x, y, _) in nodes.items()),
        *(text(x, y, score, 10, "middle") for x, y, score in scores),
    ]


def segment() -> Drawing:
    return [*cells(SEGMENTS), text(54, 74, "cell 1", 12, colour="#ffffff"), text(156, 74, "cell 3", 12)]


def threshold() -> Drawing:
    marks = ((0.03, RED), (0.06, RED), (0.88, GREEN), (0.91, GREEN))
    left, width = 30, 260
    return [
        line(left, 66, left + width, 66),
        *(line(left + width * value, 54, left + width * value, 78, colour, stroke_width=4) for value, colour in marks),
        *(text(left + width * end, 96, f"{end}", anchor="middle") for end in (0, 1)),
        line(left + width * 0.5, 34, left + width * 0.5, 86, INK, stroke_dasharray="4 3"),
        text(left + width * 0.5, 26, "threshold = 0.5", anchor="middle"),
        text(left, 120, "kept apart"),
        text(left + width, 120, "merged", anchor="end"),
    ]


def merger() -> Drawing:
    one = dict.fromkeys("abcd", GREEN) | {".": "#ffffff"}
    bridge = rectangle(20 + SIDE * 5, 16 + SIDE * 2, SIDE, SIDE, GREEN, GREEN)
    return [*cells(one), bridge, text(110, 142, "two cells, one segment", anchor="middle")]


def split() -> Drawing:
    return [*cells(SEGMENTS | {"b": SKY}), text(110, 142, "one cell, two segments", anchor="middle")]


def background() -> Drawing:
    shown = cells(dict.fromkeys("abcd", "#eef1f4") | {".": "#ffffff"})
    zeros = [
        text(20 + SIDE * (column + 0.5), 16 + SIDE * row + 13, "0", anchor="middle")
        for row, names in enumerate(CELLS)
        for column, cell in enumerate(names)
        if cell == "."
    ]
    return [*shown, *zeros]


def block() -> Drawing:
    return [
        *grid(20, 20, 4, 2, 50, "#f5f7fa"),
        rectangle(120, 20, 50, 50, SKY),
        text(145, 49, "a block", anchor="middle"),
        rectangle(20, 20, 200, 100, line=INK, stroke_width=2.5),
        text(120, 140, "the volume", anchor="middle"),
    ]


def halo() -> Drawing:
    return [
        *grid(20, 12, 4, 3, 42, "#f5f7fa", PALE),
        rectangle(95, 45, 60, 60, SAND, ORANGE, stroke_dasharray="4 3"),
        rectangle(104, 54, 42, 42, SKY),
        text(125, 79, "block", anchor="middle"),
        arrow(216, 60, 153, 70),
        text(220, 62, "halo: read,"),
        text(220, 76, "not written"),
    ]


def seam() -> Drawing:
    small = ((112, 40, GREEN), (120, 74, ORANGE), (108, 104, BLUE))
    return [
        rectangle(20, 20, 100, 100, "#f5f7fa"),
        rectangle(120, 20, 100, 100, "#f5f7fa"),
        *(f'<ellipse cx="{x + 6}" cy="{y}" rx="17" ry="10" fill="{fill}" stroke="{INK}"/>' for x, y, fill in small),
        line(120, 12, 120, 128, RED, stroke_width=2, stroke_dasharray="5 4"),
        text(226, 56, "small supervoxels"),
        text(226, 70, "that a face cuts"),
        text(70, 140, "block", anchor="middle"),
        text(170, 140, "block", anchor="middle"),
    ]


def octree() -> Drawing:
    return [
        *grid(14, 34, 4, 4, 20, SKY),
        arrow(98, 74, 120, 74),
        *grid(126, 34, 2, 2, 40, SAND),
        arrow(210, 74, 232, 74),
        rectangle(238, 34, 80, 80, "#9ae6b4"),
        *(text(x, 134, f"level {level}", anchor="middle") for level, x in enumerate((54, 166, 278))),
    ]


def chunk() -> Drawing:
    return [
        *grid(20, 26, 4, 4, 22, "#f5f7fa"),
        rectangle(64, 48, 22, 22, ORANGE),
        rectangle(20, 26, 88, 88, line=INK, stroke_width=3),
        arrow(140, 40, 90, 56),
        text(144, 44, "chunk: the unit of reading"),
        arrow(140, 100, 112, 96),
        text(144, 104, "shard: one file, the unit of writing"),
    ]


def patch() -> Drawing:
    overlaps = [rectangle(x, y, 76, 76, BLUE, BLUE, fill_opacity=0.25) for x, y in product((24, 62, 100), (14, 52))]
    return [
        *overlaps,
        rectangle(62, 14, 76, 76, line=INK, stroke_width=2.5),
        arrow(206, 40, 142, 40),
        text(210, 44, "one patch"),
        arrow(206, 100, 120, 76),
        text(210, 104, "overlap: patches blend"),
    ]


def stage() -> Drawing:
    names = ("predict", "supervoxels", "agglomerate", "relabel")
    return [
        part
        for i, name in enumerate(names)
        for part in (
            *grid(16 + 84 * i, 30, 3, 3, 18, (SKY, SAND, "#9ae6b4", "#feb2b2")[i]),
            text(43 + 84 * i, 104, name, anchor="middle"),
            *([arrow(74 + 84 * i, 57, 96 + 84 * i, 57)] if i < 3 else []),
        )
    ] + [text(176, 128, "each square is a task", anchor="middle")]


def driver() -> Drawing:
    workers = [
        part
        for i in range(3)
        for part in (
            arrow(110, 70, 186, 30 + 40 * i),
            rectangle(190, 14 + 40 * i, 74, 32, SKY, rx=5),
            text(227, 34 + 40 * i, "worker", anchor="middle"),
        )
    ]
    return [rectangle(24, 50, 84, 40, SAND, rx=5), text(66, 74, "driver", anchor="middle"), *workers]


def ledger() -> Drawing:
    rows = (("relabel", "0, 0, 0", "done"), ("relabel", "0, 0, 1", "failed"), ("relabel", "0, 1, 0", "to do"))
    colours = {"done": GREEN, "failed": RED, "to do": MEMBRANE}
    return [
        part
        for i, (name, index, state) in enumerate(rows)
        for part in (
            rectangle(20, 20 + 30 * i, 240, 30, "#f5f7fa"),
            text(30, 40 + 30 * i, name),
            text(112, 40 + 30 * i, f"block {index}"),
            text(210, 40 + 30 * i, state, colour=colours[state]),
        )
    ]


def fingerprint() -> Drawing:
    inputs = ("settings", "inputs", "code version")
    return [
        *(text(20, 36 + 32 * i, name) for i, name in enumerate(inputs)),
        *(arrow(96, 32 + 32 * i, 138, 64) for i in range(3)),
        rectangle(142, 48, 70, 32, SAND, rx=5),
        text(177, 68, "b7f3…", anchor="middle"),
        arrow(214, 56, 240, 40),
        arrow(214, 72, 240, 92),
        text(244, 42, "as before: kept", colour=GREEN),
        text(244, 98, "another: again", colour=RED),
    ]


def run_directory() -> Drawing:
    names = ("recipe.toml", "ledger.sqlite", "segmentation.zarr", "report.html")
    return [
        rectangle(20, 44, 84, 44, "#f5f7fa", rx=4),
        text(62, 70, "recipe.toml", anchor="middle"),
        arrow(108, 66, 142, 66),
        rectangle(148, 14, 150, 110, "#fffaf0", rx=4),
        text(158, 32, "runs/recipe/", 12),
        *(text(170, 54 + 20 * i, name) for i, name in enumerate(names)),
    ]


def truth() -> Drawing:
    return [
        rectangle(20, 16, 220, 110, "#f5f7fa"),
        text(28, 118, "the volume"),
        rectangle(110, 48, 90, 62, SKY),
        text(155, 84, "truth", anchor="middle"),
        arrow(20, 16, 108, 46),
        text(84, 26, "offset"),
    ]


DRAWINGS: tuple[Callable[[], Drawing], ...] = (
    *(voxel, section, affinity, offset, background, supervoxel, contact, threshold, segment, merger, split, truth),
    *(patch, block, halo, seam, octree, chunk, stage, driver, ledger, fingerprint, run_directory),
)


def svg(drawing: Drawing) -> str:
    """A drawing as a file; white behind it, so that it can be read on a dark page, too."""
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 360 150" width="360" height="150"'
        ' font-family="Helvetica, Arial, sans-serif">'
    )
    marker = f'<defs>{tip}<path d="M0,0 L8,4 L0,8 z" fill="{INK}"/></marker></defs>'
    return "\n".join([head, marker, '<rect width="360" height="150" rx="6" fill="#ffffff"/>', *drawing, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "docs/images/glossary")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for draw in DRAWINGS:
        (out / f"{draw.__name__}.svg").write_text(svg(draw()), encoding="utf-8")


if __name__ == "__main__":
    main()

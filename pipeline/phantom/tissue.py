"""From tubes to voxels: which neurite a voxel belongs to, how far its membrane is, how bright it is without noise.

1. `_warp` bends image space into the straight tissue space of `neurites`: a rotation after smooth displacement noise
   of three scales, moved by each section's shift and pulled together at folds; known on a lattice of every 8th pixel.
2. `_near` culls the capsules, first for a group of bricks, then for each brick of 8×8 pixels of one section.
3. `_brick` finds each voxel's two nearest neurites, hence its membrane; `_shade` gives it its looks.

Each step is conservative about what it leaves out, so that a voxel never depends on the box that was asked for.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .hashing import mix, signed_thirds
from .neurites import CHANCE, CYTOPLASM, M0, MR, P0, P1, R0, R1, SHEATH, VESICLES

BRICK = 8  # pixels between lattice points
GROUP = 4  # bricks a side culled together
FAR = 120.0  # nm: membranes farther away do not matter
_BENDS = ((3200.0, 2300.0), (900.0, 600.0), (290.0, 220.0))  # wavelength and amplitude of the displacement, nm
_LIPSCHITZ = 1.1  # a tube's radius changes by less than a tenth of its length


@njit(cache=True, nogil=True, inline="always")
def _spline(t: float, w: np.ndarray, dw: np.ndarray) -> None:
    """Weights of a cubic B-spline at t in [0, 1), and their derivatives."""
    u = 1.0 - t
    w[0], w[3] = u * u * u / 6.0, t * t * t / 6.0
    w[1] = (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0
    w[2] = 1.0 - w[0] - w[1] - w[3]
    dw[0], dw[3] = -0.5 * u * u, 0.5 * t * t
    dw[1] = 1.5 * t * t - 2.0 * t
    dw[2] = -dw[0] - dw[1] - dw[3]


@njit(cache=True, nogil=True)
def _bend(seed: np.uint64, z: float, y: float, x: float, out: np.ndarray, w: np.ndarray) -> None:
    """Displacement (z, y, x) at a place in nm, and its derivative along z, added to out[0:3] and out[3:6]."""
    for octave in range(len(_BENDS)):
        wavelength, amplitude = _BENDS[octave]
        iz, iy, ix = math.floor(z / wavelength), math.floor(y / wavelength), math.floor(x / wavelength)
        _spline(z / wavelength - iz, w[0], w[3])
        _spline(y / wavelength - iy, w[1], w[4])
        _spline(x / wavelength - ix, w[2], w[5])
        key = mix(mix(seed, 21), octave)
        for a in range(4):
            key_z = mix(key, int(iz) + a)
            for b in range(4):
                key_y = mix(key_z, int(iy) + b)
                value = derivative = 0.0
                v0 = v1 = v2 = 0.0
                for c in range(4):
                    h0, h1, h2 = signed_thirds(mix(key_y, int(ix) + c))
                    v0 += w[2, c] * h0
                    v1 += w[2, c] * h1
                    v2 += w[2, c] * h2
                value = amplitude * w[0, a] * w[1, b]
                derivative = amplitude * w[3, a] * w[1, b] / wavelength
                out[0] += value * v0
                out[1] += value * v1
                out[2] += value * v2
                out[3] += derivative * v0
                out[4] += derivative * v1
                out[5] += derivative * v2


@njit(cache=True, nogil=True)
def warp(
    seed: np.uint64,
    rotation: np.ndarray,
    section: np.ndarray,
    z_nm: float,
    pixel: float,
    y0: int,
    x0: int,
    ny: int,
    nx: int,
) -> np.ndarray:
    """Returns straight tissue coordinates, nm, of a lattice of a section: (ny, nx, 6), the last three by z.

    Args:
        rotation: (3, 3), rows t0, t1, n in z, y, x.
        section: shift y, x (nm), fold (place, direction y, x, half width; width 0: none), nm.
        y0, x0: of the first lattice point, in pixels.
    """
    out = np.zeros((ny, nx, 6))
    w = np.empty((6, 4))
    moved = np.empty(6)
    for i in range(ny):
        for j in range(nx):
            y, x = (y0 + i * BRICK) * pixel, (x0 + j * BRICK) * pixel
            if section[5] > 0.0:
                distance = fold_distance(section, y, x)
                pull = section[5] * math.tanh(distance / section[5]) * math.exp(-abs(distance) / (12.0 * section[5]))
                y += section[3] * pull
                x += section[4] * pull
            y += section[0]
            x += section[1]
            moved[:] = 0.0
            _bend(seed, z_nm, y, x, moved, w)
            moved[0] += z_nm
            moved[1] += y
            moved[2] += x
            moved[3] += 1.0
            for d in range(3):
                for e in range(3):
                    out[i, j, d] += rotation[d, e] * moved[e]
                    out[i, j, 3 + d] += rotation[d, e] * moved[3 + e]
    return out


@njit(cache=True, nogil=True, inline="always")
def fold_distance(section: np.ndarray, y: float, x: float) -> float:
    """Returns signed distance, nm, from the wavy line of a section's fold; lines repeat every 40 µm."""
    across = section[3] * y + section[4] * x - section[2]
    along = section[3] * x - section[4] * y
    across += 180.0 * math.sin(along / 1700.0) + 60.0 * math.sin(along / 520.0)
    return float(across - 40000.0 * math.floor(across / 40000.0 + 0.5))


@njit(cache=True, nogil=True, inline="always")
def _outside(row: np.ndarray, t0: float, t1: float, n: float) -> tuple[float, float, float, float]:
    """Signed distance of a point from a capsule's surface and the unit vector away from its axis."""
    a0, a1, a2 = t0 - row[P0], t1 - row[P0 + 1], n - row[P0 + 2]
    b0, b1, b2 = row[P1] - row[P0], row[P1 + 1] - row[P0 + 1], row[P1 + 2] - row[P0 + 2]
    t = (a0 * b0 + a1 * b1 + a2 * b2) / (b0 * b0 + b1 * b1 + b2 * b2)
    t = min(1.0, max(0.0, t))
    a0, a1, a2 = a0 - t * b0, a1 - t * b1, a2 - t * b2
    d = math.sqrt(a0 * a0 + a1 * a1 + a2 * a2) + 1e-9
    return d - row[R0] - t * (row[R1] - row[R0]), a0 / d, a1 / d, a2 / d


@njit(cache=True, nogil=True)
def _near(
    rows: np.ndarray,
    labels: np.ndarray,
    among: np.ndarray,
    count: int,
    centre: np.ndarray,
    reach: float,
    out: np.ndarray,
    f: np.ndarray,
) -> int:
    """Finds those of `among[:count]` that can be the nearest neurite, or the next one, within `reach` of a centre."""
    best, second, best_label = 1e30, 1e30, np.uint64(0)
    for k in range(count):
        f[k] = _outside(rows[among[k]], centre[0], centre[1], centre[2])[0]
        label = labels[among[k]]
        if f[k] < best:
            if label != best_label:
                second, best_label = best, label
            best = f[k]
        elif f[k] < second and label != best_label:
            second = f[k]
    limit = min(second, best + 2.0 * FAR) + 2.0 * _LIPSCHITZ * reach
    kept = 0
    for k in range(count):
        if f[k] <= limit:
            out[kept] = among[k]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _spread(lattice: np.ndarray, i0: int, i1: int, j0: int, j1: int, centre: np.ndarray) -> float:
    """Put the mean of four corners of a piece of lattice into `centre`; return its largest distance from a point."""
    for d in range(3):
        centre[d] = 0.25 * (lattice[i0, j0, d] + lattice[i0, j1, d] + lattice[i1, j0, d] + lattice[i1, j1, d])
    largest = 0.0
    for i in range(i0, i1 + 1):
        for j in range(j0, j1 + 1):
            square = 0.0
            for d in range(3):
                square += (lattice[i, j, d] - centre[d]) ** 2
            largest = max(largest, square)
    return math.sqrt(largest)


@njit(cache=True, nogil=True)
def _two_nearest(rows: np.ndarray, labels: np.ndarray, near: np.ndarray, place: np.ndarray) -> tuple[int, int]:
    """The capsule nearest to a place and the nearest one of another neurite (−1: none is listed)."""
    best, other = near[0], -1
    f_best, f_other = 1e30, 1e30
    for j in near:
        f = _outside(rows[j], place[0], place[1], place[2])[0]
        if f < f_best:
            if labels[j] != labels[best]:
                other, f_other = best, f_best
            best, f_best = j, f
        elif f < f_other and labels[j] != labels[best]:
            other, f_other = j, f
    return best, other


@njit(cache=True, nogil=True, inline="always")
def _membrane(mine: np.ndarray, theirs: np.ndarray, place: np.ndarray) -> tuple[float, float]:
    """Depth below the border between two tubes, nm, and how much that border slants to the section (0 upright, 1 flat).

    The border is where f_i = f_j; f_j − f_i grows by |e_j − e_i| a nm, e being the unit vectors away from the axes.
    """
    f, e0, e1, e2 = _outside(mine, place[0], place[1], place[2])
    g, g0, g1, g2 = _outside(theirs, place[0], place[1], place[2])
    g0, g1, g2 = g0 - e0, g1 - e1, g2 - e2
    steep = math.sqrt(g0 * g0 + g1 * g1 + g2 * g2) + 1e-6
    slant = abs(g0 * place[3] + g1 * place[4] + g2 * place[5]) / steep
    return min(FAR, (g - f) / steep), min(1.0, slant)


@njit(cache=True, nogil=True, inline="always")
def _mitochondrion(row: np.ndarray, place: np.ndarray, grey: float) -> tuple[float, float]:
    """The grey level with a capsule's mitochondrion drawn in, and the depth outside its membrane, nm."""
    a0, a1, a2 = place[0] - row[M0], place[1] - row[M0 + 1], place[2] - row[M0 + 2]
    b0, b1, b2 = row[M0 + 3] - row[M0], row[M0 + 4] - row[M0 + 1], row[M0 + 5] - row[M0 + 2]
    length = math.sqrt(b0 * b0 + b1 * b1 + b2 * b2)
    t = min(1.0, max(0.0, (a0 * b0 + a1 * b1 + a2 * b2) / (length * length)))
    c0, c1, c2 = a0 - t * b0, a1 - t * b1, a2 - t * b2
    outside = math.sqrt(c0 * c0 + c1 * c1 + c2 * c2) - row[MR]
    if outside > 20.0:
        return grey, outside
    wave = (0.8 * a0 + 1.1 * a1 + 0.9 * a2) / 62.0 + 2.0 * math.sin((a0 - a1 + 0.6 * a2) / 90.0)
    inside = 88.0 + 30.0 * math.sin(wave + 6.3 * row[CHANCE]) - 12.0 * row[CHANCE]
    rim = math.exp(-((outside / 12.0) ** 2))
    body = inside if outside < 0.0 else grey
    return body + (25.0 - body) * rim, outside


@njit(cache=True, nogil=True, inline="always")
def _cluster(place: np.ndarray) -> float:
    """Returns the density of vesicles here, 0…1: clouds of some 300 nm, whatever the tube."""
    a = math.sin(place[0] / 61.0 + 1.7 * math.sin(place[1] / 97.0))
    b = math.sin(place[1] / 53.0 + 1.9 * math.sin(place[2] / 83.0))
    c = math.sin(place[2] / 57.0 + 1.3 * math.sin(place[0] / 71.0))
    return min(1.0, max(0.0, 0.55 + 0.45 * (a + b + c)))


@njit(cache=True, nogil=True)
def _shade(
    row: np.ndarray, place: np.ndarray, depth: float, slant: float, chance: float, membrane: np.ndarray
) -> tuple[float, float, float]:
    """Grey level, depth below the nearest membrane of any kind (nm) and density of vesicles inside a tube's cell."""
    vesicles = row[VESICLES] * _cluster(place)
    grey = 200.0 + 42.0 * row[CYTOPLASM] - 45.0 * vesicles
    inside = depth - row[SHEATH]
    if row[MR] > 0.0:
        grey, outside = _mitochondrion(row, place, grey)
        inside = min(inside, outside)
    # A membrane that slants is smeared over the thickness of the section.
    smear = 0.7 * membrane[2] * slant
    half = membrane[1] * (0.8 + 0.5 * chance) + smear
    dark = -10.0 + 45.0 * chance + 75.0 * smear / half
    if vesicles > 0.2 and math.sin(211.0 * chance) > 0.3:  # a synapse
        half, dark = 1.7 * half, -5.0
    grey += (dark - grey) * math.exp(-((depth / half) ** 2))
    if depth < row[SHEATH]:
        edge = min(1.0, (row[SHEATH] - depth) / 12.0)
        grey += (18.0 + 14.0 * math.sin(depth / 2.6) - grey) * edge
    return grey, inside, vesicles


@njit(cache=True, nogil=True)
def _brick(
    rows: np.ndarray,
    labels: np.ndarray,
    near: np.ndarray,
    corners: np.ndarray,
    corner: tuple[int, int],
    box: np.ndarray,
    membrane: np.ndarray,
    ids: np.ndarray,
    looks: np.ndarray,
) -> None:
    """Fill a brick whose first pixel is `corner` and whose candidates are `near`; see `section`."""
    place = np.empty(6)
    for y in range(max(corner[0], box[0]), min(corner[0] + BRICK, box[1])):
        for x in range(max(corner[1], box[2]), min(corner[1] + BRICK, box[3])):
            v, u = (y - corner[0]) / BRICK, (x - corner[1]) / BRICK
            for d in range(6):
                top = corners[0, 0, d] + u * (corners[0, 1, d] - corners[0, 0, d])
                low = corners[1, 0, d] + u * (corners[1, 1, d] - corners[1, 0, d])
                place[d] = top + v * (low - top)
            best, other = _two_nearest(rows, labels, near, place)
            row = rows[best]
            depth, slant, chance = FAR, 0.0, 0.5
            if other >= 0:
                depth, slant = _membrane(row, rows[other], place)
                chance = 0.5 * (row[CHANCE] + rows[other, CHANCE])
            i, j = y - box[0] + box[4], x - box[2] + box[5]
            ids[i, j] = labels[best] if depth >= membrane[0] + row[SHEATH] else np.uint64(0)
            looks[0, i, j], looks[1, i, j], looks[2, i, j] = _shade(row, place, depth, slant, chance, membrane)


@njit(cache=True, nogil=True)
def section(
    rows: np.ndarray,
    labels: np.ndarray,
    lattice: np.ndarray,
    origin: np.ndarray,
    box: np.ndarray,
    membrane: np.ndarray,
    ids: np.ndarray,
    looks: np.ndarray,
) -> None:
    """Fill a piece of one section.

    Args:
        rows, labels: capsules, all that come near.
        lattice: straight tissue coordinates of every 8th pixel, from `warp`; origin: pixel (y, x) of its first point.
        box: pixels y0, y1, x0, x1 to fill; the first one's place in `ids` and `looks` is row box[4], column box[5].
        membrane: half of what is labelled 0, half of what is dark, half a section's thickness, all nm.
        ids: (Y, X) uint64. looks: (3, Y, X): grey before noise, depth below the nearest membrane, nm, vesicles, 0…1.
    """
    ny, nx = lattice.shape[0] - 1, lattice.shape[1] - 1
    everything = np.arange(len(labels))
    group, near = np.empty(len(labels), np.int64), np.empty(len(labels), np.int64)
    f, centre = np.empty(len(labels)), np.empty(3)
    for gi in range(0, ny, GROUP):
        for gj in range(0, nx, GROUP):
            i_end, j_end = min(gi + GROUP, ny), min(gj + GROUP, nx)
            reach = _spread(lattice, gi, i_end, gj, j_end, centre)
            in_group = _near(rows, labels, everything, len(labels), centre, reach, group, f)
            for bi in range(gi, i_end):
                for bj in range(gj, j_end):
                    reach = _spread(lattice, bi, bi + 1, bj, bj + 1, centre)
                    count = _near(rows, labels, group, in_group, centre, reach, near, f)
                    corners = lattice[bi : bi + 2, bj : bj + 2]
                    corner = (origin[0] + bi * BRICK, origin[1] + bj * BRICK)
                    _brick(rows, labels, near[:count], corners, corner, box, membrane, ids, looks)

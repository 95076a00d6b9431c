"""Photographs a section: vesicles and tubules drawn in, blur, grain, shot noise, contrast, folds."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .hashing import mix, uniform
from .tissue import fold_distance

MARGIN = 20  # pixels around what is asked for that blur and clutter need
_BLUR = 4  # radius of the blur in pixels
_GRID = 44.0  # nm between places where a vesicle or a tubule may be


@njit(cache=True, nogil=True)
def clutter(
    key: np.uint64, pixel: float, y0: int, x0: int, grey: np.ndarray, depth: np.ndarray, vesicles: np.ndarray
) -> None:
    """Draw vesicles (dark rings of 40 nm) where the chance for them is high, and short dark tubules elsewhere.

    Args:
        key: hash of the section. y0, x0: pixel of the arrays' first element. grey is changed in place.
    """
    ny, nx = grey.shape
    edge = math.ceil(70.0 / pixel)
    first_y, last_y = math.floor(y0 * pixel / _GRID), math.floor((y0 + ny) * pixel / _GRID)
    first_x, last_x = math.floor(x0 * pixel / _GRID), math.floor((x0 + nx) * pixel / _GRID)
    for a in range(first_y, last_y + 1):
        for b in range(first_x, last_x + 1):
            h = mix(mix(key, a), b)
            y, x = (a + 0.1 + 0.8 * uniform(h, 1)) * _GRID, (b + 0.1 + 0.8 * uniform(h, 2)) * _GRID
            i, j = int(y / pixel) - y0, int(x / pixel) - x0
            if i < 0 or j < 0 or i >= ny or j >= nx:
                continue
            chance, room = uniform(h, 3), depth[i, j]
            strength = 65.0 + 70.0 * uniform(h, 5)
            if chance < vesicles[i, j] and room > 24.0:
                radius, length = 15.0 + 5.0 * uniform(h, 4), 0.0
            elif chance > 0.985 and room > 90.0:
                radius, length = 25.0 + 20.0 * uniform(h, 4), 15.0
            elif chance > 0.8 and room > 18.0:
                radius, length = 0.0, min(30.0 * uniform(h, 4) ** 3, room - 15.0)
                strength = 20.0 + 190.0 * uniform(h, 5) ** 2
            else:
                continue
            angle = 2.0 * math.pi * uniform(h, 6)
            cos, sin = math.cos(angle), math.sin(angle)
            for p in range(max(0, i - edge), min(ny, i + edge + 1)):
                for q in range(max(0, j - edge), min(nx, j + edge + 1)):
                    dy, dx = (p + y0 + 0.5) * pixel - y, (q + x0 + 0.5) * pixel - x
                    t = min(length, max(-length, dy * cos + dx * sin))
                    d = math.sqrt((dy - t * cos) ** 2 + (dx - t * sin) ** 2) - radius
                    if abs(d) < 18.0:
                        grey[p, q] -= strength * math.exp(-((d / 7.0) ** 2)) * max(0.0, grey[p, q] - 20.0) / 150.0


@njit(cache=True, nogil=True)
def grain(key: np.uint64, y0: int, x0: int, strength: float, grey: np.ndarray) -> None:
    """Add the fine mottle of stained protein: white noise of two scales, before the blur of the microscope."""
    ny, nx = grey.shape
    for i in range(ny):
        row = mix(key, y0 + i)
        coarse = mix(mix(key, 77), (y0 + i) // 3)
        for j in range(nx):
            fine = uniform(row, x0 + j) + uniform(row, ~(x0 + j)) - 1.0
            blot = uniform(coarse, (x0 + j) // 3) - 0.5
            grey[i, j] += strength * (2.45 * fine + 1.6 * blot) * (0.35 + grey[i, j] / 220.0)


@njit(cache=True, nogil=True)
def blur(grey: np.ndarray, sigma: float, scratch: np.ndarray) -> None:
    """Blur in place with a Gaussian of `sigma` pixels; the outermost pixels are left unblurred."""
    ny, nx = grey.shape
    w = np.empty(_BLUR + 1, np.float32)
    for k in range(_BLUR + 1):
        w[k] = math.exp(-0.5 * (k / max(sigma, 0.05)) ** 2)
    w /= w[0] + 2.0 * w[1:].sum()
    for i in range(ny):
        for j in range(_BLUR, nx - _BLUR):
            total = w[0] * grey[i, j]
            for k in range(1, _BLUR + 1):
                total += w[k] * (grey[i, j - k] + grey[i, j + k])
            scratch[i, j] = total
    for i in range(_BLUR, ny - _BLUR):
        for j in range(_BLUR, nx - _BLUR):
            total = w[0] * scratch[i, j]
            for k in range(1, _BLUR + 1):
                total += w[k] * (scratch[i - k, j] + scratch[i + k, j])
            grey[i, j] = total


@njit(cache=True, nogil=True)
def expose(
    key: np.uint64,
    pixel: float,
    y0: int,
    x0: int,
    light: np.ndarray,
    noise: float,
    section: np.ndarray,
    grey: np.ndarray,
    out: np.ndarray,
) -> None:
    """Returns grey levels as the camera gives them: contrast of the section, darkness of a fold, shot noise, uint8.

    Args:
        light: gain, offset of the section. grey: with MARGIN pixels around `out`. y0, x0: pixel of out's first element.
    """
    ny, nx = out.shape
    for i in range(ny):
        row = mix(key, y0 + i)
        for j in range(nx):
            value = (grey[i + MARGIN, j + MARGIN] - 128.0) * light[0] + 128.0 + light[1]
            if section[5] > 0.0:
                d = fold_distance(section, (y0 + i) * pixel, (x0 + j) * pixel) / section[5]
                value *= 1.0 - 0.85 * math.exp(-(d**4))
            value += noise * 2.45 * (uniform(row, x0 + j) + uniform(row, ~(x0 + j)) - 1.0)
            out[i, j] = np.uint8(min(255.0, max(0.0, value + 0.5)))

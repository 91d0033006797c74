"""Solid things, plants, nets, wires, smoke and glass: mattes that are not hair."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from perpixel.data.canvas import Canvas, Drawing, blob, fractal_noise, smooth_noise
from perpixel.data.light import soften
from perpixel.data.strands import grow

Points = npt.NDArray[np.float64]


def _ring(centre: Points, radius: float, corners: int, phase: float) -> Points:
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False) + phase
    return centre + radius * np.stack([np.cos(turn), np.sin(turn)], -1)


def solid(rng: np.random.Generator, size: int) -> Drawing:
    """Draw toys and tools: rounded, angular or spiky bodies with crisp edges, some with holes."""
    canvas = Canvas(size)
    for _ in range(int(rng.integers(1, 4))):
        centre = rng.uniform(0.1, 0.9, 2) * size
        radius = size * rng.uniform(0.1, 0.55)
        kind = rng.integers(4)
        if kind == 0:
            outline, _ = blob(rng, (centre[0], centre[1]), radius, rough=rng.uniform(0.02, 0.35))
        elif kind == 1:
            corners = int(rng.integers(3, 9))
            outline = _ring(centre, radius, corners, rng.uniform(0, 6.3)) + rng.normal(0, 0.15, (corners, 2)) * radius
        elif kind == 2:
            corners = int(rng.integers(5, 60))
            outline = _ring(centre, radius, 2 * corners, rng.uniform(0, 6.3))
            shrink = np.where(np.arange(2 * corners) % 2 == 0, 1.0, rng.uniform(0.5, 0.95))
            shrink = shrink * rng.uniform(0.85, 1.15, 2 * corners)
            outline = centre + (outline - centre) * shrink[:, None]
        else:
            half = np.array([radius, radius * rng.uniform(0.08, 0.8)])
            angle = rng.uniform(0, 6.3)
            spin = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            outline = centre + (np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half) @ spin
        canvas.polygon(outline, float(rng.uniform(0.8, 1.2)))
        for _ in range(int(rng.choice([0, 0, 1, 3, 8]))):
            spot = centre + rng.normal(0, 0.4, 2) * radius
            canvas.hole(blob(rng, (spot[0], spot[1]), radius * rng.uniform(0.03, 0.3), points=24, rough=0.1)[0])
    alpha, shade = canvas.resolve()
    return Drawing(alpha, shade)


def plant(rng: np.random.Generator, size: int) -> Drawing:
    """Draw stems and twigs with leaves or needles."""
    canvas = Canvas(size)
    aim = rng.uniform(0, 2 * np.pi)
    aspect = rng.uniform(0.15, 0.5)
    leaf = size * rng.uniform(0.02, 0.14)
    for _ in range(int(rng.integers(1, 6))):
        root = np.array([[size / 2, size / 2]]) - size * rng.uniform(0.2, 0.6) * np.array([[np.cos(aim), np.sin(aim)]])
        root = root + rng.normal(0, 0.15, (1, 2)) * size
        stem = grow(rng, root, np.array([aim + rng.normal(0, 0.5)]), size * rng.uniform(0.5, 1.2), points=20, curl=0.8)
        canvas.strokes(rng, stem, float(rng.uniform(0.7, 5)), taper=float(rng.uniform(0.3, 0.9)), contrast=0.2)
        way = np.gradient(stem[0], axis=0)
        heading = np.arctan2(way[:, 1], way[:, 0])
        for spot in rng.integers(3, 20, int(rng.integers(4, 22))):
            tilt = heading[spot] + rng.choice([-1, 1]) * rng.uniform(0.3, 1.4)
            long = leaf * rng.uniform(0.5, 1.4)
            base = stem[0, spot] + 0.4 * long * np.array([np.cos(tilt), np.sin(tilt)])
            canvas.lines([np.stack([stem[0, spot], base])], float(rng.uniform(0.5, 1.5)))
            along = np.linspace(0, 1, 9)
            bulge = long * aspect * np.sin(np.pi * along) ** rng.uniform(0.6, 1.2)
            bulge = bulge * (1 + rng.normal(0, 0.08, 9))
            local = np.concatenate(
                [np.stack([2 * long * along, bulge], -1), np.stack([2 * long * along, -bulge], -1)[::-1]]
            )
            spin = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
            canvas.polygon(base + local @ spin, float(rng.uniform(0.7, 1.3)))
    alpha, shade = canvas.resolve()
    return Drawing(alpha, shade)


def _warp(rng: np.random.Generator, points: Points, size: int) -> Points:
    """Bend a regular pattern smoothly, as cloth and baskets bend."""
    strength = size * rng.uniform(0.005, 0.06)
    rate = rng.uniform(1, 4, (2, 2)) * 2 * np.pi / size
    phase = rng.uniform(0, 6.3, 2)
    shift_x = strength * np.sin(points[..., 1] * rate[0, 0] + points[..., 0] * rate[0, 1] + phase[0])
    shift_y = strength * np.sin(points[..., 0] * rate[1, 0] + points[..., 1] * rate[1, 1] + phase[1])
    bent: Points = points + np.stack([shift_x, shift_y], -1)
    return bent


def net(rng: np.random.Generator, size: int) -> Drawing:
    """Draw lace, nets, wicker and perforated sheets: many small holes in a body with an outline."""
    canvas = Canvas(size)
    pitch = float(np.exp(rng.uniform(np.log(4.0), np.log(28.0))))
    kind = int(rng.integers(4))
    angle = rng.uniform(0, np.pi)
    spin = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    reach = 0.75 * size
    middle = size / 2
    if kind in (0, 1):
        # Two or three families of parallel threads.
        families = 2 if kind == 0 else 3
        opening = rng.uniform(0.5, np.pi / 2) if families == 2 else np.pi / 3
        width = pitch * rng.uniform(0.1, 0.85 if families == 2 else 0.6)
        offsets = np.arange(-reach, reach, pitch)
        offsets = offsets + rng.normal(0, 0.06 * pitch, len(offsets))
        along = np.linspace(-reach, reach, 20)
        for family in range(families):
            turn = angle + family * opening
            ahead, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
            threads = middle + along[None, :, None] * ahead + offsets[:, None, None] * across
            canvas.strokes(rng, _warp(rng, threads, size), width, taper=0.0, contrast=0.25)
    elif kind == 2:
        # A sheet with holes in rows.
        canvas.polygon(np.array([[-9.0, -9.0], [size + 9, -9.0], [size + 9, size + 9], [-9.0, size + 9]]))
        pitch = max(pitch, 6.0)
        line = np.arange(-reach, reach, pitch)
        grid = np.stack(np.meshgrid(line, line), -1)
        grid[1::2, :, 0] += pitch / 2
        spots = (_warp(rng, middle + grid.reshape(-1, 2) @ spin, size)).reshape(-1, 2)
        spots = spots[((spots > -pitch) & (spots < size + pitch)).all(1)] + rng.normal(0, 0.03 * pitch, 2)
        corners = int(rng.choice([4, 6, 12]))
        share = rng.uniform(0.2, 0.42)
        for spot in spots:
            canvas.hole(_ring(spot, pitch * share * rng.uniform(0.85, 1.15), corners, angle))
    else:
        # Tangled wicker: curved rods in all directions, dense enough to leave small holes.
        width = rng.uniform(1.0, 6.0)
        count = int(min(160, rng.uniform(0.4, 1.3) * size / width))
        roots = rng.uniform(-0.2, 1.2, (count, 2)) * size
        paths = grow(rng, roots, rng.uniform(0, 6.3, count), size * 0.9, points=14, curl=rng.uniform(0.5, 2.5))
        canvas.strokes(rng, paths, float(width), taper=0.0, contrast=0.4)
    alpha, shade = canvas.resolve()
    if rng.random() < 0.8:
        limit = Canvas(size, 2)
        centre = rng.uniform(0.2, 0.8, 2) * size
        outline, _ = blob(rng, (centre[0], centre[1]), size * rng.uniform(0.25, 0.7), rough=0.15)
        limit.polygon(outline)
        inside = limit.resolve()[0]
        alpha = alpha * inside
        if rng.random() < 0.5:
            rim = Canvas(size)
            rim.lines([np.concatenate([outline, outline[:1]])], float(rng.uniform(1.5, 8)), 0.9)
            extra, extra_shade = rim.resolve()
            shade = np.where(extra > alpha, extra_shade, shade)
            alpha = np.maximum(alpha, extra)
    return Drawing(alpha, shade)


def wires(rng: np.random.Generator, size: int) -> Drawing:
    """Draw thin wires, ropes and cables, alone or with an object that they hold."""
    canvas = Canvas(size)
    if rng.random() < 0.5:
        spot = rng.uniform(0.2, 0.8, 2) * size
        canvas.polygon(blob(rng, (spot[0], spot[1]), size * rng.uniform(0.1, 0.3))[0])
    count = int(rng.integers(1, 12))
    roots = rng.uniform(-0.1, 1.1, (count, 2)) * size
    toward = np.array([size / 2, size / 2]) - roots
    paths = grow(
        rng,
        roots,
        np.arctan2(toward[:, 1], toward[:, 0]) + rng.normal(0, 0.4, count),
        size * rng.uniform(0.6, 1.5, count),
        points=24,
        curl=float(rng.choice([0.05, 0.5, 3.0])),
        wave=float(rng.choice([0.0, 0.0, 0.6])),
    )
    for path in paths:
        canvas.strokes(rng, path[None], float(np.exp(rng.uniform(np.log(0.34), np.log(9.0)))), taper=0.0)
    alpha, shade = canvas.resolve()
    return Drawing(alpha, shade)


def smoke(rng: np.random.Generator, size: int) -> Drawing:
    """Draw smoke, fog or thin cloth: smooth partial coverage, sometimes with a solid core."""
    field = fractal_noise(rng, size, size * rng.uniform(0.15, 0.6), int(rng.integers(3, 7)))
    centre = rng.uniform(0.2, 0.8, 2) * size
    canvas = Canvas(size, 1)
    canvas.polygon(blob(rng, (centre[0], centre[1]), size * rng.uniform(0.2, 0.45), rough=0.2)[0])
    envelope = soften(canvas.resolve()[0], size * rng.uniform(0.04, 0.15))
    gain = rng.uniform(0.8, 2.2)
    alpha = np.clip((field * envelope * 1.6 - rng.uniform(0.05, 0.35)) * gain, 0, 1)
    if rng.random() < 0.3:
        alpha = alpha * np.float32(rng.uniform(0.4, 1.0))
    return Drawing(alpha.astype(np.float32))


def glass(rng: np.random.Generator, size: int) -> Drawing:
    """Draw bubbles, bottles and veils: a faint inside, a strong rim, some spots of full reflection."""
    alpha = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        centre = rng.uniform(0.05, 0.95, 2) * size
        radius = size * rng.uniform(0.05, 0.4)
        canvas = Canvas(size, 2)
        outline, _ = blob(rng, (centre[0], centre[1]), radius, rough=float(rng.choice([0.0, 0.15])))
        canvas.polygon(outline)
        body = canvas.resolve()[0]
        inside = cv2.distanceTransform((body > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
        rim = np.exp(-inside / np.float32(radius * rng.uniform(0.03, 0.25)))
        level = rng.uniform(0.05, 0.5) * (0.6 + 0.8 * smooth_noise(rng, size, radius))
        one = body * np.clip(level + rim * rng.uniform(0.3, 1.2), 0, 1)
        for _ in range(int(rng.integers(0, 4))):
            spot = centre + rng.normal(0, 0.4, 2) * radius
            shine = Canvas(size, 1)
            shine.polygon(blob(rng, (spot[0], spot[1]), radius * rng.uniform(0.04, 0.25), points=32)[0])
            one = np.maximum(one, body * soften(shine.resolve()[0], radius * 0.05 + 0.5))
        alpha = 1 - (1 - alpha) * (1 - one)
    return Drawing(alpha.astype(np.float32))

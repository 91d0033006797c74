"""Hair, fur, feathers and grass: mattes made of many strands."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perpixel.data.canvas import Canvas, Drawing, blob

Points = npt.NDArray[np.float64]


def grow(
    rng: np.random.Generator,
    roots: Points,
    angles: Points,
    length: Points | float,
    *,
    points: int = 10,
    curl: float = 0.5,
    wave: float = 0.0,
    clumps: int = 0,
    droop: float = 0.0,
) -> Points:
    """Grow strands from roots, (n, 2), in directions (radians): (n, points, 2).

    `curl` bends a strand by about so many radians over its length, `wave` lets it swing, `droop` pulls it
    down, and with `clumps` neighbouring strands lean together towards their tips.
    """
    count = len(roots)
    along = np.linspace(0.0, 1.0, points)
    owner = np.zeros(count, int)
    bend = rng.standard_normal(count) * curl
    if clumps:
        # Roots come in order along the outline, so that neighbours share a clump.
        owner = np.arange(count) * clumps // max(count, 1)
        bend = 0.35 * bend + rng.standard_normal(clumps)[owner] * curl
        angles = angles + 0.25 * rng.standard_normal(clumps)[owner]
    heading = angles[:, None] + bend[:, None] * along
    if wave:
        turns = rng.uniform(1.0, 3.5) * rng.uniform(0.8, 1.2, (count, 1))
        heading = heading + wave * np.sin(2 * np.pi * (turns * along + rng.uniform(0, 1, (count, 1))))
    step = np.stack([np.cos(heading), np.sin(heading)], -1)
    step[..., 1] += droop * along
    size = np.broadcast_to(np.asarray(length, float), (count,))[:, None, None] / (points - 1)
    step = step * size
    step[:, 0] = 0.0
    paths: Points = roots[:, None, :] + np.cumsum(step, 1)
    if clumps:
        leader = np.minimum((np.arange(clumps) + 0.5) * count / clumps, count - 1).astype(int)
        pull = rng.uniform(0.2, 0.85) * along[None, :, None] ** 1.5
        target = paths[leader][owner]
        spread = rng.standard_normal((count, 1, 2)) * 0.06 * size[:, :1] * (points - 1)
        paths = paths + pull * (target + spread * along[None, :, None] - paths)
    return paths


def _outline_roots(
    rng: np.random.Generator, outline: Points, outward: Points, count: int, depth: float
) -> tuple[Points, Points]:
    """Pick `count` roots along an outline, up to `depth` pixels inside it."""
    spot = np.sort(rng.uniform(0, len(outline), count))
    first = spot.astype(int) % len(outline)
    share = (spot - np.floor(spot))[:, None]
    after = (first + 1) % len(outline)
    roots = outline[first] * (1 - share) + outline[after] * share
    angles = outward[first]
    inside = rng.uniform(0, depth, count)[:, None]
    roots = roots - inside * np.stack([np.cos(angles), np.sin(angles)], -1)
    return roots, angles


def _body(rng: np.random.Generator, size: int, low: float = 0.2, high: float = 0.75) -> tuple[Points, Points, float]:
    """Place a rounded body so that its outline crosses the canvas."""
    radius = size * rng.uniform(low, high)
    aim = rng.uniform(0, 2 * np.pi)
    offset = radius * rng.uniform(0.0, 1.15) if radius > 0.35 * size else size * rng.uniform(0, 0.25)
    centre = (size / 2 + offset * np.cos(aim), size / 2 + offset * np.sin(aim))
    outline, outward = blob(rng, centre, radius, rough=rng.uniform(0.03, 0.25))
    return outline, outward, float(radius)


def _visible(paths: Points, size: int) -> Points:
    """Drop the strands that never touch the canvas."""
    low, high = paths.min(1), paths.max(1)
    kept: Points = paths[((high > -2) & (low < size + 2)).all(1)]
    return kept


def _share_on_canvas(outline: Points, size: int) -> float:
    inside = ((outline > -0.15 * size) & (outline < 1.15 * size)).all(1)
    return max(float(inside.mean()), 0.1)


def fur(rng: np.random.Generator, size: int) -> Drawing:
    """Draw a solid body with short, dense, tapered tufts along its outline and shaded fur upon it."""
    canvas = Canvas(size)
    outline, outward, radius = _body(rng, size)
    canvas.polygon(outline, float(rng.uniform(0.7, 1.0)))
    length = size * rng.uniform(0.02, 0.16)
    width = float(rng.choice([0.34, 0.67, 1.0, 1.4, 2.0, 3.0]))
    contrast = float(rng.uniform(0.05, 0.4))
    lean = rng.normal(0, 0.6)
    perimeter = 2 * np.pi * radius * _share_on_canvas(outline, size)
    density = rng.uniform(0.4, 1.6) / max(width, 0.6)
    # Now and then so curly that the tips come back: loops, as in wool and terry cloth.
    curl = rng.uniform(3.0, 6.0) if rng.random() < 0.12 else rng.uniform(0.1, 1.2)
    wave = rng.choice([0.0, rng.uniform(0, 0.9)])
    # Fur on the body first: it gives the shading only, the body covers already.
    inner = int(min(600, 0.7 * density * perimeter))
    roots = outline[rng.integers(0, len(outline), inner)]
    middle = outline.mean(0)
    roots = middle + (roots - middle) * np.sqrt(rng.uniform(0.0, 0.95, (inner, 1)))
    angles = np.arctan2(*(roots - middle).T[::-1]) + lean + rng.normal(0, 0.3, inner)
    lying = _visible(grow(rng, roots, angles, length, points=6, curl=curl), size)
    canvas.strokes(rng, lying, width, taper=0.9, contrast=0.6 * contrast)
    count = int(min(1100, density * perimeter / _share_on_canvas(outline, size)))
    roots, angles = _outline_roots(rng, outline, outward, count, 0.7 * length)
    clumps = int(count / rng.uniform(3, 25)) if count > 12 and rng.random() < 0.7 else 0
    spread = rng.uniform(0.05, 0.5)
    paths = grow(
        rng,
        roots,
        angles + lean + rng.normal(0, spread, count),
        length * rng.uniform(0.4, 1.25, count),
        points=8,
        curl=curl,
        wave=float(wave),
        clumps=clumps,
    )
    canvas.strokes(rng, _visible(paths, size), width, taper=float(rng.uniform(0.5, 1.0)), contrast=contrast)
    if rng.random() < 0.5:
        _flyaways(rng, canvas, outline, outward, length * 2.0)
    alpha, shade = canvas.resolve()
    return Drawing(alpha, shade, strands=True)


def hair(rng: np.random.Generator, size: int) -> Drawing:
    """Draw a head or a body with long hair: locks, waves, loops and single hairs that stand off."""
    canvas = Canvas(size)
    outline, outward, radius = _body(rng, size, 0.12, 0.7)
    canvas.polygon(outline, float(rng.uniform(0.7, 1.0)))
    length = size * rng.uniform(0.15, 0.6)
    contrast = float(rng.uniform(0.05, 0.45))
    visible = _share_on_canvas(outline, size)
    layers = int(rng.integers(1, 4))
    droop = float(rng.choice([0.0, rng.uniform(0, 1.5)]))
    lean = rng.normal(0, 0.9)
    if rng.random() < 0.75:
        # A dense undercoat, so that the body has no bare outline under the long hair.
        short = size * rng.uniform(0.02, 0.12)
        count = int(min(900, 5.0 * radius * rng.uniform(0.5, 1.5)))
        roots, angles = _outline_roots(rng, outline, outward, count, 0.5 * short)
        angles = angles + 0.7 * lean + rng.normal(0, rng.uniform(0.1, 0.6), count)
        sizes = short * rng.uniform(0.3, 1.3, count)
        clumps = int(count / rng.uniform(5, 40)) if rng.random() < 0.6 and count > 40 else 0
        paths = grow(rng, roots, angles, sizes, points=7, curl=0.6, clumps=clumps)
        canvas.strokes(rng, _visible(paths, size), float(rng.uniform(0.6, 2.0)), taper=0.9, contrast=contrast)
    for _ in range(layers):
        width = float(rng.choice([0.34, 0.34, 0.67, 0.67, 1.0, 1.4, 2.2]))
        count = int(min(420, rng.uniform(40, 260) / visible / max(width, 0.7)))
        roots, angles = _outline_roots(rng, outline, outward, count, 0.3 * length)
        clumps = int(rng.integers(3, 30)) if rng.random() < 0.75 and count > 40 else 0
        paths = grow(
            rng,
            roots,
            angles + lean + rng.normal(0, rng.uniform(0.05, 0.7), count),
            length * rng.uniform(0.3, 1.2, count),
            points=16,
            curl=float(rng.choice([0.3, 0.8, 1.6, 3.5])),
            wave=float(rng.choice([0.0, 0.0, rng.uniform(0.1, 1.4)])),
            clumps=clumps,
            droop=droop,
        )
        canvas.strokes(rng, _visible(paths, size), width, taper=float(rng.uniform(0.2, 1.0)), contrast=contrast)
    _flyaways(rng, canvas, outline, outward, length)
    alpha, shade = canvas.resolve()
    return Drawing(alpha, shade, strands=True)


def _flyaways(rng: np.random.Generator, canvas: Canvas, outline: Points, outward: Points, length: float) -> None:
    """Add a few single hairs, some of them loops that come back."""
    count = int(rng.integers(4, 40))
    roots, angles = _outline_roots(rng, outline, outward, count, 2.0)
    curl = float(rng.choice([0.8, 2.0, 4.5]))
    angles = angles + rng.normal(0, 0.7, count)
    paths = grow(rng, roots, angles, length * rng.uniform(0.4, 1.5, count), points=18, curl=curl)
    width = float(rng.choice([0.34, 0.34, 0.67, 1.0]))
    canvas.strokes(rng, _visible(paths, canvas.size), width, taper=0.6)


def lone_strands(rng: np.random.Generator, size: int) -> Drawing:
    """Draw hair hanging or blowing across the canvas with no body: locks from sparse to nearly solid."""
    canvas = Canvas(size)
    aim = rng.uniform(0, 2 * np.pi)
    ahead = np.array([np.cos(aim), np.sin(aim)])
    across = np.array([-ahead[1], ahead[0]])
    contrast = float(rng.uniform(0.1, 0.45))
    for _ in range(int(rng.integers(1, 5))):
        width = float(rng.choice([0.34, 0.67, 1.0, 1.7]))
        count = int(rng.integers(20, 260))
        start = np.array([size / 2, size / 2]) - ahead * size * rng.uniform(0.2, 0.7)
        spread = size * rng.uniform(0.05, 0.35)
        shift = np.sort(rng.normal(rng.normal(0, 0.25) * size, spread, count))
        roots = start + across * shift[:, None]
        paths = grow(
            rng,
            roots,
            np.full(count, aim) + rng.normal(0, 0.12, count),
            size * rng.uniform(0.4, 1.2, count),
            points=18,
            curl=float(rng.uniform(0.1, 1.2)),
            wave=float(rng.choice([0.0, rng.uniform(0.1, 0.9)])),
            clumps=int(rng.integers(2, 16)),
        )
        canvas.strokes(rng, _visible(paths, size), width, taper=float(rng.uniform(0, 1)), contrast=contrast)
    alpha, shade = canvas.resolve()
    return Drawing(alpha, shade, strands=True)


def grass(rng: np.random.Generator, size: int) -> Drawing:
    """Draw blades of grass, needles or bristles that rise from a ground or a stem."""
    canvas = Canvas(size)
    aim = rng.choice([-np.pi / 2, rng.uniform(0, 2 * np.pi)])
    ahead = np.array([np.cos(aim), np.sin(aim)])
    across = np.array([-ahead[1], ahead[0]])
    ground = np.array([size / 2, size / 2]) - ahead * size * rng.uniform(0.1, 0.5)
    if rng.random() < 0.75:
        far, wide = ahead * size * 2, across * size * 2
        canvas.polygon(np.stack([ground - wide, ground + wide, ground + wide - far, ground - wide - far]), 0.8)
    count = int(rng.integers(15, 220))
    roots = ground + across * np.sort(rng.uniform(-0.75, 0.75, count))[:, None] * size
    roots = roots - ahead * rng.uniform(0, 8, (count, 1))
    contrast = float(rng.uniform(0.1, 0.4))
    lengths = size * rng.uniform(0.1, 0.8) * rng.uniform(0.4, 1.2, count)
    paths = grow(
        rng, roots, aim + rng.normal(0, rng.uniform(0.1, 0.4), count), lengths, points=10, curl=rng.uniform(0.2, 1.3)
    )
    width = rng.uniform(0.7, 1.0) if count > 120 else rng.uniform(1.0, 7.0)
    canvas.strokes(rng, paths, float(width), taper=1.0, contrast=contrast)
    alpha, shade = canvas.resolve()
    return Drawing(alpha, shade, strands=bool(width < 1.5))


def feather(rng: np.random.Generator, size: int) -> Drawing:
    """Draw one to three feathers: a shaft with barbs, closed or frayed."""
    canvas = Canvas(size)
    for _ in range(int(rng.integers(1, 4))):
        root = rng.uniform(0.1, 0.9, (1, 2)) * size
        aim = np.array([np.arctan2(*(size / 2 - root[0])[::-1])]) + rng.normal(0, 0.5, 1)
        shaft = grow(rng, root, aim, size * rng.uniform(0.4, 1.1), points=24, curl=0.5)[0]
        way = np.gradient(shaft, axis=0)
        heading = np.arctan2(way[:, 1], way[:, 0])
        count = int(rng.integers(80, 360))
        spot = np.sort(rng.uniform(2, 23, count))
        first = np.minimum(spot.astype(int), 22)
        share = (spot - first)[:, None]
        roots = shaft[first] * (1 - share) + shaft[first + 1] * share
        profile = np.sin(np.pi * np.clip(spot / 23, 0.03, 0.97)) ** rng.uniform(0.4, 1.0)
        side = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
        barb = size * rng.uniform(0.06, 0.22) * profile * rng.uniform(0.85, 1.1, count)
        slant = side * (rng.uniform(0.4, 1.0) + rng.normal(0, rng.uniform(0.02, 0.25), count))
        for sign in (1.0, -1.0):
            mine = side == sign
            clumps = int(rng.integers(4, 24)) if rng.random() < 0.7 else 0
            paths = grow(
                rng, roots[mine], (heading[first] + slant)[mine], barb[mine], points=7, curl=0.25, clumps=clumps
            )
            canvas.strokes(rng, paths, float(rng.choice([0.34, 0.67, 1.0, 1.5])), taper=0.7, contrast=0.15)
        canvas.strokes(rng, shaft[None], float(rng.uniform(1, 3)), taper=0.8, contrast=0.2)
    alpha, shade = canvas.resolve()
    return Drawing(alpha, shade, strands=True)

"""How steady and how good a film's mattes and depth are, and how much memory a film takes.

    python -m benchmarks.film                                   # mattes, on films with a known alpha
    python -m benchmarks.film --others                          # the same on films that nothing was chosen with
    python -m benchmarks.film --depth-model MODEL               # depth, on a moving photograph
    python -m benchmarks.film --memory                          # peak memory of films of three lengths
    python -m benchmarks.film --sheet docs/images/film.png      # the contact sheet of the document

The films are made here: a procedural foreground with fur or hair, textured by a photograph, moves, turns and is bent a
little over a photograph that moves too, with the noise of a camera. Photographs are those in examples/ and of
scikit-image. Flicker of mattes is measured along the foreground's true motion, that of depth along the flow of another
algorithm (Farnebäck's) than the one that steadies. "The first" in the table is the first row of the film.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
WIDTH, HEIGHT = 320, 240
BAND = 8
FILMS = (
    ("fur", "coffee", 3, 1),
    ("hair", "astronaut", 3, 1),
    ("fur", "chelsea", 3, 1),
    ("hair", "coffee", 11, 1),
    ("fur", "rocket", 12, 1),
    ("hair", "chelsea", 13, 1),
)  # foreground, background, seed, how many times as fast
OTHERS = (
    ("hair", "rocket", 51, 1),
    ("fur", "astronaut", 52, 1),
    ("hair", "coffee", 53, 1),
    ("hair", "immunohistochemistry", 54, 1),
    ("fur", "retina", 55, 1),
    ("hair", "astronaut", 56, 2),
    ("fur", "coffee", 57, 2),
    ("hair", "chelsea", 58, 1),
    ("fur", "rocket", 59, 2),
    ("lone_strands", "coffee", 60, 1),
)
Frame = tuple[np.ndarray, np.ndarray]  # (h, w, 3) uint8, (h, w) float32


def composed(
    family: str, photograph: str, count: int, seed: int = 3, speed: int = 1, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Iterator[Frame]:
    """Frames with their true alpha."""
    import skimage.data

    from perpixel.data.alphas import draw_alpha

    width, height = size
    side = _side(size)
    drawing = draw_alpha(np.random.default_rng(seed), side, family)
    cat = np.asarray(Image.open(EXAMPLES / "cat.jpg").convert("RGB"))
    skin = cv2.resize(cat, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    if drawing.shade is not None:
        skin = np.clip(cv2.GaussianBlur(skin, (0, 0), 4) * drawing.shade[..., None], 0, 1)
    ground = getattr(skimage.data, photograph)()[..., :3].astype(np.float32) / 255
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for number in range(count):
        t = number * speed
        places = [np.float32(each) for each in _places(t, x, y, size)]
        alpha = np.clip(cv2.remap(drawing.alpha, *places, cv2.INTER_CUBIC, borderValue=0), 0, 1)
        front = cv2.remap(skin, *places, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        zoom = 1.2 / (1 + 0.1 * number / count)
        behind = [np.float32(zoom * x + 1.3 * t), np.float32(zoom * y + 0.5 * t + 20)]
        back = cv2.remap(ground, *behind, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        mixed = alpha[..., None] * front + (1 - alpha[..., None]) * back
        noisy = np.clip(mixed, 0, 1) * 255 + rng.normal(0, 2, mixed.shape)
        yield np.rint(np.clip(noisy, 0, 255)).astype(np.uint8), alpha


def _side(size: tuple[int, int]) -> int:
    return round(1.25 * size[1])


def _pose(t: int) -> tuple[float, float]:
    return 0.10 * np.sin(t / 9), 1 + 0.05 * np.sin(t / 13)


def _places(t: int, x: np.ndarray, y: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where a pixel of frame t lies on the drawing of the foreground, which moves, turns and is bent."""
    angle, scale = _pose(t)
    left, down = x - size[0] / 2 - 30 * np.sin(t / 8), y - size[1] / 2 - 8 - 6 * np.cos(t / 6)
    u = (np.cos(angle) * left + np.sin(angle) * down) / scale
    v = (np.cos(angle) * down - np.sin(angle) * left) / scale
    half = _side(size) / 2
    return u + 2.5 * np.sin(v / 35 + t / 5) + half, v + 2.0 * np.sin(u / 40 - t / 6) + half


def true_motion(number: int, speed: int = 1, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """Where the foreground at each pixel of a frame was in the frame before: (h, w, 2) float32."""
    t, before = number * speed, (number - 1) * speed
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float64)
    goal = _places(t, x, y, size)
    angle, scale = _pose(before)
    was_x, was_y = x.copy(), y.copy()
    for _ in range(12):  # the foreground is nearly stiff, so that turning back the rest converges
        here = _places(before, was_x, was_y, size)
        du, dv = goal[0] - here[0], goal[1] - here[1]
        was_x += scale * (np.cos(angle) * du - np.sin(angle) * dv)
        was_y += scale * (np.sin(angle) * du + np.cos(angle) * dv)
    return np.stack([was_x - x, was_y - y], axis=2).astype(np.float32)


def write(path: Path, frames: Iterator[np.ndarray]) -> None:
    """Write frames without loss."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        for number, frame in enumerate(frames):
            if not number:
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "bgr0"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def along(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Farnebäck's flow from the later frame back."""
    grey = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (after, before)]
    return cv2.calcOpticalFlowFarneback(*grey, None, 0.5, 4, 15, 4, 7, 1.5, 0)


def mattes(folder: Path, films: tuple[tuple[str, str, int, int], ...], count: int, sheet: Path | None) -> None:
    """The table of mattes."""
    import perpixel as px
    from perpixel.metrics.matting import sad
    from perpixel.metrics.temporal import dtssd, dtssd_along, flicker, messddt
    from perpixel.ops.trimap import UNKNOWN, trimap_from_alpha
    from perpixel.tasks.matting import load_matting_model

    model = load_matting_model()
    print("| film | mattes | SAD | flicker | dtSSD | dtSSD along | MESSDdt | SAD | flicker | dtSSD along | MESSDdt |")
    print("|---|---" + "|--:" * 9 + "|")
    rows = []
    for family, photograph, seed, speed in films:
        frames = list(composed(family, photograph, count, seed, speed))
        truth = [alpha for _, alpha in frames]
        path = folder / f"{family}.mkv"
        write(path, (picture for picture, _ in frames))
        trimaps = [trimap_from_alpha(alpha, band=BAND) for alpha in truth]
        flows = [true_motion(t, speed) for t in range(1, count)]
        ways = {
            "the truth": truth,
            "frame by frame, the true trimap": [
                px.matte(picture, trimap, model=model).alpha
                for (picture, _), trimap in zip(frames, trimaps, strict=True)
            ],
        }
        for name, steady in (
            ("frame by frame, the carried trimap", False),
            ("the carried trimap, filtered along the flow", True),
        ):
            film = px.cutout_film(path, trimap_first=trimaps[0], model=model, steady=steady)
            ways[name] = [each.result.alpha for each in film]
        first: list[float] | None = None
        for name, alphas in ways.items():
            error = float(np.mean([sad(pred, true) for pred, true in zip(alphas, truth, strict=True)]))
            pairs = [(*alphas[t - 1 : t + 1], *truth[t - 1 : t + 1], flows[t - 1], trimaps[t]) for t in range(1, count)]
            unrest = 1000 * np.mean([flicker(a, b, flow, trimap == UNKNOWN) for a, b, _, _, flow, trimap in pairs])
            fixed = 100 * np.mean([dtssd(*four) for *four, _, _ in pairs])
            along_motion = 100 * np.mean([dtssd_along(*five) for *five, _ in pairs])
            squares = 1000 * np.mean([messddt(*five) for *five, _ in pairs])
            figures = [error, unrest, along_motion, squares]
            first = first or (figures if error else None)
            shares = (
                " | ".join(f"{here / there:.0%}" for here, there in zip(figures, first, strict=True))
                if first
                else "| | |"
            )
            print(
                f"| {family} over {photograph} | {name} | {error:.2f} | {unrest:.1f} | {fixed:.2f} | "
                f"{along_motion:.2f} | {squares:.2f} | {shares} |",
                flush=True,
            )
        rows.append((frames, ways))
    if sheet is not None:
        contact_sheet(sheet, rows, count)


def contact_sheet(path: Path, rows: list, count: int) -> None:
    """Three moments of a film: picture, frame by frame, steadied, and how much each changed since the frame before."""
    from perpixel.ops.flow import warp

    frames, ways = rows[0]
    free, held = ways["frame by frame, the true trimap"], ways["the carried trimap, filtered along the flow"]
    lines = []
    for t in (count // 4, count // 2, count - 1):
        back = true_motion(t)
        changes = [np.abs(each[t] - warp(each[t - 1], back)) * 2 for each in (free, held)]
        tiles = [frames[t][0]] + [_grey(each) for each in (free[t], held[t], *changes)]
        lines.append(
            np.concatenate([np.pad(tile, ((2, 2), (2, 2), (0, 0)), constant_values=255) for tile in tiles], axis=1)
        )
    picture = Image.fromarray(np.concatenate(lines, axis=0))
    picture = picture.resize((picture.width * 5 // 8, picture.height * 5 // 8), Image.Resampling.LANCZOS)
    picture.quantize(128).save(path, optimize=True)


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat((np.clip(values, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def depths(folder: Path, count: int, model: str) -> None:
    """The table of depth."""
    import perpixel as px
    from perpixel.metrics.temporal import flicker
    from perpixel.tasks.depth import load_depth_model

    estimator = load_depth_model(model)
    photograph = np.asarray(Image.open(EXAMPLES / "portrait.jpg").convert("RGB"))
    height = round(photograph.shape[0] * 480 / photograph.shape[1])
    photograph = cv2.resize(photograph, (480, height), interpolation=cv2.INTER_AREA)
    frames = []
    for t in range(count):
        zoom, x, y = 1 + 0.01 * t, 2.0 * t, 1.0 * t
        matrix = np.float32([[zoom, 0, -x * zoom], [0, zoom, -y * zoom]])
        frames.append(cv2.warpAffine(photograph, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_AREA))
    path = folder / "depth.mkv"
    write(path, iter(frames))
    flows = [along(before, after) for before, after in pairwise(frames)]
    print("| depth of a moving photograph | flicker, 10⁻³ of the range |")
    print("|---|--:|")
    for name, steady in (("frame by frame", False), ("steadied (the default)", True)):
        film = px.depth_film(path, model=estimator, steady=steady)
        low, high = film.range
        found = [(each.result.values - low) / (high - low) for each in film]
        unrest = np.mean([flicker(a, b, flow) for a, b, flow in zip(found, found[1:], flows, strict=False)])
        print(f"| {name} | {1000 * unrest:.2f} |", flush=True)


def memory(folder: Path) -> None:
    """Peak memory of films of three lengths, each in a process of its own."""
    from perpixel.ops.trimap import trimap_from_alpha

    clip = list(composed("fur", "coffee", 20, size=(160, 120)))
    print("| frames | peak memory, MB |")
    print("|--:|--:|")
    for count in (20, 200, 400):
        path, trimap = folder / f"{count}.mkv", folder / "trimap.png"
        # The same pictures to and fro, since a larger subject takes more memory in a film of any length.
        write(path, (clip[abs((number + 19) % 38 - 19)][0] for number in range(count)))
        Image.fromarray(trimap_from_alpha(clip[0][1], band=4)).save(trimap)
        command = [sys.executable, "-m", "benchmarks.film", "--one", str(path), str(trimap)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"| {count} | {done.stdout.strip()} |", flush=True)


def one(path: str, trimap: str) -> None:
    """Cut out one film, and print the peak memory of this process in MB."""
    import perpixel as px

    px.tune_allocator(many_sizes=True)  # as the command does
    px.cutout_film(path, trimap_first=trimap).save(Path(path).with_suffix(".mov"))
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--depth-model")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if given.one:
            one(*given.one)
        elif given.memory:
            memory(Path(name))
        elif given.depth_model:
            depths(Path(name), given.frames, given.depth_model)
        else:
            mattes(Path(name), OTHERS if given.others else FILMS, given.frames, given.sheet)


if __name__ == "__main__":
    main()

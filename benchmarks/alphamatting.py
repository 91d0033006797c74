"""Mattes against true alphas: SAD and MSE over the unknown region, for a model and for classical methods.

    python benchmarks/alphamatting.py FOLDER --model vitmatte-nano
    python benchmarks/alphamatting.py FOLDER --classical

FOLDER holds NAME.png, NAME_alpha.png, NAME_trimap1.png (narrow) and NAME_trimap2.png (wide), as the photographs
of alphamatting.com do (Rhemann et al., 2009). SAD is divided by 1000; figures are means over the photographs.
`--refine` solves closed-form matting with the model's alpha as a prior, to see what that would give.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import perpixel as px
from perpixel.metrics.matting import mse, sad

TRIMAPS = {"narrow": "trimap1", "wide": "trimap2"}
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


def with_model(name: str) -> Method:
    """The alphas of a ViTMatte model."""
    from perpixel.tasks.matting import load_matting_model

    model = load_matting_model(name)
    return lambda image, trimap: px.matte(image, trimap, model=model).alpha


def classical() -> dict[str, Method]:
    """PyMatting's estimators."""
    import pymatting

    methods = {
        "closed-form": pymatting.estimate_alpha_cf,
        "KNN": pymatting.estimate_alpha_knn,
        "LBDM": pymatting.estimate_alpha_lbdm,
    }
    return {
        name: lambda image, trimap, estimate=estimate: estimate(image / 255.0, trimap / 255.0)
        for name, estimate in methods.items()
    }


def refined(method: Method, weight: float = 0.003) -> Method:
    """A method's alphas, sharpened by closed-form matting that has them as a prior."""

    def estimate(image: np.ndarray, trimap: np.ndarray) -> np.ndarray:
        import pymatting
        from scipy.sparse import diags

        prior = method(image, trimap).astype(np.float64).ravel()
        known = (trimap != 128).ravel()
        trust = 100.0 * np.where(known, 1.0, weight * (0.05 + (2 * prior - 1) ** 2))
        system = pymatting.cf_laplacian(image / 255.0) + diags(trust)
        solve = pymatting.ichol(system.tocsc(), discard_threshold=1e-4)
        alpha = pymatting.cg(system, trust * prior, M=solve, rtol=1e-6)
        return np.clip(alpha, 0, 1).reshape(trimap.shape)

    return estimate


def evaluate(folder: Path, method: Method) -> dict[str, dict[str, float]]:
    """Mean SAD / 1000 and MSE over the photographs of a folder, for each kind of trimap."""
    result = {}
    for kind, suffix in TRIMAPS.items():
        rows = []
        for path in sorted(folder.glob(f"*_{suffix}.png")):
            name = path.name.removesuffix(f"_{suffix}.png")
            image = np.asarray(Image.open(folder / f"{name}.png").convert("RGB"))
            true = np.asarray(Image.open(folder / f"{name}_alpha.png").convert("L"), np.float32) / 255
            trimap = np.asarray(Image.open(path).convert("L"))
            alpha = method(image, trimap).astype(np.float32)
            rows.append((sad(alpha, true, trimap), mse(alpha, true, trimap)))
        means = np.mean(rows, axis=0)
        result[kind] = {"sad": round(float(means[0]), 3), "mse": round(float(means[1]), 5)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="vitmatte-nano")
    parser.add_argument("--classical", action="store_true", help="PyMatting's methods too")
    parser.add_argument("--refine", action="store_true", help="the model with a closed-form solve after it, too")
    arguments = parser.parse_args()
    methods = {arguments.model: with_model(arguments.model)}
    if arguments.refine:
        methods[f"{arguments.model} + closed-form"] = refined(methods[arguments.model])
    if arguments.classical:
        methods |= classical()
    for name, method in methods.items():
        print(json.dumps({"method": name, **evaluate(arguments.folder, method)}), flush=True)


if __name__ == "__main__":
    main()

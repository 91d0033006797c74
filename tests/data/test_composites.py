from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from perpixel.data import composites
from perpixel.data.composites import CompositeDataset
from perpixel.errors import InputError


@pytest.fixture(scope="module")
def samples(photo_folder: Path, art_folder: Path) -> CompositeDataset:
    return CompositeDataset(photo_folder, art_folder, size=96, seed=3, art_share=0.3)


def test_item_has_the_shapes_and_ranges_of_the_image_processor(samples: CompositeDataset) -> None:
    for index in range(12):
        item = samples[index]
        pixels, alpha = item["pixel_values"], item["labels"]
        assert pixels.shape == (4, 96, 96) and alpha.shape == (1, 96, 96)
        assert pixels.dtype == alpha.dtype == torch.float32
        assert pixels[:3].min() >= -1 and pixels[:3].max() <= 1
        assert alpha.min() >= 0 and alpha.max() <= 1
        assert torch.isin(pixels[3], torch.tensor([0.0, 128 / 255, 1.0])).all()


def test_trimap_holds_every_fractional_pixel_and_known_pixels_are_exact(samples: CompositeDataset) -> None:
    for index in range(40):
        _, trimap, alpha = samples.draw(index)
        fractional = (alpha > 0) & (alpha < 1)
        assert (trimap[fractional] == 128).all()
        assert (alpha[trimap == 0] == 0).all()
        assert (alpha[trimap == 255] == 1).all()
        assert 0.03 <= (trimap == 128).mean() <= 0.97


def test_image_shows_the_background_where_the_matte_is_zero(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a black background and a camera that only rounds, whatever shines through is foreground.
    monkeypatch.setattr(composites, "camera", lambda rng, image: np.round(image * 255).astype(np.uint8))
    monkeypatch.setattr(
        CompositeDataset, "_background", lambda self, *rest: np.zeros((self.size, self.size, 3), np.float32)
    )
    samples = CompositeDataset(photo_folder, size=64, seed=5)
    for index in range(10):
        image, _, alpha = samples.draw(index)
        assert (image[alpha == 0] == 0).all()
        # Light is added, and the file holds its root (see `perpixel.data.light.mix`).
        assert (image <= np.ceil(alpha[..., None] ** (1 / 2.4) * 255)).all()
        assert image[alpha > 0].max() > 0


def test_an_index_gives_the_same_sample_in_any_order_and_in_a_new_dataset(
    photo_folder: Path, art_folder: Path, samples: CompositeDataset
) -> None:
    again = CompositeDataset(photo_folder, art_folder, size=96, seed=3, art_share=0.3)
    for index in (11, 2, 7, 2):
        for name, value in samples[index].items():
            assert torch.equal(value, again[index][name])


def test_a_loader_with_workers_gives_the_same_samples(samples: CompositeDataset) -> None:
    loader = DataLoader(samples, batch_size=2, num_workers=1, sampler=[4, 5])
    batch = next(iter(loader))
    assert torch.equal(batch["pixel_values"][1], samples[5]["pixel_values"])


def test_another_seed_and_another_split_give_other_samples(photo_folder: Path) -> None:
    datasets = [
        CompositeDataset(photo_folder, size=64, seed=0),
        CompositeDataset(photo_folder, size=64, seed=1),
        CompositeDataset(photo_folder, size=64, seed=0, split="validation"),
    ]
    alphas = [dataset[0]["labels"] for dataset in datasets]
    assert not torch.equal(alphas[0], alphas[1])
    assert not torch.equal(alphas[0], alphas[2])


def test_validation_shares_no_photograph_and_no_art_with_training(photo_folder: Path, art_folder: Path) -> None:
    train = CompositeDataset(photo_folder, art_folder, size=32)
    held_out = CompositeDataset(photo_folder, art_folder, size=32, split="validation")
    for kind in ("background_paths", "foreground_paths"):
        mine, other = set(getattr(train, kind)), set(getattr(held_out, kind))
        assert mine and other and not mine & other
    assert len(train.background_paths) + len(held_out.background_paths) == 10


def test_most_samples_have_solid_foreground_background_and_fractions(samples: CompositeDataset) -> None:
    whole = fractional = none = 0
    for index in range(60):
        _, _, alpha = samples.draw(index)
        whole += bool((alpha == 1).mean() > 0.01)
        none += bool((alpha == 0).mean() > 0.01)
        fractional += bool(((alpha > 0) & (alpha < 1)).mean() > 0.005)
    assert whole >= 40 and none >= 50 and fractional >= 50


@pytest.mark.parametrize("size", [32, 33, 101])
def test_odd_sizes_work(photo_folder: Path, size: int) -> None:
    samples = CompositeDataset(photo_folder, size=size, seed=size)
    assert all(samples[index]["pixel_values"].shape == (4, size, size) for index in range(4))


def test_too_small_a_size_and_a_negative_index_are_refused(photo_folder: Path) -> None:
    with pytest.raises(InputError, match="32 or more"):
        CompositeDataset(photo_folder, size=16)
    with pytest.raises(IndexError, match="0 or more"):
        CompositeDataset(photo_folder, size=32)[-1]

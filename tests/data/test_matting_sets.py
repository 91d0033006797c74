"""Mattes from plain folders."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.miniatures_matting import SIZE, composed_slowly, matte, matte_folder, photo, trimap, write
from perpixel.data.layouts import open_dataset
from perpixel.data.matting_sets import composite, cover
from perpixel.errors import ConfigError, InputError

REAL = Path(__file__).parents[2] / "../shared/data/matting/alphamatting"


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    ground=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_composites_equal_those_of_the_official_code(size, ground, seed):
    fg, bg, alpha = photo(seed, size), photo(seed + 1, ground), matte(seed, size)
    own = composite(fg, cover(bg, size), alpha.astype(np.float32) / np.float32(255))
    assert np.array_equal(own, composed_slowly(fg, alpha, bg))


def test_finer_alphas_are_not_rounded():
    alpha = np.array([[0.4980]], np.float32)  # between 126 and 127 of 255
    assert composite(np.full((1, 1, 3), 250, np.uint8), np.zeros((1, 1, 3), np.uint8), alpha)[0, 0, 0] == 124


class TestMatteFolder:
    def test_reads_every_part(self, tmp_path):
        drawn = matte_folder(tmp_path)
        data = open_dataset("matte-folder", tmp_path)
        assert (data.kind, data.names, len(data)) == ("matting", ("a", "b/c"), 2)
        for sample in data:
            image, alpha = drawn[sample.name]
            assert np.array_equal(sample.image, image)
            assert sample.alpha.dtype == np.float32
            assert np.array_equal(sample.alpha, alpha.astype(np.float32) / np.float32(255))
            assert np.array_equal(sample.trimap, trimap(alpha))
            assert np.array_equal(sample.foreground, 255 - image)

    def test_trimaps_and_foregrounds_may_be_absent(self, tmp_path):
        write(tmp_path / "original" / "a.png", photo(0))
        write(tmp_path / "mask" / "a.png", matte(0))
        sample = open_dataset("matte-folder", tmp_path)[0]
        assert sample.trimap is None
        assert sample.foreground is None

    def test_pickles_and_reads_later(self, tmp_path):
        matte_folder(tmp_path)
        data = pickle.loads(pickle.dumps(open_dataset("matte-folder", tmp_path)))
        assert data[1].image.shape == (SIZE[0] + 1, SIZE[1], 3)

    def test_alphas_keep_16_bits(self, tmp_path):
        write(tmp_path / "images" / "a.png", photo(0, (1, 2)))
        write(tmp_path / "alphas" / "a.png", np.array([[1000, 65535]], np.uint16))
        alpha = open_dataset("matte-folder", tmp_path)[0].alpha
        assert alpha[0, 0] == pytest.approx(1000 / 65535, rel=1e-6)

    @pytest.mark.parametrize("part", ["alphas", "trimaps", "foregrounds"])
    def test_another_size(self, tmp_path, part):
        matte_folder(tmp_path, ("a",))
        wrong = photo(0, (8, 9)) if part == "foregrounds" else trimap(matte(0, (8, 9)))
        write(tmp_path / part / "a.png", wrong)
        with pytest.raises(InputError, match=rf"{part}/a\.png is 9×8 but .*images/a\.png is 23×14"):
            open_dataset("matte-folder", tmp_path)[0]

    @pytest.mark.parametrize("part", ["images", "alphas", "trimaps", "foregrounds"])
    def test_a_broken_file_is_named(self, tmp_path, part):
        matte_folder(tmp_path)
        path = tmp_path / part / "a.png"
        path.write_bytes(path.read_bytes()[:60])
        data = open_dataset("matte-folder", tmp_path)
        with pytest.raises(InputError, match=rf"{part}/a\.png"):
            data[0]
        assert data[1].name == "b/c"

    def test_what_is_no_trimap_is_named(self, tmp_path):
        matte_folder(tmp_path, ("a",))
        write(tmp_path / "trimaps" / "a.png", np.random.default_rng(0).integers(40, 100, SIZE, np.uint8))
        with pytest.raises(InputError, match=r"trimaps/a\.png: trimap holds"):
            open_dataset("matte-folder", tmp_path)[0]

    @pytest.mark.skipif(not REAL.is_dir(), reason="needs the pictures of alphamatting.com")
    def test_on_photographs(self):
        data = open_dataset(
            "matte-folder", REAL, image_suffix=".png", alpha_suffix="_alpha.png", trimap_suffix="_trimap2.png"
        )
        assert data.names == ("GT02", "GT05", "GT09", "GT14", "GT19", "GT23")
        sample = data[0]
        known = sample.trimap != 128
        assert sample.image.shape == (*sample.alpha.shape, 3)
        assert 0.1 < known.mean() < 1
        # Where the trimap is certain the true alpha says the same.
        assert np.abs(sample.alpha[known] - sample.trimap[known] / 255).max() < 0.05


class TestRgbaCutouts:
    def cutout(self, path: Path, seed: int = 0) -> np.ndarray:
        pixels = np.dstack([photo(seed), matte(seed)])
        write(path, pixels)
        return pixels

    def test_over_backgrounds(self, tmp_path):
        drawn = self.cutout(tmp_path / "cut" / "cat.png")
        grounds = [photo(seed, (40, 40)) for seed in (5, 6)]
        for number, ground in enumerate(grounds):
            write(tmp_path / "grounds" / f"{number}.png", ground)
        data = open_dataset("rgba", tmp_path / "cut", backgrounds=tmp_path / "grounds", copies=9)
        assert data.names == tuple(f"cat@{number}" for number in range(9))
        options = [composed_slowly(drawn[..., :3], drawn[..., 3], ground).tobytes() for ground in grounds]
        chosen = []
        for sample in data:
            assert np.array_equal(sample.alpha, drawn[..., 3].astype(np.float32) / np.float32(255))
            assert np.array_equal(sample.foreground, drawn[..., :3])
            chosen.append(options.index(sample.image.tobytes()))
        assert set(chosen) == {0, 1}
        assert np.array_equal(data[4].image, data[4].image)

    def test_over_a_drawn_backdrop(self, tmp_path):
        self.cutout(tmp_path / "a.png")
        self.cutout(tmp_path / "b.png")
        data = open_dataset("rgba", tmp_path)
        first, second = data
        assert data.names == ("a", "b")
        assert np.array_equal(first.image, data[0].image)
        assert not np.array_equal(first.image[first.alpha == 0], second.image[second.alpha == 0])
        assert np.array_equal(first.image[first.alpha == 1], first.foreground[first.alpha == 1])

    def test_parts(self, tmp_path):
        for split in ("train", "val"):
            self.cutout(tmp_path / split / "deep" / f"{split}.png")
        assert open_dataset("rgba", tmp_path, split="validation").names == ("deep/val",)
        assert open_dataset("rgba", tmp_path, split="all").names == ("train/deep/train", "val/deep/val")

    def test_opaque(self, tmp_path):
        write(tmp_path / "a.png", photo(0))
        with pytest.raises(InputError, match=r"a\.png has no transparency"):
            open_dataset("rgba", tmp_path)[0]

    @pytest.mark.parametrize("copies", [0, -1, 1.5, "2"])
    def test_copies(self, tmp_path, copies):
        self.cutout(tmp_path / "a.png")
        with pytest.raises(ConfigError, match="copies"):
            open_dataset("rgba", tmp_path, copies=copies)

    def test_no_backgrounds_there(self, tmp_path):
        self.cutout(tmp_path / "a.png")
        with pytest.raises(InputError, match="does not exist"):
            open_dataset("rgba", tmp_path, backgrounds=tmp_path / "nowhere")

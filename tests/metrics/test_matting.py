from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perpixel.errors import InputError
from perpixel.metrics.matting import PRINTED, MattingMeter, connectivity_error, gradient_error, mse, sad

sizes = st.tuples(st.integers(1, 13), st.integers(1, 13))
MEASURES = [sad, mse, gradient_error, connectivity_error]


def slow_gradient(alpha: np.ndarray) -> np.ndarray:
    """The magnitude with one 9×9 kernel a direction, written out from the benchmark's definition."""
    from scipy.ndimage import convolve

    def gauss(x: float) -> float:
        return math.exp(-x * x / (2 * 1.4**2)) / (1.4 * math.sqrt(2 * math.pi))

    kernel = np.array([[gauss(y) * -x * gauss(x) / 1.4**2 for x in range(-4, 5)] for y in range(-4, 5)])
    kernel /= math.sqrt((kernel**2).sum())
    return np.sqrt(convolve(alpha, kernel, mode="nearest") ** 2 + convolve(alpha, kernel.T, mode="nearest") ** 2)


def slow_connectivity(alpha: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The connectivity of each pixel of `alpha`, pixel by pixel."""
    from skimage.measure import label

    kept = []
    for step in range(1, 11):
        regions = label((alpha >= step / 10) & (other >= step / 10), connectivity=1)
        sizes = np.bincount(regions.ravel())
        sizes[0] = 0
        kept.append(regions == np.argmax(sizes) if sizes.any() else np.zeros(alpha.shape, bool))
    phi = np.empty(alpha.shape)
    for place in np.ndindex(alpha.shape):
        level = next((step / 10 for step in range(10) if not kept[step][place]), 1.0)
        above = alpha[place] - level
        phi[place] = 1 - above if above >= 0.15 else 1
    return phi


def test_sad_and_mse_by_hand() -> None:
    pred, true = np.array([[0, 0.5, 1.0]]), np.array([[0, 1.0, 0.75]])
    trimap = np.uint8([[0, 128, 128]])
    assert sad(pred, true) == pytest.approx(0.75 / 1000)
    assert mse(pred, true) == pytest.approx((0.25 + 0.0625) / 3)
    assert mse(pred, true, trimap) == pytest.approx((0.25 + 0.0625) / 2)
    assert sad(pred, true, np.uint8([[128, 128, 255]])) == pytest.approx(0.5 / 1000)


def test_eight_bit_alphas_count_as_fractions_of_255() -> None:
    assert sad(np.uint8([[51]]), np.uint8([[255]])) == pytest.approx(0.8 / 1000)
    assert mse(np.uint8([[51]]), np.array([[1.0]])) == pytest.approx(0.64)


@settings(max_examples=25, deadline=None)
@given(sizes, st.integers(0, 1000))
def test_gradient_as_two_dimensional_kernels_give_it(size: tuple[int, int], seed: int) -> None:
    pred, true = np.random.default_rng(seed).random((2, *size))
    expected = ((slow_gradient(pred) - slow_gradient(true)) ** 2).sum() / 1000
    assert gradient_error(pred, true) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_gradient_of_a_ramp_by_hand() -> None:
    # A ramp of slope 0.01 along x. The smoothing part passes it on, scaled by its sum, and the derivative part
    # gives slope · Σ x · d(x), both over their norms.
    at = np.arange(-4, 5)
    smooth = np.exp(-(at**2) / (2 * 1.96))
    slope = at * smooth
    factor = smooth.sum() / np.sqrt((smooth**2).sum()) * (slope * at).sum() / np.sqrt((slope**2).sum())
    ramp = np.tile(np.arange(60) * 0.01, (30, 1))
    trimap = np.zeros(ramp.shape, np.uint8)
    trimap[15, 30] = 128  # far from the borders
    assert gradient_error(ramp, np.zeros_like(ramp), trimap) == pytest.approx((0.01 * factor) ** 2 / 1000)


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(0, 1000), st.sampled_from([0.0, 0.3, 0.8]))
def test_connectivity_as_scikit_image_labels_it(size: tuple[int, int], seed: int, floor: float) -> None:
    from skimage.measure import label

    pred, true = np.random.default_rng(seed).uniform(floor, 1.3, (2, *size)).clip(0, 1)
    for step in range(1, 11):
        regions = np.bincount(label(np.minimum(pred, true) >= step / 10, connectivity=1).ravel())[1:]
        if len(regions) and (regions == regions.max()).sum() > 1:
            return  # two largest regions: the definition does not say which counts
    expected = np.abs(slow_connectivity(pred, true) - slow_connectivity(true, pred)).sum() / 1000
    assert connectivity_error(pred, true) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_connectivity_by_hand() -> None:
    # The truth is an opaque block of 6 pixels. The prediction adds a speck of 0.7 that nothing connects with it:
    # its connectivity is 1 - 0.7, that of the truth there is 1.
    true = np.zeros((3, 6))
    true[:, :2] = 1
    pred = true.copy()
    pred[1, 4] = 0.7
    assert connectivity_error(pred, true) == pytest.approx(0.7 / 1000)
    # A faint speck stays below the threshold of 0.15.
    pred[1, 4] = 0.1
    assert connectivity_error(pred, true) == 0
    # Where both are connected up to 0.4 (the smaller alpha), the truth of 1 loses what it rises above: 0.6.
    pred, true = np.ones((3, 6)), np.ones((3, 6))
    pred[1, 4] = 0.4
    assert connectivity_error(pred, true) == pytest.approx(0.6 / 1000)


@pytest.mark.parametrize("measure", MEASURES)
@settings(max_examples=15, deadline=None)
@given(
    alphas=hnp.arrays(
        np.float32, st.tuples(st.just(2), st.integers(1, 9), st.integers(1, 9)), elements=st.floats(0, 1, width=32)
    )
)
def test_zero_for_equal_mattes_and_symmetric(measure, alphas: np.ndarray) -> None:
    pred, true = alphas
    assert measure(pred, pred) == 0
    assert measure(pred, true) == pytest.approx(measure(true, pred), rel=1e-6, abs=1e-12)
    assert measure(pred, true) >= 0


@pytest.mark.parametrize("measure", MEASURES)
def test_only_the_unknown_counts(measure) -> None:
    rng = np.random.default_rng(1)
    true = rng.random((20, 20))
    pred = true.copy()
    pred[:5] = 0
    trimap = np.zeros((20, 20), np.uint8)
    trimap[12:] = 128  # farther than the gradient's kernel reaches; and no region is cut off
    if measure is connectivity_error:
        true[5:], pred[5:] = 1, 1
    assert measure(pred, true) > 0
    assert measure(pred, true, trimap) == 0


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("pred", "true", "trimap", "words"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), None, "pred is 3×2 but true is 2×3"),
        (np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((4, 4), np.uint8), "trimap is 4×4"),
        (np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 3), np.uint8), "unknown"),
        (np.full((2, 3), 255.0), np.zeros((2, 3)), None, r"pred lies in \[255, 255\]"),
        (np.zeros((2, 3)), np.full((2, 3), np.nan), None, "true lies in"),
        (np.zeros((2, 3, 1)), np.zeros((2, 3)), None, "shape"),
    ],
)
def test_bad_input_is_refused(measure, pred, true, trimap, words: str) -> None:
    with pytest.raises(InputError, match=words):
        measure(pred, true, trimap)


def soft_disc(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A disc with a soft edge, a prediction that is off and nearly cut in two, and a band of unknown pixels."""
    y, x = np.mgrid[:height, :width]
    far = np.hypot((y - height / 2) / (height / 3), (x - width / 2) / (width / 3))
    true = np.clip(2.5 - 2 * far, 0, 1)
    pred = np.clip(true + 0.6 * (np.random.default_rng(seed).random((height, width)) - 0.5), 0, 1)
    pred[height // 3 : height // 3 + 3] *= 0.2
    return pred, true, np.where(far < 0.6, 255, np.where(far > 1.4, 0, 128)).astype(np.uint8)


# What MMEval 0.2.1 gives for them (SumAbsoluteDifferences, MattingMeanSquaredError, GradientError and
# ConnectivityError), with both alphas set to 0 outside of the unknown pixels for the first two, as it asks for.
MMEVAL = {
    (48, 64, 0): {
        "sad": 0.23270551330345404,
        "mse": 0.03993661188739298,
        "grad": 0.19223651133783662,
        "conn": 0.2454769653141409,
        "sad_whole": 0.3796566834181907,
        "mse_whole": 0.040432251374394164,
        "grad_whole": 0.43811017912553835,
        "conn_whole": 0.3804307293910249,
    },
    (61, 37, 1): {
        "sad": 0.15987827637944935,
        "mse": 0.035069104382246044,
        "grad": 0.12075735205494492,
        "conn": 0.16320682522567906,
        "sad_whole": 0.2511822544620536,
        "mse_whole": 0.033824897555438736,
        "grad_whole": 0.26478975859621096,
        "conn_whole": 0.24455087187126695,
    },
}


def test_as_mmeval_measures() -> None:
    meter = MattingMeter()
    for case, expected in MMEVAL.items():
        assert meter.update(*soft_disc(*case)) == pytest.approx(expected, rel=1e-10)
    first, second = MMEVAL.values()
    assert meter.compute() == pytest.approx({name: (first[name] + second[name]) / 2 for name in first}, rel=1e-10)
    assert meter.compute().keys() == PRINTED.keys()


def test_the_meter_has_the_functions_numbers() -> None:
    pred, true, trimap = soft_disc(20, 30, 2)
    image = MattingMeter().update(pred, true, trimap)
    for name, measure in zip(("sad", "mse", "grad", "conn"), MEASURES, strict=True):
        assert (image[name], image[f"{name}_whole"]) == (measure(pred, true, trimap), measure(pred, true))


def test_an_image_without_unknown_pixels_counts_as_a_whole_only() -> None:
    pred, true, trimap = soft_disc(20, 30, 2)
    meter = MattingMeter()
    assert all(map(math.isnan, meter.compute().values()))
    with_band = meter.update(pred, true, trimap)
    for nothing in (None, np.zeros_like(trimap)):
        image = meter.update(true, true, nothing)
        assert [math.isnan(image[name]) for name in PRINTED] == [True] * 4 + [False] * 4
    measures = meter.compute()
    assert measures["sad"] == with_band["sad"]
    assert measures["sad_whole"] == pytest.approx(with_band["sad_whole"] / 3)


def mattes(count: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    random = np.random.default_rng(4)
    return [
        (*random.random((2, *size)), random.choice(np.uint8([0, 128, 255]), size) if size[0] > 1 else None)
        for size in random.integers(1, 5, (count, 2))
    ]


def measured(images: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]) -> MattingMeter:
    meter = MattingMeter()
    for image in images:
        meter.update(*image)
    return meter


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_split_in_any_order_gives_the_same(data: st.DataObject) -> None:
    images = mattes(8)
    order, cut = data.draw(st.permutations(range(8))), data.draw(st.integers(0, 8))
    first, second = (measured([images[place] for place in part]) for part in (order[:cut], order[cut:]))
    first.merge(pickle.loads(pickle.dumps(second)))
    assert first.compute() == measured(images).compute()


def test_a_thousand_images_take_no_more_room() -> None:
    assert len(pickle.dumps(measured(mattes(1000)))) < len(pickle.dumps(measured(mattes(20)))) + 200


def test_a_refused_image_leaves_the_meter_as_it_was() -> None:
    meter = MattingMeter()
    with pytest.raises(InputError, match="trimap is 4×4"):
        meter.update(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((4, 4), np.uint8))
    assert math.isnan(meter.compute()["sad_whole"])

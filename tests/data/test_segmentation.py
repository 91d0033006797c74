import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data.miniatures_segmentation import colours, photo, picture
from perpixel.data.samples import VOID, LabelledObject
from perpixel.data.segmentation import class_numbers, panoptic_sample, read_ids
from perpixel.errors import InputError


@given(
    values=arrays.arrays(
        st.sampled_from([np.bool_, np.uint8, np.uint16, np.int32, np.int64]),
        st.tuples(st.integers(1, 5), st.integers(1, 5)),
    ),
    shift=st.integers(0, 3),
)
@settings(max_examples=40, deadline=None)
def test_every_type_of_number_is_looked_up(tmp_path_factory, values, shift):
    found = np.unique(values).tolist()
    numbers = {int(value): place - 1 for place, value in enumerate(found)}
    labels = class_numbers(values, numbers, "x.png", "mend it")
    assert labels.dtype == np.int32 and labels.shape == values.shape
    assert all(numbers[int(value)] == label for value, label in zip(values.flat, labels.flat, strict=True))
    strange = found[shift % len(found)]
    del numbers[int(strange)]
    with pytest.raises(InputError, match=rf"^x.png holds {strange}, which no class has: mend it$"):
        class_numbers(values, numbers, "x.png", "mend it")


def test_numbers_are_read_from_every_kind_of_picture(tmp_path):
    ids = np.array([[0, 1, 300], [7, 65_535, 2]])
    picture(tmp_path / "grey.png", ids.astype(np.uint16))
    picture(tmp_path / "palette.png", (ids % 256).astype(np.uint8), palette=True)
    picture(tmp_path / "colour.png", colours(ids * 200))
    tifffile.imwrite(tmp_path / "float.tif", ids.astype(np.float32))
    tifffile.imwrite(tmp_path / "fraction.tif", ids.astype(np.float32) / 2)
    assert np.array_equal(read_ids(tmp_path / "grey.png"), ids)
    assert np.array_equal(read_ids(tmp_path / "palette.png"), ids % 256)
    assert np.array_equal(read_ids(tmp_path / "colour.png"), ids * 200)
    assert np.array_equal(read_ids(tmp_path / "float.tif"), ids)
    with pytest.raises(InputError, match=r"fraction.tif holds fractions"):
        read_ids(tmp_path / "fraction.tif")


@given(
    ids=arrays.arrays(
        np.int32,
        st.tuples(st.integers(1, 6), st.integers(1, 6)),
        elements=st.sampled_from([0, 1, 255, 70_000, 16_777_215]),
    )
)
@settings(max_examples=20, deadline=None)
def test_every_pixel_finds_its_segment(tmp_path_factory, ids):
    path = tmp_path_factory.mktemp("photo") / "a.png"
    photo(path, ids.shape)
    found = [int(value) for value in np.unique(ids)[::-1] if value]
    sample = panoptic_sample("a", path, ids, {value: LabelledObject(value % 7) for value in found}, path)
    places = {0: VOID, **{value: place for place, value in enumerate(found)}}
    assert np.array_equal(sample.labels, np.vectorize(places.__getitem__)(ids))
    assert [item.category for item in sample.objects] == [value % 7 for value in found]

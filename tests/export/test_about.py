import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpixel.errors import CheckpointError, InputError
from perpixel.export.about import About, Sizes

ABOUT = About(
    architecture="VitMatteForImageMatting",
    config={"model_type": "vitmatte", "hidden_size": 16, "names": ["ä", None]},
    processor={"image_processor_type": "VitMatteImageProcessor"},
    sizes=Sizes(32, (64, 96)),
    outputs=("alphas",),
    version="1.2.3",
    licence="Apache-2.0",
    half=True,
    opset=20,
)


@given(
    st.builds(Sizes, st.integers(1, 64)) | st.just(Sizes(14, (28, 42))), st.text(), st.booleans(), st.integers(0, 30)
)
def test_texts_there_and_back(sizes, licence, half, opset):
    about = About(
        "A", {"a": [1, 2.5, None]}, {"b": {"c": True}}, sizes, ("x", "y"), "0.1", "s", licence, "", half, opset
    )
    texts = about.to_texts()
    assert all(isinstance(text, str) for text in texts.values())
    assert About.from_texts({**texts, "of another program": "…"}, "f.onnx") == about


def test_texts_are_readable():
    texts = ABOUT.to_texts()
    assert texts["perpixel.licence"] == "Apache-2.0"
    assert json.loads(texts["perpixel.sizes"]) == {"multiple": 32, "fixed": [64, 96]}
    assert json.loads(texts["perpixel.config"])["hidden_size"] == 16
    assert texts["perpixel.opset"] == "20"


@pytest.mark.parametrize("lost", ["perpixel.config", "perpixel.sizes"])
def test_files_of_others_are_refused(lost):
    texts = ABOUT.to_texts()
    with pytest.raises(CheckpointError, match=r"other\.onnx was not written by perpixel"):
        About.from_texts({key: text for key, text in texts.items() if key != lost}, "other.onnx")
    with pytest.raises(CheckpointError, match="was not written by perpixel"):
        About.from_texts({**texts, lost: "{"}, "other.onnx")


@pytest.mark.parametrize("size", [(0, 64), (64, 33), (-32, 64)])
def test_sizes_that_do_not_fit(size):
    with pytest.raises(InputError, match="multiples of 32"):
        Sizes(32).check(*size)
    with pytest.raises(InputError, match="multiples of 32"):
        Sizes(32, size)


def test_a_fixed_size_is_the_only_one():
    Sizes(32, (64, 96)).check(64, 96)
    with pytest.raises(InputError, match=r"96×64 only.*--dynamic"):
        Sizes(32, (64, 96)).check(96, 64)

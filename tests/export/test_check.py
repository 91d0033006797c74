import pytest
import torch

from perpixel.errors import OutputError
from perpixel.export.about import Sizes
from perpixel.export.check import Difference, check, difference, random_pixels, sizes_to_check


def test_difference_is_a_share_of_the_deviation():
    expected = torch.tensor([0.0, 2.0, 4.0])  # its deviation is 2
    assert difference(expected + torch.tensor([0.0, 0.5, -0.1]), expected) == pytest.approx(0.25)
    assert difference(expected, expected) == 0


def test_difference_of_a_constant_is_a_share_of_its_size():
    assert difference(torch.tensor([4.0, 5.0]), torch.tensor([4.0, 4.0])) == pytest.approx(0.25)
    assert difference(torch.tensor([0.5]), torch.zeros(1)) == 0.5


@pytest.mark.parametrize(
    "found", [torch.zeros(2), torch.tensor([0.0, 1.0, torch.nan]), torch.tensor([0, 1, torch.inf]), torch.zeros(3, 1)]
)
def test_what_cannot_be_compared_is_infinitely_far(found):
    assert difference(found, torch.tensor([0.0, 1.0, 2.0])) == float("inf")


def test_outliers_are_left_out_only_as_many_as_allowed():
    expected = torch.arange(100.0)
    found = expected.clone()
    found[:2] += 1000
    assert difference(found, expected, 0.02) == 0
    assert difference(found, expected, 0.01) > 30


def test_pixels_are_the_same_again_and_have_a_trimap():
    one, other = random_pixels(4, 64, 32, 7), random_pixels(4, 64, 32, 7)
    assert torch.equal(one, other)
    assert set(one[0, 3].unique().tolist()) == {0, 0.5, 1}
    assert not torch.equal(one, random_pixels(4, 64, 32, 8))


def test_sizes_are_such_that_the_file_takes_them():
    for sizes in (Sizes(32), Sizes(14), Sizes(28), Sizes(64), Sizes(32, (64, 96))):
        found = sizes_to_check(sizes)
        for size in found:
            sizes.check(*size)
        assert len(set(found)) == (3 if sizes.fixed is None else 1)


class Twice(torch.nn.Module):
    """Stands for a recorded model: what goes in comes out doubled."""

    names = ("alphas",)

    class Config:
        num_channels = 3

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Identity()
        self.model.config = self.Config()

    def forward(self, pixels):
        return (2 * pixels,)


class File:
    """Stands for an opened file."""

    def __init__(self, factor):
        self.factor = factor
        self.about = type("About", (), {"sizes": Sizes(32)})

    def tensors(self, pixels):
        return {"alphas": self.factor * pixels}


def test_a_file_with_other_numbers_is_refused():
    assert [type(found) for found in check(Twice(), File(2))] == [Difference] * 3
    with pytest.raises(OutputError, match=r"differs from the model by .* at 96×64"):
        check(Twice(), File(2.01))
    assert max(found.largest for found in check(Twice(), File(2.01), tolerance=0.1)) > 1e-3

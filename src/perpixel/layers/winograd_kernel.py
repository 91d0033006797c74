"""The compiled loops of `perpixel.layers.winograd`, for tensors; `winograd_loops` has what they do."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from perpixel.layers.compiled import Loop, address, load_loops

MODULE = "perpixel.layers.winograd_loops"
PLAIN = {"gather": "fff" + "i" * 13, "scatter": "fffff" + "i" * 16}
# Of ViTMatte alone, so no other model waits for it.
ENLARGING = {"enlarge": "ffff" + "i" * 16}


class Loops:
    """The loops. All tensors are contiguous float32."""

    def __init__(self, compiled: dict[str, Loop]) -> None:
        self._compiled = compiled

    def gather(
        self,
        x: Tensor,
        top: int,
        left: int,
        columns: int,
        first: int,
        begin: int,
        end: int,
        v: Tensor,
        place: int,
        *,
        relu: bool,
    ) -> None:
        """Bring tiles of 6×6 pixels, 4 apart, to the points of the products.

        Args:
            x: (h, w, c); outside it everything is 0.
            top: the row of x where the output's first row is.
            left: likewise the column.
            columns: tiles in a row of the output.
            first: which tile the first of `v` is.
            begin: where in `v` to begin.
            end: where in `v` to stop.
            v: (36, tiles, channels).
            place: where in the channels of `v` those of x begin.
            relu: whether x is below its ReLU.
        """
        (h, w, c), (_, tiles, channels) = x.shape, v.shape
        scratch = v.new_empty(37 * c)
        pointers = (address(x), address(v), address(scratch))
        sizes = (h, w, c, tiles, channels)
        self._compiled["gather"](*pointers, *sizes, top, left, columns, first, begin, end, place, relu)

    def enlarge(
        self,
        x: Tensor,
        top: int,
        left: int,
        reach: tuple[int, int, int, int],
        columns: int,
        first: int,
        begin: int,
        end: int,
        v: Tensor,
        place: int,
    ) -> None:
        """As `gather` of the bilinear enlargement of x by two, without making it.

        Args:
            x: (h, w, c).
            top: the row of the enlargement where the output's first row is; even.
            left: likewise the column.
            reach: the rows and columns of x that may be read, begin and end of each. What a tile reads beyond is no
                pixel of the output's window, or lies outside the image, where the enlargement repeats the edge.
            columns: tiles in a row of the output.
            first: which tile the first of `v` is.
            begin: where in `v` to begin.
            end: where in `v` to stop.
            v: (36, tiles, channels).
            place: where in the channels of `v` those of x begin.
        """
        (h, w, c), (_, tiles, channels) = x.shape, v.shape
        scratch, shares = v.new_empty(24 * c), v.new_empty(24)
        pointers = (address(x), address(v), address(scratch), address(shares))
        upper, lower, before, after = reach
        sizes = (h, w, c, tiles, channels)
        limits = (upper, lower - 1, before, after - 1)
        self._compiled["enlarge"](*pointers, *sizes, top, left, *limits, columns, first, begin, end, place)

    def scatter(
        self,
        m: Tensor,
        columns: int,
        first: int,
        begin: int,
        end: int,
        bias: Tensor,
        add: Tensor | None,
        out: Tensor,
        window: tuple[int, int, int, int, int, int],
        *,
        relu: bool,
    ) -> None:
        """Bring the products of each tile back to 4×4 pixels.

        Args:
            m: (36, tiles, c).
            columns: tiles in a row of the output.
            first: which tile the first of `m` is.
            begin: where in `m` to begin.
            end: where in `m` to stop.
            bias: (c,).
            add: what is added to the result, of the shape of `out` and not itself `out`.
            out: (h, w, c).
            window: top, bottom, left, right, the part of `out` that is written; then how many rows and columns
                before it the tiles begin.
            relu: whether a ReLU follows the bias.
        """
        h, w, c = out.shape
        assert add is None or add.shape == out.shape
        scratch = m.new_empty(25 * c)
        added = 0 if add is None else address(add)
        pointers = (address(m), address(bias), added, address(out), address(scratch))
        sizes = (m.shape[1], h, w, c)
        self._compiled["scatter"](*pointers, *sizes, columns, first, begin, end, *window, relu, add is not None)


@cache
def loops(*, enlarging: bool = False) -> Loops | None:
    """The compiled loops, made at the first call; None, perhaps with a warning, where they cannot be had.

    Args:
        enlarging: with `Loops.enlarge`.
    """
    plain = load_loops(MODULE, PLAIN)
    more = load_loops(MODULE, ENLARGING) if enlarging and plain is not None else {}
    return None if plain is None or more is None else Loops(plain | more)

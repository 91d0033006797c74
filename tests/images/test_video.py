"""Films are read frame by frame, upright, in their own colours and at their own times."""

import gc
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from images.films import broken_film, pictures, write_film
from perpixel.errors import InputError
from perpixel.images.video import ahead, is_film, open_film


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx264"), (".webm", "libvpx-vp9")])
def test_frames_come_in_order_with_their_times_and_colours(tmp_path, suffix, codec):
    shown = pictures(7, 64, 48)
    film = open_film(write_film(tmp_path / f"a{suffix}", shown, codec=codec, pixels="yuv420p"))
    frames = list(film.frames())
    assert (film.width, film.height, film.rate, film.bits, film.count) == (64, 48, 10, 8, 7)
    assert [frame.time for frame in frames] == [Fraction(number, 10) for number in range(7)]
    assert [frame.number for frame in frames] == list(range(7))
    for frame, picture in zip(frames, shown, strict=True):
        assert np.abs(frame.pixels.astype(int) - picture).mean() < 4


def test_avi_has_its_times_though_it_stores_none(tmp_path):
    film = open_film(write_film(tmp_path / "a.avi", pictures(5, 64, 48), codec="mpeg4"))
    assert [frame.time for frame in film.frames()] == [Fraction(number, 10) for number in range(5)]


def test_a_variable_frame_rate_keeps_every_time(tmp_path):
    ticks = [0, 10, 25, 31, 70, 71, 90, 200]
    film = open_film(write_film(tmp_path / "a.mp4", pictures(8, 64, 48), ticks=ticks))
    assert [frame.time for frame in film.frames()] == [Fraction(tick, 1000) for tick in ticks]
    assert [frame.duration for frame in film.frames()][:7] == [
        Fraction(after - before, 1000) for before, after in pairwise(ticks)
    ]


@pytest.mark.parametrize("angle", [0, 90, 180, -90])
def test_a_rotated_film_is_turned_upright(tmp_path, angle):
    coded = pictures(2, 64, 48)
    film = open_film(write_film(tmp_path / "a.mp4", coded, rotation=angle))
    upright = np.rot90(coded[0], angle // 90)  # both count anticlockwise
    frame = next(film.frames())
    assert frame.pixels.shape == upright.shape == (film.height, film.width, 3)
    assert np.abs(frame.pixels.astype(int) - upright).mean() < 4


@pytest.mark.parametrize("angle", [0, 90])
def test_frames_that_are_done_with_leave_the_memory_at_once(tmp_path, angle):
    film = open_film(write_film(tmp_path / "a.mp4", pictures(40, 64, 48), rotation=angle))
    gc.collect()
    gc.disable()  # what only Python's collector frees would stay
    try:
        count = sum(1 for _ in film.frames())
        kept = sum(type(each).__name__ == "VideoFrame" for each in gc.get_objects())
        assert count == 40 and kept < 12  # the decoder's own
    finally:
        gc.enable()


# White, red and blue in BT.709 and BT.601, by the equations of the recommendations, in the narrow range and the full.
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("matrix", "red", "blue"), [(1, 0.2126, 0.0722), (5, 0.299, 0.114)])
def test_the_named_matrix_and_range_are_used(tmp_path, matrix, red, blue, full):
    import av

    rgb = np.array([200, 60, 20]) / 255
    luma = red * rgb[0] + (1 - red - blue) * rgb[1] + blue * rgb[2]
    cb, cr = (rgb[2] - luma) / (2 * (1 - blue)), (rgb[0] - luma) / (2 * (1 - red))
    y, u, v = (
        (255 * luma, 128 + 255 * cb, 128 + 255 * cr) if full else (16 + 219 * luma, 128 + 224 * cb, 128 + 224 * cr)
    )
    planes = np.concatenate([np.full((48, 64), round(float(y))), np.full((12, 64), round(float(u))),
                             np.full((12, 64), round(float(v)))]).astype(np.uint8)  # fmt: skip
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as film:
        stream = film.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if full else 1
        film.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        film.mux(stream.encode(None))
    pixel = next(open_film(path).frames()).pixels[20, 30]
    assert np.abs(pixel.astype(int) - [200, 60, 20]).max() <= 2


def test_ten_bits_stay_more_than_eight(tmp_path):
    film = open_film(write_film(tmp_path / "a.mp4", pictures(2, 64, 48), pixels="yuv420p10le"))
    pixels = next(film.frames()).pixels
    assert film.bits == 16
    assert pixels.dtype == np.uint16
    assert np.abs(pixels / 257 - pictures(1, 64, 48)[0]).mean() < 4


def test_samples_come_from_all_over_the_film(tmp_path):
    film = open_film(write_film(tmp_path / "a.mp4", pictures(20, 64, 48), options={"g": "5", "crf": "2"}))
    times = [frame.time for frame in film.samples(4)]
    assert times == [Fraction(number, 2) for number in range(4)]


def test_a_film_that_breaks_off_gives_its_good_frames_and_then_says_so(tmp_path):
    film = open_film(broken_film(tmp_path))
    seen = []
    with pytest.raises(InputError, match=r"broken\.mp4 breaks off after 1\d frames \(1\.\d\d of 2\.00 s\)"):
        seen.extend(film.frames())
    assert 10 <= len(seen) < 15


def test_a_matroska_film_that_breaks_off_is_noticed_too(tmp_path):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(12)]
    data = write_film(tmp_path / "a.mkv", noise, options={"crf": "2", "bf": "0"}).read_bytes()
    (tmp_path / "b.mkv").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="breaks off after"):
        list(open_film(tmp_path / "b.mkv").frames())


def test_what_is_no_film_is_refused_with_one_clear_line(tmp_path):
    cases = {"text.mp4": b"just words\n", "empty.mp4": b"", "noise.mov": bytes(range(256)) * 9}
    words = {"text.mp4": "holds text", "empty.mp4": r"empty \(0 bytes\)", "noise.mov": "is no film"}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=words[name]):
            open_film(tmp_path / name)
    with pytest.raises(InputError, match="does not exist"):
        open_film(tmp_path / "nothing.mp4")
    with pytest.raises(InputError, match="is a folder"):
        open_film(tmp_path)


def test_a_film_without_its_index_is_told_apart(tmp_path):
    data = write_film(tmp_path / "a.mp4", pictures(4, 64, 48)).read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[: len(data) // 2])  # the index is at the end
    with pytest.raises(InputError, match="index is missing"):
        open_film(tmp_path / "b.mp4")


def test_sound_without_pictures_is_refused(tmp_path):
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as film:
        stream = film.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48000
        film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    with pytest.raises(InputError, match="has no pictures, only audio"):
        open_film(path)


def test_a_list_that_names_other_files_is_not_followed(tmp_path):
    write_film(tmp_path / "secret.mp4", pictures(2, 64, 48))
    playlist = tmp_path / "list.mp4"
    playlist.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with pytest.raises(InputError, match="holds text"):
        open_film(playlist)


def test_frames_that_are_too_large_are_refused(tmp_path):
    path = write_film(tmp_path / "a.mp4", pictures(2, 64, 48))
    with pytest.raises(InputError, match="64×48"):
        open_film(path, max_pixels=64 * 48 - 1)
    assert open_film(path, max_pixels=64 * 48).width == 64


def test_reading_ahead_keeps_order_and_errors():
    def items():
        yield from (1, 2)
        raise InputError("broken")

    seen = []
    with pytest.raises(InputError, match="broken"):
        seen.extend(ahead(items()))
    assert seen == [1, 2]


def test_films_are_known_by_their_suffix():
    assert is_film("a.MOV")
    assert not is_film("a.jpg")

"""Films are written with alpha, exact times and sound, and are whole or not there."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from images.films import pictures, write_film
from perpixel.errors import InputError, OutputError, PerpixelWarning
from perpixel.images.film_write import FilmWriter, check_film_output
from perpixel.images.video import open_film

TIMES = [Fraction(tick, 1000) for tick in (0, 100, 250, 310, 700, 750)]
LAST = Fraction(1, 20)


def source(folder, sound=None, suffix=".mp4", **options):
    return open_film(write_film(folder / f"in{suffix}", pictures(6, 64, 48), sound=sound, **options))


def cutouts(width=63, height=47):
    alpha = np.rint(np.linspace(0, 255, width))[None].repeat(height, 0).astype(np.uint8)
    return [np.dstack([picture, alpha]) for picture in pictures(6, width, height)]


def write(path, film, frames, content="alpha", **options):
    with FilmWriter(path, film, content, size=frames[0].shape[1::-1], **options) as writer:
        for pixels, time in zip(frames, TIMES, strict=True):
            writer.add(pixels, time, LAST)
    return path


def decoded(path, decoder=None):
    """Every frame, by a named decoder: FFmpeg's own for VP9 leaves alpha out, that of libvpx gives it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = av.CodecContext.create(decoder, "r") if decoder else stream.codec_context
        frames = [frame for packet in container.demux(stream) for frame in context.decode(packet)]
        return frames, [frame.pts * stream.time_base for frame in frames]


def test_prores_keeps_alpha_colours_and_times(tmp_path):
    frames = cutouts()
    shown, times = decoded(write(tmp_path / "a.mov", source(tmp_path), frames))
    assert [float(time) for time in times] == pytest.approx([float(time) for time in TIMES], abs=1e-4)
    assert shown[0].format.name.startswith("yuva444p")
    for frame, expected in zip(shown, frames, strict=True):
        found = frame.to_ndarray(format="rgba64le", src_colorspace=1, src_color_range=1, dst_color_range=2) / 257
        assert np.abs(found[..., 3] - expected[..., 3]).max() < 0.5
        assert np.abs(found[..., :3] - expected[..., :3]).mean() < 2


def test_webm_keeps_alpha(tmp_path):
    frames = cutouts()
    path = write(tmp_path / "a.webm", source(tmp_path), frames)
    shown, times = decoded(path, "libvpx-vp9")
    assert times == TIMES
    assert shown[0].format.name == "yuva420p"
    alpha = shown[3].to_ndarray(format="rgba", src_colorspace=1, src_color_range=1, dst_color_range=2)[..., 3]
    assert np.abs(alpha.astype(int) - frames[3][..., 3]).max() <= 4
    with av.open(str(path)) as container:
        assert container.streams.video[0].metadata["ALPHA_MODE"] == "1"


@pytest.mark.parametrize("bits", [8, 16])
def test_ffv1_gives_back_every_bit(tmp_path, bits):
    frames = cutouts()
    if bits == 16:
        frames = [frame.astype(np.uint16) * 257 for frame in frames]
    shown, _ = decoded(write(tmp_path / "a.mkv", source(tmp_path), frames))
    found = shown[2].to_ndarray(format="rgba" if bits == 8 else "rgba64le")
    assert np.array_equal(found, frames[2])


def test_sixteen_bit_grey_gives_back_every_bit(tmp_path):
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 65536, (47, 63)).astype(np.uint16) for _ in TIMES]
    shown, _ = decoded(write(tmp_path / "a.mkv", source(tmp_path), frames, "grey"))
    assert all(np.array_equal(one.to_ndarray(), other) for one, other in zip(shown, frames, strict=True))


def test_a_folder_gets_every_frame_its_times_and_the_sound(tmp_path):
    frames = cutouts()
    folder = write(tmp_path / "frames", source(tmp_path, "aac"), frames)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [*(f"{number:06}.png" for number in range(1, 7)), "frames.ffconcat", "sound.mka"]
    with Image.open(folder / "000004.png") as picture:
        assert np.array_equal(np.asarray(picture), frames[3])
    with av.open(str(folder / "frames.ffconcat"), options={"safe": "0"}) as container:  # as FFmpeg reads it
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert times[:6] == pytest.approx([float(time) for time in TIMES], abs=0.001)


def test_h264_pads_an_odd_size_and_says_so(tmp_path):
    frames = pictures(6, 63, 47)
    with pytest.warns(PerpixelWarning, match=r"64×48 instead of 63×47"):
        path = write(tmp_path / "a.mp4", source(tmp_path), frames, "picture")
    film = open_film(path)
    assert (film.width, film.height) == (64, 48)
    shown = [frame.pixels for frame in film.frames()]
    assert np.abs(shown[2][:47, :63].astype(int) - frames[2]).mean() < 4
    assert [float(frame.time) for frame in film.frames()] == pytest.approx([float(t) for t in TIMES], abs=1e-3)
    assert float(film.length) == pytest.approx(float(TIMES[-1] + LAST), abs=1e-3)


def packets(path):
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return stream.codec_context.name, [bytes(packet) for packet in container.demux(stream) if packet.size]


def test_sound_is_copied_where_the_file_takes_it(tmp_path):
    film = source(tmp_path, "aac")
    assert packets(write(tmp_path / "a.mov", film, cutouts())) == packets(film.path)


def test_sound_is_coded_anew_where_not(tmp_path):
    film = source(tmp_path, "aac")
    path = write(tmp_path / "a.webm", film, cutouts())
    assert packets(path)[0] == "opus"
    with av.open(str(path)) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert 0.5 < len(heard) / 48000 < 0.8
    spectrum = np.abs(np.fft.rfft(heard[4800:24000]))
    assert np.argmax(spectrum) / len(heard[4800:24000]) * 2 * np.pi == pytest.approx(0.06, abs=0.002)


def test_a_film_cut_short_is_valid_and_its_sound_ends_there(tmp_path):
    film = source(tmp_path, "aac")
    with FilmWriter(tmp_path / "a.mov", film, "alpha") as writer:
        for pixels, time in list(zip(cutouts(64, 48), TIMES, strict=True))[:2]:
            writer.add(pixels, time, LAST)
        writer.finish(complete=False)
    shown, _ = decoded(tmp_path / "a.mov")
    assert len(shown) == 2
    with av.open(str(tmp_path / "a.mov")) as container:
        assert max(packet.pts * packet.time_base for packet in container.demux(audio=0) if packet.size) < 0.15


def test_an_error_leaves_nothing_behind(tmp_path):
    film = source(tmp_path)
    for name in ("a.mov", "frames"):
        with pytest.raises(ZeroDivisionError), FilmWriter(tmp_path / name, film, "alpha") as writer:
            writer.add(cutouts(64, 48)[0], TIMES[0], LAST)
            raise ZeroDivisionError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4"]


def test_an_existing_film_stays_until_the_new_one_is_whole(tmp_path):
    film, goal = source(tmp_path), tmp_path / "a.mov"
    goal.write_bytes(b"old")
    with FilmWriter(goal, film, "alpha") as writer:
        writer.add(cutouts(64, 48)[0], TIMES[0], LAST)
        assert goal.read_bytes() == b"old"
    assert len(decoded(goal)[0]) == 1


def test_where_no_film_can_be_written_is_said_before_the_work(tmp_path):
    with pytest.raises(InputError, match=r"cannot hold a film with transparency: use \.mov, \.webm, \.mkv"):
        check_film_output(tmp_path / "a.mp4", "alpha")
    with pytest.raises(OutputError, match="does not exist"):
        check_film_output(tmp_path / "no" / "a.mov", "alpha")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "000001.png").touch()
    with pytest.raises(OutputError, match="not empty"):
        check_film_output(tmp_path / "full", "alpha")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        check_film_output(f"{tmp_path}/file/", "alpha")


def test_shape_of_pixels_and_colours_are_carried_over(tmp_path):
    film = source(tmp_path, matrix=5)
    from dataclasses import replace

    path = write(tmp_path / "a.mp4", replace(film, aspect=Fraction(4, 3)), pictures(6, 64, 48), "picture")
    again = open_film(path)
    assert again.aspect == Fraction(4, 3)
    assert again.colour.matrix == film.colour.matrix == 5
    assert np.abs(next(again.frames()).pixels.astype(int) - pictures(1, 64, 48)[0]).mean() < 4

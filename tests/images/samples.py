"""Encoded images and colour profiles made byte by byte, independent of the package."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms


def noise(height, width, channels, dtype=np.uint8, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def encoded(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png16(array, colour_type, *chunks, width=None, height=None):
    """A 16-bit PNG, every row unfiltered; colour type 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""
    height, width = height or array.shape[0], width or array.shape[1]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def png_bomb(side=30_000):
    """A whole PNG of side² black pixels in a few kilobytes."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _profile(kind, space, pcs, tags):
    """An ICC version 2 profile: header, table of tags, tags."""
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags:
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    white = struct.pack(">iii", 63190, 65536, 54061)  # D50
    header = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(body), b"", 0x02400000, kind, space, pcs)
    header += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + white
    return header.ljust(128, b"\0") + table + body


def _words(text):
    description = b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(8 + 3 + 67)
    right = b"text" + bytes(4) + b"none\0"
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
    return [(b"desc", description), (b"cprt", right), (b"wtpt", white)]


def grey_profile(gamma):
    """Greys under a pure power law."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    return _profile(b"mntr", b"GRAY", b"XYZ ", [*_words(b"grey"), (b"kTRC", curve)])


def cmyk_profile():
    """An odd press: paper is white, full cyan alone prints CIELAB (60, 40, 40), anything with more ink black."""
    ramp = bytes(range(256))
    corners = bytearray(16 * 3)
    for index in range(16):
        lightness, a, b = {0: (100, 0, 0), 8: (60, 40, 40)}.get(index, (0, 0, 0))
        corners[3 * index : 3 * index + 3] = bytes([round(lightness * 2.55), a + 128, b + 128])
    unit = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + unit + ramp * 4 + bytes(corners) + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", [*_words(b"press"), (b"A2B0", table)])


def with_orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif

"""ICC profiles: which kind of colour a profile is for, and conversion to sRGB where the kind must change."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

from perpixel.images.depth import Pixels


def profile_space(icc_profile: bytes | None) -> Literal["rgb", "grey", "cmyk", "other"] | None:
    """The kind of colour an ICC profile describes (ICC.1:2022, header bytes 16 to 19), None without one.

    >>> profile_space(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    'rgb'
    """
    if not icc_profile:
        return None
    if len(icc_profile) < 128 or icc_profile[36:40] != b"acsp":
        return "other"
    spaces: dict[bytes, Literal["rgb", "grey", "cmyk"]] = {b"RGB ": "rgb", b"GRAY": "grey", b"CMYK": "cmyk"}
    return spaces.get(icc_profile[16:20], "other")


def is_srgb(icc_profile: bytes | None) -> bool:
    """Whether the profile is absent or calls itself sRGB."""
    if not icc_profile:
        return True
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        return "srgb" in ImageCms.getProfileDescription(profile).lower()
    except (OSError, ImageCms.PyCMSError):
        return False


def to_srgb(image: Image.Image, icc_profile: bytes | None) -> Image.Image | None:
    """Convert to sRGB as print and photo viewers do: relative colorimetric with black-point compensation.

    Args:
        image: any mode that the profile fits (L, CMYK, LAB).
        icc_profile: its profile; None means CIELAB for a LAB image.

    Returns:
        an image of mode RGB, or None where the profile is broken or made for another kind of colour.
    """
    try:
        source = (
            ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
            if icc_profile
            else ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        )
        return ImageCms.profileToProfile(
            image,
            source,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (OSError, ImageCms.PyCMSError):
        return None


def grey_to_srgb(grey: Pixels, icc_profile: bytes) -> Pixels:
    """Bring greys under a grey profile (a gamma or a dot gain) to sRGB's tone curve.

    Args:
        grey: (h, w), uint8, uint16, or float32 in [0, 1].
        icc_profile: the grey profile.

    Returns:
        the same shape and dtype; unchanged where the profile is broken.
    """
    ramp = to_srgb(Image.fromarray(np.arange(256, dtype=np.uint8)[None]), icc_profile)
    if ramp is None:
        return grey
    curve = np.asarray(ramp)[0, :, 0]
    if grey.dtype == np.uint8:
        return curve[grey]
    # Pillow's colour management has no 16-bit grey; the curve is smooth, so lines between 256 points serve.
    top = 65535.0 if grey.dtype == np.uint16 else 1.0
    bent = np.interp(grey, np.linspace(0, top, 256), curve * (top / 255.0))
    return np.rint(bent).astype(np.uint16) if grey.dtype == np.uint16 else bent.astype(np.float32)

"""A photo as one upright RGB picture, through Pillow.

Applied: EXIF orientation, the embedded colour profile (to sRGB), transparency (on white), 16-bit
and grey and palette modes. Animated pictures are clips, not photos.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from common.errors import InputError
from common.images import on_white
from common.settings import Limits

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "JPEG2000", "PPM")
_ANIMATED = ("PNG", "WEBP", "AVIF", "GIF")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")
_ORIENTATION = 0x0112
_CLOCKWISE = {3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}


def read_photo(path: Path, limits: Limits) -> tuple[np.ndarray, int] | None:
    """RGB uint8 (H, W, 3) and the clockwise degrees applied; None where `path` is no photo.

    Raises InputError where it is a photo that cannot be used or is over the limits.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                if image.format in _ANIMATED and getattr(image, "is_animated", False):
                    return None
                limits.check(path.name, "megapixels", image.width * image.height / 1e6)
                orientation = image.getexif().get(_ORIENTATION, 1)
                return _to_rgb(ImageOps.exif_transpose(image)), _CLOCKWISE.get(orientation, 0)
    except UnidentifiedImageError:
        _refuse_heif(path)
        return None
    except Image.DecompressionBombError:
        raise InputError(
            f"{path.name} has more than {2 * Image.MAX_IMAGE_PIXELS // 10**6} megapixels",
            "scale the photo down first",
        ) from None
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise anything on a damaged file
        raise InputError(
            f"the photo {path.name} is damaged ({error})", "save it again as JPEG or PNG"
        ) from None


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        wide = image.mode.startswith("I;16") or values.max() > 255
        grey = np.clip((values + 128) // 257 if wide else values, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "F":
        raise InputError("the photo has floating-point pixels", "save it as an 8-bit PNG")
    if image.has_transparency_data:
        return on_white(np.asarray(_to_srgb(image.convert("RGBA"), "RGBA")))
    return np.asarray(_to_srgb(image, "RGB").convert("RGB"))


def _to_srgb(image: Image.Image, mode: str) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "L", "CMYK"):
        return image
    try:
        return ImageCms.profileToProfile(
            image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode=mode
        )
    except ImageCms.PyCMSError:  # a profile nobody can read is as good as none
        return image


def _refuse_heif(path: Path) -> None:
    with path.open("rb") as stream:
        head = stream.read(12)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        raise InputError(f"{path.name} is a HEIC photo", "export it as JPEG or PNG")

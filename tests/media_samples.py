"""Small photos and clips made on the spot, and a colour chart to send through them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

PATCHES = np.frombuffer(
    bytes.fromhex(
        """
        735244 c29682 627a9d 576c43 8580b1 67bdaa
        d67e2c 505ba6 c15a63 5e3c6c 9dbc40 e0a32e
        383d96 469449 af363c e7c71f bb5695 0885a1
        f3f3f2 c8c8c8 a0a0a0 7a7a79 555555 343434
        """
    ),
    np.uint8,
).reshape(4, 6, 3)
"""The 24 patches of the classic chart in sRGB."""


def ffmpeg(*arguments: object, stdin: bytes | None = None) -> None:
    """Run imageio-ffmpeg's binary."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, input=stdin, check=True)


def chart(height: int = 128, width: int = 192) -> np.ndarray:
    """The colour chart as RGB uint8; height a multiple of 4, width of 6."""
    return np.kron(PATCHES, np.ones((height // 4, width // 6, 1), np.uint8))


def patches(image: np.ndarray) -> np.ndarray:
    """Mean colours (4, 6, 3) of the middles of a chart's patches."""
    high, wide = image.shape[0] // 4, image.shape[1] // 6
    cells = image[: 4 * high, : 6 * wide].reshape(4, high, 6, wide, 3)
    return cells[:, high // 4 : -high // 4, :, wide // 4 : -wide // 4].mean((1, 3))


def delta_e(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """CIE 1976 colour difference of sRGB colours 0–255 (…, 3)."""
    lab = [cv2.cvtColor((c / 255).astype(np.float32), cv2.COLOR_RGB2LAB) for c in (a, b)]
    return np.linalg.norm(lab[0] - lab[1], axis=-1)


def chart_error(image: np.ndarray) -> float:
    """Largest colour difference between a chart that came through and the true one."""
    return float(delta_e(patches(image), PATCHES).max())


def encode(
    out: Path, frames: np.ndarray, *arguments: object, rate: object = 25, pixels: str = "rgb24"
) -> Path:
    """Write frames (T, H, W, C) as a clip, `arguments` being ffmpeg's output options."""
    height, width = frames.shape[1:3]
    source = ("-f", "rawvideo", "-pix_fmt", pixels, "-s", f"{width}x{height}", "-r", rate)
    ffmpeg(*source, "-i", "pipe:", *arguments, out, stdin=np.ascontiguousarray(frames).tobytes())
    return out


def numbered(count: int, height: int = 64, width: int = 64) -> np.ndarray:
    """Grey frames (count, H, W, 3) that tell their index: frame i has the level 10 · i."""
    levels = (10 * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def quarters(height: int = 64, width: int = 96) -> np.ndarray:
    """A picture (H, W, 3) of red, green, blue and white quarters, clockwise from the top left."""
    image = np.full((height, width, 3), 255, np.uint8)
    image[: height // 2, : width // 2] = 255, 0, 0
    image[: height // 2, width // 2 :] = 0, 255, 0
    image[height // 2 :, width // 2 :] = 0, 0, 255
    return image


def noise_clip(out: Path, frames: int = 4, size: int = 64) -> Path:
    """A short H.264 clip of noise."""
    source = ("-f", "lavfi", "-i", f"testsrc2=s={size}x{size}:r=25,format=yuv420p")
    ffmpeg(*source, "-frames:v", frames, out)
    return out

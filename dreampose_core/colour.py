"""Colour as eyes judge it: CIELAB, and the difference ΔE of CIEDE2000."""

from __future__ import annotations

import cv2
import numpy as np

_25_7 = 25.0**7


def lab(images: np.ndarray) -> np.ndarray:
    """CIELAB (D65) float32 (…, 3) of sRGB uint8 (…, 3): L 0–100, a and b about −128–127."""
    flat = images.reshape(-1, 1, 3).astype(np.float32) / 255
    return cv2.cvtColor(flat, cv2.COLOR_RGB2LAB).reshape(images.shape)


def ciede2000(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """ΔE00 (…) of CIELAB colours (…, 3): Sharma, Wu and Dalal 2005, weights 1. 1 is just seen."""
    l1, a1, b1 = np.moveaxis(np.asarray(first, np.float64), -1, 0)
    l2, a2, b2 = np.moveaxis(np.asarray(second, np.float64), -1, 0)
    mean_c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    grey = 1.5 - 0.5 * np.sqrt(mean_c7 / (mean_c7 + _25_7))
    c1, h1 = np.hypot(grey * a1, b1), np.rad2deg(np.arctan2(b1, grey * a1)) % 360
    c2, h2 = np.hypot(grey * a2, b2), np.rad2deg(np.arctan2(b2, grey * a2)) % 360
    coloured = c1 * c2 > 0
    turn = h2 - h1
    turn = np.where(turn > 180, turn - 360, np.where(turn < -180, turn + 360, turn)) * coloured
    hue = np.deg2rad(np.where(coloured, h1 + turn / 2, h1 + h2))
    turn = np.deg2rad(turn)

    dl, dc, dh = l2 - l1, c2 - c1, 2 * np.sqrt(c1 * c2) * np.sin(turn / 2)
    light, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    shade = (
        1
        - 0.17 * np.cos(hue - np.pi / 6)
        + 0.24 * np.cos(2 * hue)
        + 0.32 * np.cos(3 * hue + np.deg2rad(6))
        - 0.20 * np.cos(4 * hue - np.deg2rad(63))
    )
    s_l = 1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * shade
    blue = np.deg2rad(30) * np.exp(-(((np.rad2deg(hue % (2 * np.pi)) - 275) / 25) ** 2))
    mean_c7 = mean_c**7
    rotation = -2 * np.sqrt(mean_c7 / (mean_c7 + _25_7)) * np.sin(2 * blue)
    dl, dc, dh = dl / s_l, dc / s_c, dh / s_h
    return np.sqrt(np.maximum(dl**2 + dc**2 + dh**2 + rotation * dc * dh, 0))

"""The figures of `metrics.json` in plain language. A figure unknown here is shown as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Grade = Literal["good", "fair", "poor", ""]
_GRADES: tuple[Grade, ...] = ("good", "fair", "poor")

_HEADINGS = {
    "": "The clip itself",
    "truth": "Against the true frames",
    "drift": "Colour, the clip's end against its start",
    "pose": "Pose, as found in the result, against the one asked for",
    "identity": "Colours of the person against the subject's picture",
    "truth.identity": "The same of the true frames: light and shade alone",
    "extras": "Further figures",
    "extras.lpips": "LPIPS",
    "extras.fid": "FID",
    "extras.fvd": "FVD",
    "unmeasured": "What could not be measured",
}
_OF_THE_TRUTH = "the true frames' own, for comparison"


@dataclass(frozen=True)
class Scale:
    """How a figure is told: its name, form and unit, and words for good, fair and poor.

    A value is `good` up to the first limit and `fair` up to the second; where the first limit is
    the higher one, more is better and it is from there on.
    """

    name: str
    form: str
    limits: tuple[float, float]
    words: tuple[str, str, str]
    times: float = 1.0

    def grade(self, value: float) -> int:
        """0 good, 1 fair, 2 poor."""
        sign = 1 if self.limits[0] <= self.limits[1] else -1
        return sum(sign * value > sign * limit for limit in self.limits)


_UV = Scale(
    "Surface, error of U",
    "{:.3f}",
    (0.05, 0.12),
    ("the surface where it should be", "the surface shifted a little", "the surface shifted"),
)
_SCALES = {
    "flicker": Scale(
        "Flicker of the backdrop",
        "{:.2f} grey levels",
        (1, 2.5),
        ("steady: less than one grey level a frame", "a slight shimmer", "it flickers"),
        times=255,
    ),
    "colour_flicker": Scale(
        "Colour flicker of the backdrop",
        "ΔE {:.2f}",
        (0.5, 1.5),
        ("steady", "a slight shimmer", "it flickers"),
    ),
    "warped_difference": Scale(
        "Change along the motion",
        "{:.1f} grey levels",
        (3, 8),
        ("surfaces keep their look", "surfaces change a little", "surfaces boil"),
        times=255,
    ),
    "part_iou": Scale(
        "Overlap of body parts",
        "{:.2f}",
        (0.8, 0.6),
        ("the pose that was asked for", "the pose, with limbs a little off", "another pose"),
    ),
    "silhouette_iou": Scale(
        "Overlap of outlines",
        "{:.2f}",
        (0.92, 0.8),
        ("the outline that was asked for", "an outline a little off", "another outline"),
    ),
    "u_error": _UV,
    "v_error": replace(_UV, name="Surface, error of V"),
    "identity.*": Scale(
        "",
        "ΔE {:.1f}",
        (6, 12),
        ("the subject's colours", "the subject's colours, a little off", "other colours"),
    ),
    "lpips.value": Scale(
        "LPIPS",
        "{:.3f}",
        (0.05, 0.2),
        ("looks the same", "looks alike", "looks different"),
    ),
    "drift.background": Scale(
        "Backdrop",
        "ΔE {:.1f}",
        (2.3, 5),
        ("no change that one sees", "a slight change", "a visible change"),
    ),
    "drift.person": Scale(
        "Person, part by part",
        "ΔE {:.1f}",
        (5, 10),
        ("no more than light and shade", "a slight change", "a visible change"),
    ),
    "l1": Scale(
        "Mean difference",
        "{:.1f} grey levels",
        (3, 8),
        ("hardly seen", "seen when held side by side", "seen at once"),
        times=255,
    ),
    "psnr": Scale(
        "PSNR",
        "{:.2f} dB",
        (30, 22),
        ("hard to tell from the truth", "like the truth, softer", "differs in place or in detail"),
    ),
    "ssim": Scale(
        "SSIM",
        "{:.3f}",
        (0.95, 0.85),
        ("edges and texture as in the truth", "edges softer", "edges or texture elsewhere"),
    ),
    "person_psnr": Scale(
        "PSNR of the person",
        "{:.2f} dB",
        (25, 17),
        ("hard to tell from the truth", "like the truth, softer", "differs in place or in detail"),
    ),
    "person_ssim": Scale(
        "SSIM of the person",
        "{:.3f}",
        (0.9, 0.55),
        ("texture as in the truth", "shape kept, texture softer", "outline or texture elsewhere"),
    ),
}


@dataclass(frozen=True)
class Figure:
    """A row of the table."""

    name: str
    value: str
    reading: str = ""
    grade: Grade = ""


def table(metrics: Mapping[str, Any]) -> list[tuple[str, list[Figure]]]:
    """Headed groups of rows, from whatever figures there are; tables by frame are left out."""
    groups: dict[str, list[Figure]] = {}
    for path, value in _leaves(metrics):
        if path not in ("frames", "size") and not path.endswith((".size", ".resized")):
            group, _, _ = path.rpartition(".")
            groups.setdefault(group, []).append(figure(path, value))
    return [(_HEADINGS.get(group, _spoken(group)), rows) for group, rows in groups.items()]


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        path = f"{prefix}{key}"
        if isinstance(inner, Mapping) and not _is_numbered(inner):
            yield from _leaves(inner, f"{path}.")
        elif not (_is_table(inner) or (inner is None and path in _HEADINGS)):
            yield path, inner


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(row, Mapping) for row in value)


def _is_numbered(value: Any) -> bool:
    """Figures of numbered things, such as body parts."""
    return isinstance(value, Mapping) and bool(value) and all(map(str.isdigit, value))


def _scale(path: str) -> Scale | None:
    """By the last two names of a figure's place, or the last one; `*` is any."""
    *_, parent, key = ("", *path.split("."))
    names = (f"{parent}.{key}", f"{parent}.*", key)
    return next((_SCALES[name] for name in names if name in _SCALES), None)


def figure(path: str, value: Any) -> Figure:
    """One figure, by its place in metrics.json ("truth.psnr")."""
    scale, spoken = _scale(path), _spoken(path.rpartition(".")[2])
    name = (scale and scale.name) or spoken
    if path.startswith("unmeasured."):
        return Figure(name, "–", value)
    if value is None:
        return Figure(name, "–", "could not be measured")
    if _is_numbered(value):
        parts = (f"{k}: {'–' if v is None else f'{v:.2f}'}" for k, v in value.items())
        return Figure(name, "", " · ".join(parts))
    if scale is None or isinstance(value, bool) or not isinstance(value, int | float):
        return Figure(name, _plain(value))
    told = value * scale.times
    text = scale.form.format(told)
    if path.startswith("truth.") and not _compares(path):
        return Figure(name, text, _OF_THE_TRUTH)
    grade = scale.grade(told)
    return Figure(name, text, scale.words[grade], _GRADES[grade])


def _compares(path: str) -> bool:
    """Whether a figure below `truth` sets the result against the true frames."""
    return path.removeprefix("truth.") in ("l1", "psnr", "ssim", "person_psnr", "person_ssim")


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _spoken(key: str) -> str:
    words = key.replace("_", " ").replace(".", ", ")
    return words[:1].upper() + words[1:]


def curves(metrics: Mapping[str, Any]) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
    """Every figure that was measured frame by frame: its name → frames, values."""
    found = {}
    for rows in filter(_is_table, metrics.values()):
        keys = dict.fromkeys(key for row in rows for key in row if key != "frame")
        for key in keys:
            scale = _scale(key)
            points = [(r["frame"], r[key]) for r in rows if _is_number(r.get(key))]
            if points and "frame" in rows[0]:
                frames, values = zip(*points, strict=True)
                times = scale.times if scale else 1
                found[scale.name if scale else _spoken(key)] = (
                    frames,
                    [value * times for value in values],
                )
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

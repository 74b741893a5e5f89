"""The mannequin benchmark, second half: figures, tables, curves and sheets of the frames made.

Views apart, on the full frame and inside the person's mask (the dilated union of what differs from
the empty backdrop in the true and in the made frame). Poses are estimated beside
(`python -m densepose_prep estimate`) and compared with those asked for from one confusion matrix.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from common.errors import InputError
from common.files import publish, write_json, write_text
from common.images import write_png
from common.pose_error import NO_PIXELS, PoseError, pose_error
from common.pose_error import summary as pose_summary
from common.progress import track
from common.shards import Shard, open_shard, views
from common.workers import in_processes
from dreampose_core import identity, metrics
from dreampose_core.backdrop import backdrop
from dreampose_core.benchmark import CEILING, METHODS, OURS, PUBLISHED, WARP, Level
from dreampose_core.contact import cell, lay_out
from dreampose_core.measuring import one_thread
from dreampose_core.motion import motion, warped_difference

TRUTH = "truth"
VIEWS = ("all", "front", "side", "back")
_NEAR = ("psnr", "ssim", "person_psnr", "person_ssim")
_STEADY = ("flicker", "colour_flicker", "warped_difference")
_CLOTHES_DIFFERENCE, _DILATION = 14, 5
_SHEET_SUBJECTS, _SHEET_FRAMES, _SHEET_HEIGHT = 3, 8, 320
_TURN = 15
"""Degrees of a step of the curves."""


def person_mask(
    frames: np.ndarray, empty: np.ndarray, person: np.ndarray | None = None
) -> np.ndarray:
    """Dilated mask (T, H, W) of what differs from the empty backdrop (H, W, 3).

    Of made frames the true `person` (T, H, W) is given: a backdrop that is brighter or darker as a
    whole is no person.
    """
    change = frames.astype(np.float32) - empty
    if person is not None:
        change -= np.stack([np.median(c[~p], 0) for c, p in zip(change, person, strict=True)])[
            :, None, None
        ]
    apart = np.abs(change).max(-1) > _CLOTHES_DIFFERENCE
    kernel = np.ones((_DILATION, _DILATION), np.uint8)
    return np.stack([cv2.dilate(mask.astype(np.uint8), kernel) > 0 for mask in apart])


@dataclass(frozen=True)
class Method:
    """One method's frames, an array (S, M, T, H, W, 3) on disk, and its estimated poses."""

    level: Level
    slug: str
    name: str
    frames: Path
    estimated: Path | None


@dataclass(frozen=True)
class _Job:
    data: Path
    row: int
    methods: tuple[Method, ...]
    true_poses: Path | None


@dataclass
class Seen:
    """What was measured of one method: a row a frame, a row a clip, poses and colours pooled."""

    frames: list[dict[str, Any]]
    clips: list[dict[str, float]]
    asked: PoseError = NO_PIXELS
    """estimated from the result against asked for"""
    alike: PoseError = NO_PIXELS
    """estimated from the result against estimated from the truth"""
    colours: identity.ColourChange = identity.NO_CHANGE

    @classmethod
    def nothing(cls) -> Seen:
        return cls([], [])

    def add(self, other: Seen) -> None:
        """Take in what was measured of another subject."""
        self.frames += other.frames
        self.clips += other.clips
        self.asked, self.alike = self.asked + other.asked, self.alike + other.alike
        self.colours = self.colours + other.colours


def benchmark_table(
    data: Path,
    frames: tuple[Path, ...],
    out: Path,
    estimated: Path | None = None,
    workers: int | None = None,
) -> None:
    """Measure folders of `benchmark` on their shard; write the folder `out`, print the table.

    It gets `figures.json`, `table.md`, `curves.png` and `sheets/LEVEL-SUBJECT.png`.
    """
    shard = open_shard(data)
    methods, settings = _methods(frames, estimated)
    count = min(len(np.load(method.frames, mmap_mode="r")) for method in methods)
    own = estimated / f"{data.name}-rgb.npy" if estimated else None
    jobs = [_Job(data, row, methods, own) for row in range(count)]
    seen: dict[tuple[str, str], Seen] = {}
    for found in track(in_processes(_measure_subject, jobs, workers), "measuring", total=count):
        for key, value in found.items():
            seen.setdefault(key, Seen.nothing()).add(value)
    order = [("", TRUTH), *((method.level, method.slug) for method in methods)]
    rows = [_figures(key, seen[key]) for key in order]
    names = {(method.level, method.slug): method.name for method in methods}
    for row in rows:
        row["name"] = names.get((row["level"], row["method"]), "the true frames")
    figures = {
        "data": {
            "split": shard.meta["split"],
            "version": shard.meta["version"],
            "subjects": shard.meta["subjects"][:count],
            "motions": shard.meta["motions"][0],
            "families": shard.meta["families"][0],
            "frames": shard.shape[2],
        },
        "levels": settings,
        "share of the way": _ways(rows),
        "rows": rows,
    }
    table = _table(figures)
    with publish(out) as folder:
        (folder / "sheets").mkdir(parents=True)
        write_json(folder / "figures.json", figures)
        write_text(folder / "table.md", table)
        _draw_curves(rows, folder / "curves.png")
        for row in range(min(count, _SHEET_SUBJECTS)):
            for name, sheet in _sheets(data, methods, row):
                write_png(folder / "sheets" / f"{name}.png", sheet)
    print(table)


def _methods(
    folders: Sequence[Path], estimated: Path | None
) -> tuple[tuple[Method, ...], dict[str, Any]]:
    """All methods of all folders, and the settings of each level."""
    methods, settings = [], {}
    for folder in folders:
        try:
            made = json.loads((folder / METHODS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{folder} holds no benchmark frames ({error})",
                "make them with: python -m dreampose_core benchmark",
            ) from None
        for slug, name in made["names"].items():
            poses = estimated / f"{folder.name}-{slug}.npy" if estimated else None
            there = poses if poses and poses.exists() else None
            methods.append(Method(made["level"], slug, name, folder / f"{slug}.npy", there))
        settings[made["level"]] = {
            name: made[name] for name in ("photos", "sampling", "training", "noise")
        }
    return tuple(methods), settings


def _measure_subject(job: _Job) -> dict[tuple[str, str], Seen]:
    """Every method's figures of one subject, and the true frames' own."""
    shard = open_shard(job.data)
    own = np.load(job.true_poses, mmap_mode="r")[job.row, 1:] if job.true_poses else None
    seen: dict[tuple[str, str], Seen] = {}
    with one_thread():
        for clip in range(1, shard.shape[1]):
            true = TrueClip.of(shard, job.row, clip)
            found = own[clip - 1] if own is not None else None
            one = seen.setdefault(("", TRUTH), Seen.nothing())
            one.add(true.measure(true.frames, found, found, near=False))
            for method in job.methods:
                frames = np.array(np.load(method.frames, mmap_mode="r")[job.row, clip - 1])
                poses = (
                    np.array(np.load(method.estimated, mmap_mode="r")[job.row, clip - 1])
                    if method.estimated
                    else None
                )
                one = seen.setdefault((method.level, method.slug), Seen.nothing())
                one.add(true.measure(frames, poses, found))
    return seen


def _turns(yaw: np.ndarray) -> list[tuple[str, float]]:
    """View and degrees away from the camera (0–180) of each frame."""
    away = np.rad2deg(np.abs(np.angle(np.exp(1j * yaw))))
    return list(zip(views(yaw).tolist(), away.tolist(), strict=True))


@dataclass(frozen=True)
class TrueClip:
    """One true clip (T, H, W, 3) and what of it every method is compared with."""

    frames: np.ndarray
    iuv: np.ndarray
    turns: list[tuple[str, float]]
    """view and degrees turned away of each frame"""
    person: np.ndarray
    empty: np.ndarray
    flows: list[tuple[np.ndarray, np.ndarray]]
    subject: identity.SurfaceColours

    @classmethod
    def of(cls, shard: Shard, row: int, clip: int) -> TrueClip:
        """A clip of a benchmark shard, whose subject's photo is the first frame of clip 0."""
        photo, photo_iuv = (np.array(part[row, 0, 0]) for part in (shard.rgb, shard.iuv))
        frames, iuv = (np.array(part[row, clip]) for part in (shard.rgb, shard.iuv))
        empty = backdrop(photo, photo_iuv)
        return cls(
            frames,
            iuv,
            _turns(shard.yaw[row, clip]),
            person_mask(frames, empty),
            empty,
            [motion(*frames[t : t + 2]) for t in range(len(frames) - 1)],
            identity.surface_colours(photo, photo_iuv),
        )

    def measure(
        self,
        frames: np.ndarray,
        poses: np.ndarray | None = None,
        own_poses: np.ndarray | None = None,
        *,
        near: bool = True,
    ) -> Seen:
        """Figures of `frames` (T, H, W, 3) with their estimated `poses`, and the truth's own.

        Without `near` not how near they are to the truth.
        """
        colours = identity.NO_CHANGE
        for frame, iuv in zip(frames, self.iuv, strict=True):
            seen = identity.surface_colours(frame, iuv)
            colours = colours + identity.colour_change(self.subject, seen)
        mask = self.person | person_mask(frames, self.empty, self.person)
        rows = []
        if near:
            figures = metrics.by_picture(frames, self.frames, mask)
            rows = [
                {
                    "view": view,
                    "turn": turn,
                    **{name: values[i] for name, values in figures.items()},
                }
                for i, (view, turn) in enumerate(self.turns)
            ]
        warped = [warped_difference(*frames[t : t + 2], *f) for t, f in enumerate(self.flows)]
        steady = {
            "flicker": metrics.flicker(frames, ~self.person),
            "colour_flicker": metrics.colour_flicker(frames, ~self.person),
            "warped_difference": float(np.nanmean(warped)),
        }
        asked = pose_error(poses, self.iuv) if poses is not None else NO_PIXELS
        known = poses is not None and own_poses is not None
        alike = pose_error(poses, own_poses) if known else NO_PIXELS
        return Seen(rows, [steady], asked, alike, colours)


def _figures(key: tuple[str, str], seen: Seen) -> dict[str, Any]:
    """All means of one method."""
    level, slug = key
    by_view = {}
    for view in VIEWS if seen.frames else ():
        some = [row for row in seen.frames if view in ("all", row["view"])]
        means = {name: _mean([row[name] for row in some]) for name in _NEAR}
        by_view[view] = {"frames": len(some), **means}
    return {
        "level": level,
        "method": slug,
        "views": by_view,
        "curve": _curve(seen.frames),
        **{name: _mean([clip[name] for clip in seen.clips]) for name in _STEADY},
        "identity": {n: _round(v) for n, v in identity.summary(seen.colours).items()},
        "pose": _pose(seen.asked),
        "pose as in truth": _pose(seen.alike),
    }


def _curve(frames: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Means a step of the turn away from the camera."""
    steps = sorted({int(row["turn"] // _TURN) for row in frames})
    curve = []
    for step in steps:
        some = [row for row in frames if int(row["turn"] // _TURN) == step]
        means = {name: _mean([row[name] for row in some]) for name in ("psnr", "person_psnr")}
        curve.append({"turn": (step + 0.5) * _TURN, "frames": len(some), **means})
    return curve


def _pose(error: PoseError) -> dict[str, float | None] | None:
    if not error.counts.any():
        return None
    return {name: _round(value) for name, value in pose_summary(error).items()}


def _mean(values: Sequence[float]) -> float | None:
    return _round(float(np.nanmean(values))) if len(values) else None


def _round(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 5)


def _ways(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """How far each level's own frames are from the surface warp (0) to the round trip (1)."""
    by_key = {(row["level"], row["method"]): row["views"] for row in rows}
    low, high = by_key.get(("zero-shot", WARP)), by_key.get(("zero-shot", CEILING))
    if not low or not high:
        return {}
    return {
        level: {
            view: _round(
                (views[view]["psnr"] - low[view]["psnr"]) / (high[view]["psnr"] - low[view]["psnr"])
            )
            for view in VIEWS
            if views[view]["frames"]
        }
        for (level, slug), views in by_key.items()
        if slug == OURS
    }


def _table(figures: dict[str, Any]) -> str:
    data, rows = figures["data"], figures["rows"]
    motions = len(data["motions"]) - 1
    lines = [
        f"{len(data['subjects'])} subjects × {motions} motions × {data['frames']} frames, split "
        f"`{data['split']}`, subjects from {data['subjects'][0]}, motions "
        f"{', '.join(map(str, data['motions'][1:]))} (photos: {data['motions'][0]}).",
        "",
        "PSNR in dB / SSIM; person: inside the mask of the true and the made person.",
        "",
        "| level | method | full: all | front | side | back | person: all | front | side | back |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["views"]:
            cells = [
                f"{v[p]:.2f} / {v[s]:.3f}" if v["frames"] else "–"
                for p, s in (_NEAR[:2], _NEAR[2:])
                for v in (row["views"][view] for view in VIEWS)
            ]
            lines.append(f"| {row['level']} | {row['name']} | {' | '.join(cells)} |")
    lines += ["", *_way_lines(figures["share of the way"]), "", *_other_lines(rows), ""]
    return "\n".join(lines)


def _way_lines(ways: dict[str, dict[str, float]]) -> Iterator[str]:
    for level, shares in ways.items():
        said = ", ".join(f"{view} {100 * share:.0f} %" for view, share in shares.items())
        yield f"Of the way from surface warp to round trip in PSNR, {level}: {said}."


def _other_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield (
        "Changes a frame: brightness of what should be still (grey levels), its colour (ΔE in a, "
        "b), along the true motion (grey levels). ΔE00 of the body's surface against the photo. "
        "Estimated poses: part IoU, |ΔU|, |ΔV| against those asked for; part IoU against those "
        "estimated from the true frames."
    )
    yield ""
    yield (
        "| level | method | brightness | colour | along motion | ΔE00 | part IoU | \\|ΔU\\| "
        "| \\|ΔV\\| | IoU as in truth |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        pose, alike = row["pose"] or {}, row["pose as in truth"] or {}
        cells = [
            _said(255 * row["flicker"], 3),
            _said(row["colour_flicker"], 3),
            _said(255 * row["warped_difference"], 2),
            _said(row["identity"]["all"], 2),
            *(_said(pose.get(name), 3) for name in ("part_iou", "u_error", "v_error")),
            _said(alike.get("part_iou"), 3),
        ]
        yield f"| {row['level'] or '–'} | {row['name']} | {' | '.join(cells)} |"


def _said(value: float | None, places: int) -> str:
    return "–" if value is None else f"{value:.{places}f}"


def _draw_curves(rows: list[dict[str, Any]], out: Path) -> None:
    """Person PSNR against the turn away from the camera, a panel a level."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    levels = list(dict.fromkeys(row["level"] for row in rows if row["level"]))
    shown = [row for row in rows if row["method"] in (CEILING, WARP, "extended-warp")]
    figure, axes = pyplot.subplots(
        1, len(levels), figsize=(5 * len(levels), 6), sharey=True, squeeze=False
    )
    for axis, level in zip(axes[0], levels, strict=True):
        own = [row for row in rows if row["level"] == level and row not in shown]
        for row in [*shown, *own]:
            bold = row["method"] == OURS
            axis.plot(
                [point["turn"] for point in row["curve"]],
                [point["person_psnr"] for point in row["curve"]],
                label=row["name"],
                linewidth=2.4 if bold else 1.1,
                linestyle="--" if row in shown else "-",
                color="black" if bold else None,
            )
        axis.set(title=level, xlabel="degrees turned away from the camera", xlim=(0, 180))
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
    axes[0][0].set_ylabel("PSNR on the person, dB")
    figure.tight_layout()
    with publish(out) as partial:
        figure.savefig(partial, format="png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _sheets(data: Path, methods: Sequence[Method], row: int) -> Iterator[tuple[str, np.ndarray]]:
    """One sheet a level: photos, truth, the published behaviour and ours in the first motion."""
    shard = open_shard(data)
    some = np.linspace(0, shard.shape[2] - 1, _SHEET_FRAMES).round().astype(int)
    captions = [f"{view} {turn:.0f}°" for view, turn in _turns(shard.yaw[row, 1, some])]
    by_key = {(method.level, method.slug): method for method in methods}
    for level in dict.fromkeys(method.level for method in methods):
        pictures = {"photo": [shard.rgb[row, 0, 0]], "truth": shard.rgb[row, 1, some]}
        keys = {
            "warp": ("zero-shot", WARP),
            "faults": (level, PUBLISHED),
            "ours": (level, OURS),
        }
        for name, key in keys.items():
            if key in by_key:
                pictures[name] = np.load(by_key[key].frames, mmap_mode="r")[row, 0, some]
        cells = {
            name: [cell(np.array(frame), _SHEET_HEIGHT, smooth=True) for frame in frames]
            for name, frames in pictures.items()
        }
        subject = shard.meta["subjects"][row]
        footer = f"subject {subject}, motion {shard.meta['motions'][row][1]}, {level}"
        yield f"{level}-{subject}", lay_out(cells, captions, footer)

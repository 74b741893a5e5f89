"""Renders a subject in a motion: RGB frames and their exact IUV maps.

IUV has DensePose's part number 0..24 in channel 0 and U, V in channels 1, 2 as round(255 u), on
the charts of `charts.CHART_NAME`. It shows the bare body under the clothes, taken at the pixel
centres of the frame; RGB averages supersample x supersample points of each pixel.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mannequin import raster
from mannequin.body import BODY, HAIR, SKIRT, TIGHTS, Body, load_body
from mannequin.motion import Motion
from mannequin.paint import paint
from mannequin.skeleton import pose
from mannequin.subject import Scene, Subject

CAMERA_DISTANCE = 4.2  # m
SKIRT_LAG = 0.05  # radians at the ankle for each radian a clip of turning
NEARER = {BODY: 0.0, TIGHTS: 0.006, SKIRT: 0.008, HAIR: 0.01}  # m, keeps cloth above cloth


def render_clip(
    subject: Subject,
    motion: Motion,
    *,
    height: int = 160,
    width: int = 128,
    frame_indices: Sequence[int] | None = None,
    supersample: int = 2,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """RGB (T, H, W, 3) and IUV (T, H, W, 3) of the chosen frames of the motion (all of them)."""
    body = load_body()
    indices = range(len(motion)) if frame_indices is None else frame_indices
    rotations, translations = pose(motion, body, subject.joints)
    lag = motion.cloth_lag()
    camera = _Camera(body, subject)
    rgb = np.empty((len(indices), height, width, 3), np.uint8)
    iuv = np.empty_like(rgb)
    posed = np.empty_like(subject.dressed.vertices)
    normals = np.empty_like(posed)
    for out, frame in enumerate(indices):
        rest = _swing_skirt(subject, lag[frame])
        raster.skin(
            rest, body.bone_index, body.bone_weight, rotations[frame], translations[frame], posed
        )
        posed[:, 2] += camera.ground - posed[body.bare, 2].min()
        raster.vertex_normals(posed, body.faces, normals)
        iuv[out] = _render_iuv(body, camera.project(posed, height, width), height, width)
        fine = height * supersample, width * supersample
        image = _render_rgb(body, subject, camera, posed, normals, *fine)
        rgb[out] = np.round(255 * np.clip(_box_average(image, supersample), 0, 1))
    return rgb, iuv


class _Camera:
    """Looks along +y at half the body's height; the body fills scene.zoom of the frame."""

    def __init__(self, body: Body, subject: Subject) -> None:
        z = subject.dressed.vertices[body.bare, 2]
        self.ground = z.min()
        self.body_height = np.ptp(z)
        self.scene = subject.scene

    def focal(self, height: int) -> float:
        return self.scene.zoom * height / self.body_height * CAMERA_DISTANCE

    def project(self, points: NDArray, height: int, width: int) -> NDArray[np.float64]:
        """World points (N, 3) to pixels x, y and depth in metres (N, 3)."""
        depth = CAMERA_DISTANCE + points[:, 1]
        scale = self.focal(height) / depth
        x = width / 2 + (points[:, 0] + self.scene.offset_x) * scale
        y = height / 2 - (points[:, 2] - self.ground - self.body_height / 2) * scale
        return np.stack([x, y, depth], 1)


class _Canvas:
    """A z-buffer with the nearest face and its barycentric coordinates a pixel."""

    def __init__(self, height: int, width: int) -> None:
        self.depth = np.full((height, width), np.inf)
        self.face_id = np.full((height, width), raster.NO_FACE, np.int64)
        self.barycentric = np.empty((height, width, 2))

    def draw(self, body: Body, points: NDArray, layer: int, cover: NDArray) -> None:
        first, last = body.layer_start[layer : layer + 2]
        raster.draw_faces(
            points,
            body.faces,
            first,
            last,
            cover,
            NEARER[layer],
            self.depth,
            self.face_id,
            self.barycentric,
        )

    def hits(self) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.float64]]:
        """Covered pixels (H, W), then their face ids (N,) and barycentrics (N, 2)."""
        hit = self.face_id != raster.NO_FACE
        return hit, self.face_id[hit], self.barycentric[hit]


def _swing_skirt(subject: Subject, lag: float) -> NDArray[np.float64]:
    """Rest vertices with a skirt trailing behind a turn."""
    vertices = subject.dressed.vertices
    if not subject.outfit.has_skirt:
        return vertices
    angle = -SKIRT_LAG * lag * subject.dressed.skirt_drop
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = vertices.T
    return np.stack([cos * x - sin * y, sin * x + cos * y, z], 1)


def _render_iuv(body: Body, points: NDArray, height: int, width: int) -> NDArray[np.uint8]:
    canvas = _Canvas(height, width)
    canvas.draw(body, points, BODY, np.ones((len(points), 1)))
    hit, face_id, barycentric = canvas.hits()
    weights = np.column_stack([barycentric, 1 - barycentric.sum(1)])
    uv = np.einsum("nk,nkc->nc", weights, body.charts.uv[face_id])
    iuv = np.zeros((height, width, 3), np.uint8)
    iuv[hit, 0] = body.charts.part[face_id]
    iuv[hit, 1:] = np.round(255 * np.clip(uv, 0, 1))
    return iuv


def _render_rgb(
    body: Body,
    subject: Subject,
    camera: _Camera,
    posed: NDArray,
    normals: NDArray,
    height: int,
    width: int,
) -> NDArray[np.float64]:
    points = camera.project(posed, height, width)
    canvas = _Canvas(height, width)
    for layer in (BODY, TIGHTS, SKIRT, HAIR):
        canvas.draw(body, points, layer, subject.dressed.cover)
    hit, face_id, barycentric = canvas.hits()
    attributes = np.column_stack([body.canonical, normals, body.lips, body.eyes])
    surface = raster.interpolate(face_id, barycentric, body.faces, attributes)
    colours = paint(
        surface[:, :3],
        body.face_layer[face_id],
        surface[:, 6],
        surface[:, 7],
        subject.complexion,
        subject.haircut,
        subject.outfit,
        subject.dressed,
    )
    image = _backdrop(camera, subject.scene, posed[body.bare, 0].mean(), height, width)
    image[hit] = colours * _shade(surface[:, 3:6], subject.scene)[:, None]
    return image


def _shade(normals: NDArray, scene: Scene) -> NDArray[np.float64]:
    """Light (N,) on surfaces of unnormalised normals (N, 3), seen from either side."""
    normals = normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9)
    normals = np.where(normals[:, 1:2] > 0.15, -normals, normals)
    sky = 0.72 + 0.28 * (0.5 + 0.5 * normals[:, 2])
    facing = 0.75 + 0.25 * np.clip(-normals[:, 1], 0, 1)
    direct = np.clip(normals @ scene.light, 0, 1)
    return scene.ambient * sky * facing + (1.02 - scene.ambient) * direct


def _backdrop(
    camera: _Camera, scene: Scene, person_x: float, height: int, width: int
) -> NDArray[np.float64]:
    """A wall shaded from top to bottom with a soft shadow under the feet: (H, W, 3)."""
    wall = 1 + scene.background_slope * (np.linspace(0, 1, height) - 0.3)
    (x, y, _), *_ = camera.project(np.array([[person_x, 0, camera.ground]]), height, width)
    metre = camera.focal(height) / CAMERA_DISTANCE
    across = np.exp(-(((np.arange(width) - x) / (0.2 * metre)) ** 2))
    down = np.exp(-(((np.arange(height) - y) / (0.028 * metre)) ** 2))
    light = wall[:, None] * (1 - 0.28 * down[:, None] * across)
    return light[..., None] * scene.background


def _box_average(image: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """(H size, W size, 3) to (H, W, 3)."""
    corners = [(row, column) for row in range(size) for column in range(size)]
    return sum(image[row::size, column::size] for row, column in corners) / size**2

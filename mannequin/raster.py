"""Compiled kernels: skinning, vertex normals, z-buffer raster and attribute look-up.

Single-threaded on purpose (the data set writer runs one process a core). Screen points are
(x right, y down) in pixels with pixel centres at +0.5, and depth in metres from the camera.
"""

import numpy as np
from numba import njit

NO_FACE = -1


@njit(cache=True)
def skin(vertices, bone_index, bone_weight, rotations, translations, out):
    """Linear blend skinning of vertices (V, 3) by R (J, 3, 3) and t (J, 3) into out (V, 3)."""
    for i in range(vertices.shape[0]):
        a, b, c = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        x = y = z = 0.0
        for k in range(bone_index.shape[1]):
            w = bone_weight[i, k]
            if w > 0:
                r = rotations[bone_index[i, k]]
                t = translations[bone_index[i, k]]
                x += w * (r[0, 0] * a + r[0, 1] * b + r[0, 2] * c + t[0])
                y += w * (r[1, 0] * a + r[1, 1] * b + r[1, 2] * c + t[1])
                z += w * (r[2, 0] * a + r[2, 1] * b + r[2, 2] * c + t[2])
        out[i, 0], out[i, 1], out[i, 2] = x, y, z


@njit(cache=True)
def vertex_normals(vertices, faces, out):
    """Area-weighted unit normals (V, 3) into out."""
    out[:] = 0
    for i in range(faces.shape[0]):
        a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
        ux = vertices[b, 0] - vertices[a, 0]
        uy = vertices[b, 1] - vertices[a, 1]
        uz = vertices[b, 2] - vertices[a, 2]
        vx = vertices[c, 0] - vertices[a, 0]
        vy = vertices[c, 1] - vertices[a, 1]
        vz = vertices[c, 2] - vertices[a, 2]
        x = uy * vz - uz * vy
        y = uz * vx - ux * vz
        z = ux * vy - uy * vx
        for q in (a, b, c):
            out[q, 0] += x
            out[q, 1] += y
            out[q, 2] += z
    for i in range(out.shape[0]):
        length = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2) + 1e-12
        out[i, 0] /= length
        out[i, 1] /= length
        out[i, 2] /= length


@njit(cache=True)
def _any_cover(cover, a, b, c):
    for k in range(cover.shape[1]):
        if cover[a, k] >= 0 or cover[b, k] >= 0 or cover[c, k] >= 0:
            return True
    return False


@njit(cache=True)
def _is_covered(cover, a, b, c, wa, wb, wc):
    for k in range(cover.shape[1]):
        if wa * cover[a, k] + wb * cover[b, k] + wc * cover[c, k] >= 0:
            return True
    return False


@njit(cache=True)
def draw_faces(points, faces, first, last, cover, nearer, depth, face_id, barycentric):
    """Z-buffer faces[first:last] into depth (H, W), face_id (H, W), barycentric (H, W, 2).

    points (V, 3) are screen points, drawn `nearer` metres closer than they are. A pixel where every
    channel of the interpolated cover (V, G) is negative stays open: so a garment ends at its hem.
    """
    height, width = depth.shape
    for i in range(first, last):
        a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
        if not _any_cover(cover, a, b, c):
            continue
        ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
        bx, by, bz = points[b, 0], points[b, 1], points[b, 2]
        cx, cy, cz = points[c, 0], points[c, 1], points[c, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0:
            continue
        scale = 1.0 / area
        x0 = max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0)
        x1 = min(int(np.floor(max(ax, bx, cx) - 0.5)), width - 1)
        y0 = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0)
        y1 = min(int(np.floor(max(ay, by, cy) - 0.5)), height - 1)
        for y in range(y0, y1 + 1):
            py = y + 0.5
            for x in range(x0, x1 + 1):
                px = x + 0.5
                wa = ((bx - px) * (cy - py) - (by - py) * (cx - px)) * scale
                wb = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) * scale
                wc = 1.0 - wa - wb
                if wa < 0 or wb < 0 or wc < 0:
                    continue
                z = wa * az + wb * bz + wc * cz - nearer
                if z < depth[y, x] and _is_covered(cover, a, b, c, wa, wb, wc):
                    depth[y, x] = z
                    face_id[y, x] = i
                    barycentric[y, x, 0] = wa
                    barycentric[y, x, 1] = wb


@njit(cache=True)
def interpolate(face_id, barycentric, faces, attributes):
    """Vertex attributes (V, A) at N hit pixels: face_id (N,), barycentric (N, 2) -> (N, A)."""
    count, channels = face_id.shape[0], attributes.shape[1]
    out = np.empty((count, channels))
    for i in range(count):
        a, b, c = faces[face_id[i]]
        wa, wb = barycentric[i, 0], barycentric[i, 1]
        wc = 1.0 - wa - wb
        for k in range(channels):
            out[i, k] = wa * attributes[a, k] + wb * attributes[b, k] + wc * attributes[c, k]
    return out

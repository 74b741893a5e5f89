"""The baked body: mesh layers, shape space, skeleton, skin weights and charts.

One vertex array carries four layers of faces: the body itself and three pieces of clothing
geometry that follow its shape and pose (tights cover all of it, skirt, hair). "Canonical"
coordinates are those of the mean rest body, in metres: the same place on every subject.
"""

from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mannequin.charts import SEGMENTS, Charts, build_charts, segment_weights

BODY, TIGHTS, SKIRT, HAIR = range(4)
LAYER_NAMES = ("body", "tights", "skirt", "hair")
BODY_FILE = Path(__file__).with_name("body.npz")


@dataclass(frozen=True)
class Phenotype:
    """What a body is asked to be, each 0..1: femininity, age (adult from 0.67), build."""

    femininity: float
    age: float
    muscle: float
    weight: float
    height: float
    proportions: float

    def monomials(self) -> NDArray[np.float64]:
        return _monomials(np.array([astuple(self)]))[0]


@dataclass(frozen=True)
class Body:
    """V vertices, J joints, F faces in all layers, K shape components."""

    joint_names: tuple[str, ...]
    parents: tuple[int, ...]  # -1 at the root; parents come before their children
    canonical: NDArray[np.float64]  # (V, 3) m
    canonical_joints: NDArray[np.float64]  # (J, 3) m
    shape_basis: NDArray[np.float64]  # (K, V + J, 3) m
    shape_fit: NDArray[np.float64]  # (monomials, K): phenotype monomials -> components
    bone_index: NDArray[np.int64]  # (V, 4)
    bone_weight: NDArray[np.float64]  # (V, 4), rows sum to 1
    faces: NDArray[np.int64]  # (F, 3), layer after layer
    layer_start: tuple[int, ...]  # first face of each layer, then F
    face_layer: NDArray[np.int64]  # (F,)
    vertex_layer: NDArray[np.int64]  # (V,)
    bare: slice  # the body layer's vertices
    vertex_segment: NDArray[np.str_]  # (V,) names from charts.SEGMENTS
    charts: Charts  # of the body layer's faces
    lips: NDArray[np.float64]  # (V,) 0..1
    eyes: NDArray[np.float64]  # (V,) 0 or 1
    tights_smoother: sparse.csr_matrix  # one Laplacian smoothing step of the tights' vertices

    def joint(self, name: str) -> int:
        return self.joint_names.index(name)

    def canonical_joint(self, name: str) -> NDArray[np.float64]:
        return self.canonical_joints[self.joint(name)]

    def layer_faces(self, layer: int) -> NDArray[np.int64]:
        return self.faces[self.layer_start[layer] : self.layer_start[layer + 1]]

    def shaped(self, phenotype: Phenotype) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rest vertices (V, 3) and rest joints (J, 3) in metres."""
        components = phenotype.monomials() @ self.shape_fit
        offset = np.tensordot(components, self.shape_basis, 1)
        count = len(self.canonical)
        return self.canonical + offset[:count], self.canonical_joints + offset[count:]


@lru_cache(maxsize=1)
def load_body() -> Body:
    with np.load(BODY_FILE) as archive:
        baked = dict(archive)
    names = tuple(str(n) for n in baked["names"])
    count = len(baked["wi"])
    mean = baked["mean"].astype(np.float64)
    canonical, joints = mean[:count], mean[count:]
    bone_index = baked["wi"].astype(np.int64)
    bone_weight = baked["ww"] / baked["ww"].sum(1, keepdims=True, dtype=np.float64)
    layers = [baked["f_" + name].astype(np.int64) for name in LAYER_NAMES]
    vertex_layer = np.zeros(count, np.int64)
    for layer, faces in enumerate(layers):
        vertex_layer[faces] = layer
    weights = segment_weights(names, bone_index, bone_weight)
    fit, *_ = np.linalg.lstsq(
        _monomials(baked["pheno"].astype(np.float64)), baked["coef"].astype(np.float64), rcond=None
    )
    return Body(
        joint_names=names,
        parents=tuple(int(p) for p in baked["parents"]),
        canonical=canonical,
        canonical_joints=joints,
        shape_basis=baked["basis"].astype(np.float64),
        shape_fit=fit,
        bone_index=bone_index,
        bone_weight=bone_weight,
        faces=np.concatenate(layers),
        layer_start=tuple(int(n) for n in np.cumsum([0] + [len(f) for f in layers])),
        face_layer=np.repeat(np.arange(len(layers)), [len(f) for f in layers]),
        vertex_layer=vertex_layer,
        bare=slice(0, int(layers[BODY].max()) + 1),
        vertex_segment=np.array(SEGMENTS)[weights.argmax(1)],
        charts=build_charts(
            canonical, dict(zip(names, joints, strict=True)), layers[BODY], weights
        ),
        lips=baked["m_lips"] / 255.0,
        eyes=baked["eye"].astype(np.float64),
        tights_smoother=_smoother(layers[TIGHTS], np.flatnonzero(vertex_layer == TIGHTS)),
    )


def _monomials(phenotypes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 6) -> (N, 28): constant, linear and all quadratic terms."""
    rows, columns = np.triu_indices(phenotypes.shape[1])
    ones = np.ones((len(phenotypes), 1))
    return np.hstack([ones, phenotypes, phenotypes[:, rows] * phenotypes[:, columns]])


def _smoother(faces: NDArray[np.int64], vertices: NDArray[np.int64]) -> sparse.csr_matrix:
    """Moves each of `vertices` half way to the mean of its neighbours."""
    local = np.searchsorted(vertices, faces)
    start = np.concatenate([local[:, 0], local[:, 1], local[:, 2]])
    end = np.concatenate([local[:, 1], local[:, 2], local[:, 0]])
    shape = (len(vertices), len(vertices))
    links = sparse.coo_matrix((np.ones(len(start)), (start, end)), shape).tocsr()
    links = ((links + links.T) > 0).astype(np.float64)
    neighbours = np.asarray(links.sum(1)).ravel()
    return (0.5 * sparse.eye(len(vertices)) + sparse.diags(0.5 / neighbours) @ links).tocsr()

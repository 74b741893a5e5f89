"""Where the lines and boxes of a report's drawings go; its template draws them as SVG."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import networkx
from grandalf.graphs import Edge, Graph, Vertex
from grandalf.layouts import SugiyamaLayout, VertexViewer
from matplotlib.ticker import MaxNLocator

_WIDE, _HIGH = 320, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 22
_BOX = (156, 46)
_BETWEEN, _ACROSS = 36, 16
"""Pixels between layers of a graph, and between the boxes of a layer."""


@dataclass(frozen=True)
class Chart:
    """A curve in a frame of `size`: `line` is an SVG path, ticks are (place, text).

    `box` (x0, y0, x1, y1) holds the curve; `span` are the values at its left and right side.
    """

    title: str
    line: str
    dots: list[tuple[float, float]]
    across: list[tuple[float, str]]
    upward: list[tuple[float, str]]
    span: tuple[float, float]
    size: tuple[int, int] = (_WIDE, _HIGH)
    box: tuple[int, int, int, int] = (_LEFT, _TOP, _WIDE - _RIGHT, _HIGH - _BOTTOM)


def chart(title: str, xs: Sequence[float], ys: Sequence[float]) -> Chart:
    """A line chart; a single point is a dot."""
    across, upward = _ticks(xs, integer=True), _ticks(_apart(ys))
    left, right = min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1
    low, high = min(*ys, *upward), max(*ys, *upward)

    def x(value: float) -> float:
        return round(_LEFT + (value - left) / (right - left) * (_WIDE - _RIGHT - _LEFT), 1)

    def y(value: float) -> float:
        return round(_TOP + (high - value) / (high - low) * (_HIGH - _BOTTOM - _TOP), 1)

    points = [(x(a), y(b)) for a, b in zip(xs, ys, strict=True)]
    return Chart(
        title,
        "M" + " L".join(f"{a} {b}" for a, b in points),
        points if len(points) == 1 else [],
        [(x(value), f"{value:g}") for value in across if left <= value <= right],
        [(y(value), f"{value:.4g}") for value in upward],
        (left, right),
    )


def _apart(values: Sequence[float]) -> list[float]:
    """Their ends, drawn apart where they are so near that only noise would be seen."""
    low, high = min(values), max(values)
    room = max(0.0, (0.02 * max(abs(low), abs(high)) or 1) - (high - low)) / 2
    return [low - room, high + room]


def _ticks(values: Sequence[float], *, integer: bool = False) -> list[float]:
    locator = MaxNLocator(nbins=4, integer=integer)
    return [round(float(value), 10) for value in locator.tick_values(min(values), max(values))]


@dataclass(frozen=True)
class Box:
    """A box of a graph: its upper left corner and what it holds."""

    x: float
    y: float
    content: Any


@dataclass(frozen=True)
class Drawing:
    """A graph laid out in layers from left to right; `lines` are SVG paths."""

    width: int
    height: int
    boxes: list[Box]
    lines: list[str]
    box_size: tuple[int, int] = _BOX


def graph(nodes: Mapping[Hashable, Any], edges: Iterable[tuple[Hashable, Hashable]]) -> Drawing:
    """Lay out a connected graph without cycles; `nodes` are contents by name, edges (from, to).

    An edge that others lead around is not drawn.
    """
    wide, high = _BOX
    vertices = {name: Vertex(name) for name in nodes}
    for vertex in vertices.values():
        vertex.view = VertexViewer(w=high, h=wide)  # layers go down there, to the right here
    plain = networkx.transitive_reduction(networkx.DiGraph(list(edges)))
    links = [Edge(vertices[start], vertices[end]) for start, end in plain.edges]
    for link in links:
        link.view = _Route()
    (core,) = Graph(list(vertices.values()), links).C
    layout = SugiyamaLayout(core)
    layout.xspace, layout.yspace = _ACROSS, _BETWEEN
    layout.init_all()
    layout.draw(12)
    places = {
        name: (v.view.xy[1] - wide / 2, v.view.xy[0] - high / 2) for name, v in vertices.items()
    }
    left, top = (min(place[axis] for place in places.values()) for axis in (0, 1))
    bends = [y - top for link in links for y, _ in link.view.points[1:-1]]
    shift = max(0.0, -min(bends, default=0.0))
    boxes = [
        Box(round(x - left), round(y - top + shift), nodes[name]) for name, (x, y) in places.items()
    ]
    corner = {name: (box.x, box.y) for name, box in zip(places, boxes, strict=True)}
    lines = []
    for link in links:
        (x0, y0), (x1, y1) = (corner[v.data] for v in link.v)
        between = [(x - left, y - top + shift) for y, x in link.view.points[1:-1]]
        lines.append(_path([(x0 + wide, y0 + high / 2), *between, (x1, y1 + high / 2)]))
    bottom = max([*(box.y + high for box in boxes), *(y + shift for y in bends)])
    return Drawing(round(max(box.x for box in boxes) + wide), round(bottom), boxes, lines)


class _Route:
    """Takes the points that the layout leads an edge through."""

    def setpath(self, points: list[tuple[float, float]]) -> None:
        self.points = points


def _path(points: Sequence[tuple[float, float]]) -> str:
    """A smooth line through the points, level at each of them."""
    words = [f"M{points[0][0]:.0f} {points[0][1]:.0f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        words.append(f"C{middle:.0f} {y0:.0f} {middle:.0f} {y1:.0f} {x1:.0f} {y1:.0f}")
    return "".join(words)

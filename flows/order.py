"""Which stages an item needs, in the order in which they run."""

from __future__ import annotations

from tasks.catalog import NOTHING, Catalog, Render
from tasks.graph import Address


def prepare(source: str) -> list[Address]:
    """A source: cut to frames, poses found."""
    return [Address(stage, source) for stage in ("frames", "densepose", "reformat")]


def personalize(catalog: Catalog, subject: str) -> list[Address]:
    """A subject, whose source is prepared: its base, finetuned to it."""
    return [
        Address("base", catalog.subjects[subject].base),
        Address("finetune-unet", subject),
        Address("finetune-vae", subject),
    ]


def train(catalog: Catalog, training: str) -> list[Address]:
    """A base finetuned to a dataset, whose clips are prepared; then a base like any other."""
    item = catalog.trainings[training]
    return [
        Address("base", item.base),
        Address("encode-clips", item.encoding),
        Address("finetune-base", training),
        Address("base", training),
    ]


def animate(catalog: Catalog, render: str) -> list[Address]:
    """A render from the raw inputs on."""
    item = catalog.renders[render]
    addresses = [
        *prepare(item.source),
        *prepare(item.driving),
        *_truth(item),
        *personalize(catalog, item.subject),
        Address("retarget", item.motion),
        *(Address(stage, render) for stage in ("sample", "assemble", "repose", "evaluate")),
    ]
    return list(dict.fromkeys(addresses))


def everything(catalog: Catalog) -> list[Address]:
    """Every stage that the items of the catalog need, those that others need first."""
    addresses: list[Address] = []
    for source in catalog.sources:
        if not catalog.users("sources", source):
            addresses += prepare(source)
    for training in catalog.trainings:
        addresses += train(catalog, training)
    for subject, item in catalog.subjects.items():
        addresses += [*prepare(item.source), *personalize(catalog, subject)]
    for render in catalog.renders:
        addresses += animate(catalog, render)
    return list(dict.fromkeys(addresses))


def _truth(item: Render) -> list[Address]:
    if item.truth == NOTHING:
        return []
    return [Address("frames", item.truth.removeprefix("data/frames/"))]

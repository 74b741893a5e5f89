"""`data/catalog.yaml`: what exists. DVC makes every stage of every item listed there.

- a *base* is a model to start from;
- an *encoding* is a dataset as a base's encoders see it, a *training* a base finetuned to it;
- a *source* is a photo or clip that was taken in, cut to frames and poses;
- a *subject* is a source and the base that is finetuned to it;
- a *motion* is a driving source whose poses are brought to a subject source's framing;
- a *render* is a subject in a motion.

Items hold only what differs from `params.yaml` (overrides). A key ends in the hash of the
overrides, so that two settings never overwrite each other. Items repeat names that they could
look up elsewhere, because DVC's templates cannot look anything up. The file is written whole,
under a lock.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import yaml
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from common.errors import InputError
from common.files import write_text
from common.program import printable
from tasks import graph
from tasks.arguments import Overrides, checked
from tasks.reading import read_yaml

CATALOG = Path("data/catalog.yaml")
NOTHING = "presets/nothing"
DEFAULT_BASE = "default"
_HEAD = "# What exists. Written by the dreampose command; DVC makes every stage of every item.\n"

_RAW = r"data/raw/[a-z0-9-]{1,200}/source(\.[a-z0-9]{1,8})?"
Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,200}$")]
FramesPath = Annotated[
    str, StringConstraints(pattern=rf"^({NOTHING}|data/frames/[a-z0-9-]{{1,200}})$")
]


class _Item(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Base(_Item):
    """A model to start from, as `params.yaml` says; `trained` is the model of a training."""

    base: Overrides = {}
    trained: Annotated[
        str, StringConstraints(pattern=rf"^({NOTHING}|data/trained/[a-z0-9-]{{1,200}})$")
    ] = NOTHING


class Encoding(_Item):
    """A dataset (`data/datasets/NAME.json`) encoded once for all trainings of a base."""

    dataset: Key
    base: Key
    encode_clips: Overrides = {}


class Training(_Item):
    """A base that is finetuned to a dataset; the outcome is a model like any base."""

    encoding: Key
    base: Key
    finetune_base: Overrides = {}


class Source(_Item):
    """A photo or clip: where its bytes are, and the name the user knows it by."""

    input: Annotated[str, StringConstraints(pattern=f"^{_RAW}$")]
    name: str
    frames: Overrides = {}
    densepose: Overrides = {}
    reformat: Overrides = {}


class Subject(_Item):
    """A source and the base that is finetuned to it."""

    source: Key
    base: Key
    finetune_unet: Overrides = {}
    finetune_vae: Overrides = {}


class Motion(_Item):
    """The poses of the driving source, brought to the framing of the subject's source."""

    subject: Key
    driving: Key
    retarget: Overrides = {}


class Render(_Item):
    """A subject in a motion.

    `truth` is the frames folder of the true answer, `audio` the clip whose sound goes with it;
    either may be `NOTHING`. `densepose` is the driving source's: the outcome is looked at by the
    same backend.
    """

    subject: Key
    base: Key
    source: Key
    motion: Key
    driving: Key
    sample: Overrides = {}
    assemble: Overrides = {}
    densepose: Overrides = {}
    evaluate: Overrides = {}
    truth: FramesPath = NOTHING
    audio: Annotated[str, StringConstraints(pattern=rf"^({NOTHING}|{_RAW})$")] = NOTHING


_MADE_OF = {
    "renders": {
        "bases": ("base",),
        "sources": ("source", "driving"),
        "subjects": ("subject",),
        "motions": ("motion",),
    },
    "motions": {"sources": ("subject", "driving")},
    "subjects": {"bases": ("base",), "sources": ("source",)},
    "trainings": {"encodings": ("encoding",), "bases": ("base",)},
    "encodings": {"bases": ("base",)},
}
"""Group → group of what its items are made of → the fields that name it."""

_BY_PATH = {"sources": ("truth", "data/frames"), "trainings": ("trained", "data/trained")}
"""Group → the field by which others name the folder of one of its items, and where that lies."""


class Catalog(BaseModel):
    """All items, by group and key."""

    model_config = ConfigDict(extra="forbid")
    bases: dict[Key, Base] = {}
    encodings: dict[Key, Encoding] = {}
    trainings: dict[Key, Training] = {}
    sources: dict[Key, Source] = {}
    subjects: dict[Key, Subject] = {}
    motions: dict[Key, Motion] = {}
    renders: dict[Key, Render] = {}

    def add_base(self, name: str, overrides: Overrides) -> str:
        """Register a base that differs from `params.yaml` by `overrides`; returns its key."""
        base = Base(base=checked("base", overrides))
        key = _key(slug(name), {"base": base.base})
        self.bases[key] = base
        return key

    def add_training(
        self,
        dataset: str,
        base: str = DEFAULT_BASE,
        finetune_base: Mapping[str, Any] | None = None,
    ) -> str:
        """Register a base that is finetuned to a dataset; returns the key of it and of its base."""
        self._require_base(base)
        encoding = dataset if base == DEFAULT_BASE else f"{dataset}--{base}"
        self.encodings[encoding] = Encoding(dataset=dataset, base=base)
        training = Training(
            encoding=encoding,
            base=base,
            finetune_base=checked("finetune-base", dict(finetune_base or {})),
        )
        key = _key(encoding, {"finetune_base": training.finetune_base})
        trained = f"data/trained/{key}"
        if self.bases.get(key, Base(trained=trained)).trained != trained:
            raise InputError(f"there is another base '{key}'", "give the dataset another name")
        self.trainings[key] = training
        self.bases[key] = Base(base=checked("base", {"source": trained}), trained=trained)
        return key

    def add_source(
        self,
        raw: str,
        path: str,
        name: str,
        frames: Mapping[str, Any] | None = None,
        densepose: Mapping[str, Any] | None = None,
        reformat: Mapping[str, Any] | None = None,
    ) -> str:
        """Register the raw input `raw`, whose bytes are at `path`; returns the source's key."""
        overrides = {
            stage: checked(stage, dict(values or {}))
            for stage, values in (
                ("frames", frames),
                ("densepose", densepose),
                ("reformat", reformat),
            )
        }
        source = Source(input=path, name=printable(name), **overrides)
        key = _key(raw, overrides)
        self.sources.setdefault(key, source)
        return key

    def add_subject(
        self,
        source: str,
        base: str = DEFAULT_BASE,
        finetune_unet: Mapping[str, Any] | None = None,
        finetune_vae: Mapping[str, Any] | None = None,
    ) -> str:
        """Register a source as the subject of a base; returns the subject's key."""
        self._require("sources", source)
        self._require_base(base)
        subject = Subject(
            source=source,
            base=base,
            finetune_unet=checked("finetune-unet", dict(finetune_unet or {})),
            finetune_vae=checked("finetune-vae", dict(finetune_vae or {})),
        )
        name = source if base == DEFAULT_BASE else f"{source}--{base}"
        overrides = {"unet": subject.finetune_unet, "vae": subject.finetune_vae}
        key = _key(name, overrides)
        self.subjects[key] = subject
        return key

    def add_render(
        self,
        subject: str,
        driving: str,
        sample: Mapping[str, Any] | None = None,
        truth: str | None = None,
        *,
        audio: bool = False,
        retarget: Mapping[str, Any] | None = None,
    ) -> str:
        """Register a subject in the motion of a driving source; returns the render's key.

        A `truth` (a source's key) stays with the render until another one is given. With `audio`
        the driving source's sound is kept. `retarget` is the motion's own.
        """
        self._require("subjects", subject)
        self._require("sources", driving)
        source = self.subjects[subject].source
        moving = Motion(
            subject=source, driving=driving, retarget=checked("retarget", dict(retarget or {}))
        )
        motion = _key(f"{source}--{driving}", {"retarget": moving.retarget})
        self.motions[motion] = moving
        render = Render(
            subject=subject,
            base=self.subjects[subject].base,
            source=source,
            motion=motion,
            driving=driving,
            sample=checked("sample", dict(sample or {})),
            densepose=self.sources[driving].densepose,
        )
        if audio:
            render.audio = self.sources[driving].input
            render.assemble = checked("assemble", {"audio": render.audio})
        overrides = {
            "retarget": moving.retarget,
            "sample": render.sample,
            "assemble": render.assemble,
        }
        key = _key(f"{subject}--{driving}", overrides)
        if truth is not None:
            self._require("sources", truth)
            render.truth = f"data/frames/{truth}"
            render.evaluate = checked("evaluate", {"truth": render.truth})
        elif key in self.renders:
            render.truth, render.evaluate = self.renders[key].truth, self.renders[key].evaluate
        self.renders[key] = render
        return key

    def check(self) -> None:
        """Raises InputError at overrides that no stage takes: hands may have edited the file."""
        stages = graph.stages()
        for group in type(self).model_fields:
            own = [stage for stage in stages.values() if stage.group == group]
            for item in getattr(self, group).values():
                for stage in own:
                    if given := getattr(item, stage.settings):
                        checked(stage.name, given)

    def find(self, name: str) -> tuple[str, str]:
        """Group and key of the item `KEY` or `KIND/KEY`. Raises InputError unless one fits."""
        kind, _, key = name.rpartition("/")
        found = [
            (group, key)
            for group in type(self).model_fields
            if key in getattr(self, group) and kind in ("", group, group.removesuffix("s"))
        ]
        if not found:
            raise InputError(f"there is no item {name!r}", "see: dreampose list")
        if len(found) > 1:
            several = " or ".join(f"{group.removesuffix('s')}/{key}" for group, key in found)
            raise InputError(f"{name!r} is several items", f"say which: {several}")
        return found[0]

    def users(self, group: str, key: str) -> list[tuple[str, str]]:
        """The items, by group and key, that are made of this one, renders first."""
        named, folder = _BY_PATH.get(group, ("", ""))
        return [
            (other, name)
            for other in [*_MADE_OF, "bases"]
            for name, item in getattr(self, other).items()
            if any(getattr(item, f) == key for f in _MADE_OF.get(other, {}).get(group, ()))
            or (named and getattr(item, named, None) == f"{folder}/{key}")
        ]

    def made_of(self, group: str, key: str) -> set[tuple[str, str]]:
        """Everything, by group and key, that an item is made of, however indirectly."""
        item = getattr(self, group)[key]
        parts = {
            (other, getattr(item, field))
            for other, fields in _MADE_OF.get(group, {}).items()
            for field in fields
        }
        return parts.union(*(self.made_of(*part) for part in parts))

    def remove(self, group: str, key: str) -> list[tuple[str, str]]:
        """Remove an item and what is made of it; returns all that went, (group, key) each."""
        gone = [(group, key)]
        for item in gone:
            gone += [user for user in self.users(*item) if user not in gone]
        for other, name in gone:
            del getattr(self, other)[name]
        wanted = {render.motion for render in self.renders.values()}
        for name in [name for name in self.motions if name not in wanted]:
            del self.motions[name]
            gone.append(("motions", name))
        return gone

    def _require_base(self, key: str) -> None:
        """The base named by `params.yaml` is there as soon as it is asked for."""
        if key == DEFAULT_BASE:
            self.bases.setdefault(key, Base())
        self._require("bases", key)

    def _require(self, group: str, key: str) -> None:
        if key not in getattr(self, group):
            raise InputError(f"there is no '{key}' among the {group}", "see: dreampose list")


def slug(name: str) -> str:
    """A file's name as `[a-z0-9-]`, at most 24 characters."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:24].strip("-") or "unnamed"


def _key(name: str, overrides: Mapping[str, Overrides]) -> str:
    given = {stage: values for stage, values in overrides.items() if values}
    if not given:
        return name
    text = json.dumps(given, sort_keys=True)
    return f"{name}-{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8]}"


def load() -> Catalog:
    """The catalog as it is now. Raises InputError where the file is damaged."""
    if not CATALOG.exists():
        return Catalog()
    try:
        catalog = Catalog.model_validate(read_yaml(CATALOG) or {})
        catalog.check()
        return catalog
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{CATALOG} is damaged at {' → '.join(map(str, first['loc']))}: {first['msg']}",
            "correct it or restore an older one",
        ) from None


def text(catalog: Catalog) -> str:
    """The file's content."""
    return _HEAD + yaml.safe_dump(catalog.model_dump(), sort_keys=False)


def locked() -> FileLock:
    """The lock that writers of the catalog hold."""
    CATALOG.parent.mkdir(exist_ok=True)
    return FileLock(CATALOG.with_name(".catalog.lock"))


@contextmanager
def edit() -> Iterator[Catalog]:
    """Yield the catalog to add items to; it is written when the block ends without an error."""
    with locked():
        catalog = load()
        before = catalog.model_dump()
        yield catalog
        if catalog.model_dump() != before or not CATALOG.exists():
            write_text(CATALOG, text(catalog))
        graph.lay_out(catalog.model_dump())

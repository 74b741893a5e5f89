"""Two hundred hostile inputs, made from a seed: each is used or refused by an InputError.

None may end in another error, take longer than the limit, or leave a file outside the workspace.
They are given to the functions behind the command in this process, and some of them to the
command itself.
"""

import io
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from media_samples import ffmpeg, noise_clip
from PIL import Image

from common.errors import InputError
from common.settings import Limits
from densepose_prep.convert import read_reference
from densepose_prep.dump import ChartResult, Detections, Origin, read_dump, write_dump
from densepose_prep.rcnn.weights import load as load_weights
from dreampose_core.extract import extract_frames
from dreampose_core.published import read_state
from flows import report
from tasks import bridge, catalog, inbox, inputs, lineage, parameters, workspace

SECONDS = 20
LIMITS = Limits(most_megabytes=4, most_megapixels=4, most_seconds=60, most_frames=200)
MEDIA = ("png", "jpg", "gif", "mp4", "webm")
NAMES = [
    *("$(touch owned).png", "`touch owned`.png", "; touch owned;.png", "'\"|&<>*?.png", "-o.png"),
    *("[/bold].png", "[red].png", "{}.png", "${key}.png", "%s%n.png", "!!python.png", ": &a *a"),
    *("a\nb.png", "a\r\tb.png", "\x1b[2Jb.png", "\u202egnp.exe", "…/…", "ﬁ-人-🕺.png", " .png"),
    *(b"\xff\xfe.png".decode(errors="surrogateescape"), "CON", "a" * 251 + ".png", ".hidden"),
    *("...", "~"),
]


class Boom:
    """Runs a program when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch owned",)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Cut off, with flipped bits near the beginning, with a part repeated or with noise in it."""
    damaged = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        head = min(len(damaged), 600) or 1
        match chance.randrange(4):
            case 0:
                del damaged[chance.randrange(head, len(damaged) + 1) :]
            case 1:
                for _ in range(chance.randint(1, 12)):
                    damaged[chance.randrange(min(head, len(damaged)))] ^= 1 << chance.randrange(8)
            case 2:
                start = chance.randrange(head)
                damaged[start:start] = damaged[start : start + chance.randrange(1, 400)]
            case 3:
                start = chance.randrange(head)
                damaged[start : start + 4] = chance.choice(
                    [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", chance.randbytes(4)]
                )
    return bytes(damaged)


def whole_media(folder: Path) -> dict[str, bytes]:
    """A small whole file of every kind."""
    clip = noise_clip(folder / "whole.mp4", frames=12)
    for kind in ("webm", "gif"):
        ffmpeg("-i", clip, folder / f"whole.{kind}")
    for kind in ("png", "jpg"):
        picture = np.random.default_rng(0).integers(0, 255, (48, 40, 3), np.uint8)
        Image.fromarray(picture).save(folder / f"whole.{kind}")
    return {kind: (folder / f"whole.{kind}").read_bytes() for kind in MEDIA}


def whole_pickles(folder: Path) -> dict[str, bytes]:
    """A whole file of every kind that could run code where it is read carelessly."""
    person = ChartResult(torch.ones(8, 6, dtype=torch.int64), torch.rand(2, 8, 6))
    found = Detections("a.png", torch.ones(1), torch.tensor([[0.0, 0, 6, 8]]), [person])
    write_dump(folder / "dump.pkl", [found], Origin())
    torch.save({"a.weight": torch.rand(3, 3)}, folder / "state.pth")
    np.save(folder / "frame_0_densepose.npy", np.random.default_rng(0).random((2, 8, 6)))
    weights = {"model": {"x": np.ones(3, np.float32)}}
    (folder / "weights.pkl").write_bytes(pickle.dumps(weights, 2))
    names = ("dump.pkl", "state.pth", "frame_0_densepose.npy", "weights.pkl")
    return {name: (folder / name).read_bytes() for name in names}


def hostile_yaml(text: str, chance: random.Random) -> str:
    """A catalog, parameters or overrides with damage that a YAML reader has to stand."""
    lines = text.splitlines()
    at = chance.randrange(len(lines))
    match chance.randrange(8):
        case 0:
            lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
        case 1:
            lines[at] += chance.choice(
                [" !!python/object/apply:os.system [touch owned]", " !!set", " &a *a"]
            )
        case 2:
            lines.insert(
                at, chance.choice(["[" * 5000, "{a: " * 5000, "- " * 5000 + "a", "? " * 900])
            )
        case 3:
            lines[at] = (
                lines[at].split(":")[0]
                + ": "
                + chance.choice(["9" * 9999, "2001-99-99", "[]", ".nan"])
            )
        case 4:
            lines[at] = lines[at].replace(":", "; touch owned #:", 1)
        case 5:
            lines[at] = lines[at].split(":")[0] + ": '../../../owned; touch owned'"
        case 6:
            bomb = [
                "a0: &a0 [x, x]",
                *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)),
            ]
            lines[at:at] = bomb
        case 7:
            lines[at] = mutated(lines[at].encode() or b"x", chance).decode(errors="replace")
    return "\n".join(lines) + "\n"


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A workspace with nothing in it beside folders that must stay as they are."""
    folder = tmp_path / "outer" / "workspace"
    workspace.create(folder, "tiny")
    for name in ("home", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(folder)
    return folder


def outside(place: Path) -> list[str]:
    """Everything beside the workspace."""
    root = place.parent.parent
    return sorted(str(path) for path in root.rglob("*") if not path.is_relative_to(place))


def media_cases(place: Path, chance: random.Random) -> Iterator[tuple[str, Callable[[], object]]]:
    for kind, content in whole_media(place).items():
        for number in range(20):
            path = place / f"hostile{number}.{kind}"
            path.write_bytes(mutated(content, chance))

            def use(path: Path = path) -> None:
                inputs.probe(path, LIMITS)
                fps = 25 if path.suffix in (".mp4", ".webm") else 0
                extract_frames(path, place / "data/frames/x", fps, limits=LIMITS)

            yield path.name, use


def name_cases(place: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    picture = (place / "whole.png").read_bytes()
    for number, name in enumerate(NAMES):
        path = place / name.replace("/", "_")

        def use(path: Path = path, number: int = number) -> None:
            path.write_bytes(picture + bytes([number]))
            raw = inputs.take_in(path)
            with catalog.edit() as items:
                key = items.add_source(*raw, path.name)
                items.add_subject(key)
            report.console.print(report.items_table(catalog.load()))
            report.console.print(report.item_table(items, "sources", key, {}, {}))
            assert catalog.load().find(f"source/{key}") == ("sources", key)
            path.unlink()

        yield repr(name), use


def yaml_cases(place: Path, chance: random.Random) -> Iterator[tuple[str, Callable[[], object]]]:
    items = catalog.text(catalog.load())
    settings = (place / "params.yaml").read_text()
    overrides = "sample:\n  steps: 3\n  s1: 2.5\n  scheduler: ddim\nfinetune_unet:\n  steps: 4\n"
    entry = inbox.Entry("subjects", Path("anna"), Path("item.yaml"), "")
    chances = [
        (items, catalog.CATALOG, catalog.load),
        (settings, parameters.PARAMETERS, parameters.load),
        (overrides, entry.settings, lambda: inbox.overrides(entry)),
    ]
    for number in range(45):
        text, path, read = chances[number % 3]
        hostile = hostile_yaml(text, chance)

        def use(path: Path = path, hostile: str = hostile, text: str = text, read=read) -> None:
            path.write_text(hostile)
            try:
                read()
            finally:
                path.write_text(text)

        yield f"{path} {number}: {hostile[:60]!r}", use


def pickle_cases(place: Path, chance: random.Random) -> Iterator[tuple[str, Callable[[], object]]]:
    readers = {
        "dump.pkl": read_dump,
        "state.pth": read_state,
        "frame_0_densepose.npy": read_reference,
        "weights.pkl": load_weights,
    }
    booms = io.BytesIO()
    torch.save({"x": Boom()}, booms)
    for name, content in whole_pickles(place).items():
        evil = [pickle.dumps(Boom()), booms.getvalue(), pickle.dumps({"model": {"x": Boom()}}, 2)]
        for number in range(6):
            path = place / f"{number}-{name}"
            path.write_bytes(evil[number] if number < 3 else mutated(content, chance))
            yield path.name, lambda path=path, read=readers[name]: read(path)


def record_cases(place: Path, chance: random.Random) -> Iterator[tuple[str, Callable[[], object]]]:
    made = place / "made.txt"
    made.write_text("made")
    md5 = lineage.content_hash(made)
    lock = {"cmd": "python -m tasks.x", "deps": [], "outs": [{"path": "made.txt", "md5": md5}]}
    whole = {"stage": "x@x", "lock": lock, "files": {}, "code": None, "environment": None}
    text = json.dumps({**whole, "seconds": 1.0})
    lineage.RECORDS.mkdir(parents=True, exist_ok=True)
    for number in range(6):
        hostile = mutated(text.encode(), chance)

        def use(hostile: bytes = hostile) -> None:
            (lineage.RECORDS / "x.json").write_bytes(hostile)
            report.console.print(
                report.lineage_tree(lineage.tree(made), catalog.Catalog(), commands=True)
            )

        yield f"record {number}", use


def test_two_hundred_hostile_inputs(place, monkeypatch, one_thread, capsys):
    monkeypatch.setattr(bridge, "add", lambda path: None)
    chance = random.Random(7)
    kinds = [
        media_cases(place, chance),
        name_cases(place),
        yaml_cases(place, chance),
        pickle_cases(place, chance),
        record_cases(place, chance),
    ]
    before, outcomes, faults = outside(place), [], []
    for name, use in (case for kind in kinds for case in kind):
        try:
            with at_most(SECONDS):
                use()
            outcomes.append("used")
        except InputError:
            outcomes.append("refused")
        except BaseException as error:
            faults.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
    assert not faults, "\n".join(faults)
    assert len(outcomes) == 200
    assert min(outcomes.count(outcome) for outcome in ("used", "refused")) > 20
    assert outside(place) == before
    assert not list(place.rglob("owned"))


@pytest.mark.slow
def test_some_of_them_through_the_command(place):
    """Their exit code is 2, their error one line; nothing is left of them."""
    chance = random.Random(11)
    for kind, content in whole_media(place).items():
        (place / f"cut.{kind}").write_bytes(content[: len(content) // 3])
        (place / f"hostile.{kind}").write_bytes(mutated(content, chance))
    (place / "list.mp4").write_text("ffconcat version 1.0\nfile whole.mp4\n")
    odd = b"a\xff\n[bold] $(touch owned).mp4".decode(errors="surrogateescape")
    (place / odd).write_bytes(b"nothing")
    clips = ["cut.mp4", "cut.webm", "list.mp4", odd]
    calls = [("whole.png", clip) for clip in clips] + [("cut.png", "whole.mp4")]
    damage = {"data/catalog.yaml": "[" * 9999, "params.yaml": "sample: {'s1; touch owned #': 1}"}
    before = outside(place)

    def refused(subject: str, clip: str) -> None:
        command = [sys.executable, "-m", "flows", "animate", subject, clip, "-o", "out.mp4"]
        done = subprocess.run(command, capture_output=True, timeout=120)
        said = done.stderr.decode(errors="replace")
        assert done.returncode == 2, said
        assert said.count("\n") == 1, said
        assert said.startswith("error: ")

    for pair in calls:
        refused(*pair)
    for name, text in damage.items():
        kept = shutil.copyfile(name, "kept")
        Path(name).write_text(text)
        refused("whole.png", "whole.mp4")
        shutil.copyfile(kept, name)
    assert outside(place) == before
    assert not list(place.rglob("owned"))
    assert not Path("out.mp4").exists()

"""What the documents name is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md"]


def definitions(file: Path) -> set[str]:
    """The tests of a file, those of a class behind its name."""
    names = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{inner.name}" for inner in node.body if hasattr(inner, "name")}
    return names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_tests_that_are_named_exist(document):
    for file, name in re.findall(r"`(tests/\w+\.py)::([\w:]+)`", document.read_text()):
        assert name in definitions(ROOT / file), f"{document.name} names {file}::{name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_published_fault_has_a_test():
    faults = (ROOT / "docs/published.md").read_text().split("## Faults")[1]
    rows = [line for line in faults.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 12
    assert all("`tests/" in row for row in rows)

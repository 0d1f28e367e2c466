"""Documents that are derived from the code say what the code says."""

import re
from pathlib import Path

from tests.tidy.drawing import ARCHITECTURE, drawn

ROOT = Path(__file__).parents[2]


def test_the_architecture_draws_the_life_of_a_run_as_the_code_has_it() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    assert drawn(text) == text, "run: python -m tests.tidy.drawing"


def test_every_file_that_a_document_links_to_is_there() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "schemas").glob("*.md"), *(ROOT / "ops").rglob("*.md")]
    broken = [
        f"{document.name}: {target}"
        for document in documents
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text(encoding="utf-8"))
        if not (document.parent / target).exists()
    ]
    assert broken == []

# SPDX-License-Identifier: Apache-2.0
"""The tool of a stage: what it is given, and how often it ran."""

from pathlib import Path
from typing import Any


def write_word(cfg: Any, out: Path, word: str) -> tuple[Path, dict[str, Any]]:
    """A file with the word; one letter more for each time that it was written."""
    (out / "made").mkdir(exist_ok=True)
    (out / "made" / "word.txt").write_text(word)
    with (out / "log.txt").open("a") as log:
        log.write(f"{len(cfg)}\n")
    return out / "made", {"letters": len(word)}

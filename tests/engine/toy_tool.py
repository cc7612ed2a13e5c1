# SPDX-License-Identifier: Apache-2.0
"""The tool of a stage: what it is given, and how often it ran."""

from pathlib import Path
from typing import Any


def write_word(cfg: Any, out: Path, word: str) -> tuple[Path, dict[str, Any]]:
    """A file with the word, and one that gets a line each time."""
    (out / "word.txt").write_text(word)
    with (out / "log.txt").open("a") as log:
        log.write(f"{len(cfg)}\n")
    return out / "word.txt", {"letters": len(word)}

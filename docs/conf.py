# SPDX-License-Identifier: Apache-2.0
"""Sphinx settings. Tables of numbers and verbs are made from records and parsers first."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

from generate import write_pages  # noqa: E402

from lidistill import __version__  # noqa: E402

project = "lidistill"
author = "the lidistill authors"
copyright = "the lidistill authors, Apache-2.0"
version = release = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_generated", "_ext", "evidence", "images"]

html_theme = "furo"
html_title = "lidistill"
html_static_path = ["_static"]
html_css_files = ["pages.css"]

write_pages(HERE)

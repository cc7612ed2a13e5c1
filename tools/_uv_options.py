# SPDX-License-Identifier: Apache-2.0
"""What this machine's pip is configured to, in uv's words: one option a line, for setup_env.sh.

Mirrors, certificates and pins stand in pip.conf and PIP_* on many machines; uv reads neither.
Whatever it has no word for ends this with status 1 and the name: pip installs then.
"""

from __future__ import annotations

import ast
import subprocess
import sys

LISTS = {
    "index-url": "--default-index",
    "extra-index-url": "--extra-index-url",
    "find-links": "--find-links",
    "constraint": "--constraints",
    "trusted-host": "--allow-insecure-host",
    "no-binary": "--no-binary",
    "only-binary": "--only-binary",
}
FLAGS = {"no-index": "--no-index", "pre": "--prerelease=allow", "no-cache-dir": "--no-cache"}
HOW_IT_LOOKS = """
    break-system-packages cache-dir cert compile default-timeout disable-pip-version-check no-color
    no-compile no-input no-python-version-warning no-warn-script-location prefer-binary progress-bar
    quiet require-virtualenv retries root-user-action timeout verbose
"""
TRUE = ("1", "true", "yes", "on")


def options(configured: str) -> list[str]:
    """uv's options for the lines of `pip config list`, in which later sources of a name win.

    Raises:
        ValueError: a name that uv has no word for.
    """
    sources: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in configured.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in sources:  # others are of other commands
            sources[section][key] = str(ast.literal_eval(value))
    values = {key: value for source in sources.values() for key, value in source.items()}

    said = ["--index-strategy=unsafe-best-match"]  # as pip: the newest that fits, of any index
    for key, value in values.items():
        if key in LISTS:
            said += [f"{LISTS[key]}={part}" for part in value.split()]
        elif key in FLAGS:
            said += [FLAGS[key]] if value.lower() in TRUE else []
        elif key not in HOW_IT_LOOKS.split():
            raise ValueError(key)
    return said


if __name__ == "__main__":
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    try:
        print("\n".join(options(listing.stdout)))
    except ValueError as error:
        sys.exit(f"pip is configured to something that uv has no word for: {error}")

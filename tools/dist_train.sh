#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Train on several GPUs of one or more machines through torchrun.
#
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
#
# On a machine without a GPU, GPUS is the number of processes (gloo). Reads NNODES (1), NODE_RANK
# (0), MASTER_ADDR (127.0.0.1), PORT (29500). See docs/scale.md.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
config=$1 gpus=$2
shift 2

here=$(dirname "$0")
torchrun=$(command -v torchrun || echo "$here/../.venv/bin/torchrun")  # of the active environment

exec "$torchrun" \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$here/train.py" "$config" --launcher pytorch "$@"

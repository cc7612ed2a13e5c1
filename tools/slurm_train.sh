#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Train on a SLURM cluster.
#
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
#
# Reads GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS (extra arguments of srun),
# MASTER_PORT (29500; choose another where two jobs may share a machine). See docs/scale.md.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]" >&2
    exit 2
fi
partition=$1 job_name=$2 config=$3
shift 3
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-8}
here=$(dirname "$0")
python=$(command -v python || echo "$here/../.venv/bin/python")  # of the active environment
if [ "$gpus" -lt "$gpus_per_node" ]; then gpus_per_node=$gpus; fi

# shellcheck disable=SC2086
exec srun --partition="$partition" --job-name="$job_name" \
    --gres="gpu:$gpus_per_node" --ntasks="$gpus" --ntasks-per-node="$gpus_per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "$python" -u "$here/train.py" "$config" --launcher slurm "$@"

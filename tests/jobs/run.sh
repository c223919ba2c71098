#!/bin/bash
#SBATCH --gres=gpu:8

set -ex
TUNING=full
ARGS=(
  finetuning_type=$TUNING
  deepspeed=${DS_CONFIG:-ds_z2.json}
)

srun llamafactory-cli train llamafactory_full_z3.yaml "${ARGS[@]}" "$@"

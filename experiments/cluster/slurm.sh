#!/bin/bash
# One study on many machines: every task of the array is a worker with the same command.
#
#   export LRM_STORAGE=postgresql+psycopg://lrm@HOST/optuna MLFLOW_TRACKING_URI=http://HOST:5000
#   sbatch experiments/cluster/slurm.sh --model tiny-5m --sparsity 0:0.8:0.1
#
# from the project's folder, which every machine has to see, as it has to see LRM_FOLDER. Behind the
# script come the search's own flags. Passwords are read from ~/.pgpass, by PostgreSQL's driver, and
# from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD. For a GPU each: sbatch
# --gpus-per-task=1, and as many as vLLM's tensor_parallel_size times pipeline_parallel_size.
#SBATCH --job-name=lrm
#SBATCH --array=0-3
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --output=lrm-%A-%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
set -euo pipefail

: "${LRM_STORAGE:?the database of Optuna, postgresql+psycopg://USER@HOST/DATABASE}"
: "${MLFLOW_TRACKING_URI:?the MLflow server, http://HOST:5000}"
cd "${SLURM_SUBMIT_DIR:-.}"
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"

exec .venv/bin/python -m experiments.sparsity_search \
  --study "${LRM_STUDY:-shared}" \
  --storage "$LRM_STORAGE" \
  --tracking-uri "$MLFLOW_TRACKING_URI" \
  --folder "${LRM_FOLDER:-$PWD/mlruns}" \
  --heartbeat 60 \
  "$@"

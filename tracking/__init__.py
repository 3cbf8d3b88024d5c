"""MLflow and nothing else: the store, its runs, where they come from. Only here is it imported."""

import os

# Read when mlflow is first imported: no usage reports, no migration log, no address at each end,
# no bar for each file read back.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# MLflow would repeat each HTTP call for minutes and say nothing; `retry` does so and says it.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"

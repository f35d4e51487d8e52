"""A complete run copied into MLflow: parameters, metrics, tags and files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import PurePath

from mnist_utils import ConfigError
from mnist_utils.runs.run import FILES, Run, RunError

METRICS = "accuracy", "log_loss", "expected_calibration_error"  # of validation and test


def export_to_mlflow(run: Run) -> str:
    """Copy a complete run into MLflow, as a new run of the same name.

    MLflow's own variables say where: ``MLFLOW_TRACKING_URI`` (a server or a database) and ``MLFLOW_EXPERIMENT_NAME``.

    Parameters
    ----------
    run : Run
        Its hyper-parameters become parameters, its metrics and its history metrics, its files artifacts.

    Returns
    -------
    str
        Where it is, and MLflow's name of it.

    Raises
    ------
    ConfigError
        If MLflow is not installed.
    RunError
        If the run is incomplete, or MLflow refuses.
    """
    found = run.trained("results yet")
    try:
        import mlflow
    except ImportError:
        raise ConfigError("format: mlflow needs MLflow, which is missing; install it: pip install mlflow") from None
    numbers = {"temperature": found.temperature} | {f"{part}_seconds": value for part, value in found.seconds.items()}
    for part, metrics in ("validation", found.validation), ("test", found.test):
        numbers |= {f"{part}_{name}": asdict(metrics)[name] for name in METRICS} if metrics else {}
    tags = {f"dataset_{name}": run.facts["dataset"][name] for name in ("name", "sha256", "note")}
    tags |= {name: run.facts[name] for name in ("git_commit", "started")}
    try:
        with mlflow.start_run(run_name=run.name) as copy:
            mlflow.log_params(run.facts["config"])
            mlflow.set_tags({name: value for name, value in tags.items() if value})
            for row in [] if run.imported else run.history().to_dict("records"):
                epoch = int(row.pop("epoch"))
                mlflow.log_metrics(row, step=epoch)
            mlflow.log_metrics(numbers)
            for name in FILES:
                if (run.path / name).is_file():
                    folder = str(PurePath(name).parent)
                    mlflow.log_artifact(str(run.path / name), None if folder == "." else folder)
    except mlflow.MlflowException as error:
        raise RunError(f"MLflow at {mlflow.get_tracking_uri()} refuses: {str(error).splitlines()[0]}") from None
    return f"{mlflow.get_tracking_uri()}: run {run.name}, id {copy.info.run_id}"

"""`mnist serve`, `export_command` and `doctor_command`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mnist_utils import ConfigError
from mnist_utils.cli.options import DataDirOption, JsonOption, ModelOption, ResultsOption


def doctor_command(
    things: Annotated[
        list[str] | None,
        typer.Argument(
            help="python, packages, cpu, gpu, mnist, results, display, matplotlib, lab. Exits with 1 if a named one is "
            "not ok; without a name, checks all, and exits with 1 if one is broken",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDirOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check what is available, what is missing, and how to fix it."""
    import dataclasses

    from mnist_utils.cli import checks
    from mnist_utils.runs.find import results_dir

    if unknown := sorted(set(things or []) - set(checks.CHECKS)):
        raise ConfigError(f"doctor: given {', '.join(unknown)}; allowed: {', '.join(checks.CHECKS)}")
    findings = []
    for name in things or checks.CHECKS:
        findings.append(finding := checks.run_check(name, results_dir(results), data_dir))
        if not as_json:
            print(
                f"{finding.state:8} {name:11} {finding.what}" + f"\n{'':20} -> {finding.fix}" * bool(finding.fix),
                flush=True,
            )
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings]))
    if any(finding.state == "broken" or (things and finding.state != "ok") for finding in findings):
        raise typer.Exit(1)


def serve_command(
    host: Annotated[
        str, typer.Option(help="address to listen on; 0.0.0.0: all interfaces, so that other machines can connect")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one")] = 5000,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 1,
    model: ModelOption = None,
    results: ResultsOption = None,
) -> None:
    """Serve predictions over HTTP, with a page to draw a digit on, until Ctrl-C."""
    from mnist_utils.runs.find import find_model, results_dir
    from mnist_utils.serving import server

    server.run_server(find_model(model, results_dir(results)), host, port, workers)


def export_command(
    run: Annotated[str, typer.Argument(help="a run's name or folder")],
    kind: Annotated[str, typer.Option("--format", help="saved_model, onnx or litert; or mlflow")] = "saved_model",
    output: Annotated[Path | None, typer.Option(help="folder of all exported models", show_default="exported")] = None,
    name: Annotated[str | None, typer.Option(help="the model's name for clients", show_default="mnist")] = None,
    version: Annotated[int | None, typer.Option(help="whole number from 1", show_default="the next free one")] = None,
    results: ResultsOption = None,
) -> None:
    """Export a run's model for TF-Serving, Triton or KServe, and compare its predictions with Keras's.

    With [bold]--format mlflow[/bold], the whole run is copied into MLflow, where MLFLOW_TRACKING_URI says.
    """
    from mnist_utils.runs.export import TOLERANCE, export_model
    from mnist_utils.runs.find import read_run, results_dir
    from mnist_utils.runs.mlflow import export_to_mlflow

    found = read_run(run, results_dir(results))
    if kind == "mlflow":
        for option, given in ("output", output), ("name", name), ("version", version):
            if given is not None:
                raise ConfigError(f"{option}: given with --format mlflow; allowed: without. Set MLFLOW_TRACKING_URI instead")
        print(export_to_mlflow(found))
        return
    folder, difference = export_model(
        found,
        kind,  # type: ignore[arg-type]
        output or Path("exported"),
        name="mnist" if name is None else name,
        version=version,
    )
    print(f"{folder}: predicts as Keras does, to {difference:.0e} (allowed: {TOLERANCE:.0e})")

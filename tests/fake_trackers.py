"""Modules in place of MLflow and Optuna, which this project's environment has not: what is called in them is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def fake_mlflow(calls: list[Call], refusal: str = "") -> ModuleType:
    """Make a module that keeps the calls of its functions; with a `refusal`, none can begin a run."""
    refused: type[Exception] = type("MlflowException", (Exception,), {})

    @contextmanager
    def start_run(**given: Any) -> Iterator[Any]:
        if refusal:
            raise refused(refusal)
        calls.append(("start_run", (), given))
        yield SimpleNamespace(info=SimpleNamespace(run_id="abc"))
        calls.append(("end_run", (), {}))

    def keeping(name: str) -> Callable[..., None]:
        return lambda *given, **named: calls.append((name, given, named))

    module = ModuleType("mlflow")
    vars(module).update({name: keeping(name) for name in ("log_params", "set_tags", "log_metrics", "log_artifact")})
    vars(module).update(start_run=start_run, MlflowException=refused, get_tracking_uri=lambda: "http://store")
    return module


def fake_optuna() -> ModuleType:
    """Make a module whose study has two trials, however many are wanted: one that finishes, and one that is pruned."""
    pruned: type[Exception] = type("TrialPruned", (Exception,), {})

    def optimize(objective: Callable[[Any], float], *, n_trials: int) -> None:
        assert n_trials >= 2
        steps: list[int] = []
        trial = SimpleNamespace(
            suggest_float=lambda _name, low, high, **_: (low * high) ** 0.5,
            report=lambda value, step: steps.append(step) if 0 <= value <= 1 else None,
            should_prune=lambda: len(steps) == 5,
        )
        study.best_value = objective(trial)
        assert steps == [0, 1, 2]
        try:
            objective(trial)
        except pruned:
            assert steps == [0, 1, 2, 0, 1]
        else:
            raise AssertionError("a trial that should be pruned went on")

    study = SimpleNamespace(optimize=optimize, best_params={}, best_value=None)
    module = ModuleType("optuna")
    vars(module).update(
        TrialPruned=pruned,
        create_study=lambda **_: study,
        samplers=SimpleNamespace(TPESampler=lambda **_: None),
        pruners=SimpleNamespace(MedianPruner=lambda **_: None),
    )
    return module

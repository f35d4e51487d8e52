from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import nct, t, ttest_1samp, ttest_rel

from mnist_utils import ConfigError
from mnist_utils.data import inversion
from mnist_utils.data.datasets import Dataset
from mnist_utils.evaluation.statistics import ComparisonError, PairedEffect, holm_correction, paired_effect
from mnist_utils.training.config import TrainConfig, make_config
from tests.lazy import lazy

if TYPE_CHECKING:
    from mnist_utils.experiments import ablations
    from mnist_utils.training import backend, fit
else:
    ablations = lazy("mnist_utils.experiments.ablations")
    backend = lazy("mnist_utils.training.backend")
    fit = lazy("mnist_utils.training.fit")

A, B = [0.91, 0.93, 0.90, 0.92], [0.94, 0.95, 0.945, 0.93]
BASE: dict[str, Any] = {"model": "fast", "epochs": 2, "batch_size": 50, "precision": "float32"}


def trials(a: list[float], b: list[float], measure: str = "accuracy") -> pd.DataFrame:
    rows = [{"variant": name, "seed": seed, measure: x} for name, xs in (("a", a), ("b", b)) for seed, x in enumerate(xs)]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)  # the order of the rows must not matter


def effect(low: float, high: float, ratio: bool = False) -> PairedEffect:
    return PairedEffect(
        "a", "b", "seconds" if ratio else "accuracy", "seed", ratio, (1.0, 1.0), (1.0, 1.0), (low + high) / 2, (low, high)
    )


@pytest.fixture(scope="module")
def few() -> Dataset:
    return ablations.load_subset("digits", 200)


def test_the_interval_of_a_difference_is_scipys() -> None:
    found = paired_effect(trials(A, B), "a", "b")
    expected = ttest_rel(B, A).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert found.mean == pytest.approx(np.mean(B) - np.mean(A))
    assert found.effects == pytest.approx([b - a for a, b in zip(A, B, strict=True)])
    assert (found.n, found.pairs) == (4, "seed")


def test_two_pairs_have_the_closed_form() -> None:
    # One degree of freedom: Student's t is Cauchy's distribution, whose 97.5 % quantile is tan(0.475 pi).
    found = paired_effect(trials([0.0, 0.0], [1.0, 2.0]), "a", "b")
    half = math.tan(0.475 * math.pi) * 0.5
    assert found.interval == pytest.approx((1.5 - half, 1.5 + half))


def test_what_moves_both_drops_out() -> None:
    alike = [x + luck for x, luck in zip(A, [0.0, 0.5, -0.3, 0.2], strict=True)]
    other = [x + luck for x, luck in zip(B, [0.0, 0.5, -0.3, 0.2], strict=True)]
    assert paired_effect(trials(alike, other), "a", "b").interval == pytest.approx(
        paired_effect(trials(A, B), "a", "b").interval
    )


def test_a_ratio_is_compared_in_logarithms() -> None:
    slow, fast = [2.0, 4.4, 3.0], [1.0, 2.0, 1.6]
    found = paired_effect(trials(fast, slow, "seconds"), "a", "b", "seconds", ratio=True)
    expected = ttest_rel(np.log(slow), np.log(fast)).confidence_interval(0.95)
    assert found.interval == pytest.approx((math.exp(expected.low), math.exp(expected.high)))
    assert found.mean == pytest.approx((2.0 * 2.2 * 1.875) ** (1 / 3))
    assert found.effects == pytest.approx((2.0, 2.2, 1.875))
    turned = paired_effect(trials(fast, slow, "seconds"), "b", "a", "seconds", ratio=True)
    assert turned.interval == pytest.approx((1 / found.interval[1], 1 / found.interval[0]))


@pytest.mark.parametrize(
    ("given", "threshold", "expected"),
    [
        (effect(0.001, 0.02), None, "holds"),
        (effect(-0.001, 0.02), None, "cannot tell"),
        (effect(-0.02, 0.0), None, "does not hold"),
        (effect(0.001, 0.02), 0.01, "cannot tell"),
        (effect(-0.009, 0.02), -0.01, "holds"),
        (effect(0.9, 1.1, ratio=True), None, "cannot tell"),
        (effect(1.1, 1.4, ratio=True), None, "holds"),
        (effect(1.1, 1.4, ratio=True), 1.5, "does not hold"),
    ],
)
def test_verdict(given: PairedEffect, threshold: float | None, expected: str) -> None:
    assert ablations.verdict(given, threshold) == expected


@pytest.mark.parametrize("b", [A, [x + 0.25 for x in A], [x - 0.25 for x in A]])
def test_pairs_that_agree_to_the_last_digit_prove_nothing(b: list[float]) -> None:
    same = paired_effect(trials([0.5, 0.5], [0.5 + b[0] - A[0]] * 2), "a", "b")
    assert same.interval == (same.mean, same.mean)
    assert ablations.verdict(same) == "cannot tell"


def test_a_comparison_that_cannot_be_made() -> None:
    with pytest.raises(ComparisonError, match="no trials of c"):
        paired_effect(trials(A, B), "a", "c")
    with pytest.raises(ComparisonError, match="1 of 1 seeds"):
        paired_effect(trials(A[:1], B[:1]), "a", "b")
    with pytest.raises(ComparisonError, match="3 of 4 seeds"):
        paired_effect(trials(A, B[:3]), "a", "b")


def test_a_sentence_says_what_was_found() -> None:
    better = effect(0.0012, 0.0234)
    assert ablations.verdict_sentence("B is better", better) == (
        "**B is better: holds.** b against a, accuracy on validation images: +1.23 points (95 %: +0.12 to +2.34; 2 seeds)."
    )


def test_claims_are_judged_together() -> None:
    """By hand with scipy: five claims with p-values of 0.0043, 0.012, 0.018, 0.6 and none, which is 1."""
    random = np.random.default_rng(0)

    def differing(mean: float, spread: float, ratio: bool = False) -> PairedEffect:
        noise = random.normal(0, 1, 6)
        values = mean + spread * (noise - noise.mean()) / noise.std(ddof=1)
        column = "seconds" if ratio else "accuracy"
        a = [1.0] * 6 if ratio else [0.5] * 6
        b = list(np.exp(values)) if ratio else list(0.5 + values)
        return paired_effect(trials(a, b, column), "a", "b", column, ratio=ratio)

    claims: list[tuple[str, PairedEffect, float | None]] = [
        ("clearly", differing(0.02, 0.01), None),
        ("slower", differing(0.2, 0.13, ratio=True), None),
        ("alone, it would hold", differing(0.014, 0.01), None),
        ("nothing", differing(0.002, 0.01), None),
        ("no spread", paired_effect(trials([0.5] * 6, [0.75] * 6), "a", "b"), None),
    ]
    raw = [ttest_1samp(np.log(e.effects) if e.is_ratio else e.effects, 0).pvalue for _, e, _ in claims[:4]] + [1.0]
    corrected = holm_correction(raw)
    assert (corrected < 0.05).tolist() == [True, False, False, False, False]
    assert [ablations.verdict(effect) for _, effect, _ in claims[:4]] == ["holds", "holds", "holds", "cannot tell"]
    table = ablations.verdict_table(claims)
    assert table["verdict"].tolist() == ["holds"] + ["cannot tell"] * 4
    assert ablations.verdict_table(claims[1:2])["verdict"].tolist() == ["holds"]
    assert list(table) == ["claim", "effect", "95 % interval", "pairs", "could be seen", "verdict"]
    assert table["effect"].tolist()[:2] == ["+2.00 points", "1.22 times"]
    assert table["could be seen"].tolist()[4] == ""
    below = [("worse", differing(-0.02, 0.01), None)]
    assert ablations.verdict_table(below)["verdict"].tolist() == ["does not hold"]


def test_what_could_be_seen_is_seen_in_80_of_100_cases() -> None:
    """Compare with the power of the t test, from the noncentral t distribution."""
    values = np.random.default_rng(1).normal(0, 0.01, 10)
    found = paired_effect(trials([0.5] * 10, list(0.5 + values)), "a", "b")
    seen = ablations.detectable_effect(found)
    power = 1 - nct.cdf(t.ppf(0.975, 9), 9, seen / (values.std(ddof=1) / np.sqrt(10)))
    assert power == pytest.approx(0.8, abs=0.02)
    times = paired_effect(trials([1.0] * 10, list(np.exp(values)), "seconds"), "a", "b", "seconds", ratio=True)
    assert ablations.detectable_effect(times) == pytest.approx(np.exp(seen))


def test_variants_are_trained_from_the_same_seed_and_tested_on_validation_images_only(few: Dataset) -> None:
    none: Any = None
    closed = replace(few, x_test=none, y_test=none)
    variants = {"one": {}, "again": {}, "small": {"batch_size": 10}}
    found = ablations.train_variants(variants, BASE, closed, [3], progress=False).set_index("variant").to_dict("index")
    assert found["one"]["accuracy"] == found["again"]["accuracy"]
    assert found["one"]["accuracy"] != found["small"]["accuracy"]
    for row in found.values():
        assert row["accuracy"] > row["inverted_accuracy"]
        assert row["accuracy"] * 144 == pytest.approx(round(row["accuracy"] * 144))  # all 144 validation images
        assert row["seconds"] > 0


def test_each_seed_trains_all_variants_in_turn(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []

    def trial(config: TrainConfig, _: Dataset, **__: Any) -> dict[str, float]:
        trained.append((config.seed, config.batch_size, config.epochs))
        return {"accuracy": 0.5, "seconds": 1.0}

    monkeypatch.setattr(ablations, "_train_once", trial)
    found = ablations.train_variants({"one": {}, "small": {"batch_size": 10}}, BASE, few, range(3, 5), progress=False)
    assert trained == [(3, 50, 2), (3, 10, 2), (4, 50, 2), (4, 10, 2)]
    assert list(zip(found["variant"], found["seed"], strict=True)) == [("one", 3), ("small", 3), ("one", 4), ("small", 4)]


def test_a_bad_variant_is_refused_before_anything_is_trained(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablations, "_train_once", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(ConfigError, match=r"dense_dropout: given 1\.5"):
        ablations.train_variants({"good": {}, "bad": {"dense_dropout": 1.5}}, BASE, few, [0], progress=False)


def test_load_few() -> None:
    whole = ablations.load_subset("digits", -1)
    assert len(ablations.load_subset("digits", 300).x_train) == 300
    assert len(ablations.load_subset("digits", 5000).x_train) == len(whole.x_train) == 1293
    np.testing.assert_array_equal(ablations.load_subset("digits", 300).x_validation, whole.x_validation)
    assert ablations.load_subset("auto", 300).note.startswith("MNIST is not available")


def test_array_and_generator_are_timed_on_the_same_batches(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: dict[str, list[Any]] = {"array": [], "generator": []}

    class Network:
        def fit(self, x: Any, y: Any = None, **given: Any) -> None:
            if y is None:
                assert given["steps_per_epoch"] == 3
                fed["generator"].append(list(x))
            else:
                size = given["batch_size"]
                fed["array"].append([(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)])

    monkeypatch.setattr(fit, "compile_model", lambda *_: Network())
    times = ablations.time_feeding(make_config(**BASE | {"batch_size": 80}), few, 2)
    assert list(zip(times["variant"], times["repeat"], strict=True)) == [
        (variant, repeat) for repeat in range(2) for variant in ("array", "generator")
    ]
    assert (times["seconds"] >= 0).all()
    assert len(fed["array"]) == len(fed["generator"]) == 1 + 2 * ablations._BEST_OF
    for array, generator in zip(fed["array"], fed["generator"], strict=True):
        for (x, y), (x_generated, y_generated) in zip(array, generator, strict=True):
            np.testing.assert_array_equal(x, x_generated)
            np.testing.assert_array_equal(y, y_generated)


def test_feeding_is_timed_with_the_real_fit(few: Dataset) -> None:
    found = paired_effect(ablations.time_feeding(make_config(**BASE), few, 2), "array", "generator", "seconds", ratio=True)
    assert found.pairs == "repeat"
    assert 0.01 < found.mean < 100


def test_a_variant_may_train_on_changed_images() -> None:
    asked: list[int] = []

    def half(dataset: Dataset, seed: int) -> Dataset:
        asked.append(seed)
        return inversion.invert_half(dataset, seed)

    large = ablations.load_subset("digits", 1000)

    def measure(predict: Any) -> dict[str, Any]:
        return {"again": float((predict(large.x_validation).argmax(axis=1) == large.y_validation).mean()), "name": "x"}

    found = ablations.train_variants(
        {"one": {}, "both": {}}, BASE | {"epochs": 4}, large, [5], change={"both": half}, measure=measure, progress=False
    )
    assert found["again"].tolist() == found["accuracy"].tolist()
    assert found["name"].tolist() == ["x", "x"]
    assert found["variant"].tolist() == ["one", "both"]
    assert asked == [5]
    one, both = found["inverted_accuracy"]
    assert both > 0.8 > 0.7 > one
    assert found["accuracy"].min() > 0.8

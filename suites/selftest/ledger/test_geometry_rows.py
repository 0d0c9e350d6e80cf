"""Kinds of rules about series of rows, about spectra, changes and statistics over directions."""

import math

import numpy as np
import pytest
import torch

from editverdict.ledger.kinds.angles import largest_angle_cosine, largest_angle_quantile, smallest_angle_cosine
from editverdict.ledger.kinds.change import entropy_at_most
from editverdict.ledger.tables import Table
from editverdict.numerics.subspaces import chance_cosines
from editverdict.numerics.subspaces import smallest_angle_cosine as measured_smallest
from suites.selftest.ledger.small_tables import counts, run, table, verdicts


# --------------------------------------------------------------------------- series
def test_monotone_along_sees_only_falls_beyond_rounding() -> None:
    t = table(1, "step k", "cos", ["1 10 0.90", "1 100 0.95", "2 100 0.89", "2 10 0.90", "3 10 0.90", "3 100 0.85"])
    settings = {"column": "cos", "along": "k", "direction": "up"}
    assert verdicts(run("monotone-along", settings, t)) == ["consistent", "consistent", "inconsistent"]
    down = {**settings, "direction": "down", "slack": 0.04}
    assert verdicts(run("monotone-along", down, t)) == ["inconsistent", "consistent", "consistent"]


def test_monotone_along_by_step_keeps_words_at_the_end() -> None:
    t = table(1, "step k", "cos", ["10 5 0.9", "2 5 1.0", "all 5 0.3", "100 5 0.1"])
    found = run(
        "monotone-along", {"column": "cos", "along": "step", "direction": "down", "slack": 0.05, "per": "step"}, t
    )
    assert verdicts(found) == ["consistent", "consistent", "inconsistent"]
    assert found[-1].row.endswith("100 to all")


def test_jump_between_neighbours() -> None:
    t = table(1, "m layer", "mean", ["A 30 9.00", "A 5 1.24", "A 31 0.05", "B 30 0.36", "B 31 0.75", "C 30 1"])
    assert verdicts(run("jump", {"column": "mean", "along": "layer"}, t)) == [
        "consistent",
        "inconsistent",
        "consistent",
    ]


def test_jump_beside_the_scale_of_the_layers() -> None:
    rows = ["A 30 9.00", "A 31 0.05", "B 35 0.07", "B 39 0.91", "C 30 1.0", "C 31 10.5", "D 30 0.1", "D 31 1.1"]
    t = table(1, "m layer", "mean", rows)
    scales = table(2, "layer", "sigma", ["30 100.0", "31 100.0", "35 300.0", "39 3800.0"])
    settings = {"column": "mean", "along": "layer", "scale": "sigma", "on": ["layer"]}
    found = run("jump", settings, t, scales)
    # The last two are jumps only if the digits are taken as exact.
    assert verdicts(found) == ["inconsistent", "consistent", "consistent", "consistent"]
    assert "divided by sigma" in found[0].found
    assert verdicts(run("jump", {"column": "mean", "along": "layer"}, t)) == ["inconsistent"] * 2 + ["consistent"] * 2
    # A scale that is not known for both is used for neither.
    alone = table(2, "layer", "sigma", ["39 3800.0"])
    assert "sigma" not in run("jump", settings, t, alone)[1].found


def test_two_valued_needs_tight_levels_and_changes_to_and_fro() -> None:
    settings = {"column": "cos", "along": "s", "gap": 0.05, "switches": 4}
    to_and_fro = [0.003, 0.94, 0.936, 0.002, 0.87, 0.003, 0.92]
    once = [0.94, 0.93, 0.92, 0.003, 0.002, 0.003, 0.001]
    wide = [0.0, 0.9, 0.3, 0.8, 0.1, 0.6, 0.45]
    for values, verdict in ((to_and_fro, "inconsistent"), (once, "consistent"), (wide, "consistent")):
        t = table(1, "s", "cos", [f"{s} {value:.3f}" for s, value in enumerate(values, 1)])
        assert verdicts(run("two-valued", settings, t)) == [verdict]


def test_moves() -> None:
    rows = [f"{k} {s} {v}" for k, values in (("a", "040 039 038"), ("b", "999 999 999"), ("c", "900 800 700"))
            for s, v in enumerate((f"0.{x}" for x in values.split()), 1)]  # fmt: skip
    settings = {"column": "cos", "along": "s", "within": 0.003, "low": 0.0, "high": 0.99}
    assert verdicts(run("moves", settings, table(1, "k s", "cos", rows))) == [
        "inconsistent",
        "consistent",
        "consistent",
    ]


# --------------------------------------------------------------------------- spectra
@pytest.mark.parametrize(
    ("times", "expected"),
    [("one", ["inconsistent", "consistent", "consistent"]), ("root-dimension", ["inconsistent"] * 2 + ["consistent"]),
     ("larger-dimension", ["inconsistent"] * 2 + ["consistent"])],
)  # fmt: skip
def test_resolution_of_single_precision(times: str, expected: list[str]) -> None:
    t = table(1, "layer", "top bottom d!", ["5 194.1 3.38e-6 4096", "15 504.9 1.20e-4 4096", "9 100.0 5.00e0 4096"])
    settings = {"top": "top", "bottom": "bottom", "dimension": "d", "samples": 1e5, "times": times}
    assert verdicts(run("resolution", settings, t)) == expected
    double = run("resolution", {**settings, "bits": "float64"}, t)
    assert counts(double) == {"consistent": 3}


def test_smallest_value_of_a_singular_matrix_scales_like_rounding_and_is_flagged() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for place, scale in enumerate(10 ** rng.uniform(2, 4, 12)):
        x = (rng.standard_normal((60, 400)) * scale).astype(np.float32)
        x -= x.mean(axis=0)
        sigma = np.linalg.svd(x, compute_uv=False)
        rows.append(f"{place} {sigma[0]:.2e} {sigma[-1]:.2e} 60")
    t = table(1, "layer", "top bottom d!", rows)
    settings = {"top": "top", "bottom": "bottom"}
    assert counts(run("noise-scaling", settings, t)) == {"inconsistent": 1}
    cut = {**settings, "dimension": "d", "samples": 400.0, "times": "larger-dimension"}
    assert counts(run("resolution", cut, t)) == {"inconsistent": 12}
    free = [f"{i} {10 ** rng.uniform(2, 4):.2e} {10 ** rng.uniform(-2, 0):.2e} 60" for i in range(12)]
    assert counts(run("noise-scaling", settings, table(1, "layer", "top bottom d!", free))) == {"consistent": 1}


# --------------------------------------------------------------------------- angles
@pytest.mark.parametrize(("d", "k"), [(200, 40), (200, 90), (400, 20)])
def test_chance_level_of_angles_is_that_of_random_subspaces(d: int, k: int) -> None:
    drawn = chance_cosines(d, k, 0, draws=400).numpy()
    assert drawn.mean() == pytest.approx(largest_angle_cosine(d, k), rel=0.1)
    assert np.mean(drawn <= largest_angle_quantile(d, k, 0.9)) == pytest.approx(0.9, abs=0.04)
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(d, k, generator=generator, dtype=torch.float64))[0] for _ in range(2))
    assert measured_smallest(u, v) == pytest.approx(smallest_angle_cosine(d, k), abs=0.04)


def test_chance_angle() -> None:
    t = table(1, "model s k", "cos", ["A 1 2000 0.900", "A 2 2000 1.000", "A 3 10 0.009", "A 4 10 0.200"])
    sizes = table(2, "model", "d!", ["A 4096"])
    settings = {"column": "cos", "k": "k", "size": "d", "on": ["model"]}
    found = run("chance-angle", {**settings, "angle": "smallest", "margin": 0.01}, t, sizes)
    assert verdicts(found)[:2] == ["inconsistent", "consistent"]
    assert "0.99973" in found[0].expected
    found = run("chance-angle", {**settings, "angle": "largest"}, t, sizes)
    assert verdicts(found)[2:] == ["consistent", "inconsistent"]


# --------------------------------------------------------------------------- changes
BESIDE = {"samples": 100.0, "on": ["m", "layer"]}


def test_relative_to_leading() -> None:
    norms = table(1, "m layer", "mean", ["A 1 0.50", "A 2 5.00", "A 3 20.00"])
    spectrum = table(2, "layer", "top", ["1 100.0", "2 100.0", "3 100.0"])
    settings = {"norm": "mean", "top": "top", "on": ["layer"], "samples": 100.0, "small": 0.1}
    assert verdicts(run("relative-to-leading", settings, norms, spectrum)) == [
        "consistent",
        "undefined",
        "inconsistent",
    ]


def _least(d: int, n: int, size: float) -> tuple[float, float, float, float, float, int]:
    """True relative change, then mean and std of norms, largest singular value, entropy rank and directions above 1."""
    rng = np.random.default_rng(3)
    scales = np.linspace(1.0, 3.0, d)[::-1] ** 2
    h = rng.standard_normal((n, d)) * scales
    change = rng.standard_normal((n, d)) * scales * size
    _, sigma, axes = np.linalg.svd(h, full_matrices=False)
    ratio = np.sqrt(((change @ axes.T) ** 2).mean(axis=0)) * math.sqrt(n) / sigma
    norms = np.linalg.norm(change, axis=1)
    share = sigma**2 / (sigma**2).sum()
    true = math.sqrt((norms**2).mean() / (h**2).sum(axis=1).mean())
    return true, norms.mean(), norms.std(), sigma[0], math.exp(-(share * np.log(share)).sum()), int((ratio > 1).sum())


def test_least_relative_change_is_a_lower_bound_and_the_rank_bound_an_upper_one() -> None:
    d, n = 20, 4000
    true, mean, std, top, rank, above = _least(d, n, 1.2)
    assert above == d
    norms = table(1, "m layer", "mean std", [f"A 1 {mean:.3f} {std:.3f}"])
    ratios = table(2, "m layer", "above!", [f"A 1 {d - 1}"])
    settings = {"mean": "mean", "std": "std", "on": ["m", "layer"], "above": "above", "spectrum_on": ["layer"],
                "top": "top", "size_on": [], "size": "d", "samples": float(n), "most_below": 3,
                "small": 0.1}  # fmt: skip
    spectrum = table(3, "layer", "d! top rank", [f"1 {d} {top:.3e} {rank:.2f}"])
    found = run("least-relative-change", settings, norms, ratios, spectrum)
    assert verdicts(found) == ["inconsistent"]
    assert 0.5 < float(found[0].found.split()[2]) < true
    by_energy = {**settings, "rank": "rank"}
    assert verdicts(run("effective-rank-of-energies", by_energy, norms, ratios, spectrum)) == ["consistent"]
    # A large leading direction leaves little for the others: nearly d cannot be a rank of energies.
    steep = table(3, "layer", "d! top rank", [f"1 {d} {3 * mean * math.sqrt(n):.3e} 19.00"])
    assert verdicts(run("effective-rank-of-energies", by_energy, norms, ratios, steep)) == ["inconsistent"]
    few = table(2, "m layer", "above!", [f"A 1 {d - 9}"])
    assert run("least-relative-change", settings, norms, few, spectrum) == []
    small = table(1, "m layer", "mean std", ["A 1 0.010 0.001"])
    assert verdicts(run("least-relative-change", settings, small, ratios, spectrum)) == ["consistent"]


def test_entropy_at_most() -> None:
    assert entropy_at_most(0.25, 4) == pytest.approx(4.0)
    assert entropy_at_most(1.0, 4) == pytest.approx(1.0)
    share = np.array([0.6, 0.1, 0.2, 0.1])
    assert math.exp(-(share * np.log(share)).sum()) < entropy_at_most(0.6, 4) < 4


COMPONENT = {"ratio": "rmax", "mean": "mean", "std": "std", "on": ["m", "layer"], "bottom": "bottom",
             "bottom_on": ["layer"], "size": "d", "samples": 100.0}  # fmt: skip


def test_component_within_norm_and_its_isotropic_share() -> None:
    # Components R sigma / sqrt(n): 0.08 (0.8 of 1 / sqrt(100)), 0.02, 0.60, 1.20.
    ratios = table(1, "m layer", "rmax", ["A 1 8.00e4", "A 2 2.00e4", "A 3 6.00e5", "A 4 1.20e6"])
    norms = table(2, "m layer", "mean std", [f"A {i} 1.00 0.10" for i in range(1, 5)])
    spectrum = table(3, "layer", "bottom d!", [f"{i} 1.00e-5 100" for i in range(1, 5)])
    found = run("component-within-norm", COMPONENT, ratios, norms, spectrum)
    assert verdicts(found) == ["consistent"] * 3 + ["inconsistent"]
    settings = {**COMPONENT, "alike": [0.6, 1.3], "foreign": 5.0, "foreign_why": "Other numbers."}
    found = run("isotropic-share", settings, ratios, norms, spectrum, broken="implausible")
    assert verdicts(found) == ["implausible", "consistent", "implausible", "implausible"]
    assert found[2].sentence == "Other numbers."


# --------------------------------------------------------------------------- statistics over directions
def _statistics(values: np.ndarray, label: str) -> str:
    above = int((values > 1).sum())
    return f"{label} {values.mean():.3e} {values.min():.2e} {values.max():.3e} {values.std():.3e} {above}"


SIZE = {"size": "d", "on": ["model"]}
COLUMNS = "mean min max std above!"


def test_one_runaway_direction_is_found_in_mean_and_deviation() -> None:
    rng = np.random.default_rng(0)
    plain = rng.exponential(1.0, 1000)
    runaway = plain.copy()
    runaway[7] = 1e6
    t = table(1, "m", COLUMNS, [_statistics(runaway, "A"), _statistics(plain, "B")])
    sizes = table(2, "model", "d!", ["M 1000"])
    for statistic, column in (("mean", "mean"), ("std", "std")):
        settings = {"column": column, "high": "max", "statistic": statistic, "tolerance": 0.02, "size": "d", "on": []}
        assert verdicts(run("one-carries", settings, t, sizes, broken="implausible")) == ["implausible", "consistent"]


REST = {"mean": "mean", "high": "max", "above": "above", "size": "d", "on": [], "slack": 3, "resolved": 0.2}


def _rest_table(level: float) -> list[Table]:
    rng = np.random.default_rng(1)
    rows = []
    for place, label in enumerate("ABCD"):
        values = level * np.abs(rng.normal(1.0, 0.02, 1000))
        values[0] = 1e4 + 1e3 * place
        rows.append(_statistics(values, label))
    return [table(1, "m", COLUMNS, rows), table(2, "model", "d!", ["M 1000"])]


def test_mean_of_the_rest_finds_the_level_of_unrelated_samples() -> None:
    settings = {**REST, "of": "most", "test": "equals", "against": 2 / math.sqrt(math.pi)}
    found = run("mean-of-the-rest", settings, *_rest_table(1.13), joint=True)
    assert counts(found) == {"inconsistent": 5}
    assert "4 different rows" in found[-1].row
    assert counts(run("mean-of-the-rest", settings, *_rest_table(7.0), joint=True)) == {"consistent": 5}


def test_mean_of_the_rest_bounds_the_tail_and_small_ratios() -> None:
    tail = {**REST, "of": "most", "test": "tail", "against": 10.0, "many": 0.05}
    assert counts(run("mean-of-the-rest", tail, *_rest_table(1.13), joint=True)) == {"inconsistent": 5}
    assert counts(run("mean-of-the-rest", tail, *_rest_table(20.0), joint=True)) == {"consistent": 5}
    below = {**REST, "of": "few", "test": "below", "against": 1.0}
    assert counts(run("mean-of-the-rest", below, *_rest_table(0.05), joint=True)) == {"inconsistent": 5}
    assert run("mean-of-the-rest", below, *_rest_table(1.13), joint=True) == []


def test_all_or_nothing() -> None:
    settings = {"above": "n", "size": "d", "on": [], "all_but": 3, "at_most": 2, "between": 0.2, "key": "layer",
                "values": ["5", "10"], "agreement": 0.9}  # fmt: skip
    sizes = table(2, "model", "d!", ["M 100"])
    sharp = table(1, "m layer", "n!", ["A 5 99", "A 10 98", "A 31 1", "B 5 97", "B 10 99", "B 31 0"])
    graded = table(1, "m layer", "n!", ["A 5 60", "A 10 98", "A 31 40", "B 5 20", "B 10 99", "B 31 99"])
    assert verdicts(run("all-or-nothing", settings, sharp, sizes, joint=True)) == ["inconsistent", "inconsistent"]
    assert verdicts(run("all-or-nothing", settings, graded, sizes, joint=True)) == ["consistent", "consistent"]


def test_sentinel_counts_its_own_placeholders() -> None:
    values = np.zeros(1000)
    values[:36] = 1e20
    row = f"A {values.mean():.2e} 0.00e0 1.00e20 1.00e20 47"
    fine = "B 2.16e-1 1.41e-4 1.42e1 5.73e-1 11"
    t, sizes = table(1, "m", COLUMNS, [row, fine]), table(2, "m", "d! bottom", ["A 1000 3.3e-9", "B 1000 60"])
    settings = {"sentinel": 1e20, "mean": "mean", "std": "std", "low": "min", "high": "max", "above": "above",
                "size": "d", "on": ["m"]}  # fmt: skip
    found = run("sentinel", settings, t, sizes, broken="implausible")
    assert verdicts(found) == ["implausible", "consistent"]
    assert "36.0" in found[0].found and f"{values.std():.3g}" in found[0].found
    zeros = {"sentinel": 1e20, "mean": "mean", "size": "d", "bottom": "bottom", "on": ["m"]}
    assert verdicts(run("zeros-against-smallest", zeros, t, sizes)) == ["inconsistent", "consistent"]

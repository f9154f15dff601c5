"""The Winograd switch, and the accuracy that the plan's use of these kernels is allowed on account of."""

from __future__ import annotations

import subprocess
import sys

import problems
import pytest
import torch

import pyconv
from pyconv import _C
from pyconv.bench import cases
from pyconv.bench.oracle import Oracle

TEXT = "n1_c32_k32_i12_f3_p1"


def chosen(text: str = TEXT, pass_: str = "forward") -> str:
    return next(row["name"] for row in _C.plan(_C.Problem.parse(text), pass_, "nchw") if row["chosen"])


def test_the_switch_changes_the_plan_and_is_undone() -> None:
    assert _C.winograd_enabled() and "winograd" in chosen()
    with pyconv.winograd(False):
        assert "winograd" not in chosen()
        with pyconv.winograd(True):
            assert "winograd" in chosen()
        assert "winograd" not in chosen()
    assert "winograd" in chosen()
    with pytest.raises(KeyError), pyconv.winograd(False):
        raise KeyError
    assert _C.winograd_enabled()


def test_the_switch_reaches_calls_and_their_backward() -> None:
    p = _C.Problem.parse(TEXT)
    x = torch.randn(1, 32, 12, 12, requires_grad=True)
    w = torch.randn(32, 32, 3, 3)
    with pyconv.winograd(False):
        y = pyconv.conv2d(x, w, padding=1)
        (gradient,) = torch.autograd.grad(y.sum(), x)
    name = next(row for row in problems.supported(TEXT, torch.float32, "forward") if "direct" in row)
    assert torch.equal(y, pyconv.conv2d(x, w, padding=1, algorithm=name))
    assert torch.equal(gradient, problems.run("grad_input", torch.ones_like(y), w, p, name))


def test_the_switch_reaches_calls_that_ran_before() -> None:
    """Choices are remembered, but for the switch they were made under."""
    x, w = torch.randn(1, 32, 12, 12), torch.randn(32, 32, 3, 3)

    def ran() -> list[str]:
        before = _C.executed()
        pyconv.conv2d(x, w, padding=1)
        return [name for (name, pass_), count in _C.executed().items() if count > before[name, pass_]]

    for _ in range(2):
        assert ran() == [chosen()] and "winograd" in chosen()
        with pyconv.winograd(False):
            assert ran() == [chosen()] and "winograd" not in chosen()


def test_what_is_switched_off_says_so() -> None:
    name = chosen()
    with pyconv.winograd(False), pytest.raises(RuntimeError, match="switched off"):
        pyconv.conv2d(torch.randn(1, 32, 12, 12), torch.randn(32, 32, 3, 3), padding=1, algorithm=name)
    with pytest.raises(TypeError, match="bool"), pyconv.winograd("no"):
        pass


@pytest.mark.parametrize(("value", "expected"), [("0", "False"), ("1", "True")])
def test_environment(value: str, expected: str) -> None:
    script = "from pyconv import _C; print(_C.winograd_enabled())"
    environment = problems.child_environment(PYCONV_WINOGRAD=value)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [expected]


def test_environment_refuses_what_it_does_not_know() -> None:
    environment = problems.child_environment(PYCONV_WINOGRAD="off")
    command = [sys.executable, "-c", "import pyconv"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and "PYCONV_WINOGRAD must be 0 or 1, got 'off'" in done.stderr


# The rule under which the plan may choose these rows: an error, against float64, of 42 float32 epsilons of
# the largest result, and as many of float64's.
LIMITS = {torch.float32: 5e-6, torch.float64: 5e-6 * 2.0**-29}


def normal(size: tuple[int, ...], seed: torch.Generator, dtype: torch.dtype) -> torch.Tensor:
    """For float64 of so few bits that the oracle's sums of products are exact."""
    values = torch.randn(size, generator=seed, dtype=dtype)
    return values if dtype == torch.float32 else (values * 4096).round() / 4096


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize("channels", [64, 128, 256, 512])
@pytest.mark.parametrize("geometry", ["k64_i14_f3_p1", "k64_i28_f3_s2_p1"])
def test_error_stays_under_five_millionths_of_the_largest_output(
    geometry: str, channels: int, dtype: torch.dtype
) -> None:
    text = f"n2_c{channels}_{geometry}"
    p, seed = problems.parse(text), problems.generator(text)
    x, w = (normal(size, seed, dtype) for size in (problems.input_size(p), problems.weight_size(p)))
    check_error("forward", x, w, text)


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize("filters", [64, 128, 256, 512])
def test_error_of_strided_input_gradients_stays_under_it_too(filters: int, dtype: torch.dtype) -> None:
    text = f"n2_c64_k{filters}_i28_f3_s2_p1"
    p, seed = problems.parse(text), problems.generator(text)
    y, w = (normal(size, seed, dtype) for size in (problems.output_size(p), problems.weight_size(p)))
    check_error("grad_input", y, w, text)


def check_error(pass_: str, a: torch.Tensor, b: torch.Tensor, text: str) -> None:
    p = problems.parse(text)
    exact = problems.oracle(pass_, a, b, p)
    names = [name for name in problems.supported(text, a.dtype, pass_) if "winograd" in name]
    assert names
    for name in names:
        error = (problems.run(pass_, a, b, p, name) - exact).abs().max() / exact.abs().max()
        assert error < LIMITS[a.dtype], f"{name}: {error:.2g}"


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize(
    "text",
    [
        "n2_c64_k48_i14_f3_p1",
        "n4_c20_k32_i56_f3_p1",
        "c16_k16_i224_f3_p1",
        "n2_c64_k48_i28_f3_s2_p1",
        "c16_k16_i448_f3_s2_p1",
    ],
)
def test_error_of_weights_stays_under_five_millionths_of_the_largest(text: str, dtype: torch.dtype) -> None:
    """From 32 to 3136 tiles of normal data."""
    p, seed = problems.parse(text), problems.generator(text)
    sizes = problems.output_size(p), problems.input_size(p)
    y, x = (normal(size, seed, dtype) for size in sizes)
    check_error("grad_weight", y, x, text)


# Chunks as tiles of work, of one group and of two; blocks of weights, of one chunk and of several.
SUMS = (
    "c20_k33_i57x61_f3_p1",
    "n3_c32_k36_i30x33_f3_p1_g2",
    "n2_c70_k129_i13x10_f3",
    "c140_k132_i84x85_f3_p1",
)


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("text", SUMS)
def test_weights_of_every_cut(text: str, layout: str) -> None:
    """Within the bound on random data, and the same bits on any number of threads."""
    p, seed = problems.parse(text), problems.generator(text)
    sizes = problems.output_size(p), problems.input_size(p)
    y, x = (problems.in_layout(torch.randn(size, generator=seed), layout) for size in sizes)
    exact, limit = problems.oracle("grad_weight", y, x, p), problems.winograd_bound("grad_weight", y, x, p)
    for name in problems.supported(text, torch.float32, "grad_weight", layout):
        if "winograd" not in name:
            continue
        torch.set_num_threads(1)
        want = problems.run("grad_weight", y, x, p, name)
        assert ((want - exact).abs() <= limit).all(), name
        for threads in (2, 3):
            torch.set_num_threads(threads)
            assert torch.equal(problems.run("grad_weight", y, x, p, name), want), f"{name}, {threads} threads"


STRIDED_SUMS = (
    "c20_k33_i57x61_f3_s2_p1",
    "n3_c32_k36_i59x66_f3_s2_p1_g2",
    "n2_c70_k129_i27x21_f3_s2",
    "c140_k132_i131x126_f3_s2_p1",
)


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("text", STRIDED_SUMS)
def test_strided_weights_of_every_cut(text: str, layout: str) -> None:
    """Of integers, whose sums are exact, on any number of threads."""
    names = [n for n in problems.supported(text, torch.float32, "grad_weight", layout) if "winograd" in n]
    assert names
    for name in names:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            wrong = problems.check_exact(text, torch.float32, "grad_weight", layout, name)
            assert not wrong, f"{name}, {threads} threads: {wrong}"


@pytest.mark.parametrize(("stride", "reached"), [(1, (8, 9, 10)), (2, (4, 5))])
def test_a_value_that_is_not_finite_stays_in_its_tiles(stride: int, reached: tuple[int, ...]) -> None:
    x, w = torch.randn(1, 16, 16, 16), torch.randn(16, 16, 3, 3)
    x[0, 3, 9, 9] = float("nan")
    names = problems.supported(f"c16_k16_i16_f3_s{stride}_p1", torch.float32, "forward")
    names = [name for name in names if "winograd" in name]
    assert names
    for name in names:
        nan = pyconv.conv2d(x, w, stride=stride, padding=1, algorithm=name).isnan()
        side = 4 if "4x4" in name else 2
        rows = nan[0, 0].any(1).nonzero().flatten().tolist()
        assert set(rows) >= set(reached), "the direct sum's outputs are not finite"
        assert rows[0] > reached[0] - side and rows[-1] < reached[-1] + side, f"{name}: rows {rows}"


def test_sums_of_few_pixels_are_left_to_the_direct_rows() -> None:
    """16 products a weight erred by 1.7 times the direct sum's bound; from 49 on the rows keep to it."""

    def rows(text: str) -> list[str]:
        return [n for n in problems.supported(text, torch.float32, "grad_weight") if "winograd" in n]

    assert not rows("c128_k128_i4_f3_p1")
    text = "c128_k128_i7_f3_p1"
    assert rows(text)
    p = problems.parse(text)
    tensors = cases.make(p, "cpu")
    oracle = Oracle(p, "grad_weight", tensors)
    for name in rows(text):
        check = oracle.check(problems.run("grad_weight", tensors.dy, tensors.x, p, name))
        assert check.passed, f"{name}: {check.error_over_bound:.2g} times the bound"

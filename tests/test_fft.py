"""The rows that transform: large kernels, inside a bound of their own, and as repeatable as any other row."""

from __future__ import annotations

import math

import problems
import pytest
import torch
from test_determinism import randoms, same_bits
from torch import Tensor
from variants import VARIANTS

from pyconv import _C

ROWS = {
    torch.float32: "f32_fft",
    torch.float64: "f64_fft",
    torch.bfloat16: "bf16_fft",
    torch.float16: "f16_fft",
}
COMPUTED = {torch.bfloat16: torch.float32, torch.float16: torch.float32}
# One tile and several, padding of every kind, unequal axes, several channels and filters, groups, images.
TEXTS = [
    "c1_k1_i150x140_f31_p15",
    "c1_k1_i160x1100_f16x8_p1x7x3x0",
    "c1_k1_i700x130_f33x21",
    "n2_c2_k3_i150x160_f33x41_p15",
    "n2_c3_k3_i150_f29_p14_g3",
    "c1_k1_i80x900_f1x301_p0x150",
]
CASES = [(text, dtype) for text in TEXTS for dtype in ROWS]


def bound(pass_: str, a: Tensor, b: Tensor, p: _C.Problem, dtype: torch.dtype) -> float:
    """What the error of an element of overlap-save can be; norms are over planes, of which a tile is a part.

    A transform of N points errs by at most t = log2(N) * 7 u of its result, in the 2-norm (Higham,
    Accuracy and Stability of Numerical Algorithms, theorem 24.2, with exactly rounded twiddles). Of the
    product of the spectra of a and b, an element of the way back is a mean, so by Cauchy and Schwarz
    the errors of the two and of the products come to (2 t + 4 u) |a| |b|. The way back adds t times the
    2-norm of its result, which is at most |a|_2 |b|_1. Sums over channels or images add up, and adding
    them has an error of its own.
    """
    channels = {"forward": p.c // p.groups, "grad_input": p.k // p.groups, "grad_weight": p.n}[pass_]
    points = 4 * (p.h + p.r) * (p.w + p.s)
    u = torch.finfo(dtype).eps / 2
    t = 7 * u * math.log2(points)
    tiles = 64 if pass_ == "grad_weight" else 1  # more than any of the problems has
    first, second = (z.double().flatten(2) for z in (a, b))
    one, two = float(first.norm(dim=2).max()), float(second.norm(dim=2).max())
    spread = min(one * float(second.abs().sum(2).max()), two * float(first.abs().sum(2).max()))
    return channels * tiles * ((2 * t + (4 + channels * tiles) * u) * one * two + t * spread)


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize(("text", "dtype"), CASES, ids=str)
def test_error_is_inside_the_bound(text: str, dtype: torch.dtype, pass_: str, layout: str) -> None:
    p, made = randoms(text, dtype)
    a, b = (problems.in_layout(tensor, layout) for tensor in problems.pick(pass_, made))
    bias = made.bias if pass_ == "forward" else None
    got = problems.run(pass_, a, b, p, ROWS[dtype], bias).double()
    exact = problems.oracle(pass_, a, b, p)
    if bias is not None:
        exact = exact + bias.double()[:, None, None]
    error, limit = (got - exact).abs(), bound(pass_, a, b, p, COMPUTED.get(dtype, dtype))
    assert (error <= limit + (rounding(exact.abs() + limit, dtype) if dtype in COMPUTED else 0)).all()
    if dtype == torch.float32:  # what the project allows of any row
        assert error.max() <= 5e-6 * exact.abs().max()


def rounding(size: Tensor, dtype: torch.dtype) -> Tensor:
    """How far a number of at most that size is from the nearest of a type, at most."""
    stored = torch.finfo(dtype)
    return stored.eps / 2 * size + stored.smallest_normal * stored.eps / 2


@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize(("text", "dtype"), CASES, ids=str)
def test_the_same_bits_on_any_number_of_threads(text: str, dtype: torch.dtype, pass_: str) -> None:
    p, made = randoms(text, dtype)
    a, b = problems.pick(pass_, made)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 1, 2, 3):
            torch.set_num_threads(threads)
            results.append(problems.run(pass_, a, b, p, ROWS[dtype]))
    finally:
        torch.set_num_threads(before)
    assert all(same_bits(result, results[0]) for result in results)


@pytest.mark.parametrize("pass_", ["forward", "grad_input"])
@pytest.mark.parametrize("text", TEXTS)
def test_an_image_does_not_depend_on_its_neighbours(text: str, pass_: str) -> None:
    p, made = randoms(text, torch.float32, n=3)
    single, _ = randoms(text, torch.float32, n=1)
    a, b = problems.pick(pass_, made)
    together = problems.run(pass_, a, b, p, "f32_fft")
    for image in range(3):
        alone = problems.run(pass_, a[image : image + 1].clone(), b, single, "f32_fft")
        assert same_bits(together[image : image + 1], alone)


@pytest.mark.parametrize("variant", ["transposed", "window", "strided", "offset"])
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_strides_do_not_change_the_bits(pass_: str, variant: str) -> None:
    p, made = randoms(TEXTS[3], torch.float32)
    a, b = problems.pick(pass_, made)
    want = problems.run(pass_, a, b, p, "f32_fft")
    view = VARIANTS[variant]
    assert same_bits(problems.run(pass_, view(a), view(b), p, "f32_fft"), want)


@pytest.mark.parametrize("dtype", ROWS, ids=str)
def test_the_plan_sums_small_kernels_and_transforms_large_ones(dtype: torch.dtype) -> None:
    for pass_ in problems.PASSES:
        for taps, transformed in ((3, False), (11, False), (31, True), (63, True)):
            text = f"c1_k1_i1080x1920_f{taps}_p{taps // 2}"
            chosen = next(row["name"] for row in problems.plan(text, dtype, pass_) if row["chosen"])
            assert (chosen == ROWS[dtype]) == transformed, f"{text} {pass_}: {chosen}"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("c1_k1_i400_f11_p5", "taps"),
        ("c1_k1_i60_f31_p15", "products"),
        ("c1_k1_i400_f31_s2", "stride"),
        ("c1_k1_i400_f31_p15_reflect", "reflect"),
        ("c8_k8_i400_f31_p15", "pairs"),
    ],
)
def test_refusals(text: str, word: str) -> None:
    for pass_ in problems.PASSES:
        row = next(r for r in problems.plan(text, torch.float32, pass_) if r["name"] == "f32_fft")
        assert word in row["refusal"]


@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_weight_gradients_in_the_other_layout(layout: str) -> None:
    text = "n2_c2_k3_i150x160_f33x41_p15"
    p, made = problems.parse(text), problems.operands(text, torch.float32)
    pair = [problems.in_layout(tensor, layout) for tensor in problems.pick("grad_weight", made)]
    results = [
        torch.ops.pyconv.conv2d_grad_weight(
            *pair, problems.weight_size(p), *problems.parameters(p), "f32_fft", channels_last
        )
        for channels_last in (False, True)
    ]
    assert torch.equal(*results)
    for result, of in zip(results, problems.LAYOUTS, strict=True):
        assert result.stride() == problems.in_layout(result, of).stride()

"""Empty batches, empty sizes, infinities and NaNs, and integers beyond 2^53."""

from __future__ import annotations

import problems
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import pyconv
from pyconv import _C

ops = torch.ops.pyconv
PLAIN = ([1, 1], [0, 0, 0, 0], [1, 1], 1)
nan, inf = float("nan"), float("inf")


# ------------------------------------------------------------------------------------------------------------
# Zero sizes.
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64, torch.int64], ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_empty_batch(dtype: torch.dtype, bias: bool) -> None:
    x, w, b = torch.ones(0, 4, 5, 6).to(dtype), torch.ones(6, 2, 3, 2).to(dtype), torch.ones(6).to(dtype)
    got = pyconv.conv2d(x, w, b if bias else None, stride=2, padding=1, groups=2)
    want = F.conv2d(x, w, b if bias else None, stride=2, padding=1, groups=2)
    assert got.shape == want.shape and got.stride() == want.stride() and got.dtype == want.dtype


def test_gradients_of_an_empty_batch() -> None:
    x, w, b = torch.ones(0, 4, 5, 6), torch.ones(6, 4, 3, 2), torch.ones(6)
    for tensor in (x, w, b):
        tensor.requires_grad_()
    pyconv.conv2d(x, w, b).sum().backward()
    assert x.grad.shape == x.shape
    assert torch.equal(w.grad, torch.zeros_like(w)) and torch.equal(b.grad, torch.zeros_like(b))


def test_empty_batch_in_the_gradient_operators() -> None:
    dy, w, x = torch.ones(0, 4, 3, 3), torch.ones(4, 2, 3, 3), torch.ones(0, 2, 5, 5)
    assert ops.conv2d_grad_input(dy, w, [0, 2, 5, 5], *PLAIN).shape == (0, 2, 5, 5)
    assert torch.equal(ops.conv2d_grad_weight(dy, x, [4, 2, 3, 3], *PLAIN), torch.zeros(4, 2, 3, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_zero_channels(dtype: torch.dtype) -> None:
    """Sums of nothing: zeros and the bias, in the size that the shape formula says.

    torch returns no output channels here (2, 0, 3, 3), against its own formula; we do not follow it.
    """
    x, w = torch.ones(2, 0, 5, 5, dtype=dtype), torch.ones(4, 0, 3, 3, dtype=dtype)
    b = torch.arange(4, dtype=dtype)
    assert torch.equal(pyconv.conv2d(x, w), torch.zeros(2, 4, 3, 3, dtype=dtype))
    assert torch.equal(pyconv.conv2d(x, w, b), b.view(1, 4, 1, 1).expand(2, 4, 3, 3))


@pytest.mark.parametrize(
    ("x", "w"),
    [
        ((2, 3, 5, 5), (0, 3, 3, 3)),  # no filters
        ((2, 3, 0, 5), (4, 3, 3, 3)),  # no rows, and the kernel does not fit
        ((2, 3, 5, 5), (4, 3, 0, 3)),  # an empty kernel
    ],
)
def test_other_empty_sizes_are_refused_as_by_torch(x: tuple[int, ...], w: tuple[int, ...]) -> None:
    for function in (F.conv2d, pyconv.conv2d):
        with pytest.raises(RuntimeError):
            function(torch.ones(x), torch.ones(w))


def test_no_rows_but_padding() -> None:
    """An image without rows under padding: sums of the padding's zeros. torch refuses it."""
    y = pyconv.conv2d(torch.ones(2, 3, 0, 5), torch.ones(4, 3, 3, 3), torch.ones(4), padding=2)
    assert torch.equal(y, torch.ones(2, 4, 2, 7))


# ------------------------------------------------------------------------------------------------------------
# Values.
# ------------------------------------------------------------------------------------------------------------

NONFINITE = [
    "c1_k1_i5_f3_p1",
    "n2_c3_k4_i6x7_f3_p1",
    "c4_k4_i6_f3_p1_g4",
    "c9_k9_i8x12_f9_p4_g9",
    "c17_k18_i5_f3_s2_p1",
    "c3_k2_i6_f1",
]


def poisoned(tensor: Tensor, value: float) -> Tensor:
    tensor = tensor.clone()
    tensor.view(-1)[tensor.numel() // 2] = value
    return tensor


@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("operand", [0, 1])
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_nonfinite_values_spread_as_in_the_sum(pass_: str, operand: int, value: float) -> None:
    """Every row but Winograd's (test_winograd.py), padding's zeros counted as factors: inf * 0 is NaN, as in
    torch's forward.

    Where torch itself has two answers (an infinite weight over the border of grad_input, by kernel) only the
    elements that no padding reaches are compared.
    """
    results = []
    for text in NONFINITE:
        p, made = problems.parse(text), problems.operands(text, torch.float32)
        pair = list(problems.pick(pass_, made))
        pair[operand] = poisoned(pair[operand], value)
        want = problems.oracle(pass_, *pair, p).float()
        for name in problems.supported(text, torch.float32, pass_):
            if "winograd" in name:
                continue
            got = problems.run(pass_, *pair, p, name)
            if pass_ == "grad_input" and operand == 1:
                got, want_here = (t[..., p.r : -p.r or None, p.s : -p.s or None] for t in (got, want))
            else:
                want_here = want
            results.append((f"{p} {name}", problems.difference(got, want_here)))
    problems.report(results)


def test_int64_beyond_float64() -> None:
    """Products and sums above 2^53, and the wrap-around of two's complement, as torch has them."""
    seed = problems.generator("int64")
    x = torch.randint(-(2**40), 2**40, (2, 3, 5, 6), generator=seed)
    w = torch.randint(-(2**30), 2**30, (4, 3, 3, 3), generator=seed)
    assert torch.equal(pyconv.conv2d(x, w, padding=1), F.conv2d(x, w, padding=1))


def test_float16_overflows_to_infinity() -> None:
    x, w = torch.full((1, 4, 3, 3), 200.0).half(), torch.full((1, 4, 3, 3), 200.0).half()
    assert torch.equal(pyconv.conv2d(x, w), torch.full((1, 1, 1, 1), inf).half())
    assert torch.equal(pyconv.conv2d(x, -w), torch.full((1, 1, 1, 1), -inf).half())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_rounds_once(dtype: torch.dtype) -> None:
    """Partial sums, products and bias stay in fp32: 256 + 1 survives bfloat16's eight bits until the end."""
    large = 256.0 if dtype == torch.bfloat16 else 2048.0
    x = torch.tensor([large, 1.0, 1.0, -large]).view(1, 4, 1, 1).to(dtype)
    w, b = torch.ones(1, 4, 1, 1).to(dtype), torch.tensor([0.5]).to(dtype)
    for name in problems.supported("c4_k1_i1_f1", dtype, "forward"):
        got = ops.conv2d(x, w, b, [1, 1], [0, 0, 0, 0], [1, 1], 1, "zeros", name)
        assert got.item() == 2.5, name


def test_unbatched_input() -> None:
    x, w = torch.ones(4, 5, 6), torch.ones(3, 4, 2, 2)
    assert torch.equal(pyconv.conv2d(x, w), pyconv.conv2d(x[None], w)[0])


def test_flush_denormal_reaches_the_kernels() -> None:
    """torch.set_flush_denormal is a mode of the threads that torch owns; the kernels run on them."""
    x, w = torch.full((1, 1, 64, 64), 1e-30), torch.full((1, 1, 3, 3), 1e-12)
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU has no flush-to-zero mode")
    try:
        flushed = [ops.conv2d(x, w, None, *PLAIN, "zeros", n) for n in forward_rows("c1_k1_i64x64_f3")]
    finally:
        torch.set_flush_denormal(False)
    kept = [ops.conv2d(x, w, None, *PLAIN, "zeros", n) for n in forward_rows("c1_k1_i64x64_f3")]
    assert all(bool((y == 0).all()) for y in flushed)
    assert all(bool((y > 0).all()) for y in kept)


def forward_rows(text: str) -> list[str]:
    rows = problems.supported(text, torch.float32, "forward")
    assert rows and set(rows) <= {name for name, _ in _C.algorithms("cpu")}
    return rows

"""The oracle against itself: loops, unfolding and torch's convolution agree, exactly, on integers."""

import pytest
import torch
from torch.nn import functional as F

from pyconv import reference

# (input, weight, stride, padding (top, bottom, left, right), dilation, groups, padding_mode)
CASES = {
    "plain": ((2, 3, 5, 6), (4, 3, 3, 2), (1, 1), (0, 0, 0, 0), (1, 1), 1, "zeros"),
    "four sides": ((1, 2, 4, 5), (3, 2, 3, 3), (1, 1), (2, 0, 1, 3), (1, 1), 1, "zeros"),
    "stride and dilation": ((1, 2, 9, 8), (2, 2, 2, 3), (2, 3), (1, 1, 2, 2), (3, 2), 1, "zeros"),
    "stride beyond the kernel": ((1, 1, 9, 9), (1, 1, 2, 2), (4, 3), (0, 0, 0, 0), (1, 1), 1, "zeros"),
    "groups": ((2, 4, 4, 4), (6, 2, 2, 2), (1, 1), (1, 0, 0, 1), (1, 1), 2, "zeros"),
    "depthwise": ((1, 3, 5, 5), (3, 1, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 3, "zeros"),
    "padding beyond the kernel": ((1, 1, 3, 3), (1, 1, 2, 2), (1, 1), (4, 4, 4, 4), (1, 1), 1, "zeros"),
    "kernel beyond the image": ((1, 2, 2, 3), (2, 2, 5, 5), (1, 1), (2, 2, 2, 2), (1, 1), 1, "zeros"),
    "reflect": ((1, 2, 5, 6), (2, 2, 3, 3), (1, 2), (4, 1, 2, 5), (1, 1), 1, "reflect"),
    "replicate": ((1, 2, 3, 4), (2, 2, 3, 3), (1, 1), (5, 1, 2, 6), (1, 1), 1, "replicate"),
    "circular": ((1, 2, 3, 4), (2, 1, 3, 3), (1, 1), (3, 1, 2, 4), (1, 1), 2, "circular"),
}
DTYPES = [
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.float16,
    torch.complex64,
    torch.complex128,
    torch.int64,
]


def small_integers(size, dtype):
    real = torch.randint(-2, 3, size)
    if dtype.is_complex:
        return torch.complex(real.to(torch.float64), torch.randint(-2, 3, size).to(torch.float64)).to(dtype)
    return real.to(dtype)


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


@pytest.fixture(params=DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def dtype(request):
    return request.param


def test_forward_three_ways(case, dtype):
    input_size, weight_size, *geometry = case
    x, w = small_integers(input_size, dtype), small_integers(weight_size, dtype)
    b = small_integers(weight_size[:1], dtype)
    loops = reference.conv2d(x, w, b, *geometry)
    assert loops.dtype == dtype
    assert torch.equal(loops, reference.conv2d_unfold(x, w, b, *geometry))
    if dtype != torch.int64 or geometry[-1] in (
        "zeros",
        "circular",
    ):  # torch pads no integers by the other modes
        assert torch.equal(loops, reference.conv2d_torch(x, w, b, *geometry))


def test_gradients_two_ways(case, dtype):
    input_size, weight_size, *geometry = case
    x, w = small_integers(input_size, dtype), small_integers(weight_size, dtype)
    g = small_integers(reference.conv2d_unfold(x, w, None, *geometry).shape, dtype)
    grad_input, grad_weight = reference.gradients_torch(g, x, w, *geometry)
    assert torch.equal(reference.conv2d_grad_input(g, w, x.shape, *geometry), grad_input)
    assert torch.equal(reference.conv2d_grad_weight(g, x, w.shape, *geometry), grad_weight)


def test_adjoint_identity(case):
    input_size, weight_size, *geometry = case
    x, w = small_integers(input_size, torch.int64), small_integers(weight_size, torch.int64)
    y = reference.conv2d(x, w, None, *geometry)
    g = small_integers(y.shape, torch.int64)
    product = (y * g).sum()
    assert product == (x * reference.conv2d_grad_input(g, w, x.shape, *geometry)).sum()
    assert product == (w * reference.conv2d_grad_weight(g, x, w.shape, *geometry)).sum()


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_padding_is_torchs(mode):
    x = torch.arange(2.0 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    for padding in ((0, 0, 0, 0), (1, 2, 3, 4), (3, 0, 0, 4)):
        top, bottom, left, right = padding
        want = F.pad(x, (left, right, top, bottom), mode="constant" if mode == "zeros" else mode)
        assert torch.equal(reference.pad(x, padding, mode), want)


@pytest.mark.parametrize("mode, reach", [("reflect", 3), ("circular", 4)])
def test_padding_that_wraps_twice_is_refused(mode, reach):
    assert reference.source_index(1 - reach, 3, mode) is not None
    with pytest.raises(
        ValueError, match=f"{mode} padding reaches position -{reach} of an axis of 3 elements"
    ):
        reference.source_index(-reach, 3, mode)
    with pytest.raises(ValueError, match="unknown padding_mode 'mirror'"):
        reference.source_index(-1, 3, "mirror")


def test_the_book_example():
    X, K = torch.arange(9.0).reshape(3, 3), torch.arange(4.0).reshape(2, 2)
    want = torch.tensor([[19.0, 25.0], [37.0, 43.0]])
    assert torch.equal(reference.corr2d(X, K), want)
    assert torch.equal(reference.conv2d(X[None, None], K[None, None])[0, 0], want)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": (2, 3), "output_padding": (1, 2)},
        {"groups": 2},
        {"dilation": (2, 1), "padding": (1, 1, 0, 0)},
    ],
    ids=str,
)
def test_transposed_is_torchs(options):
    groups = options.get("groups", 1)
    x, w = small_integers((2, 4, 3, 4), torch.float64), small_integers((4, 3, 3, 2), torch.float64)
    b = small_integers((3 * groups,), torch.float64)
    theirs = dict(options)
    if "padding" in theirs:
        theirs["padding"] = (theirs["padding"][0], theirs["padding"][2])
    assert torch.equal(reference.conv_transpose2d(x, w, b, **options), F.conv_transpose2d(x, w, b, **theirs))


def test_low_precision_is_rounded_once():
    # 1 + 2^-9 twice: each product is exact in float64, their sum is not in bfloat16; rounding after every
    # step would lose both small parts.
    x = torch.tensor([1.0, 2**-8, 2**-8]).reshape(1, 1, 1, 3).to(torch.bfloat16)
    w = torch.ones(1, 1, 1, 3, dtype=torch.bfloat16)
    want = torch.tensor(1.0 + 2**-7, dtype=torch.bfloat16)
    assert reference.conv2d(x, w).item() == want.item()
    assert reference.conv2d_torch(x, w).item() == want.item()
    assert reference.conv2d_unfold(x, w).item() == want.item()

"""pyconv.conv2d, conv_transpose2d, corr2d and convolve2d as functions: every way of writing the arguments.

Data are small integers, so that results are exact and compared for equality whatever the summation order. The
operators' own numerics are tested elsewhere.
"""

import numpy
import pytest
import torch
from torch.nn import functional as F

import pyconv
from pyconv import reference


def integers(*size, dtype=torch.float64):
    return torch.randint(-4, 5, size).to(dtype)


@pytest.fixture
def x():
    return integers(2, 4, 7, 8)


@pytest.fixture
def w():
    return integers(6, 4, 3, 2)


OPTIONS = [
    {},
    {"stride": 2},
    {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 3)},
    {"padding": 3, "dilation": 2},
    {"padding": "valid"},
    {"padding": "same"},
    {"padding": "same", "dilation": (2, 3)},
    {"stride": [2, 3], "padding": [1, 0], "dilation": [2, 1]},
    {"stride": (2,), "padding": (1,), "dilation": (2,)},
    {"stride": torch.tensor(2), "padding": numpy.int64(1), "groups": numpy.int32(1)},
    {"stride": torch.Size([2, 1])},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("batched", [True, False], ids=["batched", "unbatched"])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_arguments_as_torch_takes_them(x, w, options, batched):
    b = integers(6)
    x = x if batched else x[0]
    want = F.conv2d(x, w, b, **options)
    got = pyconv.conv2d(x, w, b, **options)
    assert torch.equal(got, want)
    assert got.stride() == want.stride()


def test_positional_order_is_torchs(x):
    w, b = integers(6, 2, 3, 2), integers(6)
    assert torch.equal(pyconv.conv2d(x, w, b, 2, 1, (1, 2), 2), F.conv2d(x, w, b, 2, 1, (1, 2), 2))
    assert torch.equal(pyconv.conv2d(input=x, weight=w, bias=b, groups=2), F.conv2d(x, w, b, groups=2))


def test_same_puts_the_extra_at_the_bottom_and_the_right():
    """The output keeps its size, and its last row and column see the padding."""
    x = torch.ones(1, 1, 3, 3)
    out = pyconv.conv2d(x, torch.ones(1, 1, 2, 2), padding="same")
    assert torch.equal(out[0, 0], torch.tensor([[4.0, 4, 2], [4, 4, 2], [2, 2, 1]]))


@pytest.mark.parametrize("padding", [(1, 0, 2, 3), [0, 2, 0, 0], (2, 2, 1, 1)])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_four_sides_and_modes(x, w, padding, mode):
    want = reference.conv2d_torch(x, w, None, (1, 1), tuple(padding), (1, 1), 1, mode)
    assert torch.equal(pyconv.conv2d(x, w, padding=padding, padding_mode=mode), want)
    got = pyconv.conv2d(x[0], w, padding=padding, padding_mode=mode)
    assert torch.equal(got, want[0])


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float32,
        torch.float64,
        torch.bfloat16,
        torch.float16,
        torch.complex64,
        torch.complex128,
        torch.int64,
    ],
    ids=str,
)
def test_dtypes(dtype):
    x, w, b = integers(1, 2, 4, 5, dtype=dtype), integers(3, 2, 2, 2, dtype=dtype), integers(3, dtype=dtype)
    if dtype.is_complex:
        x, w = x + 1j * integers(1, 2, 4, 5, dtype=dtype), w - 2j * integers(3, 2, 2, 2, dtype=dtype)
    got = pyconv.conv2d(x, w, b, padding=1)
    assert got.dtype == dtype
    assert torch.equal(got, reference.conv2d(x, w, b, (1, 1), (1, 1, 1, 1)))


def test_named_algorithm_is_used(x, w):
    name = pyconv.plan(x, w).chosen
    assert torch.equal(pyconv.conv2d(x, w, algorithm=name), F.conv2d(x, w))


def test_gradients_reach_all_three(x, w):
    b = integers(6)
    leaves = [t.clone().requires_grad_() for t in (x, w, b)]
    twins = [t.clone().requires_grad_() for t in (x, w, b)]
    out = pyconv.conv2d(*leaves, stride=2, padding=1)
    g = integers(*out.shape)
    out.backward(g)
    F.conv2d(*twins, stride=2, padding=1).backward(g)
    for ours, theirs in zip(leaves, twins, strict=True):
        assert torch.equal(ours.grad, theirs.grad)


class Logged(torch.Tensor):
    """A subclass that notes which functions were called on it."""

    calls: list = []  # noqa: RUF012

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.calls.append(func)
        return super().__torch_function__(func, types, args, kwargs or {})


@pytest.mark.parametrize("position", [0, 1, 2])
def test_tensor_subclasses_are_asked_first(x, w, position):
    tensors = [x, w, integers(6)]
    want = F.conv2d(*tensors)
    tensors[position] = tensors[position].as_subclass(Logged)
    Logged.calls = []
    out = pyconv.conv2d(*tensors)
    assert Logged.calls[0] is pyconv.conv2d
    assert type(out) is Logged and torch.equal(out.as_subclass(torch.Tensor), want)


TRANSPOSED = [
    {},
    {"stride": 2, "padding": 1},
    {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2)},
    {"dilation": 2, "output_padding": 1},
    {"dilation": (3, 2), "stride": (2, 1), "output_padding": (2, 1)},
    {"groups": 2, "stride": [2, 2]},
    {"padding": (2, 1)},
]


@pytest.mark.parametrize("options", TRANSPOSED, ids=str)
@pytest.mark.parametrize("batched", [True, False], ids=["batched", "unbatched"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_conv_transpose2d_is_torchs(x, options, batched, bias):
    x, w = x if batched else x[0], integers(4, 3, 3, 2)
    b = integers(3 * options.get("groups", 1)) if bias else None
    assert torch.equal(pyconv.conv_transpose2d(x, w, b, **options), F.conv_transpose2d(x, w, b, **options))


def test_conv_transpose2d_positional_order_is_torchs(x):
    w, b = integers(4, 3, 3, 2), integers(6)
    arguments = (2, 1, 1, 2, (1, 2))
    assert torch.equal(pyconv.conv_transpose2d(x, w, b, *arguments), F.conv_transpose2d(x, w, b, *arguments))


def test_conv_transpose2d_with_four_sides():
    x, w = integers(1, 2, 3, 4), integers(2, 3, 3, 3)
    want = reference.conv_transpose2d(x, w, None, (2, 2), (1, 0, 0, 2))
    assert torch.equal(pyconv.conv_transpose2d(x, w, stride=2, padding=(1, 0, 0, 2)), want)


def test_conv_transpose2d_gradients(x):
    tensors = (x, integers(4, 3, 3, 2), integers(3))
    leaves, twins = ([t.clone().requires_grad_() for t in tensors] for _ in range(2))
    options = {"stride": 2, "padding": 1, "output_padding": 1}
    out = pyconv.conv_transpose2d(*leaves, **options)
    g = integers(*out.shape)
    out.backward(g)
    F.conv_transpose2d(*twins, **options).backward(g)
    for ours, theirs in zip(leaves, twins, strict=True):
        assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_conv_transpose2d_rounds_once(dtype):
    """The sums are exact in float32 and too long for the dtype; a bias added after rounding would show."""
    x, w, b = integers(2, 40, 5, 5, dtype=dtype), 97 * integers(40, 3, 3, 3), integers(3, dtype=dtype)
    w = w.to(dtype)
    want = reference.conv_transpose2d(x, w, b)
    assert torch.equal(pyconv.conv_transpose2d(x, w, b), want)
    assert not torch.equal(pyconv.conv_transpose2d(x, w) + b[:, None, None], want)


def test_corr2d_prints_what_the_book_prints():
    X = torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    K = torch.tensor([[0, 1], [2, 3]])
    assert repr(pyconv.corr2d(X, K)) == "tensor([[19., 25.],\n        [37., 43.]])"
    assert pyconv.corr2d(X, K).dtype == torch.float32
    assert pyconv.corr2d(X.double(), K).dtype == torch.float64
    assert pyconv.corr2d(X > 3, K).dtype == torch.float32


@pytest.mark.parametrize("kernel", [(1, 1), (1, 4), (3, 1), (2, 3), (6, 5)])
def test_corr2d_is_the_double_loop(kernel):
    X, K = integers(6, 5), integers(*kernel) if kernel[1] <= 5 else None
    assert torch.equal(pyconv.corr2d(X, K), reference.corr2d(X, K))


def test_convolve2d_flips_both_ways():
    X, K = integers(6, 5), integers(2, 3)
    assert torch.equal(pyconv.convolve2d(X, K), reference.corr2d(X, K.flip(0, 1)))
    # Convolving with a shifted one shifts; convolution commutes where everything fits.
    assert torch.equal(pyconv.convolve2d(K, K), (K * K.flip(0, 1)).sum().reshape(1, 1))


def test_corr2d_is_differentiable_in_both():
    X, K = integers(4, 5).requires_grad_(), integers(2, 3).requires_grad_()
    assert torch.autograd.gradcheck(pyconv.corr2d, (X, K))
    assert torch.autograd.gradcheck(pyconv.convolve2d, (X, K))

"""`activation=`, a function of what conv2d alone would store: every row, number and transform."""

from __future__ import annotations

import math

import problems
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pyconv
from pyconv import _C

NAMES = ("relu", "silu", "gelu")
THEIRS = {"relu": F.relu, "silu": F.silu, "gelu": F.gelu}
ROWS = [name for name, pass_ in _C.algorithms("cpu") if pass_ == "forward"]
FILES = ("depthwise", "edges", "groups", "planes", "resnet_small", "tiny", "winograd")

# Errors in float32, relative to |y|. gelu's is derived in csrc/cpu/activation.inl; silu's is that of its
# exponential, the sum and the quotient, an ulp and two halves. float64 is the standard library's.
BOUND = {"relu": 0.0, "silu": 3 * 2**-23, "gelu": 3e-7}


def exact(name: str, y: Tensor) -> Tensor:
    y = y.double()
    if name == "relu":
        return y.clamp_min(0)
    return y / (1 + torch.exp(-y)) if name == "silu" else y / 2 * torch.special.erfc(-y / math.sqrt(2))


def wrong(name: str, y: Tensor, got: Tensor) -> str:
    """What is wrong with `got` as the activation of `y`, as a sentence, or an empty string."""
    assert got.dtype == y.dtype and got.shape == y.shape
    bound = 2**-50 if y.dtype == torch.float64 else BOUND[name]
    if name != "relu" and y.dtype in (torch.float16, torch.bfloat16):
        bound += torch.finfo(y.dtype).eps / 2  # rounded once more
    smallest = torch.finfo(y.dtype).smallest_normal
    error = (got.double() - exact(name, y)).abs() - (bound * y.double().abs() + smallest)
    if bool((error > 0).any()):
        worst = error.argmax()
        return f"{name}({y.flatten()[worst]}) is not {got.flatten()[worst]}"
    # One y, one result, wherever it stands in a tensor.
    values, place = y.flatten().unique(return_inverse=True)
    last = got.new_zeros(values.numel()).index_copy(0, place, got.flatten())
    return "" if torch.equal(last[place], got.flatten()) else f"{name} gives one y different bits"


def scaled(text: str, dtype: torch.dtype, layout: str) -> tuple[Tensor, Tensor, Tensor, tuple]:
    """Exact operands whose outputs are about one: integers over a power of two."""
    problem, made = problems.parse(text, dtype), problems.operands(text, dtype)
    x, w, bias = (t.clone() for t in (made.input, made.weight, made.bias))
    if dtype.is_floating_point:
        size = float((w.double().abs().sum((1, 2, 3)).max() + 1) * (x.double().abs().max() + 1))
        scale = 2.0 ** -int(math.log2(size) - 3)
        w, bias = w * scale, bias * scale
    return problems.in_layout(x, layout), problems.in_layout(w, layout), bias, problems.parameters(problem)


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("algorithm", ROWS)
def test_every_row(algorithm: str, layout: str) -> None:
    """Bits of a row with an activation are a function of its bits without one."""
    results = []
    for file in FILES:
        for dtype in problems.REAL_DTYPES:
            for text in problems.shapes(file, dtype):
                if algorithm not in problems.supported(text, dtype, "forward", layout):
                    continue
                x, w, bias, (*rest, mode) = scaled(text, dtype, layout)
                y = torch.ops.pyconv.conv2d(x, w, bias, *rest, mode, algorithm)
                for name in NAMES if dtype.is_floating_point else ("relu",):
                    got = torch.ops.pyconv.conv2d_activated(x, w, bias, *rest, name, mode, algorithm)
                    assert got.stride() == y.stride()
                    reason = (
                        "" if name != "relu" or torch.equal(got, F.relu(y)) else "not torch's relu"
                    ) or (wrong(name, y, got) if dtype.is_floating_point else "")
                    results.append((f"{text} {dtype} {layout}", reason))
    problems.report(results)


@pytest.mark.parametrize("isa", _C.isas())
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64, torch.bfloat16, torch.float16), ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_number(name: str, dtype: torch.dtype, isa: str) -> None:
    """Against float64 from the largest to the smallest numbers; at the ends torch's float64 is the rule: on
    some CPUs its gelu of an infinite float is NaN."""
    _C.set_isa(isa)
    y = torch.cat(
        (torch.linspace(-110, 110, 200001), torch.logspace(-44, 4, 999), -torch.logspace(-44, 4, 999))
    )
    y = y.to(dtype)
    one = torch.ones(1, 1, 1, 1, dtype=dtype)
    got = pyconv.conv2d(y[None, None, None], one, activation=name)[0, 0, 0]
    assert wrong(name, y, got) == ""
    ends = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan")], dtype=dtype)
    got = pyconv.conv2d(ends[None, None, None], one, activation=name)[0, 0, 0]
    want = THEIRS[name](ends.double()).to(dtype)
    torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("threads", (1, 2, 3))
@pytest.mark.parametrize(
    "text", ("n2_c3_k16_i96x96_f3_p1", "n2_c40_k40_i61x63_f3_p1_g40", "c1_k1_i900x901_f5_p2")
)
@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_threads_and_large_results(text: str, layout: str, threads: int) -> None:
    """Results that would be written past the caches; and the same bits for every number of threads."""
    x, w, bias, (*rest, mode) = scaled(text, torch.float32, layout)
    torch.set_num_threads(threads)
    y = torch.ops.pyconv.conv2d(x, w, bias, *rest, mode)
    for name in NAMES:
        assert wrong(name, y, torch.ops.pyconv.conv2d_activated(x, w, bias, *rest, name, mode)) == ""


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_two_calls(name: str) -> None:
    def run(function) -> list[Tensor]:
        torch.manual_seed(0)
        leaves = [
            torch.randint(-3, 4, size).double().requires_grad_()
            for size in ((2, 4, 6, 7), (6, 2, 3, 3), (6,))
        ]
        y = function(*leaves)
        first = torch.autograd.grad((y * y).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum((g * g).sum() for g in first), leaves)
        return [y, *first, *second]

    fused = run(lambda x, w, b: pyconv.conv2d(x, w, b, padding=1, groups=2, activation=name))
    apart = run(lambda x, w, b: THEIRS[name](pyconv.conv2d(x, w, b, padding=1, groups=2)))
    for got, want in zip(fused, apart, strict=True):
        assert torch.equal(got, want)


def test_relu_keeps_its_result_and_no_more() -> None:
    x, w = torch.randn(1, 2, 5, 5), torch.randn(3, 2, 3, 3, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.shape) or t, lambda t: t):
        y = pyconv.conv2d(x, w, activation="relu")
    assert sorted(saved) == sorted((x.shape, y.shape))
    assert "Relu" in type(y.grad_fn).__name__ or "Relu" in y.grad_fn.name()


@pytest.mark.parametrize("name", NAMES)
def test_transforms(name: str) -> None:
    torch.manual_seed(0)
    x, w, b = torch.randn(2, 3, 5, 5).double(), torch.randn(4, 3, 3, 3).double(), torch.randn(4).double()

    def ours(x, w, b):
        return pyconv.conv2d(x, w, b, activation=name)

    def theirs(x, w, b):
        return THEIRS[name](F.conv2d(x, w, b))

    tangents = tuple(torch.randn_like(t) for t in (x, w, b))
    for got, want in zip(
        torch.func.jvp(ours, (x, w, b), tangents), torch.func.jvp(theirs, (x, w, b), tangents), strict=True
    ):
        torch.testing.assert_close(got, want)
    torch.testing.assert_close(
        torch.func.hessian(lambda v: ours(x, w, v).sum())(b),
        torch.func.hessian(lambda v: theirs(x, w, v).sum())(b),
    )
    many = tuple(torch.stack([t, t + 1, t - 1]) for t in (x, w, b))
    for dims in ((0, None, None), (None, 0, 0), (0, 0, None), (0, None, 0)):
        operands = [t if dim is None else m for dim, t, m in zip(dims, (x, w, b), many, strict=True)]
        torch.testing.assert_close(torch.vmap(ours, dims)(*operands), torch.vmap(theirs, dims)(*operands))
    torch.testing.assert_close(ours(x[0], w, b), theirs(x[0], w, b))
    torch._dynamo.reset()
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    leaves = [t.clone().requires_grad_() for t in (x, w, b)]
    assert torch.equal(compiled(*leaves), ours(*leaves))
    with torch.autocast("cpu", torch.bfloat16):
        y = pyconv.conv2d(x.float(), w.float(), b.float(), activation=name)
        assert y.dtype == torch.bfloat16
        assert wrong(name, pyconv.conv2d(x.float(), w.float(), b.float()), y) == ""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("requires_grad", (False, True))
def test_opcheck(name: str, requires_grad: bool) -> None:
    x, w, b = (
        torch.randn(s, dtype=torch.float64, requires_grad=requires_grad)
        for s in ((2, 3, 5, 6), (4, 3, 2, 3), (4,))
    )
    torch.library.opcheck(
        torch.ops.pyconv.conv2d_activated.default, (x, w, b, (2, 1), (1, 0, 2, 1), (1, 2), 1, name)
    )


def test_flops_are_the_convolutions() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    x, w = torch.randn(2, 3, 5, 5), torch.randn(4, 3, 3, 3)
    counts = []
    for activation in (None, "relu"):
        with FlopCounterMode(display=False) as mode:
            pyconv.conv2d(x, w, activation=activation)
        counts.append(mode.get_total_flops())
    assert counts[0] == counts[1] == 2 * 2 * 4 * 9 * 27


def test_refusals_and_empty_sums() -> None:
    x, w = torch.randn(1, 2, 4, 4), torch.randn(3, 2, 3, 3)
    for activation in ("tanh", "RELU", "", 1):
        with pytest.raises(ValueError, match="activation"):
            pyconv.conv2d(x, w, activation=activation)
    with pytest.raises(ValueError, match="activation"):
        pyconv.Conv2D(2, 3, 3, activation="elu")
    for requires_grad in (False, True):
        with pytest.raises(ValueError, match="activation"):
            torch.ops.pyconv.conv2d_activated(
                x, w.requires_grad_(requires_grad), None, (1, 1), (0, 0, 0, 0), (1, 1), 1, "tanh"
            )
    w = w.detach()
    with pytest.raises(RuntimeError):  # torch's own refusal
        pyconv.conv2d(x.long(), w.long(), activation="silu")
    with pytest.raises(RuntimeError):
        pyconv.conv2d(x.cfloat(), w.cfloat(), activation="relu")
    assert torch.equal(
        pyconv.conv2d(x.cfloat(), w.cfloat(), activation="silu"),
        F.silu(pyconv.conv2d(x.cfloat(), w.cfloat())),
    )
    bias = torch.tensor([-1.0, 0.0, 2.0])
    empty = pyconv.conv2d(x[:, :0], w[:, :0], bias, activation="relu")
    assert torch.equal(empty, bias.relu().view(1, 3, 1, 1).expand(1, 3, 2, 2))
    assert pyconv.conv2d(x[:0], w, activation="gelu").shape == (0, 3, 2, 2)


def test_fft_row() -> None:
    x, w = torch.randn(1, 1, 260, 300), torch.randn(1, 1, 15, 15) / 15
    arguments = (x, w, None, (1, 1), (7, 7, 7, 7), (1, 1), 1)
    y = torch.ops.pyconv.conv2d(*arguments, "zeros", "f32_fft")
    for name in NAMES:
        assert wrong(name, y, torch.ops.pyconv.conv2d_activated(*arguments, name, "zeros", "f32_fft")) == ""


def test_layer() -> None:
    torch.manual_seed(0)
    layer = pyconv.Conv2D(3, 4, 3, activation="silu")
    x = torch.randn(2, 3, 6, 6)
    assert "activation=silu" in repr(layer) and "activation" not in repr(pyconv.Conv2D(3, 4, 3))
    assert torch.equal(layer(x), F.silu(pyconv.conv2d(x, layer.weight, layer.bias)))
    assert list(layer.state_dict()) == ["weight", "bias"]
    plain = nn.Conv2d(3, 4, 3)
    plain.load_state_dict(layer.state_dict())
    assert pyconv.convert(plain).replaced == [""] and plain.activation is None
    report = pyconv.convert(nn.Sequential(layer), to="torch")
    assert report.replaced == [] and "activation" in report.left[0][1]

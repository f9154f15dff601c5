"""Batches of problems: the operators' 5-D operands, and vmap over both tensors, which makes them."""

from __future__ import annotations

import functools
import itertools

import problems
import pytest
import torch
import torch.nn.functional as F
from test_layout import LAYOUT_OF
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.utils.flop_counter import FlopCounterMode
from without_data import WITHOUT_DATA, assert_same_refusal

import pyconv
from pyconv import _C, transforms

TEXTS = [
    "n1_c3_k32_i12_f3_p1",
    "n2_c4_k6_i7x5_f2x3_s2x1_p1x0x2x1_d1x2_g2",
    "n1_c6_k6_i9_f3_p1_g6",
    "n2_c3_k4_i8_f4_s4",
    "n1_c2_k3_i6_f3_p1_circular",
]
OPERATORS = {
    "forward": torch.ops.pyconv.conv2d.default,
    "grad_input": torch.ops.pyconv.conv2d_grad_input.default,
    "grad_weight": torch.ops.pyconv.conv2d_grad_weight.default,
}


def integers(seed: str, *size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randint(-4, 5, size, generator=problems.generator(seed)).to(dtype)


def in_layout(tensor: Tensor, layout: str) -> Tensor:
    """Each problem's tensor in the layout."""
    return problems.in_layout(tensor.flatten(0, 1), layout).unflatten(0, tensor.shape[:2])


def pair(text: str, pass_: str, batch: int, layout: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    p = problems.parse(text)
    sizes = {
        "input": problems.input_size(p),
        "weight": problems.weight_size(p),
        "output": problems.output_size(p),
    }
    names = {"forward": ("input", "weight"), "grad_input": ("output", "weight")}.get(
        pass_, ("output", "input")
    )
    return tuple(in_layout(integers(name, batch, *sizes[name], dtype=dtype), layout) for name in names)


def strides(tensor: Tensor) -> list[int]:
    """Where there is more than one element to step to."""
    return [step for step, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


def call(text: str, pass_: str, a: Tensor, b: Tensor) -> Tensor:
    """The operator, of one problem or of a batch."""
    p = problems.parse(text)
    if pass_ == "forward":
        return OPERATORS[pass_](a, b, None, *problems.parameters(p))
    size = problems.input_size(p) if pass_ == "grad_input" else problems.weight_size(p)
    return OPERATORS[pass_](a, b, [*a.shape[:-4], *size], *problems.parameters(p))


@pytest.mark.parametrize(
    ("text", "dtype"),
    [(text, dtype) for text in TEXTS for dtype in (torch.float32, torch.float64)]
    + [(TEXTS[1], torch.bfloat16), (TEXTS[1], torch.complex64), (TEXTS[0], torch.int64)],
    ids=str,
)
@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_a_batch_is_its_problems(pass_: str, layout: str, text: str, dtype: torch.dtype) -> None:
    """Exact, in each problem's layout, whether workers share a problem or have problems of their own."""
    _C.set_winograd_enabled(False)
    p = problems.parse(text)
    for threads, batch in ((1, 3), (2, 1), (2, 3), (2, 8)):
        torch.set_num_threads(threads)
        a, b = pair(text, pass_, batch, layout, dtype)
        got = call(text, pass_, a, b)
        want = torch.stack([problems.oracle(pass_, *both, p) for both in zip(a, b, strict=True)])
        assert torch.equal(got, want.to(dtype))
        assert strides(got[0]) == strides(call(text, pass_, a[0], b[0]))


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_vmap_by_groups(pass_: str, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What vmap does on CUDA, of tensors on the CPU."""
    _C.set_winograd_enabled(False)
    monkeypatch.setattr(transforms, "_by_groups", lambda tensor: True)
    for text in TEXTS:
        p = problems.parse(text)
        a, b = pair(text, pass_, 3, layout, torch.float32)
        want = torch.stack([problems.oracle(pass_, *both, p) for both in zip(a, b, strict=True)])
        assert torch.equal(torch.vmap(functools.partial(call, text, pass_))(a, b), want.float())


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_bits_depend_on_neither_threads_nor_batch(pass_: str) -> None:
    """Of numbers that round, and an algorithm that transforms: the bits of one problem alone."""
    text = "n2_c32_k32_i17_f3_p1"
    a, b = (tensor * 0.1 for tensor in pair(text, pass_, 9, "nchw", torch.float32))
    alone = torch.stack([call(text, pass_, *both) for both in zip(a, b, strict=True)])
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for batch in (1, 2, 9):
            assert torch.equal(call(text, pass_, a[:batch], b[:batch]), alone[:batch])


def test_batches_without_elements() -> None:
    arguments = ([1, 1], [0] * 4, [1, 1], 1)
    assert torch.ops.pyconv.conv2d(
        torch.ones(0, 2, 3, 5, 5), torch.ones(0, 4, 3, 2, 2), None, *arguments
    ).shape == (0, 2, 4, 4, 4)
    gradient = torch.ops.pyconv.conv2d_grad_weight(
        torch.ones(3, 0, 4, 4, 4), torch.ones(3, 0, 2, 5, 5), [3, 4, 2, 2, 2], *arguments
    )
    assert torch.equal(gradient, torch.zeros(3, 4, 2, 2, 2))


X, W = torch.ones(3, 2, 4, 5, 5), torch.ones(3, 6, 4, 3, 3)
GEOMETRY = ([1, 1], [0] * 4, [1, 1], 1)
REFUSED = {
    "one weight": (OPERATORS["forward"], (X, W[0], None, *GEOMETRY), "4D"),
    "one input": (OPERATORS["forward"], (X[0], W, None, *GEOMETRY), "5-dimensional weight"),
    "other batch": (OPERATORS["forward"], (X, W[:2], None, *GEOMETRY), "got 2 and 3"),
    "other channels": (OPERATORS["forward"], (X[:, :, :3], W, None, *GEOMETRY), "expects 4 channels"),
    "small image": (OPERATORS["forward"], (X[..., :2], W, None, *GEOMETRY), "Kernel size can't be greater"),
    "bias": (OPERATORS["forward"], (X, W, torch.ones(6), *GEOMETRY), "takes no bias"),
    "one gradient": (
        OPERATORS["grad_input"],
        (torch.ones(2, 6, 3, 3), W, X.shape, *GEOMETRY),
        r"expects size \[3, 2, 6, 3, 3\]",
    ),
    "other gradients": (
        OPERATORS["grad_weight"],
        (torch.ones(2, 2, 6, 3, 3), X, W.shape, *GEOMETRY),
        r"expects size \[3, 2, 6, 3, 3\]",
    ),
    "larger gradients": (
        OPERATORS["grad_input"],
        (torch.ones(3, 2, 6, 3, 4), W, X.shape, *GEOMETRY),
        r"expects size \[3, 2, 6, 3, 3\]",
    ),
    "the function": (pyconv.conv2d, (X, W), r"Expected 3D \(unbatched\) or 4D \(batched\) input"),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_what_is_no_batch_is_refused(refused: str) -> None:
    """Of tensors without data too."""
    function, arguments, words = REFUSED[refused]
    with pytest.raises(RuntimeError, match=words):
        function(*arguments)
    for kind in WITHOUT_DATA:
        assert_same_refusal(kind, function, *arguments)


def test_a_batch_has_the_guards_of_a_problem() -> None:
    """Of symbolic batches, images and sizes none but that the kernel fits."""
    environment = ShapeEnv()
    dynamic, static = DimDynamic.DYNAMIC, DimDynamic.STATIC
    symbolic = StatelessSymbolicContext(dynamic_sizes=[dynamic, dynamic, static, dynamic, dynamic])
    images = torch.ones(7, 2, 4, 9, 11)
    with FakeTensorMode(shape_env=environment) as mode:
        x = mode.from_tensor(images, symbolic_context=symbolic)
        w = torch.ones(6, 4, 3, 3).expand(x.size(0), 6, 4, 3, 3)
        y = OPERATORS["forward"](x, w, None, *GEOMETRY)
        assert OPERATORS["grad_input"](y, w, x.shape, *GEOMETRY).shape == x.shape
        assert OPERATORS["grad_weight"](y, x, w.shape, *GEOMETRY).shape == w.shape
        sizes = [x.size(3), x.size(4)]
        assert all(isinstance(size, torch.SymInt) for size in (*y.shape[:2], *y.shape[3:]))
    guards = sorted(str(guard.expr) for guard in environment.guards)
    assert guards == sorted(f"{size} >= 3" for size in sizes)


@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_grad_weight_in_the_layout_asked_for(layout: str) -> None:
    """By the argument channels_last, of each problem; the fakes say the same."""
    for text in TEXTS:
        a, b = pair(text, "grad_weight", 3, layout, torch.float32)
        want = call(text, "grad_weight", a, b)
        p = problems.parse(text)
        for last, asked in LAYOUT_OF.items():
            arguments = ([3, *problems.weight_size(p)], *problems.parameters(p), "", last)
            got = OPERATORS["grad_weight"](a, b, *arguments)
            assert torch.equal(got, want)
            assert got.stride() == (got[0].numel(), *problems.in_layout(got[0], asked).stride())
            with FakeTensorMode() as mode:
                fake = OPERATORS["grad_weight"](mode.from_tensor(a), mode.from_tensor(b), *arguments)
            assert fake.stride() == got.stride()
            torch.library.opcheck(OPERATORS["grad_weight"], (a, b, *arguments))


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("dims", [(0, 0), (0, None), (None, 0)])
def test_vmap_passes_the_layout_on(dims, groups: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sample's weight gradient is in the layout that the argument names."""
    monkeypatch.setattr(transforms, "_by_groups", lambda tensor: groups)
    text = TEXTS[1]
    p = problems.parse(text)
    for layout in problems.LAYOUTS:
        a, b = pair(text, "grad_weight", 3, layout, torch.float64)
        operands = [t if dim == 0 else t[0] for t, dim in zip((a, b), dims, strict=True)]
        for last in (False, True):
            arguments = (problems.weight_size(p), *problems.parameters(p), "", last)

            def gradient(a: Tensor, b: Tensor, arguments=arguments) -> Tensor:
                return OPERATORS["grad_weight"](a, b, *arguments)

            got = torch.vmap(gradient, dims)(*operands)
            pairs = zip(
                *(t if dim == 0 else t[:1].expand_as(t) for t, dim in zip((a, b), dims, strict=True)),
                strict=True,
            )
            assert torch.equal(got, torch.stack([gradient(*both) for both in pairs]))
            assert got.stride(2 if last else 4) == 1


def test_gradients_of_a_batch_of_weights_have_its_strides() -> None:
    for of_input, of_weight, of_gradient in itertools.product(problems.LAYOUTS, repeat=3):
        for text in TEXTS:
            x, w = (
                pair(text, "forward", 3, layout, torch.float64)[i]
                for i, layout in enumerate((of_input, of_weight))
            )
            w.requires_grad_()
            y = torch.vmap(functools.partial(call, text, "forward"))(x, w)
            (dw,) = torch.autograd.grad(y, w, in_layout(torch.ones_like(y), of_gradient))
            assert dw.stride() == w.stride()

            def loss(w: Tensor, x: Tensor, text=text) -> Tensor:
                return call(text, "forward", x, w).square().sum()

            each = torch.vmap(torch.func.grad(loss), (None, 0))(w[0], x)
            assert strides(each[0]) == strides(w[0])


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_opcheck_and_fakes(pass_: str, layout: str) -> None:
    text = TEXTS[1]
    p = problems.parse(text)
    a, b = pair(text, pass_, 3, layout, torch.float64)
    size = [[3, *(problems.input_size(p) if pass_ == "grad_input" else problems.weight_size(p))]]
    middle = [None] if pass_ == "forward" else size
    operands = [tensor.detach().requires_grad_() for tensor in (a, b)]
    torch.library.opcheck(OPERATORS[pass_], (*operands, *middle, *problems.parameters(p)))
    real = call(text, pass_, a, b)
    with FakeTensorMode() as mode:
        fake = call(text, pass_, mode.from_tensor(a), mode.from_tensor(b))
    assert (fake.shape, fake.stride(), fake.dtype) == (real.shape, real.stride(), real.dtype)


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_derivatives(pass_: str) -> None:
    """Of both orders and in both modes, and vmap over them, which makes batches of batches."""
    text = TEXTS[1]
    a, b = (tensor.detach().requires_grad_() for tensor in pair(text, pass_, 2, "nchw", torch.float64))

    def function(a: Tensor, b: Tensor) -> Tensor:
        return call(text, pass_, a, b)

    assert torch.autograd.gradcheck(
        function, (a, b), check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    assert torch.autograd.gradgradcheck(function, (a, b))


FUNCTIONS = {
    "conv2d": (pyconv.conv2d, F.conv2d, (4, 2, 3, 3), dict(stride=2, padding=1, groups=2)),
    "conv_transpose2d": (
        pyconv.conv_transpose2d,
        F.conv_transpose2d,
        (4, 2, 3, 3),
        dict(stride=2, padding=1, output_padding=1, groups=2),
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_kernels_and_gradients_of_each_sample(name: str, layout: str, dtype: torch.dtype) -> None:
    """vmap over inputs, weights and biases, and of the gradients in all three, equal to torch's."""
    ours, theirs, size, options = FUNCTIONS[name]
    x = in_layout(integers("x", 5, 2, 4, 7, 6, dtype=dtype), layout)
    w = in_layout(integers("w", 5, *size, dtype=dtype), layout)
    b = integers("b", 5, 4, dtype=dtype)

    def loss(function):
        return lambda *operands: function(*operands, **options).square().sum()

    got = torch.vmap(lambda *operands: ours(*operands, **options))(x, w, b)
    want = torch.stack([theirs(*operands, **options) for operands in zip(x, w, b, strict=True)])
    assert torch.equal(got, want)
    together = torch.vmap(torch.func.grad(loss(ours), (0, 1, 2)))(x, w, b)
    alone = [torch.func.grad(loss(theirs), (0, 1, 2))(*operands) for operands in zip(x, w, b, strict=True)]
    for one, gradients in zip(together, zip(*alone, strict=True), strict=True):
        assert torch.equal(one, torch.stack(gradients))


def test_vmap_of_vmap() -> None:
    """The inner level makes a batch, the outer one batches of it, with either operand shared or not."""
    x, w = integers("x", 2, 3, 1, 4, 6, 5), integers("w", 2, 3, 6, 2, 3, 3)

    def convolved(x: Tensor, w: Tensor) -> Tensor:
        return pyconv.conv2d(x, w, groups=2)

    for dims in ((0, 0), (0, None), (None, 0)):
        xs, ws = (t if dim == 0 else t[:1].expand_as(t) for t, dim in zip((x, w), dims, strict=True))
        want = torch.stack([torch.stack([convolved(xs[i, j], ws[i, j]) for j in range(3)]) for i in range(2)])
        operands = [t if dim == 0 else t[0] for t, dim in zip((x, w), dims, strict=True)]
        assert torch.equal(torch.vmap(torch.vmap(convolved), dims)(*operands), want)


@pytest.mark.parametrize("transform", ["jvp", "hessian", "jacrev", "jacfwd"])
def test_transforms_over_a_batch(transform: str) -> None:
    x, w = integers("x", 2, 1, 2, 4, 4), integers("w", 2, 3, 2, 3, 3)

    def of(conv2d):
        def each(w: Tensor) -> Tensor:
            return torch.vmap(lambda x, w: conv2d(x, w, padding=1).square())(x, w)

        if transform == "jvp":
            return torch.func.jvp(each, (w,), (w,))[1]
        if transform == "hessian":
            return torch.func.hessian(lambda w: each(w).sum())(w)
        return getattr(torch.func, transform)(each)(w)

    assert torch.equal(of(pyconv.conv2d), of(F.conv2d))


def test_compiled_once_for_every_batch() -> None:
    """Per-sample gradients under torch.compile: one graph, whatever the batch."""

    def loss(w: Tensor, x: Tensor) -> Tensor:
        return pyconv.conv2d(x[None], w, padding=1).square().sum()

    gradients = torch.vmap(torch.func.grad(loss), (None, 0))
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(gradients, fullgraph=True, dynamic=True, backend=counter)
    w = integers("w", 4, 3, 3, 3)
    for batch in (7, 9, 2):
        x = integers("x", batch, 3, 6, 5)
        assert torch.equal(compiled(w, x), gradients(w, x))
    assert counter.frame_count == 1


def test_decomposed_into_torchs_operators() -> None:
    table = pyconv.decompositions()
    for pass_ in ("forward", "grad_input"):
        a, b = pair(TEXTS[1], pass_, 3, "nchw", torch.float64)
        function = functools.partial(call, TEXTS[1], pass_)
        traced = torch.fx.experimental.proxy_tensor.make_fx(function, decomposition_table=table)(a, b)
        assert "pyconv" not in str(traced.graph)
        assert torch.equal(traced(a, b), call(TEXTS[1], pass_, a, b))


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_flops_of_a_batch(pass_: str) -> None:
    counts = []
    a, b = pair(TEXTS[1], pass_, 3, "nchw", torch.float32)
    for operands in ((a, b), (a[0], b[0])):
        with FlopCounterMode(display=False) as counter:
            call(TEXTS[1], pass_, *operands)
        counts.append(counter.get_total_flops())
    assert counts[0] == 3 * counts[1] > 0

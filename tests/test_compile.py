"""Inside torch's compilers and transforms: traced whole, with dynamic sizes, exported, vmapped."""

from __future__ import annotations

import problems
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from variants import VARIANTS

import pyconv


def integers(*size: int) -> Tensor:
    return torch.randint(-4, 5, size, generator=problems.generator(str(size))).float()


@pytest.mark.parametrize("padding", [1, (0, 2), "same", "valid"])
@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_compile_whole_graph(layout: str, padding: int | str | tuple[int, int]) -> None:
    def step(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return pyconv.conv2d(x.relu(), w, b, padding=padding).sin()

    operands = [problems.in_layout(integers(2, 3, 6, 7), layout), integers(4, 3, 3, 3), integers(4)]
    leaves = [tensor.clone(memory_format=torch.preserve_format).requires_grad_() for tensor in operands]
    twins = [tensor.clone(memory_format=torch.preserve_format).requires_grad_() for tensor in operands]
    want = step(*twins)
    got = torch.compile(step, fullgraph=True, backend="aot_eager")(*leaves)
    assert torch.equal(got, want) and got.stride() == want.stride()
    want.sum().backward()
    got.sum().backward()
    for mine, yours in zip(leaves, twins, strict=True):
        assert torch.equal(mine.grad, yours.grad) and mine.grad.stride() == yours.grad.stride()


@pytest.mark.parametrize("dynamic", [False, True])
def test_grad_weight_has_the_strides_of_the_weight(dynamic: bool) -> None:
    """As in eager, and as the trace predicts."""

    def gradient(x: Tensor, w: Tensor) -> Tensor:
        return torch.func.grad(lambda w: pyconv.conv2d(x, w, padding=1).square().sum())(w)

    def step(x: Tensor, w: Tensor) -> Tensor:
        return pyconv.conv2d(x, w, padding=1).square().sum()

    for of_input in problems.LAYOUTS:
        for of_weight in problems.LAYOUTS:
            torch._dynamo.reset()
            x = problems.in_layout(integers(2, 3, 6, 7), of_input)
            w = problems.in_layout(integers(4, 3, 3, 3), of_weight).requires_grad_()
            (want,) = torch.autograd.grad(step(x, w), w)
            compiled = torch.compile(step, fullgraph=True, dynamic=dynamic, backend="aot_eager")
            (got,) = torch.autograd.grad(compiled(x, w), w)
            inside = torch.compile(gradient, fullgraph=True, dynamic=dynamic, backend="aot_eager")(x, w)
            for result in (want, got, inside):
                assert torch.equal(result, want) and result.stride() == w.stride(), (of_input, of_weight)


def test_compile_with_dynamic_sizes_compiles_once() -> None:
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(
        lambda x, w: pyconv.conv2d(x, w, padding=1), fullgraph=True, dynamic=True, backend=counter
    )
    w = integers(4, 3, 3, 3)
    for size in ((2, 3, 6, 7), (5, 3, 9, 8), (3, 3, 11, 4)):
        x = integers(*size)
        assert torch.equal(compiled(x, w), pyconv.conv2d(x, w, padding=1))
    assert counter.frame_count == 1


def test_compile_module_and_transposed() -> None:
    layer = pyconv.Conv2D(3, 4, 3, padding=2, padding_mode="reflect")
    x = integers(2, 3, 6, 7)
    assert torch.equal(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))
    w = integers(3, 4, 3, 3)
    transposed = torch.compile(pyconv.conv_transpose2d, fullgraph=True, backend="aot_eager")
    assert torch.equal(transposed(x, w, stride=2), pyconv.conv_transpose2d(x, w, stride=2))


def test_export_with_a_dynamic_batch() -> None:
    layer = pyconv.Conv2D(3, 4, 3, padding="same")
    x = integers(2, 3, 6, 7)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(layer, (x,), dynamic_shapes={"input": {0: batch}})
    names = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert any("pyconv.conv2d" in name for name in names), names
    for n in (2, 7):
        x = integers(n, 3, 6, 7)
        assert torch.equal(exported.module()(x), layer(x))


@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize("text", problems.shapes("tiny") + problems.shapes("stride_dilation")[:12])
def test_fakes_predict_sizes_and_strides(text: str, pass_: str) -> None:
    p, made = problems.parse(text), problems.operands(text, torch.float32)
    pair = problems.pick(pass_, made)
    for first in ("contiguous", "channels_last", "transposed", "expanded_batch"):
        for second in ("contiguous", "channels_last"):
            a, b = VARIANTS[first](pair[0]), VARIANTS[second](pair[1])
            real = problems.run(pass_, a, b, p)
            with FakeTensorMode() as mode:
                fake = problems.run(pass_, mode.from_tensor(a), mode.from_tensor(b), p)
            assert (fake.shape, fake.stride(), fake.dtype) == (real.shape, real.stride(), real.dtype)
            # Fresh meta tensors keep the strides, views of them included.
            meta = problems.run(pass_, a.to("meta"), b.to("meta"), p)
            assert meta.shape == real.shape


def test_fakes_refuse_what_the_kernels_refuse() -> None:
    with FakeTensorMode(), pytest.raises(RuntimeError, match="channels"):
        pyconv.conv2d(torch.empty(1, 3, 5, 5), torch.empty(1, 2, 3, 3))


@pytest.mark.parametrize("in_dims", [(0, None), (None, 0), (0, 0), (1, 0)])
@pytest.mark.parametrize("groups", [1, 2])
def test_vmap(in_dims: tuple[int | None, int | None], groups: int) -> None:
    def sized(dim: int | None, *size: int) -> Tensor:
        return integers(*size) if dim is None else integers(*size[:dim], 3, *size[dim:])

    x, w = sized(in_dims[0], 2, 4, 5, 6), sized(in_dims[1], 6, 4 // groups, 3, 2)

    def called(x: Tensor, w: Tensor) -> Tensor:
        return pyconv.conv2d(x, w, padding=1, groups=groups)

    xs = [x] * 3 if in_dims[0] is None else x.unbind(in_dims[0])
    ws = [w] * 3 if in_dims[1] is None else w.unbind(in_dims[1])
    want = torch.stack([called(a, b) for a, b in zip(xs, ws, strict=True)])
    assert torch.equal(torch.func.vmap(called, in_dims)(x, w), want)


def test_per_sample_gradients() -> None:
    x, w = integers(3, 2, 5, 6), integers(4, 2, 3, 3)

    def loss(w: Tensor, image: Tensor) -> Tensor:
        return pyconv.conv2d(image, w, padding=1).square().sum()

    together = torch.func.vmap(torch.func.grad(loss), (None, 0))(w, x)
    assert torch.equal(together, torch.stack([torch.func.grad(loss)(w, image) for image in x]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(dtype: torch.dtype) -> None:
    x, w, b = integers(2, 3, 5, 5).requires_grad_(), integers(4, 3, 3, 3).requires_grad_(), integers(4)
    with torch.autocast("cpu", dtype):
        got = pyconv.conv2d(x, w, b)
    assert torch.equal(got, pyconv.conv2d(x.to(dtype), w.to(dtype), b.to(dtype)))
    got.float().sum().backward()
    assert x.grad.dtype == torch.float32 and w.grad.dtype == torch.float32


def test_flop_counter() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    x, w = integers(2, 4, 5, 6).requires_grad_(), integers(6, 2, 3, 3).requires_grad_()
    flops = problems.parse("n2_c4_k6_i5x6_f3_p1_g2").flops
    with FlopCounterMode(display=False) as counter:
        y = pyconv.conv2d(x, w, padding=1, groups=2)
        assert counter.get_total_flops() == flops
        y.sum().backward()
    assert counter.get_total_flops() == 3 * flops

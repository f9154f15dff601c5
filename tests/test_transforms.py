"""vmap, autocast, FLOP counts, and the Python functions under torch.compile, torch.func and torch.export."""

import itertools

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import pyconv
from pyconv import reference

GEOMETRIES = {
    "one group": ((1, 1), (0, 0, 0, 0), (1, 1), 1, "zeros"),
    "two groups": ((2, 1), (1, 0, 1, 2), (1, 2), 2, "zeros"),
    "circular": ((1, 1), (1, 1, 1, 1), (1, 1), 2, "circular"),
}
BATCH = 3


def integers(*size):
    return torch.randint(-4, 5, size).double()


@pytest.fixture(params=GEOMETRIES.values(), ids=GEOMETRIES.keys())
def geometry(request):
    return request.param


def check(function, tensors, dims):
    """vmap of `function` is the stack of its results, with the batch at any place in each batched tensor."""
    want = torch.stack(
        [
            function(*(t if d is None else t[i] for t, d in zip(tensors, dims, strict=True)))
            for i in range(BATCH)
        ]
    )
    moved = [t if d is None else t.movedim(0, d) for t, d in zip(tensors, dims, strict=True)]
    assert torch.equal(torch.vmap(function, in_dims=tuple(dims))(*moved), want)


def sized(d, *size):
    return integers(*size) if d is None else integers(BATCH, *size)


@pytest.mark.parametrize(
    "dims",
    [d for d in itertools.product([None, 0, 2], [None, 0, 1], [None, 0]) if d != (None, None, None)],
    ids=str,
)
def test_vmap_forward(geometry, dims):
    groups = geometry[3]
    tensors = [sized(dims[0], 2, 4, 5, 6), sized(dims[1], 6, 4 // groups, 3, 2), sized(dims[2], 6)]
    check(lambda x, w, b: torch.ops.pyconv.conv2d(x, w, b, *geometry), tensors, dims)


@pytest.mark.parametrize("dims", [(0, None), (None, 0), (0, 0), (3, 1)], ids=str)
def test_vmap_gradients(geometry, dims):
    groups = geometry[3]
    x, w = integers(2, 4, 5, 6), integers(6, 4 // groups, 3, 2)
    out = reference.conv2d_unfold(x, w, None, *geometry).shape
    check(
        lambda g, w: torch.ops.pyconv.conv2d_grad_input(g, w, x.shape, *geometry),
        [sized(dims[0], *out), sized(dims[1], *w.shape)],
        dims,
    )
    check(
        lambda g, x: torch.ops.pyconv.conv2d_grad_weight(g, x, w.shape, *geometry),
        [sized(dims[0], *out), sized(dims[1], *x.shape)],
        dims,
    )


def test_vmap_of_the_functions():
    x, w = integers(BATCH, 4, 5, 6), integers(BATCH, 6, 4, 3, 2)
    want = torch.stack([F.conv2d(x[i], w[i], padding=1) for i in range(BATCH)])
    assert torch.equal(torch.vmap(lambda x, w: pyconv.conv2d(x, w, padding=1))(x, w), want)
    X, K = integers(BATCH, 5, 6), integers(2, 2)
    want = torch.stack([pyconv.corr2d(X[i], K) for i in range(BATCH)])
    assert torch.equal(torch.vmap(pyconv.corr2d, in_dims=(0, None))(X, K), want)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_is_torchs(dtype):
    x, w, b = integers(1, 3, 6, 6), integers(4, 3, 3, 3), integers(4)
    with torch.autocast("cpu", dtype=dtype):
        for ours, theirs in ((pyconv.conv2d, F.conv2d), (pyconv.conv_transpose2d, F.conv_transpose2d)):
            size = (4, 3, 3, 3) if ours is pyconv.conv2d else (3, 4, 3, 3)
            kernel = w.reshape(size)
            assert ours(x.float(), kernel.float(), b.float()).dtype == dtype
            assert theirs(x.float(), kernel.float(), b.float()).dtype == dtype
            # float64 is left alone.
            assert torch.equal(ours(x, kernel, b), theirs(x, kernel, b))
    assert pyconv.conv2d(x.float(), w.float()).dtype == torch.float32


def test_autocast_gradients_have_the_parameters_dtype():
    layer = pyconv.Conv2D(3, 4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(torch.randn(1, 3, 6, 6))
        loss = out.float().square().sum()
    loss.backward()
    assert out.dtype == torch.bfloat16
    assert layer.weight.grad.dtype == torch.float32 and layer.bias.grad.dtype == torch.float32


def test_flops_are_the_direct_count():
    x, w = torch.randn(2, 4, 9, 8, requires_grad=True), torch.randn(6, 2, 3, 3, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        out = pyconv.conv2d(x, w, stride=2, padding=1, groups=2)
    direct = 2 * 2 * 6 * 5 * 4 * 2 * 9
    assert counter.get_total_flops() == direct
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 2 * direct


def compiled(function, **options):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager", **options)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        pyconv.Conv2D(3, 4, 3, padding=1),
        torch.nn.ReLU(),
        pyconv.Conv2D(4, 4, 3, padding="same", padding_mode="reflect"),
        pyconv.Conv2D(4, 2, 3, padding=(1, 0, 0, 1)),
    )


@pytest.mark.parametrize("dynamic", [False, True])
def test_layers_compile_without_a_graph_break(net, dynamic):
    fast = compiled(net, dynamic=dynamic)
    for size in (8, 11):
        x = torch.randn(2, 3, size, size)
        assert torch.equal(fast(x), net(x))
    fast(x).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_functions_compile_without_a_graph_break():
    x, w, X, K = integers(1, 3, 5, 5), integers(3, 2, 3, 3), integers(5, 6), integers(2, 3)

    def calls(x, w, X, K):
        with pyconv.use():
            inside = F.conv2d(x, w.transpose(0, 1))
        return inside, pyconv.conv_transpose2d(x, w, stride=2, output_padding=1), pyconv.corr2d(X, K)

    for got, want in zip(compiled(calls)(x, w, X, K), calls(x, w, X, K), strict=True):
        assert torch.equal(got, want)


def test_layers_export(net):
    nodes = torch.export.export(net, (torch.randn(2, 3, 8, 8),)).graph.nodes
    assert [node.target for node in nodes if node.op == "call_function" and "conv" in str(node.target)] == [
        torch.ops.pyconv.conv2d.default
    ] * 3


def test_function_transforms():
    x, w = torch.randn(1, 3, 5, 5, dtype=torch.float64), torch.randn(2, 3, 3, 3, dtype=torch.float64)

    def of(conv2d):
        return lambda w: conv2d(x, w, padding=1).square().sum()

    ours, theirs = of(pyconv.conv2d), of(F.conv2d)
    torch.testing.assert_close(torch.func.grad(ours)(w), torch.func.grad(theirs)(w))
    torch.testing.assert_close(torch.func.hessian(ours)(w), torch.func.hessian(theirs)(w))
    torch.testing.assert_close(torch.func.jvp(ours, (w,), (w,)), torch.func.jvp(theirs, (w,), (w,)))
    weights = torch.randn(3, *w.shape, dtype=torch.float64)
    torch.testing.assert_close(
        torch.vmap(torch.func.grad(ours))(weights), torch.stack([torch.func.grad(theirs)(w) for w in weights])
    )

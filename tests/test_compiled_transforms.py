"""torch.func, checkpointing and autocast inside of torch.compile: one graph, eager's results."""

from __future__ import annotations

import functools
from collections.abc import Callable

import problems
import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import pyconv


def integers(*size: int) -> Tensor:
    return torch.randint(-4, 5, size, generator=problems.generator(str(size))).float()


def activated(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, w: pyconv.conv2d(x, w, padding=1, activation=name)


FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "conv2d": lambda x, w: pyconv.conv2d(x, w, padding=(1, 0, 2, 1), stride=(1, 2)),
    "relu": activated("relu"),
    "silu": activated("silu"),
    "gelu": activated("gelu"),
    "conv_transpose2d": lambda x, w: pyconv.conv_transpose2d(x, w, stride=2, padding=1),
}


def loss(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda w, x: function(x, w).square().sum()


# (the function, images (3, 2, 3, 5, 4), weights (3, 3, 3, 2, 2)) -> what is compiled.
TRANSFORMS: dict[str, Callable[..., object]] = {
    "grad": lambda f, x, w: torch.func.grad(loss(f), (0, 1))(w[0], x[0]),
    "vmap of images": lambda f, x, w: torch.vmap(f, (0, None))(x, w[0]),
    "vmap of weights": lambda f, x, w: torch.vmap(f, (None, 0))(x[0], w),
    "vmap of both": lambda f, x, w: torch.vmap(f)(x, w),
    "vmap of grad": lambda f, x, w: torch.vmap(torch.func.grad(loss(f)), (None, 0))(w[0], x),
    "jvp": lambda f, x, w: torch.func.jvp(f, (x[0], w[0]), (x[1], w[1])),
    "hessian": lambda f, x, w: torch.func.hessian(loss(f))(w[0], x[0]),
}


def same(mine: object, yours: object) -> None:
    torch.testing.assert_close(mine, yours, rtol=0, atol=0)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_transforms(name: str, transform: str) -> None:
    x, w = integers(3, 2, 3, 5, 4).double(), integers(3, 3, 3, 2, 2).double() / 4
    call = functools.partial(TRANSFORMS[transform], FUNCTIONS[name])
    torch._dynamo.reset()
    got = torch.compile(call, fullgraph=True, backend="aot_eager")(x, w)
    same(got, call(x, w))


def checkpointed(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, w: checkpoint(function, x, w, use_reentrant=False)


def in_autocast(
    function: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype
) -> Callable[[Tensor, Tensor], Tensor]:
    def called(x: Tensor, w: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype):
            return function(x, w)

    return called


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_checkpoint(name: str) -> None:
    results = []
    for compiled in (False, True):
        leaves = [integers(2, 3, 5, 4).double().requires_grad_(), integers(3, 3, 2, 2).double() / 4]
        leaves[1].requires_grad_()
        call = checkpointed(FUNCTIONS[name])
        torch._dynamo.reset()
        output = (torch.compile(call, fullgraph=True, backend="aot_eager") if compiled else call)(*leaves)
        results.append((output, *torch.autograd.grad(output.square().sum(), leaves)))
    same(*results)


@pytest.mark.parametrize("where", ["inside", "outside"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_autocast(name: str, dtype: torch.dtype, where: str) -> None:
    """autocast as a part of what is compiled, and around the compiled call."""
    results = []
    for compiled in (False, True):
        leaves = [integers(2, 3, 5, 4).requires_grad_(), integers(3, 3, 2, 2).requires_grad_()]
        call = FUNCTIONS[name] if where == "outside" else in_autocast(FUNCTIONS[name], dtype)
        torch._dynamo.reset()
        call = torch.compile(call, fullgraph=True, backend="aot_eager") if compiled else call
        output = (call if where == "inside" else in_autocast(call, dtype))(*leaves)
        assert output.dtype == dtype
        results.append((output, *torch.autograd.grad(output.float().sum(), leaves)))
    same(*results)

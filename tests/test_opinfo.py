"""torch's own samples and error inputs for conv2d and conv_transpose2d, which ship in its wheel, against
pyconv.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import problems
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import OpInfo, SampleInput

import pyconv

PAIRS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "nn.functional.conv2d": (pyconv.conv2d, F.conv2d),
    "nn.functional.conv_transpose2d": (pyconv.conv_transpose2d, F.conv_transpose2d),
}
INFO: dict[str, OpInfo] = {op.name: op for op in op_db if op.name in PAIRS}


def dtypes(backward: bool) -> list[tuple[str, torch.dtype]]:
    listed = []
    for name, op in INFO.items():
        found = op.supported_backward_dtypes("cpu") if backward else op.supported_dtypes("cpu")
        listed += [(name, dtype) for dtype in sorted(found, key=str)]
    return listed


def samples(name: str, dtype: torch.dtype, requires_grad: bool) -> Iterator[SampleInput]:
    torch.manual_seed(0)
    for sample in INFO[name].sample_inputs("cpu", dtype, requires_grad=requires_grad):
        yield sample
        yield sample.noncontiguous()


def tensors(sample: SampleInput) -> list[Tensor]:
    return [
        value for value in (sample.input, *sample.args, *sample.kwargs.values()) if isinstance(value, Tensor)
    ]


def wide(sample: SampleInput, dtype: torch.dtype) -> SampleInput:
    """The sample without torch's rounding of 16-bit sums, which differs from build to build."""
    if dtype not in (torch.bfloat16, torch.float16):
        return sample
    values = [
        value.double() if isinstance(value, Tensor) else value for value in (sample.input, *sample.args)
    ]
    return SampleInput(values[0], args=tuple(values[1:]), kwargs=sample.kwargs)


def call(function: Callable[..., Tensor], sample: SampleInput) -> Tensor:
    return function(sample.input, *sample.args, **sample.kwargs)


def agree(got: Tensor, theirs: Tensor, exact: Tensor, sample: SampleInput) -> None:
    """Close to the wide result; or, in 16 bits, where torch itself isn't, within twice torch's error."""
    if got.dtype in (torch.bfloat16, torch.float16):
        error, allowed = ((tensor.double() - exact).abs().max() for tensor in (got, theirs))
        if error <= 2 * allowed:
            return
    torch.testing.assert_close(got, exact.to(got.dtype), msg=lambda m: f"{m}\n{sample}")


@pytest.mark.parametrize(("name", "dtype"), dtypes(backward=False), ids=str)
def test_samples(name: str, dtype: torch.dtype) -> None:
    ours, theirs = PAIRS[name]
    count = 0
    for sample in samples(name, dtype, requires_grad=False):
        got, want, exact = call(ours, sample), call(theirs, sample), call(theirs, wide(sample, dtype))
        assert got.shape == want.shape and got.dtype == want.dtype
        agree(got, want, exact, sample)
        assert got.stride() == want.stride(), f"{sample}"
        count += 1
    assert count


@pytest.mark.parametrize(("name", "dtype"), dtypes(backward=True), ids=str)
def test_gradients_of_samples(name: str, dtype: torch.dtype) -> None:
    ours, theirs = PAIRS[name]
    for sample in samples(name, dtype, requires_grad=True):
        got, want, exact = call(ours, sample), call(theirs, sample), call(theirs, wide(sample, dtype))
        cotangent = torch.randn(
            got.shape, generator=problems.generator(str(got.shape)), dtype=exact.dtype
        ).to(dtype)
        operands = tensors(sample)
        mine = torch.autograd.grad(got, operands, cotangent)
        yours = torch.autograd.grad(want, operands, cotangent)
        # The wide sample is made of these operands, so its gradients arrive here too, in their dtype.
        best = torch.autograd.grad(exact, operands, cotangent.to(exact.dtype))
        for gradients in zip(mine, yours, best, strict=True):
            agree(*gradients, sample)


@pytest.mark.parametrize("name", [name for name, op in INFO.items() if op.error_inputs_func is not None])
def test_error_inputs(name: str) -> None:
    ours, theirs = PAIRS[name]
    count = 0
    for error in INFO[name].error_inputs("cpu"):
        with pytest.raises(error.error_type, match=error.error_regex):
            call(theirs, error.sample_input)
        with pytest.raises(error.error_type, match=error.error_regex):
            call(ours, error.sample_input)
        count += 1
    assert count


def test_both_operators_are_in_this_torch() -> None:
    assert set(INFO) == set(PAIRS)

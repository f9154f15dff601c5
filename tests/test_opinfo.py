"""torch's own samples and error inputs for conv2d and conv_transpose2d, which ship in its wheel, against pyconv."""

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
    return [value for value in (sample.input, *sample.args, *sample.kwargs.values()) if isinstance(value, Tensor)]


def wide(sample: SampleInput, dtype: torch.dtype) -> SampleInput:
    """The sample as torch computes it without the rounding of 16-bit sums, which differs from build to build."""
    if dtype not in (torch.bfloat16, torch.float16):
        return sample
    return sample.transform(lambda value: value.double() if isinstance(value, Tensor) else value)


def call(function: Callable[..., Tensor], sample: SampleInput) -> Tensor:
    return function(sample.input, *sample.args, **sample.kwargs)


@pytest.mark.parametrize(("name", "dtype"), dtypes(backward=False), ids=str)
def test_samples(name: str, dtype: torch.dtype) -> None:
    ours, theirs = PAIRS[name]
    count = 0
    for sample in samples(name, dtype, requires_grad=False):
        got, want = call(ours, sample), call(theirs, sample)
        torch.testing.assert_close(got, call(theirs, wide(sample, dtype)).to(dtype), msg=lambda m: f"{m}\n{sample}")
        assert got.stride() == want.stride(), f"{sample}"
        count += 1
    assert count


@pytest.mark.parametrize(("name", "dtype"), dtypes(backward=True), ids=str)
def test_gradients_of_samples(name: str, dtype: torch.dtype) -> None:
    ours, theirs = PAIRS[name]
    for sample in samples(name, dtype, requires_grad=True):
        reference = wide(sample, dtype)
        got, want = call(ours, sample), call(theirs, reference)
        cotangent = torch.randn(got.shape, generator=problems.generator(str(got.shape)), dtype=want.dtype).to(dtype)
        mine = torch.autograd.grad(got, tensors(sample), cotangent)
        # Through the widening, torch's gradients arrive in the sample's dtype, rounded once.
        yours = torch.autograd.grad(want, tensors(sample), cotangent.to(want.dtype))
        torch.testing.assert_close(mine, yours, msg=lambda m, s=sample: f"{m}\n{s}")


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

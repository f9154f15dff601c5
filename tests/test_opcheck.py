"""torch's own checks of custom operators: schema, autograd registration, fakes, AOT dispatch with dynamic
shapes.
"""

from __future__ import annotations

import problems
import pytest
import torch

TEXTS = [
    "n2_c3_k4_i5x6_f3_p1",
    "n2_c4_k6_i7x5_f2x3_s2x1_p1x0x2x1_d1x2_g2",
    "c3_k3_i5_f3_p1_g3_reflect",
    "n2_c1_k1_i4x5_f1x2",
    "n2_c5_k7_i1x1_f1",
]
OVERLOADS = {
    "forward": torch.ops.pyconv.conv2d.default,
    "grad_input": torch.ops.pyconv.conv2d_grad_input.default,
    "grad_weight": torch.ops.pyconv.conv2d_grad_weight.default,
}
UTILITIES = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


def sample(pass_: str, text: str, layout: str, dtype: torch.dtype, requires_grad: bool) -> tuple:
    p, made = problems.parse(text, dtype), problems.operands(text, dtype)
    a, b = (
        problems.in_layout(t, layout).clone(memory_format=torch.preserve_format).requires_grad_(requires_grad)
        for t in problems.pick(pass_, made)
    )
    if pass_ == "forward":
        return (a, b, made.bias.clone().requires_grad_(requires_grad), *problems.parameters(p))
    size = problems.input_size(p) if pass_ == "grad_input" else problems.weight_size(p)
    return (a, b, size, *problems.parameters(p))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_opcheck(pass_: str, layout: str, text: str) -> None:
    arguments = sample(pass_, text, layout, torch.float64, requires_grad=True)
    torch.library.opcheck(OVERLOADS[pass_], arguments, test_utils=UTILITIES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.complex64], ids=str)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_opcheck_dtypes(pass_: str, dtype: torch.dtype) -> None:
    arguments = sample(pass_, TEXTS[0], "nchw", dtype, requires_grad=True)
    torch.library.opcheck(OVERLOADS[pass_], arguments, test_utils=UTILITIES)


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_opcheck_without_gradient(pass_: str) -> None:
    for dtype in (torch.float32, torch.int64):
        arguments = sample(pass_, TEXTS[1], "nchw", dtype, requires_grad=False)
        torch.library.opcheck(OVERLOADS[pass_], arguments, test_utils=UTILITIES)


def test_opcheck_without_bias() -> None:
    x, w, _, *rest = sample("forward", TEXTS[0], "nchw", torch.float32, requires_grad=True)
    torch.library.opcheck(OVERLOADS["forward"], (x, w, None, *rest), test_utils=UTILITIES)
    torch.library.opcheck(OVERLOADS["forward"], (x, w, None, *rest), {"algorithm": "f32_reference"})


@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_opcheck_of_a_weight_gradient_in_a_layout(layout: str) -> None:
    arguments = sample("grad_weight", TEXTS[1], layout, torch.float64, requires_grad=True)
    for channels_last in (False, True):
        options = ("", channels_last)
        torch.library.opcheck(OVERLOADS["grad_weight"], (*arguments, *options), test_utils=UTILITIES)


def test_opcheck_empty_batch() -> None:
    x, w, bias, *rest = sample("forward", TEXTS[0], "nchw", torch.float32, requires_grad=True)
    torch.library.opcheck(OVERLOADS["forward"], (x.detach()[:0].requires_grad_(), w, bias, *rest))

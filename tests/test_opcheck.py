"""torch's own checks of custom operators: schema, autograd registration, fakes, AOT dispatch with static and
with dynamic shapes.
"""

from __future__ import annotations

from collections.abc import Callable

import problems
import pytest
import torch
from torch import Tensor

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
ACTIVATED = torch.ops.pyconv.conv2d_activated.default
ACTIVATIONS = ("relu", "silu", "gelu")

# The first three cost a millisecond or two, the static trace fifty, the dynamic one some hundred. So over the
# shapes files (problems of fewer than 1e5 elements in every tensor) every problem has the first three in both
# layouts and the static trace in one of them, by turns; every tenth has the dynamic one in one layout. TEXTS
# have all five everywhere.
QUICK = ("test_schema", "test_autograd_registration", "test_faketensor")
STATIC, DYNAMIC = "test_aot_dispatch_static", "test_aot_dispatch_dynamic"
ALL = (*QUICK, STATIC, DYNAMIC)
LARGEST = 100_000
TENTH = 10


def small(file: str) -> list[str]:
    def largest(text: str) -> int:
        p = problems.parse(text, torch.float64)
        return max(
            torch.Size(size).numel()
            for size in (problems.input_size(p), problems.weight_size(p), problems.output_size(p))
        )

    return [text for text in problems.shapes(file, torch.float64) if largest(text) < LARGEST]


FILES = [file for file in problems.shape_files() if small(file)]


def sample(pass_: str, text: str, layout: str, dtype: torch.dtype, requires_grad: bool) -> tuple:
    def leaf(tensor: Tensor) -> Tensor:
        return tensor.clone(memory_format=torch.preserve_format).requires_grad_(requires_grad)

    p, made = problems.parse(text, dtype), problems.operands(text, dtype)
    a, b = (leaf(problems.in_layout(t, layout)) for t in problems.pick(pass_, made))
    if pass_ == "forward":
        return (a, b, leaf(made.bias), *problems.parameters(p))
    size = problems.input_size(p) if pass_ == "grad_input" else problems.weight_size(p)
    return (a, b, size, *problems.parameters(p))


def activated(text: str, layout: str, activation: str, requires_grad: bool) -> tuple:
    *arguments, mode = sample("forward", text, layout, torch.float64, requires_grad)
    return (*arguments, activation, mode)


def wrong(overload: Callable[..., Tensor], arguments: tuple, utilities: tuple[str, ...]) -> str:
    """What the utilities do not accept, as a sentence, or an empty string."""
    found = torch.library.opcheck(overload, arguments, test_utils=utilities, raise_exception=False)
    assert found.keys() == set(utilities)
    return "; ".join(f"{name}: {result}" for name, result in found.items() if result != "SUCCESS")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_shapes(pass_: str, layout: str, file: str) -> None:
    turn, results = problems.LAYOUTS.index(layout), []
    for index, text in enumerate(small(file)):
        utilities = QUICK
        if index % 2 == turn:
            utilities += (STATIC,)
        if index % TENTH == TENTH // 2 * turn:
            utilities += (DYNAMIC,)
        arguments = sample(pass_, text, layout, torch.float64, requires_grad=True)
        results.append((f"{text} {pass_} {layout}", wrong(OVERLOADS[pass_], arguments, utilities)))
    problems.report(results)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_shapes_activated(layout: str, activation: str) -> None:
    """Differentiated and not, two paths for silu and gelu; every tenth problem, in one layout."""
    results = []
    for file in FILES:
        first = ACTIVATIONS.index(activation) + TENTH // 2 * problems.LAYOUTS.index(layout)
        for text in small(file)[first::TENTH]:
            for requires_grad in (False, True):
                arguments = activated(text, layout, activation, requires_grad)
                results.append((f"{text} {layout}", wrong(ACTIVATED, arguments, (*QUICK, STATIC))))
    problems.report(results)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_opcheck(pass_: str, layout: str, text: str) -> None:
    arguments = sample(pass_, text, layout, torch.float64, requires_grad=True)
    torch.library.opcheck(OVERLOADS[pass_], arguments, test_utils=ALL)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_opcheck_activated(layout: str, activation: str) -> None:
    for text in TEXTS:
        torch.library.opcheck(ACTIVATED, activated(text, layout, activation, True), test_utils=ALL)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.complex64], ids=str)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_opcheck_dtypes(pass_: str, dtype: torch.dtype) -> None:
    arguments = sample(pass_, TEXTS[0], "nchw", dtype, requires_grad=True)
    torch.library.opcheck(OVERLOADS[pass_], arguments, test_utils=ALL)


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_opcheck_without_gradient(pass_: str) -> None:
    for dtype in (torch.float32, torch.int64):
        arguments = sample(pass_, TEXTS[1], "nchw", dtype, requires_grad=False)
        torch.library.opcheck(OVERLOADS[pass_], arguments, test_utils=ALL)


def test_opcheck_without_bias() -> None:
    x, w, _, *rest = sample("forward", TEXTS[0], "nchw", torch.float32, requires_grad=True)
    torch.library.opcheck(OVERLOADS["forward"], (x, w, None, *rest), test_utils=ALL)
    torch.library.opcheck(OVERLOADS["forward"], (x, w, None, *rest), {"algorithm": "f32_reference"})


@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_opcheck_of_a_weight_gradient_in_a_layout(layout: str) -> None:
    arguments = sample("grad_weight", TEXTS[1], layout, torch.float64, requires_grad=True)
    for channels_last in (False, True):
        options = ("", channels_last)
        torch.library.opcheck(OVERLOADS["grad_weight"], (*arguments, *options), test_utils=ALL)


def test_opcheck_empty_batch() -> None:
    x, w, bias, *rest = sample("forward", TEXTS[0], "nchw", torch.float32, requires_grad=True)
    torch.library.opcheck(OVERLOADS["forward"], (x.detach()[:0].requires_grad_(), w, bias, *rest))

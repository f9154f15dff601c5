"""What is refused, of tensors and of tensors without data: by which exception, in which words."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from without_data import WITHOUT_DATA, assert_same_refusal, without_data

import pyconv

ops = torch.ops.pyconv
PLAIN = ([1, 1], [0, 0, 0, 0], [1, 1], 1)


# ------------------------------------------------------------------------------------------------------------
# Illegal arguments: torch's exception type, and the sentence names the value and the rule.
# ------------------------------------------------------------------------------------------------------------

x4, w4 = torch.ones(2, 4, 5, 5), torch.ones(6, 4, 3, 3)
ILLEGAL = {
    "kernel larger than the image": (
        dict(input=x4, weight=torch.ones(6, 4, 7, 3)),
        r"\(7 x 3\).*greater than",
    ),
    "kernel larger by one, stride 2": (dict(input=x4, weight=torch.ones(6, 4, 6, 3), stride=2), r"\(6 x 3\)"),
    "dilated kernel larger": (dict(input=x4, weight=w4, dilation=3), r"\(7 x 7\)"),
    "empty batch, kernel larger": (dict(input=x4[:0], weight=torch.ones(6, 4, 6, 3)), r"\(6 x 3\)"),
    "channels": (
        dict(input=x4, weight=torch.ones(6, 3, 3, 3)),
        r"expected input\[2, 4, 5, 5\] to have 3 channels",
    ),
    "channels per group": (dict(input=x4, weight=w4, groups=2), "to have 8 channels, but got 4"),
    "filters per group": (
        dict(input=x4, weight=torch.ones(5, 2, 3, 3), groups=2),
        "divisible by 2 at dimension 0",
    ),
    "bias size": (dict(input=x4, weight=w4, bias=torch.ones(5)), "1-dimensional with 6 elements"),
    "bias dimensions": (dict(input=x4, weight=w4, bias=torch.ones(6, 1)), "1-dimensional with 6 elements"),
    "weight dtype": (dict(input=x4, weight=w4.double()), "should be the same"),
    "bias dtype": (dict(input=x4, weight=w4, bias=torch.ones(6).double()), "should be the same"),
    "stride 0": (dict(input=x4, weight=w4, stride=0), "non-positive stride is not supported"),
    "stride of one axis": (dict(input=x4, weight=w4, stride=(1, 0)), "non-positive stride is not supported"),
    "padding": (dict(input=x4, weight=w4, padding=(0, -1)), "negative padding is not supported"),
    "dilation 0": (dict(input=x4, weight=w4, dilation=0), "dilation"),
    "groups 0": (dict(input=x4, weight=w4, groups=0), "non-positive groups is not supported"),
    "2-D input": (dict(input=x4[0, 0], weight=w4), r"Expected 3D \(unbatched\) or 4D \(batched\) input"),
    "5-D input": (dict(input=x4[None], weight=w4), r"Expected 3D \(unbatched\) or 4D \(batched\) input"),
    "3-D weight": (dict(input=x4, weight=w4[0]), "weight"),
}


@pytest.mark.parametrize("case", ILLEGAL)
def test_illegal_arguments(case: str) -> None:
    arguments, sentence = ILLEGAL[case]
    with pytest.raises(RuntimeError) as theirs:
        F.conv2d(**arguments)
    with pytest.raises(RuntimeError, match=sentence) as ours:
        pyconv.conv2d(**arguments)
    assert type(ours.value) is type(theirs.value)


def test_four_sided_negative_padding() -> None:
    with pytest.raises(RuntimeError, match="negative padding is not supported"):
        pyconv.conv2d(x4, w4, padding=(0, 0, 0, -1))


@pytest.mark.filterwarnings("ignore:ComplexHalf support")
@pytest.mark.parametrize("dtype", [torch.bool, torch.complex32, torch.uint8], ids=str)
def test_dtypes_without_kernels(dtype: torch.dtype) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)) as caught:
        pyconv.conv2d(x4.to(dtype), w4.to(dtype))
    assert str(caught.value)


@pytest.mark.parametrize(
    ("mode", "padding", "rule"),
    [("reflect", 5, "less than"), ("circular", 6, "wrapping"), ("mirror", 1, "mirror")],
)
def test_padding_modes_out_of_range(mode: str, padding: int, rule: str) -> None:
    with pytest.raises((RuntimeError, ValueError), match=rule):
        ops.conv2d(x4, w4, None, [1, 1], [padding] * 4, [1, 1], 1, mode)


MISFITS = {
    "grad_output size": (torch.ones(2, 6, 4, 3), [2, 4, 5, 5], w4),
    "grad_output filters": (torch.ones(2, 5, 3, 3), [2, 4, 5, 5], w4),
    "batch": (torch.ones(2, 6, 3, 3), [3, 4, 5, 5], w4),
    "channels": (torch.ones(2, 6, 3, 3), [2, 3, 5, 5], w4),
    "negative size": (torch.ones(2, 6, 3, 3), [2, 4, -5, 5], w4),
    "dtype": (torch.ones(2, 6, 3, 3).double(), [2, 4, 5, 5], w4),
    "dimensions": (torch.ones(6, 3, 3), [2, 4, 5, 5], w4),
}


@pytest.mark.parametrize("case", MISFITS)
def test_gradient_operators_refuse_sizes_that_do_not_fit(case: str) -> None:
    """They are public operators: nothing is read or written by a size that does not belong to the tensors."""
    grad_output, size, weight = MISFITS[case]
    with pytest.raises(RuntimeError) as caught:
        ops.conv2d_grad_input(grad_output, weight, size, *PLAIN)
    assert len(str(caught.value).splitlines()[0].split()) > 3
    with pytest.raises(RuntimeError):
        ops.conv2d_grad_weight(
            grad_output, torch.ones([abs(v) for v in size]), [6, 4, 3, 3 - size.count(-5)], *PLAIN
        )


@pytest.mark.parametrize(
    "weight_size", [[6, 4, 3, 4], [6, 4, 3], [5, 4, 3, 3], [6, 3, 3, 3], [6, 4, -3, 3], [6, 4, 0, 3]]
)
def test_grad_weight_refuses_weight_sizes_that_do_not_fit(weight_size: list[int]) -> None:
    with pytest.raises(RuntimeError):
        ops.conv2d_grad_weight(torch.ones(2, 6, 3, 3), torch.ones(2, 4, 5, 5), weight_size, *PLAIN)


# ------------------------------------------------------------------------------------------------------------
# The same of tensors without data: what a trace or a meta model accepts, the kernels accept.
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WITHOUT_DATA)
@pytest.mark.parametrize("case", ILLEGAL)
def test_illegal_arguments_without_data(case: str, kind: str) -> None:
    arguments, _ = ILLEGAL[case]
    assert_same_refusal(kind, pyconv.conv2d, **arguments)
    assert_same_refusal(kind, pyconv.conv2d, **arguments, activation="relu")


@pytest.mark.parametrize("kind", WITHOUT_DATA)
def test_operators_without_data_refuse_what_the_functions_never_pass(kind: str) -> None:
    for parameters, options in (
        (([1], [0, 0, 0, 0], [1, 1], 1), ()),
        (([1, 1], [0, 0], [1, 1], 1), ()),
        (([1, 1], [5, 5, 5, 5], [1, 1], 1), ("reflect",)),
        (([1, 1], [6, 6, 6, 6], [1, 1], 1), ("circular",)),
        (([1, 1], [0, 0, 0, 0], [1, 1], 1), ("mirror",)),
    ):
        assert_same_refusal(kind, ops.conv2d, x4, w4, None, *parameters, *options)
    assert_same_refusal(kind, ops.conv2d_activated, x4, w4, None, *PLAIN, "tanh")
    none = x4[:, :, :0]
    assert_same_refusal(kind, ops.conv2d, none, w4, None, [1, 1], [3] * 4, [1, 1], 1, "replicate")
    bytes_ = x4.to(torch.uint8), w4.to(torch.uint8)
    with without_data(kind) as made, pytest.raises(RuntimeError):
        ops.conv2d(made(bytes_[0]), made(bytes_[1]), None, *PLAIN)


@pytest.mark.parametrize("kind", WITHOUT_DATA)
@pytest.mark.parametrize("case", MISFITS)
def test_gradient_operators_without_data_refuse_the_same(case: str, kind: str) -> None:
    grad_output, size, weight = MISFITS[case]
    assert_same_refusal(kind, ops.conv2d_grad_input, grad_output, weight, size, *PLAIN)
    weight_size = [6, 4, 3, 3 - size.count(-5)]
    image = torch.ones([abs(v) for v in size])
    assert_same_refusal(kind, ops.conv2d_grad_weight, grad_output, image, weight_size, *PLAIN)


@pytest.mark.parametrize("kind", WITHOUT_DATA)
@pytest.mark.parametrize(
    ("stride", "dilation", "groups"), [([0, 1], [1, 1], 1), ([1, 1], [1, 0], 1), ([1, 1], [1, 1], 0)]
)
def test_gradient_operators_without_data_refuse_zeros(stride, dilation, groups: int, kind: str) -> None:
    dy, parameters = torch.ones(2, 6, 3, 3), (stride, [0, 0, 0, 0], dilation, groups)
    assert_same_refusal(kind, ops.conv2d_grad_input, dy, w4, [2, 4, 5, 5], *parameters)
    assert_same_refusal(kind, ops.conv2d_grad_weight, dy, x4, [6, 4, 3, 3], *parameters)
    options = {"stride": stride, "dilation": dilation, "groups": groups}
    assert_same_refusal(kind, pyconv.conv_transpose2d, x4, w4.transpose(0, 1), **options)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "smallest"),
    [(3, 1, 1, 1, 0), (3, 2, 1, 1, 0), (1, 2, 0, 1, 0), (5, 1, 0, 1, 5), (3, 3, 0, 2, 5), (4, 4, 0, 1, 4)],
)
def test_rules_are_guards_only_where_they_say_something(
    kernel: int, stride: int, padding: int, dilation: int, smallest: int
) -> None:
    """That the kernel fits, where not every image is large enough; of the gradients and of the transposed
    convolution, whose sizes are expressions in those of the images, nothing."""
    parameters = ([stride] * 2, [padding] * 4, [dilation] * 2, 1)
    environment = ShapeEnv()
    symbolic = StatelessSymbolicContext(
        dynamic_sizes=[DimDynamic.DYNAMIC, DimDynamic.STATIC, DimDynamic.DYNAMIC, DimDynamic.DYNAMIC]
    )
    image = torch.ones(2, 4, 9, 11)
    with FakeTensorMode(shape_env=environment) as mode:
        x = mode.from_tensor(image, symbolic_context=symbolic)
        w = torch.ones(6, 4, kernel, kernel)
        y = ops.conv2d(x, w, None, *parameters)
        assert ops.conv2d_grad_input(y, w, x.shape, *parameters).shape == x.shape
        assert ops.conv2d_grad_weight(y, x, w.shape, *parameters).shape == w.shape
        wide = pyconv.conv_transpose2d(x, w.transpose(0, 1), stride=stride, dilation=dilation)
        sizes = [x.size(2), x.size(3)]
        assert all(isinstance(size, torch.SymInt) for size in (*y.shape[2:], *wide.shape[2:], y.size(0)))
    guards = sorted(str(guard.expr) for guard in environment.guards)
    assert guards == sorted(f"{size} >= {smallest}" for size in sizes if smallest)


def test_sizes_beyond_memory_are_errors() -> None:
    tiny = torch.ones(1, 1, 1, 1)
    huge = 2**61
    with pytest.raises(RuntimeError):
        ops.conv2d(tiny, tiny, None, [1, 1], [huge, huge, huge, huge], [1, 1], 1)
    with pytest.raises(RuntimeError):
        ops.conv2d(tiny, torch.ones(1, 1, 2, 2), None, [1, 1], [0, 0, 0, 0], [2**62, 2**62], 1)

"""Every message: it names the value and the rule, and its type is the one that torch raises for the same
mistake.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import pyconv

X, W = torch.randn(1, 4, 5, 5), torch.randn(6, 2, 3, 3)
T = torch.randn(4, 2, 3, 3)

# Arguments that both functions refuse: torch's type, and torch's words where they fit.
FORWARD = {
    "channels": (lambda f: f(X, W), "expected input.*to have 2 channels, but got 4 channels instead"),
    "same with stride": (
        lambda f: f(X, W, stride=2, padding="same", groups=2),
        "padding='same' is not supported for strided convolutions",
    ),
    "padding string": (lambda f: f(X, W, padding="foo", groups=2), "Invalid padding string: 'foo'"),
    "padding of three": (
        lambda f: f(X, W, padding=(1, 2, 3), groups=2),
        r"expected padding .*padding=\[1, 2, 3\]",
    ),
    "stride of three": (lambda f: f(X, W, stride=(1, 2, 3), groups=2), r"stride=\[1, 2, 3\]"),
    "stride of none": (lambda f: f(X, W, stride=(), groups=2), r"expected stride to be .* stride=\[\]"),
    "dilation of three": (lambda f: f(X, W, dilation=[1, 1, 1], groups=2), r"expected dilation to be"),
    "stride 0": (lambda f: f(X, W, stride=0, groups=2), "non-positive stride is not supported"),
    "stride -1": (lambda f: f(X, W, stride=(1, -1), groups=2), "non-positive stride is not supported"),
    "dilation 0": (lambda f: f(X, W, dilation=0, groups=2), "dilation"),
    "padding -1": (lambda f: f(X, W, padding=-1, groups=2), "negative padding is not supported"),
    "groups 0": (lambda f: f(X, W, groups=0), "non-positive groups is not supported"),
    "groups 4": (
        lambda f: f(X, W, groups=4),
        "Given groups=4, expected weight to be divisible by 4 at dimension 0",
    ),
    "2-D input": (
        lambda f: f(X[0, 0], W),
        r"Expected 3D \(unbatched\) or 4D \(batched\) input to conv2d, but got input of size: \[5, 5\]",
    ),
    "5-D input": (lambda f: f(X[None], W), r"Expected 3D \(unbatched\) or 4D \(batched\) input to conv2d"),
    "3-D weight": (lambda f: f(X, W[0]), None),
    "bias size": (
        lambda f: f(X, W, torch.randn(5), groups=2),
        "expected bias to be 1-dimensional with 6 elements",
    ),
    "bias shape": (
        lambda f: f(X, W, torch.randn(6, 1), groups=2),
        "expected bias to be 1-dimensional with 6 elements",
    ),
    "weight dtype": (lambda f: f(X, W.double(), groups=2), "should be the same"),
    "bias dtype": (lambda f: f(X, W, torch.randn(6).double(), groups=2), "should be the same"),
    "kernel beyond the image": (
        lambda f: f(X[:, :, :2], W, groups=2),
        "Kernel size can't be greater than actual input size",
    ),
    "input type": (lambda f: f([1], W), "argument.*"),
    "weight type": (lambda f: f(X, None), "argument.*"),
    "bias type": (lambda f: f(X, W, 1.0, groups=2), "argument.*"),
    "padding float": (lambda f: f(X, W, padding=1.5, groups=2), None),
    "padding of a float": (lambda f: f(X, W, padding=(1.5, 1), groups=2), None),
    "padding bool": (lambda f: f(X, W, padding=True, groups=2), None),
    "padding None": (lambda f: f(X, W, padding=None, groups=2), None),
    "stride float": (lambda f: f(X, W, stride=2.0, groups=2), None),
    "groups float": (lambda f: f(X, W, groups=2.0), None),
}


@pytest.mark.parametrize("call, words", FORWARD.values(), ids=FORWARD.keys())
def test_conv2d_raises_what_torch_raises(call, words):
    with pytest.raises(Exception) as theirs:
        call(F.conv2d)
    with pytest.raises(theirs.type, match=words):
        call(pyconv.conv2d)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: pyconv.conv2d(X, None), r"conv2d\(\): argument 'weight' must be a Tensor, not NoneType"),
        (lambda: pyconv.conv2d([1], W), r"conv2d\(\): argument 'input' must be a Tensor, not list"),
        (lambda: pyconv.conv2d(X, W, 3), r"conv2d\(\): argument 'bias' must be a Tensor or None, not int"),
        (
            lambda: pyconv.conv2d(X, W, padding=1.5),
            r"conv2d\(\): padding must be an int or a sequence of ints, got 1.5 of type float",
        ),
        (lambda: pyconv.conv2d(X, W, stride=(True, 1)), r"stride must be .* got True of type bool"),
        (lambda: pyconv.conv2d(X, W, groups="2"), r"groups must be .* got '2' of type str"),
        (
            lambda: pyconv.conv_transpose2d(X, T, dilation=None),
            r"conv_transpose2d\(\): dilation must be .* got None",
        ),
        (lambda: pyconv.corr2d([[1.0]], W[0, 0]), r"corr2d\(\): X must be a Tensor, got list"),
    ],
)
def test_types_are_named(call, words):
    with pytest.raises(TypeError, match=words):
        call()


def test_unknown_padding_mode():
    with pytest.raises(
        ValueError,
        match=r"padding_mode must be one of \['zeros', 'reflect', 'replicate', 'circular'\], "
        r"but got padding_mode='mirror'",
    ):
        pyconv.conv2d(X, W, groups=2, padding_mode="mirror")


def test_unknown_or_refused_algorithm():
    with pytest.raises(RuntimeError, match="no_such_kernel"):
        pyconv.conv2d(X, W, groups=2, algorithm="no_such_kernel")


@pytest.mark.parametrize("mode, padding", [("reflect", 5), ("circular", 6)])
def test_padding_that_would_wrap_twice(mode, padding):
    with pytest.raises(RuntimeError, match=f"(?i)padding.*{padding}|{padding}.*padding"):
        pyconv.conv2d(X, W, padding=padding, groups=2, padding_mode=mode)


def test_refused_call_leaves_the_process_usable():
    for call, _ in FORWARD.values():
        with pytest.raises(Exception):  # noqa: B017  every kind of them
            call(pyconv.conv2d)
    assert pyconv.conv2d(X, W, groups=2).shape == (1, 6, 3, 3)


TRANSPOSED = {
    "channels": (
        lambda f: f(X, torch.randn(5, 2, 3, 3)),
        "expected input.*to have 5 channels, but got 4 channels",
    ),
    "groups": (
        lambda f: f(X, T, groups=3),
        "Given groups=3, expected weight to be divisible by 3 at dimension 0",
    ),
    "groups 0": (lambda f: f(X, T, groups=0), "non-positive groups is not supported"),
    "output padding": (
        lambda f: f(X, T, output_padding=1),
        "output padding must be smaller than either stride or dilation.*output_padding_height: 1",
    ),
    "negative output padding": (
        lambda f: f(X, T, output_padding=-1),
        "negative output_padding is not supported",
    ),
    "three output paddings": (lambda f: f(X, T, output_padding=(1, 2, 3)), r"output_padding=\[1, 2, 3\]"),
    "padding": (lambda f: f(X, T, padding=-1), "negative padding is not supported"),
    "too much padding": (
        lambda f: f(X, T, padding=5),
        r"Calculated output size per channel: \(-3 x -3\). Output size is too small",
    ),
    "stride": (lambda f: f(X, T, stride=0), "non-positive stride is not supported"),
    "bias": (
        lambda f: f(X, T, torch.randn(3)),
        "expected bias to be 1-dimensional with 2 elements, but got bias of "
        r"size \[3\]",
    ),
    "2-D input": (lambda f: f(X[0, 0], T), r"input to conv_transpose2d, but got input of size: \[5, 5\]"),
    "weight dtype": (lambda f: f(X, T.double()), "should be the same"),
    "input type": (lambda f: f(None, T), "argument"),
    "padding type": (lambda f: f(X, T, padding="same"), None),
}


@pytest.mark.parametrize("call, words", TRANSPOSED.values(), ids=TRANSPOSED.keys())
def test_conv_transpose2d_raises_what_torch_raises(call, words):
    with pytest.raises(Exception) as theirs:
        call(F.conv_transpose2d)
    with pytest.raises(theirs.type, match=words):
        call(pyconv.conv_transpose2d)


LAYER = {
    "padding string": {"padding": "foo"},
    "same with stride": {"padding": "same", "stride": 2},
    "padding mode": {"padding_mode": "mirror"},
    "groups": {"groups": 3},
    "no groups": {"groups": 0},
}


@pytest.mark.parametrize("options", LAYER.values(), ids=LAYER.keys())
def test_layer_raises_what_torchs_raises(options):
    with pytest.raises(Exception) as theirs:
        nn.Conv2d(4, 6, 3, **options)
    with pytest.raises(theirs.type) as ours:
        pyconv.Conv2D(4, 6, 3, **options)
    assert str(ours.value)[:40] == str(theirs.value)[:40]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"kernel_size": (3, 3, 3)}, r"expected kernel_size .* kernel_size=\[3, 3, 3\]"),
        ({"kernel_size": 3, "stride": (1, 2, 3)}, r"expected stride .* stride=\[1, 2, 3\]"),
        ({"kernel_size": 3, "padding": (1, 2, 3)}, r"expected padding .* padding=\[1, 2, 3\]"),
    ],
)
def test_layer_refuses_at_once_what_no_input_could_fit(options, words):
    with pytest.raises(RuntimeError, match=words):
        pyconv.Conv2D(4, 6, **options)


@pytest.mark.parametrize(
    "function",
    [pyconv.corr2d, pyconv.convolve2d, pyconv.d2l.conv2d_by_mul],
    ids=["corr2d", "convolve2d", "conv2d_by_mul"],
)
def test_matrix_functions_say_what_to_use_instead(function):
    name = function.__name__
    with pytest.raises(
        RuntimeError,
        match=rf"{name}: X must be a matrix, got 4-D of size \[1, 4, 5, 5\]; for batches "
        r"and channels use pyconv\.conv2d",
    ):
        function(X, W[0, 0])
    with pytest.raises(RuntimeError, match=rf"{name}: K must be a matrix, got 4-D"):
        function(X[0, 0], W)
    with pytest.raises(
        RuntimeError, match=rf"{name}: the kernel \(2 x 3\) is larger than the image \(5 x 2\)"
    ):
        function(torch.ones(5, 2), torch.ones(2, 3))
    with pytest.raises(RuntimeError, match=rf"{name}: the kernel is empty \(0 x 3\)"):
        function(torch.ones(5, 2), torch.ones(0, 3))


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (lambda: pyconv.plan("n1_c3"), ValueError, None),
        (lambda: pyconv.plan("n1_c3_k4_i8_f3_wrong"), ValueError, "wrong"),
        (lambda: pyconv.plan("n1_c3_k4_i2_f3"), ValueError, None),
        (
            lambda: pyconv.plan("n1_c3_k4_i8_f3", pass_="backward"),
            ValueError,
            "pass_ must be one of forward, grad_input, grad_weight, got 'backward'",
        ),
        (
            lambda: pyconv.plan("n1_c3_k4_i8_f3", layout="hwcn"),
            ValueError,
            "layout must be one of nchw, nhwc",
        ),
        (lambda: pyconv.plan(X), TypeError, "an input tensor needs a weight tensor, got NoneType"),
        (lambda: pyconv.plan("n1_c3_k4_i8_f3", W), TypeError, "weight goes with an input tensor"),
        (
            lambda: pyconv.plan(3),
            TypeError,
            "must be a problem string, a pyconv._C.Problem or an input tensor, got int",
        ),
        (lambda: pyconv.plan(X, W), RuntimeError, "to have 2 channels, but got 4 channels"),
        (lambda: pyconv.plan(X[0, 0], W), RuntimeError, "expected a 3D or 4D input and a 4D weight"),
        (lambda: pyconv.plan(X.int(), W.int(), groups=2), TypeError, "dtype torch.int32 is not supported"),
    ],
)
def test_plan(call, kind, words):
    with pytest.raises(kind, match=words):
        call()

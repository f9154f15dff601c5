"""ONNX: models become Conv and ConvTranspose nodes, and ONNX Runtime computes what pyconv does."""

from __future__ import annotations

import problems
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.special import erf

import pyconv
from pyconv import reference

onnx_reference = pytest.importorskip("onnx.reference")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

LAYERS = {
    "plain": {},
    "stride": {"stride": (2, 1), "padding": (1, 2)},
    "same": {"padding": "same", "kernel_size": (3, 2)},
    "four_sides": {"padding": (0, 1, 2, 1), "dilation": (1, 2)},
    "groups": {"groups": 2, "padding": 1, "bias": False},
    "depthwise": {"groups": 4, "out_channels": 4, "padding": (2, 0)},
    "reflect": {"padding": (1, 2), "padding_mode": "reflect"},
    "replicate": {"padding": (1, 0, 2, 1), "padding_mode": "replicate", "stride": 2},
    "circular": {"padding": (2, 1, 0, 3), "padding_mode": "circular"},
    "valid": {"padding": "valid", "stride": 2},
    "relu": {"padding": 1, "activation": "relu"},
    "relu_reflect": {"padding": (2, 1), "activation": "relu", "padding_mode": "reflect"},
}
TRANSPOSED = {
    "plain": {},
    "stride": {"stride": (2, 3), "padding": 1, "output_padding": (1, 2)},
    "four_sides": {"stride": 2, "padding": (0, 1, 2, 1)},
    "groups": {"groups": 2, "dilation": (2, 1), "padding": (1, 0)},
    "beyond_a_stride": {"stride": 1, "dilation": 2, "output_padding": 1},
}


def layer(in_channels=4, out_channels=6, kernel_size=3, **options) -> pyconv.Conv2D:
    made = pyconv.Conv2D(in_channels, out_channels, kernel_size, **options)
    generator = problems.generator(str(options))
    for parameter in made.parameters():
        parameter.data = torch.randint(-4, 5, parameter.shape, generator=generator).float()
    return made


class Everything(nn.Module):
    """Every geometry on one input, so that one export (which is slow) shows them all."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({name: layer(**options) for name, options in LAYERS.items()})
        self.weights = nn.ParameterDict()
        for name, options in TRANSPOSED.items():
            size = (4, 6 // options.get("groups", 1), 3, 2)
            values = torch.randint(-4, 5, size, generator=problems.generator(name)).float()
            self.weights[name] = nn.Parameter(values)
        self.bias = nn.Parameter(torch.arange(6.0))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs = [layer(x) for layer in self.layers.values()]
        outputs.append(self.layers["plain"](x[0]))
        for name, options in TRANSPOSED.items():
            outputs.append(pyconv.conv_transpose2d(x, self.weights[name], self.bias, **options))
        with pyconv.use():
            outputs.append(F.conv2d(x, self.layers["plain"].weight))
        return tuple(outputs)


def image(*size: int) -> Tensor:
    return torch.randint(-4, 5, size, generator=problems.generator(str(size))).float()


def run(program: torch.onnx.ONNXProgram, *inputs: Tensor) -> list[Tensor]:
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [declared.name for declared in session.get_inputs()]
    fed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
    return [torch.from_numpy(output) for output in session.run(None, fed)]


def counts(program: torch.onnx.ONNXProgram) -> dict[str, int]:
    made: dict[str, int] = {}
    for node in program.model_proto.graph.node:
        made[node.op_type] = made.get(node.op_type, 0) + 1
        assert node.domain in ("", "ai.onnx"), node
    return made


DYNAMIC = {0: "batch", 2: "height", 3: "width"}
SIZES = [(2, 4, 8, 9), (1, 4, 6, 7), (3, 4, 11, 5)]


@pytest.fixture(scope="module")
def exported() -> tuple[nn.Module, torch.onnx.ONNXProgram]:
    model = Everything().eval()
    arguments = (image(*SIZES[0]),)
    return model, torch.onnx.export(model, arguments, dynamo=True, dynamic_shapes=(DYNAMIC,), verbose=False)


def test_nodes_are_convolutions(exported) -> None:
    made = counts(exported[1])
    assert made["Conv"] == len(LAYERS) + 2 and made["ConvTranspose"] == len(TRANSPOSED)
    assert not any("Scatter" in name or "Loop" in name for name in made), made


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_runtime_gives_the_same_integers(exported, size: tuple[int, ...]) -> None:
    model, program = exported
    with torch.no_grad():
        want = model(image(*size))
    got = run(program, image(*size))
    assert len(got) == len(want)
    for mine, yours in zip(got, want, strict=True):
        assert torch.equal(mine, yours)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_other_dtypes(dtype: torch.dtype) -> None:
    """float64 by onnx's own evaluator: ONNX Runtime has float32 Convs for CPUs, and casts float16."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer(padding="valid", groups=2, activation="relu")

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.layer(x), pyconv.conv_transpose2d(x, self.layer.weight[:4], stride=2)

    model, x = Pair().to(dtype).eval(), image(*SIZES[0]).to(dtype)
    program = torch.onnx.export(model, (x,), dynamo=True, verbose=False)
    made = counts(program)
    assert made["Conv"] == 1 and made["ConvTranspose"] == 1 and "Cast" not in made
    if dtype == torch.float64:
        evaluator = onnx_reference.ReferenceEvaluator(program.model_proto)
        got = [torch.from_numpy(y) for y in evaluator.run(None, {evaluator.input_names[0]: x.numpy()})]
    else:
        got = run(program, x)
    with torch.no_grad():
        for mine, yours in zip(got, model(x), strict=True):
            assert torch.equal(mine, yours)


# (its options, the function in float64 of what the convolution gives)
SMOOTH = {
    "silu": ({"padding": "valid"}, lambda y: y * torch.sigmoid(y)),
    "gelu": ({"padding": 1}, lambda y: y / 2 * (1 + erf(y / 2**0.5))),
    "silu_circular": ({"padding": 1, "padding_mode": "circular"}, lambda y: y * torch.sigmoid(y)),
    "gelu_reflect": (
        {"padding": (1, 2, 0, 1), "padding_mode": "reflect"},
        lambda y: y / 2 * (1 + erf(y / 2**0.5)),
    ),
}


def test_smooth_activations() -> None:
    """Within 1e-6 |y|, where y, the convolution, is exact here.

    The bound is ours, about eight times float32's epsilon: ONNX Runtime computes sigmoid and erf in float32
    by approximations of its own, of which a result is one product or two.
    """
    layers = nn.ModuleList(
        layer(activation=name.split("_")[0], **options) for name, (options, _) in SMOOTH.items()
    )
    for parameter in layers.parameters():
        parameter.data /= 64

    class All(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return tuple(layer(x) for layer in self.layers)

    model = All().eval()
    program = torch.onnx.export(
        model, (image(*SIZES[0]),), dynamo=True, dynamic_shapes=(DYNAMIC,), verbose=False
    )
    assert counts(program)["Conv"] == len(SMOOTH)
    for size in SIZES:
        x = image(*size)
        with torch.no_grad():
            ours = model(x)
        theirs = run(program, x)
        for made, mine, yours, (options, function) in zip(layers, ours, theirs, SMOOTH.values(), strict=True):
            y = pyconv.conv2d(x.double(), made.weight.double(), made.bias.double(), **options)
            for result in (mine, yours):
                assert ((result - function(y)).abs() <= 1e-6 * y.abs()).all()


def test_program_exported_before() -> None:
    """It has pyconv's operators in it, which pyconv.decompositions() replaces by torch's."""
    model = nn.Sequential(layer(padding="same", padding_mode="circular"), layer(6, 2, stride=2)).eval()
    auto = {dim: torch.export.Dim.AUTO for dim in DYNAMIC}
    program = torch.export.export(model, (image(*SIZES[0]),), dynamic_shapes=(auto,))
    assert "pyconv" in str(program.graph)
    program = program.run_decompositions(pyconv.decompositions())
    assert "pyconv" not in str(program.graph)
    program = torch.onnx.export(program, dynamo=True, verbose=False)
    assert counts(program)["Conv"] == 2
    for size in SIZES:
        with torch.no_grad():
            assert torch.equal(run(program, image(*size))[0], model(image(*size)))


def test_floats_are_within_the_bound_of_their_sums() -> None:
    """Any order of a sum of T products (and the bias) is within gamma(T + 1) of the sum of magnitudes."""
    torch.manual_seed(0)
    model, x = pyconv.Conv2D(16, 8, 3, padding="same").eval(), torch.randn(1, 16, 12, 10)
    program = torch.onnx.export(model, (x,), dynamo=True, verbose=False)
    wide = [tensor.detach().double() for tensor in (x, model.weight, model.bias)]
    exact = reference.conv2d_torch(*wide, padding=(1, 1, 1, 1))
    sizes = reference.conv2d_torch(*(tensor.abs() for tensor in wide), padding=(1, 1, 1, 1))
    terms, roundoff = 16 * 9 + 1, 2.0**-24
    allowed = terms * roundoff / (1 - terms * roundoff) * sizes
    with torch.no_grad(), pyconv.winograd(False):
        ours = model(x)
    for result in (ours, run(program, x)[0]):
        assert ((result.double() - exact).abs() <= allowed).all()


def test_gradients_under_other_paddings_have_no_decomposition() -> None:
    decompose = pyconv.decompositions()[torch.ops.pyconv.conv2d_grad_input.default]
    with pytest.raises(NotImplementedError, match="padding_mode='reflect'"):
        decompose(*[None] * 7, "reflect")

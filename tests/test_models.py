"""convert() and use() on published architectures, small and with random weights."""

import contextlib
import copy
import functools

import pytest
import torch
from agreement import LAYOUTS, PRECISIONS, refer, step
from architectures import ARCHITECTURES, Architecture
from torch import nn

import pyconv

pytest.importorskip("transformers")

BATCH = 4
DEPTHWISE = "EfficientNetDepthwiseConv2d is a subclass of Conv2d and may compute something else"
# name: (layers that are replaced, (name, reason) of the ones that are left)
REPORTS = {
    "resnet18": (11, []),
    "resnet50": (16, []),
    "regnet_y": (24, []),
    "convnext_tiny": (9, []),
    "mobilenet_v2": (52, []),
    "efficientnet_b0": (
        21,
        [
            (f"network.efficientnet.encoder.blocks.{i}.depthwise_conv.depthwise_conv", DEPTHWISE)
            for i in range(5)
        ],
    ),
    "segformer_b0": (13, []),
    "vit_b16": (1, []),
    "upernet_convnext": (21, []),
    "unet": (15, [(f"network.up.{i}", "ConvTranspose2d is not a torch.nn.Conv2d") for i in range(3)]),
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Calls are short: on a busy machine two threads would mostly wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(params=ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def architecture(request) -> Architecture:
    return request.param


def converted(model: nn.Module) -> nn.Module:
    return pyconv.convert(copy.deepcopy(model)).model


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_the_report_names_every_convolution(architecture):
    model = architecture.build()
    plain = [name for name, module in model.named_modules() if type(module) is nn.Conv2d]
    count, left = REPORTS[architecture.name]
    report = pyconv.convert(model)
    assert report.replaced == plain and len(plain) == count
    assert report.left == left
    assert all(type(model.get_submodule(name)) is pyconv.Conv2D for name in plain)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_outputs_and_gradients_agree(architecture, mode, precision):
    model, images = architecture.build().train(mode == "train"), architecture.images(BATCH)
    ours, reference = converted(model), refer(model, images, precision)
    for layout, memory_format in LAYOUTS.items():
        found = reference.shares(ours, memory_format)
        assert found.keys() >= {f"gradient of {name}" for name, _ in model.named_parameters()}
        assert {name: share for name, share in found.items() if not share <= 1} == {}, layout


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
def test_use_gives_the_bits_of_convert(architecture, autocast):
    model, images = architecture.build().train(), architecture.images(BATCH)
    ours = converted(model)
    calls = pyconv.use()
    found = step(model, images, calls, autocast=autocast)
    assert calls.left == 0 and calls.taken > 0
    if architecture.name == "efficientnet_b0":
        # convert leaves its subclass of nn.Conv2d; use takes the call of F.conv2d in there.
        assert calls.taken == 26
        want = step(ours, images, pyconv.use(), autocast=autocast)
    else:
        want = step(ours, images, autocast=autocast)
    assert_same_bits(found, want)


def test_back_to_torch(architecture):
    model, images = architecture.build().train(), architecture.images(BATCH)
    want, classes = step(model, images), [type(module) for module in model.modules()]
    there = pyconv.convert(model)
    back = pyconv.convert(model, to="torch")
    assert back.replaced == there.replaced
    assert [name for name, _ in back.left] == [name for name, _ in there.left]
    assert all(reason.endswith("is not a pyconv.Conv2D") for _, reason in back.left)
    assert [type(module) for module in model.modules()] == classes
    assert_same_bits(step(model, images), want)


def test_use_in_eval_and_channels_last(architecture):
    model = architecture.build().to(memory_format=torch.channels_last)
    images = architecture.images(BATCH).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        with pyconv.use() as calls:
            found = model(images)
        # As above: a subclass of nn.Conv2d has its call taken, and is left by convert.
        with pyconv.use() if architecture.name == "efficientnet_b0" else contextlib.nullcontext():
            want = converted(model)(images)
    assert calls.left == 0 and calls.taken > 0
    assert torch.equal(found, want) and found.stride() == want.stride()


# Bilinear interpolation rounds otherwise in torch's traces, with pyconv and without.
INTERPOLATE = {"segformer_b0", "upernet_convnext"}


def compiled(model, backend="aot_eager"):
    torch._dynamo.reset()
    return torch.compile(model, backend=backend, fullgraph=True)


def first_call(model, images):
    """transformers installs hooks in a model's first call, under a lock that the compiler cannot enter."""
    with torch.no_grad():
        model.eval()(images)
    return model


def test_compiled_without_a_graph_break(architecture):
    images = architecture.images(BATCH)
    model = first_call(architecture.build(), images).train()
    ours = converted(model)
    if architecture.name in INTERPOLATE:
        found = refer(model, images, "float64").shares(ours, torch.contiguous_format, compiled)
        assert {name: share for name, share in found.items() if not share <= 1} == {}
    else:
        assert_same_bits(step(ours, images, call=compiled), step(ours, images))


@pytest.mark.parametrize("how", ["eval", "nhwc", "bfloat16"])
@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny"])
def test_compiled_in_other_ways(name, how):
    architecture = ARCHITECTURES[name]
    model, images = converted(architecture.build()).train(how != "eval"), architecture.images(BATCH)
    if how == "nhwc":
        model, images = (each.to(memory_format=torch.channels_last) for each in (model, images))
    autocast = how == "bfloat16"
    found = step(model, images, call=compiled, autocast=autocast)
    assert_same_bits(found, step(model, images, autocast=autocast))


@pytest.mark.parametrize("name", ["convnext_tiny", "vit_b16"])
def test_compiled_by_inductor(name):
    """Fused kernels sum in their own order, so float64 and its bound."""
    architecture = ARCHITECTURES[name]
    images = architecture.images(BATCH)
    model = first_call(architecture.build(), images).train()
    found = refer(model, images, "float64").shares(
        converted(model), torch.contiguous_format, functools.partial(compiled, backend="inductor")
    )
    assert {name: share for name, share in found.items() if not share <= 1} == {}


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "unet"])
def test_use_around_a_compiled_call(name):
    architecture = ARCHITECTURES[name]
    model, images = architecture.build().train(), architecture.images(BATCH)
    calls = pyconv.use()
    found = step(model, images, calls, call=compiled)
    assert calls.left == 0 and calls.taken == REPORTS[name][0]
    assert_same_bits(found, step(converted(model), images))


def mobilenet_v2_of_equal_sides(full: bool) -> nn.Module:
    """Padding as published depends on the image's size, by which torch.fx cannot trace a layer; this not."""
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    return MobileNetV2ForImageClassification(
        MobileNetV2Config(
            depth_multiplier=0.25, output_stride=8, classifier_dropout_prob=0.0, tf_padding=False
        )
    )


# How many batch norms are folded, activations applied, and batch norms left.
FUSED = {
    "resnet18": (ARCHITECTURES["resnet18"], 11, 5, 0),
    "mobilenet_v2": (ARCHITECTURES["mobilenet_v2"], 0, 0, 52),
    "mobilenet_v2_of_equal_sides": (Architecture("", mobilenet_v2_of_equal_sides, 4, 32), 52, 0, 0),
    "convnext_tiny": (ARCHITECTURES["convnext_tiny"], 0, 0, 0),  # which has layer norms
}


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("name", FUSED)
def test_fused_for_inference(name, precision):
    architecture, folded, activated, left = FUSED[name]
    model, images = architecture.build(), architecture.images(BATCH)
    reference, ours = refer(model, images, precision), converted(model)
    if precision == "float64":  # folded in it, too
        ours, images = ours.double(), images.double()
    before = ours(images)
    report = pyconv.fuse(ours)
    assert (len(report.folded), len(report.activated), len(report.left)) == (folded, activated, left)
    assert all("no trace of the model" in reason for _, reason in report.left)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in ours.modules()) == left
    assert torch.equal(ours(images), before) == (folded == 0)
    shares = [reference.share_of_an_inference(ours, memory_format) for memory_format in LAYOUTS.values()]
    assert max(shares) <= 1, shares


@pytest.mark.parametrize("precision, factor", [("float64", 1 + 1e-7), ("float32", 1.001), ("bfloat16", 1.25)])
def test_a_layer_that_is_wrong_is_outside_the_bound(precision, factor):
    architecture = ARCHITECTURES["resnet50"]
    model = architecture.build()
    ours = converted(model)
    with torch.no_grad():
        ours.get_submodule("network.resnet.encoder.stages.2.layers.0.layer.1.convolution").weight *= factor
    reference = refer(model, architecture.images(BATCH), precision)
    assert max(reference.shares(ours, torch.contiguous_format).values()) > 1

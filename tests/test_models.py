"""convert() and use() on published architectures, small and with random weights."""

import copy

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


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny"])
def test_compiled_without_a_graph_break(name, mode):
    architecture = ARCHITECTURES[name]
    model = converted(architecture.build()).train(mode == "train")
    images = architecture.images(BATCH)

    def compiled(model):
        torch._dynamo.reset()
        return torch.compile(model, backend="aot_eager", fullgraph=True)

    assert_same_bits(step(model, images, call=compiled), step(model, images))


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

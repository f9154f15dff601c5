"""Conv2D is a torch.nn.Conv2d in everything but who computes it."""

import copy
import pickle

import pytest
import torch
from torch import nn

import pyconv
from pyconv import Conv2D, reference

LAYERS = [
    ((3, 6, 3), {}),
    ((4, 6, (3, 2)), {"stride": 2, "padding": (1, 0), "dilation": (1, 2), "groups": 2, "bias": False}),
    ((3, 3, [1, 3]), {"padding": [0, 2], "padding_mode": "circular", "groups": 3}),
    ((3, 6, 3), {"padding": "same", "padding_mode": "reflect"}),
    ((3, 6, (2, 3)), {"padding": "same", "padding_mode": "replicate", "dilation": 2}),
    ((3, 6, 3), {"padding": "valid"}),
    ((3, 6, 3), {"dtype": torch.float64, "padding": 2}),
]


@pytest.fixture(params=LAYERS, ids=str)
def layers(request):
    """The same layer twice, ours and torch's, from the same random state."""
    arguments, options = request.param
    pair = []
    for kind in (Conv2D, nn.Conv2d):
        torch.manual_seed(0)
        pair.append(kind(*arguments, **options))
    return pair


def test_is_a_torch_layer(layers):
    ours, theirs = layers
    assert isinstance(ours, nn.Conv2d)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)
    assert ours.extra_repr() == theirs.extra_repr()
    assert repr(ours) == repr(theirs).replace("Conv2d(", "Conv2D(")
    for name in (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "dilation",
        "groups",
        "padding_mode",
        "_reversed_padding_repeated_twice",
    ):
        assert list(map(str, [getattr(ours, name)])) == list(map(str, [getattr(theirs, name)])), name


def test_state_dict_goes_both_ways(layers):
    ours, theirs = layers
    with torch.no_grad():
        ours.weight.add_(1)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(theirs.weight, ours.weight)
    with torch.no_grad():
        theirs.weight.mul_(2)
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(theirs.weight, ours.weight)


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "unbatched"])
def test_same_output_and_gradients(layers, batched):
    for layer in layers:
        for parameter in layer.parameters():
            parameter.data = torch.randint(
                -3, 4, parameter.shape, generator=torch.Generator().manual_seed(1)
            ).to(parameter.dtype)
    ours, theirs = layers
    x = torch.randint(-3, 4, (2, ours.in_channels, 7, 8)).to(ours.weight.dtype)
    x = x if batched else x[0]
    out, want = ours(x), theirs(x)
    assert torch.equal(out, want)
    g = torch.randint(-3, 4, out.shape).to(out.dtype)
    out.backward(g)
    want.backward(g)
    for mine, his in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine.grad, his.grad)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_padding_of_four_sides(mode):
    layer = Conv2D(2, 3, 3, padding=(1, 0, 2, 1), padding_mode=mode, dtype=torch.float64)
    assert layer.padding == (1, 0, 2, 1)
    assert "padding=(1, 0, 2, 1)" in repr(layer)
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64)
    want = reference.conv2d_torch(x, layer.weight, layer.bias, padding=(1, 0, 2, 1), padding_mode=mode)
    torch.testing.assert_close(layer(x), want)
    padded = nn.functional.pad(x, layer._reversed_padding_repeated_twice)
    assert padded.shape[2:] == (6, 9)


def test_padding_forms():
    assert Conv2D(1, 1, 3, padding=1).padding == (1, 1)
    assert Conv2D(1, 1, 3, padding=[1, 2]).padding == (1, 2)
    assert Conv2D(1, 1, 3, padding=(1,)).padding == (1, 1)
    assert Conv2D(1, 1, 3, padding=[1, 2, 3, 4]).padding == (1, 2, 3, 4)
    assert Conv2D(1, 1, 3, padding="same").padding == "same"


def test_padding_makes_no_padded_copy(monkeypatch):
    monkeypatch.setattr(nn.functional, "pad", lambda *a, **k: pytest.fail("F.pad was called"))
    assert Conv2D(1, 1, 3, padding=1, padding_mode="reflect")(torch.randn(1, 1, 5, 5)).shape == (1, 1, 5, 5)


def test_copies_and_pickles():
    layer = Conv2D(2, 3, 3, padding=(1, 0, 2, 1))
    x = torch.randn(1, 2, 5, 5)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(twin) is Conv2D
        assert torch.equal(twin(x), layer(x))


def test_devices_and_dtypes():
    assert Conv2D(2, 3, 3, device="meta", dtype=torch.bfloat16).weight.is_meta
    assert Conv2D(2, 3, 3).to(torch.bfloat16)(torch.randn(1, 2, 4, 4).bfloat16()).dtype == torch.bfloat16
    out = Conv2D(2, 3, 3, device="meta")(torch.empty(4, 2, 8, 8, device="meta"))
    assert out.is_meta and out.shape == (4, 3, 6, 6)


def test_channels_last_layer_gives_channels_last():
    layer = Conv2D(2, 3, 3).to(memory_format=torch.channels_last)
    assert layer(torch.randn(2, 2, 5, 5)).is_contiguous(memory_format=torch.channels_last)


def test_fine_in_a_sequential_with_an_optimizer():
    torch.manual_seed(0)
    net = nn.Sequential(Conv2D(1, 2, 3, padding=1), nn.ReLU(), pyconv.Conv2D(2, 1, 3, padding=1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    x = torch.randn(4, 1, 6, 6)
    losses = []
    for _ in range(20):
        loss = (net(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]

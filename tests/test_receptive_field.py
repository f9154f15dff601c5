"""The computed field is the patch of the input that has a gradient."""

import pytest
import torch
from torch import nn

import pyconv
from pyconv import receptive_field


def test_the_book_example():
    """Two 2x2 convolutions: the element after the second sees all nine of the 3x3 image."""
    assert receptive_field([(2, 1, 1), (2, 1, 1)]) == ((3, 3), (1, 1), (0, 0))


def test_numbers():
    assert receptive_field([]) == ((1, 1), (1, 1), (0, 0))
    assert receptive_field([((3, 5), (2, 1), 1, (1, 0))]) == ((3, 5), (2, 1), (-1, 0))
    assert receptive_field([(7, 2, 1, 3), (3, 2, 1, 1), (3, 1, 2, (1, 2, 3, 4))]) == (
        (27, 27),
        (4, 4),
        (-3 - 2 - 4, -3 - 2 - 12),
    )
    assert receptive_field([(3, 1, 1)] * 10).size == (21, 21)


NETS = {
    "convolutions": nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2, padding=1),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        pyconv.Conv2D(2, 1, (3, 5), dilation=(2, 1), padding=(2, 2)),
    ),
    "four sides": nn.Sequential(
        pyconv.Conv2D(1, 1, (2, 3), padding=(1, 0, 2, 1)), nn.Conv2d(1, 1, 3, stride=2)
    ),
    "same": nn.Sequential(nn.Conv2d(1, 1, 4, padding="same"), nn.Conv2d(1, 1, 3, padding="valid")),
    "pooling": nn.Sequential(
        nn.Conv2d(1, 1, 3), nn.Sequential(nn.AvgPool2d(2), nn.Dropout2d(0.5)), nn.LPPool2d(2, 2, 1)
    ),
    "max pooling": nn.Sequential(nn.MaxPool2d(1), nn.Conv2d(1, 1, 3, stride=3)),
    "one layer": nn.Conv2d(1, 1, (1, 4), stride=(1, 3)),
}


@pytest.mark.parametrize("net", NETS.values(), ids=NETS.keys())
def test_field_is_where_the_gradient_is(net):
    net = net.eval().double()
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.5, 1.0)
    image = torch.rand(1, 1, 40, 40, dtype=torch.float64, requires_grad=True)
    output = net(image)
    field = receptive_field(net)
    p, q = output.size(2) // 2, output.size(3) // 2
    grad = torch.autograd.grad(output[0, 0, p, q], image)[0][0, 0]
    rows, columns = grad.abs().sum(1).nonzero().flatten(), grad.abs().sum(0).nonzero().flatten()
    for seen, axis, place in ((rows, 0, p), (columns, 1, q)):
        first = field.offset[axis] + place * field.jump[axis]
        assert seen[0] == first
        assert seen[-1] == first + field.size[axis] - 1


def test_iterable_of_modules():
    layers = [nn.Conv2d(1, 1, 3), nn.ReLU(), (2, 2, 1)]
    assert receptive_field(layers) == receptive_field([(3, 1, 1), (2, 2, 1)])
    assert receptive_field(iter(layers)) == receptive_field(layers)


def test_what_has_no_fixed_field():
    with pytest.raises(TypeError, match="Linear has no receptive field of fixed size known here"):
        receptive_field(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(4, 4))[2])
    with pytest.raises(TypeError, match="AdaptiveAvgPool2d"):
        receptive_field([nn.AdaptiveAvgPool2d(1)])


def test_bad_layers():
    with pytest.raises(ValueError, match=r"a layer is \(kernel, stride, dilation\) or .* got \(3, 1\)"):
        receptive_field([(3, 1)])
    with pytest.raises(ValueError, match=r"must be at least 1, got \(3, 3\), \(0, 0\), \(1, 1\)"):
        receptive_field([(3, 0, 1)])
    with pytest.raises(
        RuntimeError, match="expected kernel to be a single integer value or a list of 2 values"
    ):
        receptive_field([((3, 3, 3), 1, 1)])
    with pytest.raises(
        TypeError, match=r"receptive_field\(\): stride must be an int or a sequence of ints, got 1.5"
    ):
        receptive_field([(3, 1.5, 1)])

"""Checks of modules and whole trainings, for distributed_process.py to run on each of its ranks.

A training in float64 is exact if it is short and its weights begin as small integers (see `training`), so the
weights of one process and of several are compared by torch.equal.
"""

import copy
import shutil
import tempfile

import torch
import torch.distributed as dist
from distributed_checks import R, S, check, integers, same
from torch import nn
from torch.distributed.checkpoint import load, save
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

import pyconv


@check
def a_module_with_distributed_parameters(mesh):
    """Filters of one layer, channels of the next: one sum in the forward pass, as of two linear layers."""
    for groups in (1, 2):
        net = exact_network(groups)
        x = integers(2, 2, 8, 8)
        expected = copy.deepcopy(net)
        expected(x).sum().backward()
        first, _, second, _, third, _ = net
        distributed(first, mesh, S(0), S(0))
        distributed(second, mesh, S(0) if groups == 2 else S(1), S(0) if groups == 2 else R)
        distributed(third, mesh, R, R)
        output = net(distribute_tensor(x, mesh, [R]))
        same(output, expected(x).detach())
        output.sum().backward()
        for part, whole in zip(net.parameters(), expected.parameters(), strict=True):
            same(part.grad, whole.grad)


def distributed(layer, mesh, weight, bias):
    layer.weight = nn.Parameter(distribute_tensor(layer.weight.detach(), mesh, [weight]))
    layer.bias = nn.Parameter(distribute_tensor(layer.bias.detach(), mesh, [bias]))


def exact_network(groups=2):
    """Weights of -1, 0 and 1."""
    net = nn.Sequential(
        pyconv.Conv2D(2, 4, 3, padding=1),
        nn.ReLU(),
        pyconv.Conv2D(4, 4, 3, padding=1, groups=groups, padding_mode="circular"),
        nn.ReLU(),
        pyconv.Conv2D(4, 3, 2, stride=2),
        nn.Flatten(),
    ).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randint(-1, 2, parameter.shape))
    return net


STEPS, IMAGES = 3, 4


def trained(net, images, targets, before_step=lambda step: None):
    """Three steps of gradient descent on sum(target * output) / images; exact, see `training`."""
    optimizer = torch.optim.SGD(net.parameters(), lr=2**-3, momentum=0.5)
    for step in range(STEPS):
        before_step(step)
        optimizer.zero_grad()
        ((net(images) * targets).sum() / len(images)).backward()
        optimizer.step()


def magnitude(net, images, targets):
    """The largest sum of magnitudes in a step: everything without its sign, so that nothing cancels."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()
    values = [images.abs()]
    for layer in net:
        values.append(layer(values[-1]))
        values[-1].retain_grad()
    (values[-1] * targets.abs()).sum().backward()
    # What the loss itself is does not matter to the weights, nor does the output.
    return max(
        t.abs().max().item() for t in (*values[:-2], *(v.grad for v in (*values[1:], *net.parameters())))
    )


def training():
    """A network, its data, and what one process makes of it.

    Weights of d binary places give activations of up to 2 d before the last layer, and gradients of up to
    2 d, with 2 more for the mean over four images; the rate adds 3 to the next weights. So weights of 0, 5
    and 15 places make gradients of 2, 12 and 32. A sum is exact in any order, and in any parts, if the sum
    of its magnitudes has no more than 53 bits down to that place.
    """
    net = exact_network()
    images = torch.randint(-1, 2, (IMAGES, 2, 8, 8)).double()
    targets = torch.randint(-1, 2, (IMAGES, 48)).double()
    expected = copy.deepcopy(net)

    def exact(step):
        assert magnitude(expected, images, targets) < 2.0 ** (53 - (2, 12, 32)[step])

    trained(expected, images, targets, exact)
    assert max(p.abs().max() for p in expected.parameters()) < 2 ** (53 - 35)
    assert not any(torch.equal(a, b) for a, b in zip(net.parameters(), expected.parameters(), strict=True))
    return net, images, targets, expected.state_dict()


@check
def distributed_data_parallel(_):
    """Both layouts, whole bits: the ranks' mean gradient is the gradient of the mean."""
    net, images, targets, expected = training()
    ranks, rank = dist.get_world_size(), dist.get_rank()
    for memory in (torch.contiguous_format, torch.channels_last):
        parallel = DistributedDataParallel(copy.deepcopy(net).to(memory_format=memory))
        trained(parallel, images[rank::ranks].contiguous(memory_format=memory), targets[rank::ranks])
        for name, value in parallel.module.state_dict().items():
            assert torch.equal(value, expected[name]), (memory, name)


def sharded(net, mesh):
    for layer in net:
        if isinstance(layer, pyconv.Conv2D):
            fully_shard(layer, mesh=mesh)
    return fully_shard(net, mesh=mesh)


@check
def fully_sharded(mesh):
    """FSDP2, in both layouts of the images, and its state through a distributed checkpoint."""
    net, images, targets, expected = training()
    ranks, rank = dist.get_world_size(), dist.get_rank()
    for memory in (torch.contiguous_format, torch.channels_last):
        parallel = sharded(copy.deepcopy(net), mesh)
        trained(parallel, images[rank::ranks].contiguous(memory_format=memory), targets[rank::ranks])
        for name, value in parallel.state_dict().items():
            same(value, expected[name], S(0))
    folder = [tempfile.mkdtemp()] if rank == 0 else [None]
    dist.broadcast_object_list(folder)
    save(parallel.state_dict(), checkpoint_id=folder[0])
    for restored in (sharded(exact_network(), mesh), exact_network()):
        state = restored.state_dict()
        load(state, checkpoint_id=folder[0])
        restored.load_state_dict(state)
        for name, value in restored.state_dict().items():
            assert torch.equal(
                value.full_tensor() if isinstance(value, DTensor) else value, expected[name]
            ), name
    dist.barrier()
    if rank == 0:
        shutil.rmtree(folder[0])

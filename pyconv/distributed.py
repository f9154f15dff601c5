"""Sharding rules of pyconv's operators for DTensor; to import this module is to register them.

    import pyconv.distributed
    weight = distribute_tensor(weight, mesh, [Shard(0)])    # torch.distributed.tensor
    output = pyconv.conv2d(input, weight)                   # a DTensor; its backward pass too

`import pyconv` does not do it, because torch.distributed.tensor takes long to import and most programs never
need it. DistributedDataParallel and fully_shard need no rules: what a layer computes with there is whole.

The operators are one sum over images, filters and channels, or groups of both. A mesh dimension divides
one of them between its ranks. What that asks of each tensor is a row of a table, whichever is the result:

    divided   input      weight     output     bias
    images    Shard(0)   Replicate  Shard(0)   Replicate
    groups    Shard(1)   Shard(0)   Shard(1)   Shard(0)     more groups than one
    filters   Replicate  Shard(0)   Shard(1)   Shard(0)     one group
    channels  Shard(1)   Shard(1)   Replicate  Replicate    one group
    nothing   Replicate  Replicate  Replicate  Replicate

Where the table has Replicate in a row that divides something, the result is Partial: each rank has a part of
each of its sums. The bias is then added by the first rank alone, or the sum would hold it once for each rank.
An activation needs whole sums, so conv2d_activated has no row `channels`. Each dimension of a mesh takes the
row that moves the least data, given where the operands are. Rows and columns of images are not divided:
neighbours would have to be exchanged. Images that are sharded along them are moved.

DTensor's own registration, register_sharding, describes placements only. Here the call on a rank has other
arguments than the call on the whole: a part of the groups, the size of a part of the result. So the rules are
registered with torch.library.register_torch_dispatch, which takes a call before DTensor does, and are written
in DTensor's public methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from . import _load as _load  # registers the operators

if not torch.distributed.is_available():
    raise ImportError(f"pyconv.distributed: torch {torch.__version__} was built without torch.distributed")
if not hasattr(torch.library, "register_torch_dispatch"):
    raise ImportError(
        "pyconv.distributed needs torch.library.register_torch_dispatch, which torch "
        f"{torch.__version__} lacks"
    )

from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard


class _Split(NamedTuple):
    """A row of the table: the dimension of each tensor that is divided, None where all of it is needed."""

    input: int | None = None
    weight: int | None = None
    output: int | None = None
    bias: int | None = None

    def operand(self, name: str) -> Placement:
        dim = getattr(self, name)
        return Replicate() if dim is None else Shard(dim)

    def result(self, name: str) -> Placement:
        return Partial() if self != _NOTHING and getattr(self, name) is None else self.operand(name)


_IMAGES = _Split(input=0, output=0)
_GROUPS = _Split(input=1, weight=0, output=1, bias=0)
_FILTERS = _Split(weight=0, output=1, bias=0)
_CHANNELS = _Split(input=1, weight=1)
_NOTHING = _Split()


class _Divisible(NamedTuple):
    """What is left to divide after the outer dimensions of a mesh."""

    filters: frozenset[int]  # the numbers of them that ranks have, several where a division has a remainder
    groups: int
    sums: bool  # whether sums of the result may be divided

    def rows(self, ranks: int) -> list[_Split]:
        """The rows that a mesh dimension of so many ranks can take, the preferred one first.

        A rank may be left without images or channels, but not without filters, which the operators refuse.
        """
        if self.groups > 1:
            inner = [_GROUPS] if self.groups % ranks == 0 else []
        else:
            inner = [_FILTERS] if 0 not in _shares(self.filters, ranks) else []
            inner += [_CHANNELS] if self.sums else []
        return [_IMAGES, *inner, _NOTHING]

    def after(self, split: _Split, ranks: int) -> _Divisible:
        filters = _shares(self.filters, ranks) if split in (_GROUPS, _FILTERS) else self.filters
        return self._replace(filters=filters, groups=self.groups // (ranks if split is _GROUPS else 1))


def _shares(sizes: frozenset[int], ranks: int) -> frozenset[int]:
    """The sizes of the parts that Shard makes, which are those of torch.chunk with empty ones at the end."""
    chunks = [(size, -(-size // ranks)) for size in sizes]
    return frozenset(max(0, min(chunk, size - i * chunk)) for size, chunk in chunks for i in range(ranks))


def _cost(operands: Mapping[str, DTensor], split: _Split, dim: int, ranks: int) -> tuple[int, int]:
    """(what mesh dimension `dim` has to move for this row, as elements times ranks; placements that change).

    It is the same on every rank, as the choice has to be.
    """
    moved = changed = 0
    for name, tensor in operands.items():
        now, then = tensor.placements[dim], split.operand(name)
        if now == then:
            continue
        changed += 1
        if not now.is_replicate():  # of a replica each rank already has its part
            scattered = ranks if then.is_replicate() or now.is_partial() else 1
            reduced = 2 if then.is_replicate() and now.is_partial() else 1
            moved += tensor.numel() * scattered * reduced
    return moved, changed


def _splits(operands: Mapping[str, DTensor], divisible: _Divisible | None) -> list[_Split]:
    """The row that each mesh dimension takes, outermost first: the inner ones divide what it leaves."""
    mesh = next(iter(operands.values())).device_mesh
    chosen = []
    for dim in range(mesh.ndim):
        ranks = mesh.size(dim)
        rows = [_NOTHING] if divisible is None else divisible.rows(ranks)
        chosen.append(min(rows, key=lambda row: _cost(operands, row, dim, ranks)))
        divisible = divisible and divisible.after(chosen[-1], ranks)
    return chosen


def _check(function: str, operands: Mapping[str, Tensor]) -> None:
    """RuntimeError unless all operands are DTensors of one mesh, as DTensor asks of every operator."""
    for name, tensor in operands.items():
        if not isinstance(tensor, DTensor):
            raise RuntimeError(
                f"{function}: got {name} as a {type(tensor).__name__} beside a DTensor; distribute all of "
                "its tensors (torch.distributed.tensor.distribute_tensor)"
            )
    meshes = [tensor.device_mesh for tensor in operands.values()]
    if any(mesh != meshes[0] for mesh in meshes):
        raise RuntimeError(f"{function}: its tensors are on different meshes: {meshes}")


def _fit(sizes: Mapping[str, Sequence[int]], groups: int) -> bool:
    """Whether images, filters, channels and groups are as many in one tensor as in the others.

    If not, nothing is divided, and the operator refuses the whole call in its own words on every rank.
    """
    if any(len(size) != (1 if name == "bias" else 4) for name, size in sizes.items()) or groups <= 0:
        return False
    (n, c), (k, per_group), output = (sizes[name][:2] for name in ("input", "weight", "output"))
    bias = sizes.get("bias", (k,))[0]
    return (n, c, k, k) == (output[0], per_group * groups, output[1], bias) and k % groups == 0


def _meta(tensor: DTensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _run(
    function: str,
    result: str,
    operands: dict[str, Tensor],
    size: Sequence[int],
    groups: int,
    call: Callable[..., Tensor],
    sums: bool = True,
) -> DTensor:
    """The operator `function`, divided.

    Args:
        result: its name in the table. Of its `size` only the first two dimensions are looked at.
        call: `call(groups, whole, **operands)` computes this rank's part of the result from parts of the
            operands, or all of it from all of them if `whole`.
        sums: whether the sums of the result may be divided.
    """
    _check(function, operands)
    sizes = {name: tensor.shape for name, tensor in operands.items()} | {result: size}
    divisible = (
        _Divisible(frozenset([int(sizes["weight"][0])]), groups, sums) if _fit(sizes, groups) else None
    )
    splits = _splits(operands, divisible)

    mesh = next(iter(operands.values())).device_mesh
    local = {}
    for name, tensor in operands.items():
        needed = tuple(split.operand(name) for split in splits)
        # What stays is not even asked to move, which takes longer than to compute a small layer.
        there = tensor if tensor.placements == needed else tensor.redistribute(mesh, needed)
        local[name] = there.to_local()
    local_groups = groups
    for dim, split in enumerate(splits):
        if split is _GROUPS:
            local_groups //= mesh.size(dim)
        if split is _CHANNELS and mesh.get_local_rank(dim) != 0:
            local.pop("bias", None)

    inside = mesh.get_coordinate() is not None
    whole = all(split is _NOTHING for split in splits)
    part = call(local_groups, whole, **local) if inside else next(iter(local.values())).new_empty(0, 0, 0, 0)
    of_all = call(groups, True, **{name: _meta(tensor) for name, tensor in operands.items()})
    # What was moved may have lost its layout on the way; the strides of the whole are said of its parts, too.
    last = of_all.is_contiguous(memory_format=torch.channels_last) and not of_all.is_contiguous()
    if part.dim() == 4:
        part = part.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    else:  # a batch of problems, which is not divided
        part = torch.empty_strided(part.shape, of_all.stride(), dtype=part.dtype, device=part.device).copy_(
            part
        )
    placements = [split.result(result) for split in splits]
    return DTensor.from_local(part, mesh, placements, shape=of_all.shape, stride=of_all.stride())


# As in __torch_dispatch__, `args` holds all arguments of these schemas, less a tail of defaults. Gradients
# are the business of the operators' own derivatives, further out; what is moved here must not be recorded.


@torch.no_grad()
def _conv2d(cls, func, types, args, kwargs=None) -> DTensor:
    """conv2d, and conv2d_activated, which has one argument more after the groups."""
    input, weight, bias, stride, padding, dilation, groups, *rest = args
    operands = {"input": input, "weight": weight} | ({} if bias is None else {"bias": bias})

    def call(groups, whole, input, weight, bias=None):
        return func(input, weight, bias, stride, padding, dilation, groups, *rest)

    size = (*input.shape[:1], *weight.shape[:1], 0, 0)
    sums = func is torch.ops.pyconv.conv2d.default
    return _run(func.name(), "output", operands, size, groups, call, sums)


@torch.no_grad()
def _conv2d_grad_input(cls, func, types, args, kwargs=None) -> DTensor:
    grad_output, weight, input_size, stride, padding, dilation, groups, *rest = args

    def call(groups, whole, output, weight):
        size = input_size if whole else (output.size(0), weight.size(1) * groups, *input_size[2:])
        return func(output, weight, size, stride, padding, dilation, groups, *rest)

    operands = {"output": grad_output, "weight": weight}
    return _run(func.name(), "input", operands, input_size, groups, call)


@torch.no_grad()
def _conv2d_grad_weight(cls, func, types, args, kwargs=None) -> DTensor:
    grad_output, input, weight_size, stride, padding, dilation, groups, *rest = args

    def call(groups, whole, output, input):
        size = weight_size if whole else (output.size(1), input.size(1) // groups, *weight_size[2:])
        return func(output, input, size, stride, padding, dilation, groups, *rest)

    operands = {"output": grad_output, "input": input}
    return _run(func.name(), "weight", operands, weight_size, groups, call)


_RULES = {
    "conv2d": _conv2d,
    "conv2d_activated": _conv2d,
    "conv2d_grad_input": _conv2d_grad_input,
    "conv2d_grad_weight": _conv2d_grad_weight,
}
for _name, _rule in _RULES.items():
    torch.library.register_torch_dispatch(getattr(torch.ops.pyconv, _name).default, DTensor)(_rule)

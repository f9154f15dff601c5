"""Checks of the DTensor rules, for distributed_process.py to run on each of its ranks.

Integers in float64 make every sum exact, however it is cut, so results are compared by torch.equal.
"""

import itertools
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor, init_device_mesh
from torch.distributed.tensor.debug import CommDebugMode

import pyconv
import pyconv.distributed

CHECKS: dict[str, Callable] = {}
ops = torch.ops.pyconv
R, S, P = Replicate(), Shard, Partial()

# (input, weight, groups): odd sizes leave the ranks different parts, or the last one none.
PROBLEMS = {
    "one group": ((3, 5, 6, 5), (5, 5, 3, 2), 1),
    "two groups": ((3, 4, 6, 5), (6, 2, 3, 2), 2),
    "depthwise": ((2, 6, 6, 5), (12, 1, 3, 2), 6),
    "three groups": ((3, 3, 6, 5), (6, 1, 3, 2), 3),
    "one of each": ((1, 1, 6, 5), (1, 1, 3, 2), 1),
}
GEOMETRY = ((2, 1), (1, 0, 2, 1), (1, 2))


def check(function):
    CHECKS[function.__name__] = function
    return function


def integers(*size):
    return torch.randint(-4, 5, size).double()


def tensors(problem):
    """input, weight, bias and a gradient of the output, the same on every rank."""
    input_size, weight_size, groups = PROBLEMS[problem]
    x, w, b = integers(*input_size), integers(*weight_size), integers(weight_size[0])
    return x, w, b, integers(*ops.conv2d(x, w, b, *GEOMETRY, groups).shape)


def placed(tensor, mesh, *placements):
    """`tensor` as a DTensor; its partial sums are made up."""
    if not any(p.is_partial() for p in placements):
        return distribute_tensor(tensor, mesh, placements)
    assert mesh.ndim == 1
    part = integers(*tensor.shape)  # the same on all ranks
    return DTensor.from_local(part if dist.get_rank() else tensor - (mesh.size() - 1) * part, mesh, [P])


def same(distributed, whole, *placements):
    assert isinstance(distributed, DTensor)
    if placements:
        assert distributed.placements == placements, (distributed.placements, placements)
    assert distributed.shape == whole.shape
    full = distributed.full_tensor()
    assert torch.equal(full, whole), f"{distributed.placements}: differs by {(full - whole).abs().max()}"


# What each row of the rules asks of input, weight, output and bias, and makes of the one that is the result.
ROWS = {
    "images": (S(0), R, S(0), R),
    "filters": (R, S(0), S(1), S(0)),
    "channels": (S(1), S(1), R, R),
    "groups": (S(1), S(0), S(1), S(0)),
    "nothing": (R, R, R, R),
}


def result(row, placement):
    return P if placement == R and row != "nothing" else placement


def rows(problem):
    groups = PROBLEMS[problem][2]
    return ["images", "nothing", *(["filters", "channels"] if groups == 1 else ["groups"])]


@check
def operands_in_place_stay_there(mesh):
    """Each rule by itself: the placements of its result, its values, and no communication."""
    for problem in ("one group", "two groups", "depthwise"):
        x, w, b, g = tensors(problem)
        rest = (*GEOMETRY, PROBLEMS[problem][2])
        for row in rows(problem):
            at = dict(zip("xwgb", ROWS[row], strict=True))
            dx, dw, dg, db = (
                placed(tensor, mesh, at[name]) for name, tensor in {"x": x, "w": w, "g": g, "b": b}.items()
            )
            with CommDebugMode() as moved:
                output = ops.conv2d(dx, dw, db, *rest)
                without_bias = ops.conv2d(dx, dw, None, *rest)
                grad_input = ops.conv2d_grad_input(dg, dw, x.shape, *rest)
                grad_weight = ops.conv2d_grad_weight(dg, dx, w.shape, *rest)
            assert moved.get_total_counts() == 0, (problem, row, moved.get_comm_counts())
            same(output, ops.conv2d(x, w, b, *rest), result(row, at["g"]))
            same(without_bias, ops.conv2d(x, w, None, *rest), result(row, at["g"]))
            same(grad_input, ops.conv2d_grad_input(g, w, x.shape, *rest), result(row, at["x"]))
            same(grad_weight, ops.conv2d_grad_weight(g, x, w.shape, *rest), result(row, at["w"]))


@check
def any_placements_give_the_same_numbers(mesh):
    """Whatever the operands' placements: they are moved to where some rule takes them."""
    for problem in PROBLEMS:
        x, w, b, g = tensors(problem)
        rest = (*GEOMETRY, PROBLEMS[problem][2])
        wanted = (
            ops.conv2d(x, w, b, *rest),
            ops.conv2d_grad_input(g, w, x.shape, *rest),
            ops.conv2d_grad_weight(g, x, w.shape, *rest),
        )
        biases = itertools.cycle((R, S(0), P))
        for at, other in itertools.product((R, S(0), S(1), S(3), P), (R, S(0), S(1), P)):
            dx, dw, db = placed(x, mesh, at), placed(w, mesh, other), placed(b, mesh, next(biases))
            same(ops.conv2d(dx, dw, db, *rest), wanted[0])
            dg = placed(g, mesh, at)
            same(ops.conv2d_grad_input(dg, placed(w, mesh, other), x.shape, *rest), wanted[1])
            same(ops.conv2d_grad_weight(dg, placed(x, mesh, other), w.shape, *rest), wanted[2])


@check
def less_data_is_moved(mesh):
    """Of two rules the one that moves less: here a small weight, not a large input, and the other way."""
    small, large = integers(2, 2, 1, 1), integers(2, 2, 16, 16)
    for x, w, at in ((large, small, S(0)), (small, large, S(1))):
        parts = placed(x, mesh, S(0)), placed(w, mesh, S(0))
        with CommDebugMode() as moved:
            output = pyconv.conv2d(*parts, padding=16)
        assert moved.get_total_counts() == 1
        same(output, pyconv.conv2d(x, w, padding=16), at)


@check
def autograd_through_the_function(mesh):
    for problem in PROBLEMS:
        x, w, b, g = tensors(problem)
        stride, (top, bottom, left, right), dilation = GEOMETRY
        arguments = {"stride": stride, "padding": (top, bottom, left, right), "dilation": dilation}
        whole = [t.clone().requires_grad_() for t in (x, w, b)]
        output = pyconv.conv2d(*whole, groups=PROBLEMS[problem][2], **arguments)
        output.backward(g)
        for row in rows(problem):
            at = ROWS[row]
            parts = [
                placed(t, mesh, p).requires_grad_()
                for t, p in zip((x, w, b), (at[0], at[1], at[3]), strict=True)
            ]
            output_there = pyconv.conv2d(*parts, groups=PROBLEMS[problem][2], **arguments)
            same(output_there, output.detach())
            output_there.backward(placed(g, mesh, at[2]))
            for part, expected in zip(parts, whole, strict=True):
                same(part.grad, expected.grad)


@check
def padding_modes_layouts_and_types(mesh):
    x, w = integers(4, 4, 6, 5), integers(4, 4, 3, 3)
    for mode in ("reflect", "replicate", "circular"):
        for at, other in ((S(0), R), (R, S(0)), (S(1), S(1))):
            whole = [x.clone().requires_grad_(), w.clone().requires_grad_()]
            parts = [placed(x, mesh, at).requires_grad_(), placed(w, mesh, other).requires_grad_()]
            for a, b in (whole, parts):
                pyconv.conv2d(a, b, padding=2, padding_mode=mode).square().sum().backward()
            for part, expected in zip(parts, whole, strict=True):
                same(part.grad, expected.grad)
    last = x.contiguous(memory_format=torch.channels_last)
    for at, other in ((S(0), R), (R, S(0)), (S(1), S(1))):
        local = placed(x, mesh, at).to_local().contiguous(memory_format=torch.channels_last)
        there = DTensor.from_local(local, mesh, [at], shape=last.shape, stride=last.stride())
        output = pyconv.conv2d(there, placed(w, mesh, other))
        same(output, pyconv.conv2d(x, w))
        assert output.is_contiguous(memory_format=torch.channels_last)
        assert output.to_local().is_contiguous(memory_format=torch.channels_last)
        same(output.flatten(1), pyconv.conv2d(x, w).flatten(1))
    for dtype in (torch.int64, torch.float32, torch.bfloat16, torch.complex64):
        a, b = x.to(dtype), w.to(dtype)
        same(pyconv.conv2d(placed(a, mesh, S(0)), placed(b, mesh, R)), pyconv.conv2d(a, b), S(0))
    # Divided images have the bits of the whole.
    x, w = torch.randn(3, 16, 9, 9), torch.randn(16, 16, 3, 3)
    g = pyconv.conv2d(x, w)
    dx, dw, dg = placed(x, mesh, S(0)), placed(w, mesh, R), placed(g, mesh, S(0))
    same(pyconv.conv2d(dx, dw), g, S(0))
    rest = ((1, 1), (0, 0, 0, 0), (1, 1), 1)
    same(ops.conv2d_grad_input(dg, dw, x.shape, *rest), ops.conv2d_grad_input(g, w, x.shape, *rest), S(0))


@check
def second_derivatives(mesh):
    x, w, b, _ = tensors("two groups")

    def penalty(x, w, b):
        output = pyconv.conv2d(x, w, b, padding=1, groups=2)
        gradients = torch.autograd.grad(output.square().sum(), (x, w), create_graph=True)
        return sum(gradient.square().sum() for gradient in gradients)

    whole = [t.clone().requires_grad_() for t in (x, w, b)]
    penalty(*whole).backward()
    for at in ((S(0), R, R), (S(1), S(0), S(0))):
        parts = [placed(t, mesh, p).requires_grad_() for t, p in zip((x, w, b), at, strict=True)]
        penalty(*parts).backward()
        for part, expected in zip(parts, whole, strict=True):
            same(part.grad, expected.grad)


@check
def compiled(mesh):
    """The rules inside a graph, forward and backward."""
    for problem, row in (("one group", "channels"), ("two groups", "groups")):
        x, w, b, _ = tensors(problem)
        groups = PROBLEMS[problem][2]
        function = torch.compile(
            lambda x, w, b, groups=groups: pyconv.conv2d(x, w, b, padding=1, groups=groups),
            backend="aot_eager",
            fullgraph=True,
        )
        whole = [t.clone().requires_grad_() for t in (x, w, b)]
        output = pyconv.conv2d(*whole, padding=1, groups=groups)
        output.sum().backward()
        at = ROWS[row]
        parts = [
            placed(t, mesh, p).requires_grad_() for t, p in zip((x, w, b), (at[0], at[1], at[3]), strict=True)
        ]
        output_there = function(*parts)
        same(output_there, output.detach(), result(row, at[2]))
        output_there.sum().backward()
        for part, expected in zip(parts, whole, strict=True):
            same(part.grad, expected.grad)


@check
def transposed(mesh):
    for groups in (1, 2):
        x, w, b = integers(3, 4, 5, 6), integers(4, 4, 3, 3), integers(4 * groups)
        wanted = pyconv.conv_transpose2d(x, w, b, stride=2, groups=groups)
        for at, other in itertools.product((R, S(0), S(1)), (R, S(0), S(1))):
            parts = placed(x, mesh, at), placed(w, mesh, other), placed(b, mesh, R)
            same(pyconv.conv_transpose2d(*parts, stride=2, groups=groups), wanted)


@check
def wrong_calls_fail_on_every_rank(mesh):
    x, w, b, g = tensors("one group")
    dx, dw, dg = placed(x, mesh, S(0)), placed(w, mesh, S(0)), placed(g, mesh, S(0))
    calls = {
        "got weight as a Tensor beside a DTensor": lambda: pyconv.conv2d(placed(x, mesh, R), w),
        "expected input[3, 5, 6, 5] to have 10 channels": lambda: pyconv.conv2d(
            placed(x, mesh, S(1)), placed(torch.cat([w, w], 1), mesh, S(1))
        ),
        "expected bias to be 1-dimensional with 5 elements": lambda: pyconv.conv2d(
            placed(x, mesh, R), placed(w, mesh, S(0)), placed(torch.cat([b, b]), mesh, S(0))
        ),
        "non-positive groups": lambda: pyconv.conv2d(placed(x, mesh, S(0)), placed(w, mesh, R), groups=0),
        "input has 6 / 1": lambda: ops.conv2d_grad_input(dg, dw, (3, 6, 6, 5), *GEOMETRY, 1),
        "grad_output expects size [3, 6, 3, 6]": lambda: ops.conv2d_grad_weight(
            dg, dx, (6, 5, 3, 2), *GEOMETRY, 1
        ),
        "different meshes": lambda: pyconv.conv2d(
            placed(x, mesh, R), placed(w, init_device_mesh("cpu", (1, dist.get_world_size())), R, R)
        ),
    }
    for message, call in calls.items():
        try:
            call()
        except RuntimeError as error:
            assert message in str(error), f"{message!r} is not in {str(error)!r}"
        else:
            raise AssertionError(f"no error: {message}")


@check
def activations_are_of_whole_sums(mesh):
    """conv2d_activated: the rules of conv2d, but for divided channels."""
    for problem in ("one group", "two groups", "depthwise"):
        x, w, b, g = tensors(problem)
        rest = (*GEOMETRY, PROBLEMS[problem][2], "relu")
        whole = [t.clone().requires_grad_() for t in (x, w, b)]
        wanted = ops.conv2d_activated(*whole, *rest)
        wanted.backward(g)
        for row in rows(problem):
            at = ROWS[row]
            parts = [
                placed(t, mesh, p).requires_grad_()
                for t, p in zip((x, w, b), (at[0], at[1], at[3]), strict=True)
            ]
            output = ops.conv2d_activated(*parts, *rest)
            assert not any(p.is_partial() for p in output.placements)
            same(output, wanted.detach(), *(() if row == "channels" else (at[2],)))
            output.backward(placed(g, mesh, R))
            for part, expected in zip(parts, whole, strict=True):
                same(part.grad, expected.grad)


@check
def a_mesh_of_two_dimensions(_):
    """The outer dimension by one rule, the inner one by the same or another."""
    world = dist.get_world_size()
    for shape in ((1, world), (world, 1), *([(2, world // 2)] if world > 2 else [])):
        mesh = init_device_mesh("cpu", shape)
        for size, filters, groups in (
            ((5, 6, 4, 5), (9, 6, 3, 2), 1),
            ((5, 4, 4, 5), (8, 2, 3, 2), 2),
            ((5, 4, 4, 5), (8, 1, 3, 2), 4),
        ):
            x, w, b = integers(*size), integers(*filters), integers(filters[0])
            whole = [t.clone().requires_grad_() for t in (x, w, b)]
            output = pyconv.conv2d(*whole, padding=1, groups=groups)
            g = integers(*output.shape)
            output.backward(g)
            names = (R, S(0), S(1))
            inner_names = ((S(0), R), (R, S(0)), (S(1), S(0)), (S(1), S(1)))
            for outer, inner in itertools.product(itertools.product(names, names), inner_names):
                parts = [
                    placed(t, mesh, *at).requires_grad_()
                    for t, at in zip((x, w, b), (*zip(outer, inner, strict=True), (R, R)), strict=True)
                ]
                there = pyconv.conv2d(*parts, padding=1, groups=groups)
                same(there, output.detach())
                there.backward(placed(g, mesh, R, R))
                for part, expected in zip(parts, whole, strict=True):
                    same(part.grad, expected.grad)


@check
def a_rank_outside_the_mesh(_):
    mesh = dist.DeviceMesh("cpu", [0])
    x, w, _, _ = tensors("one group")
    parts = [placed(t, mesh, R).requires_grad_() for t in (x, w)]
    output = pyconv.conv2d(*parts, padding=1)
    assert output.shape == pyconv.conv2d(x, w, padding=1).shape
    assert output.to_local().numel() == (output.numel() if dist.get_rank() == 0 else 0)

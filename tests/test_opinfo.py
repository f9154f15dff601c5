"""torch's own samples and error inputs for conv2d and conv_transpose2d, which ship in its wheel, against
pyconv: what torch's suite asks of F.conv2d on them is asked of pyconv.conv2d here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import problems
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import OpInfo, SampleInput

import pyconv
from pyconv import reference

PAIRS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "nn.functional.conv2d": (pyconv.conv2d, F.conv2d),
    "nn.functional.conv_transpose2d": (pyconv.conv_transpose2d, F.conv_transpose2d),
}
INFO: dict[str, OpInfo] = {op.name: op for op in op_db if op.name in PAIRS}


BOTH = (torch.float64, torch.complex128)


def dtypes(backward: bool) -> list[tuple[str, torch.dtype]]:
    listed = []
    for name, op in INFO.items():
        found = op.supported_backward_dtypes("cpu") if backward else op.supported_dtypes("cpu")
        listed += [(name, dtype) for dtype in sorted(found, key=str)]
    return listed


def samples(name: str, dtype: torch.dtype, requires_grad: bool) -> Iterator[SampleInput]:
    torch.manual_seed(0)
    for sample in INFO[name].sample_inputs("cpu", dtype, requires_grad=requires_grad):
        yield sample
        yield sample.noncontiguous()


def tensors(sample: SampleInput) -> list[Tensor]:
    return [
        value for value in (sample.input, *sample.args, *sample.kwargs.values()) if isinstance(value, Tensor)
    ]


def wide(sample: SampleInput, dtype: torch.dtype) -> SampleInput:
    """The sample without torch's rounding of 16-bit sums, which differs from build to build."""
    if dtype not in (torch.bfloat16, torch.float16):
        return sample
    values = [
        value.double() if isinstance(value, Tensor) else value for value in (sample.input, *sample.args)
    ]
    return SampleInput(values[0], args=tuple(values[1:]), kwargs=sample.kwargs)


def call(function: Callable[..., Tensor], sample: SampleInput) -> Tensor:
    return function(sample.input, *sample.args, **sample.kwargs)


def of_tensors(function: Callable[..., Tensor], sample: SampleInput) -> Callable[..., Tensor]:
    """The call with the sample's options, as a function of its tensors in order."""
    assert not any(isinstance(value, Tensor) for value in sample.kwargs.values())

    def called(*operands: Tensor) -> Tensor:
        values = iter(operands)
        arguments = [next(values) if isinstance(v, Tensor) else v for v in (sample.input, *sample.args)]
        return function(*arguments, **sample.kwargs)

    return called


def agree(got: Tensor, theirs: Tensor, exact: Tensor, sample: SampleInput) -> None:
    """Close to the wide result; or, in 16 bits, where torch itself isn't, within twice torch's error."""
    if got.dtype in (torch.bfloat16, torch.float16):
        error, allowed = ((tensor.double() - exact).abs().max() for tensor in (got, theirs))
        if error <= 2 * allowed:
            return
    torch.testing.assert_close(got, exact.to(got.dtype), msg=lambda m: f"{m}\n{sample}")


@pytest.mark.parametrize(("name", "dtype"), dtypes(backward=False), ids=str)
def test_samples(name: str, dtype: torch.dtype) -> None:
    ours, theirs = PAIRS[name]
    count = 0
    for sample in samples(name, dtype, requires_grad=False):
        got, want, exact = call(ours, sample), call(theirs, sample), call(theirs, wide(sample, dtype))
        assert got.shape == want.shape and got.dtype == want.dtype
        agree(got, want, exact, sample)
        assert got.stride() == want.stride(), f"{sample}"
        count += 1
    assert count


@pytest.mark.parametrize(("name", "dtype"), dtypes(backward=True), ids=str)
def test_gradients_of_samples(name: str, dtype: torch.dtype) -> None:
    ours, theirs = PAIRS[name]
    for sample in samples(name, dtype, requires_grad=True):
        got, want, exact = call(ours, sample), call(theirs, sample), call(theirs, wide(sample, dtype))
        cotangent = torch.randn(
            got.shape, generator=problems.generator(str(got.shape)), dtype=exact.dtype
        ).to(dtype)
        operands = tensors(sample)
        mine = torch.autograd.grad(got, operands, cotangent)
        yours = torch.autograd.grad(want, operands, cotangent)
        # The wide sample is made of these operands, so its gradients arrive here too, in their dtype.
        best = torch.autograd.grad(exact, operands, cotangent.to(exact.dtype))
        for gradients in zip(mine, yours, best, strict=True):
            agree(*gradients, sample)


@pytest.mark.parametrize("dtype", BOTH, ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_derivatives_of_samples(name: str, dtype: torch.dtype) -> None:
    """First and second, backward, forward and forward over backward, and vmap over each.

    Projected onto random vectors, as torch's suite does for these two operators.
    """
    assert INFO[name].gradcheck_fast_mode
    for sample in samples(name, dtype, requires_grad=True):
        called, operands = of_tensors(PAIRS[name][0], sample), tuple(tensors(sample))
        assert gradcheck(
            called,
            operands,
            check_forward_ad=True,
            check_batched_grad=True,
            check_batched_forward_grad=True,
            fast_mode=True,
        )
        assert gradgradcheck(
            called, operands, check_fwd_over_rev=True, check_batched_grad=True, fast_mode=True
        )


BATCH = 3


def in_dims(count: int, places: tuple[int | None, ...]) -> list[tuple[int | None, ...]]:
    return [dims for dims in itertools.product(places, repeat=count) if any(dim is not None for dim in dims)]


def batched(tensor: Tensor, dim: int | None, seed: torch.Generator) -> Tensor:
    if dim is None:
        return tensor
    values = torch.randn(BATCH, *tensor.shape, generator=seed, dtype=tensor.dtype)
    return values.movedim(0, dim)


def check_vmap(
    function: Callable, operands: list[Tensor], dims: tuple[int | None, ...], what: SampleInput
) -> None:
    """vmap is the stack of the results for each element of the batch."""
    many = [batched(t, dim, problems.generator(str(dims))) for t, dim in zip(operands, dims, strict=True)]
    got = torch.vmap(function, dims)(*many)
    single = [
        function(*(t if dim is None else t.select(dim, i) for t, dim in zip(many, dims, strict=True)))
        for i in range(BATCH)
    ]
    want = torch.utils._pytree.tree_map(lambda *parts: torch.stack(parts), *single)
    torch.testing.assert_close(got, want, msg=lambda m: f"{m}\nin_dims={dims} of {what}")


@pytest.mark.parametrize("dtype", BOTH, ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_vmap_of_samples(name: str, dtype: torch.dtype) -> None:
    """Every choice of batched tensors, with the batch in front and at the end."""
    for sample in INFO[name].sample_inputs("cpu", dtype):
        operands = tensors(sample)
        for dims in in_dims(len(operands), (None, 0, -1)):
            check_vmap(of_tensors(PAIRS[name][0], sample), operands, dims, sample)


@pytest.mark.parametrize("dtype", BOTH, ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_vmap_of_derivatives(name: str, dtype: torch.dtype) -> None:
    """vmap of vjp and of jvp, with any of the tensors, the cotangent and the tangents batched."""
    for sample in INFO[name].sample_inputs("cpu", dtype):
        called, operands = of_tensors(PAIRS[name][0], sample), tensors(sample)

        def vjp(cotangent: Tensor, *operands: Tensor, called=called) -> tuple[Tensor, ...]:
            return torch.func.vjp(called, *operands)[1](cotangent)

        def jvp(tangent: Tensor, *operands: Tensor, called=called) -> tuple[Tensor, ...]:
            tangents = (tangent, *(operand.cos() for operand in operands[1:]))
            return torch.func.jvp(called, operands, tangents)

        for dims in in_dims(len(operands) + 1, (None, 0)):
            check_vmap(vjp, [torch.ones_like(called(*operands)), *operands], dims, sample)
            check_vmap(jvp, [torch.ones_like(operands[0]), *operands], dims, sample)


# Lazy views: each gives a tensor of the same values that says it is the conjugate, the negative, or both, of
# what is in memory.
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "conjugate": lambda t: t.conj_physical().conj(),
    "negative": lambda t: torch._neg_view(t.neg()),
    "both": lambda t: torch._neg_view(t.neg().conj_physical().conj()),
}


@pytest.mark.parametrize(
    ("dtype", "view"),
    # A real tensor is its own conjugate.
    [(torch.float64, "negative"), *((torch.complex128, view) for view in VIEWS)],
    ids=str,
)
@pytest.mark.parametrize("name", PAIRS)
def test_lazy_views_of_samples(name: str, dtype: torch.dtype, view: str) -> None:
    """Operands and cotangent as views, each alone and all together, give what plain tensors do."""
    of = VIEWS[view]
    for sample in samples(name, dtype, requires_grad=False):
        called, plain = of_tensors(PAIRS[name][0], sample), tensors(sample)
        cotangent = torch.randn_like(called(*plain))

        def results(operands: list[Tensor], cotangent: Tensor, called=called) -> list[Tensor]:
            operands = [operand.detach().requires_grad_() for operand in operands]
            output = called(*operands)
            return [output.detach(), *torch.autograd.grad(output, operands, cotangent)]

        want = results(plain, cotangent)
        for chosen in (*range(len(plain) + 1), None):
            viewed = [of(t) if chosen in (i, None) else t for i, t in enumerate((*plain, cotangent))]
            lazy = [t.is_conj() or t.is_neg() for t in viewed]
            assert any(lazy) and (chosen is not None or all(lazy))
            torch.testing.assert_close(results(viewed[:-1], viewed[-1]), want, msg=f"{chosen} of {sample}")


def geometry(sample: SampleInput, kernel: tuple[int, ...]) -> dict[str, object]:
    """The sample's options as reference.py takes them: pairs, and four paddings."""

    def pair(value: int | tuple[int, int]) -> tuple[int, int]:
        return (value, value) if isinstance(value, int) else tuple(value)

    options = dict(sample.kwargs)
    for name in ("stride", "dilation", "output_padding"):
        if name in options:
            options[name] = pair(options[name])
    padding = options.pop("padding", 0)
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(options["dilation"], kernel, strict=True)]
        sides = [side for total in totals for side in (total // 2, total - total // 2)]
    else:
        sides = [side for side in pair(0 if padding == "valid" else padding) for _ in range(2)]
    return options | {"padding": tuple(sides)}


@pytest.mark.parametrize("dtype", BOTH, ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_samples_by_the_definition(name: str, dtype: torch.dtype) -> None:
    """pyconv.reference: loops over Python numbers, for the result and conv2d's two gradients."""
    ours, _ = PAIRS[name]
    for sample in INFO[name].sample_inputs("cpu", dtype, requires_grad=True):
        x, (w, bias) = sample.input, sample.args
        images, options = x if x.dim() == 4 else x[None], geometry(sample, w.shape[2:])
        got = call(ours, sample)
        want = getattr(reference, ours.__name__)(images.detach(), w.detach(), bias, **options)
        torch.testing.assert_close(got, want.view_as(got), msg=f"{sample}")
        if ours is pyconv.conv2d:
            cotangent = torch.randn_like(got)
            gradients = torch.autograd.grad(got, (x, w), cotangent)
            laid = cotangent.view_as(want)
            of_input = reference.conv2d_grad_input(laid, w.detach().conj(), images.shape, **options)
            of_weight = reference.conv2d_grad_weight(laid, images.detach().conj(), w.shape, **options)
            torch.testing.assert_close(gradients, (of_input.view_as(x), of_weight))


@pytest.mark.parametrize("name", [name for name, op in INFO.items() if op.error_inputs_func is not None])
def test_error_inputs(name: str) -> None:
    ours, theirs = PAIRS[name]
    count = 0
    for error in INFO[name].error_inputs("cpu"):
        with pytest.raises(error.error_type, match=error.error_regex):
            call(theirs, error.sample_input)
        with pytest.raises(error.error_type, match=error.error_regex):
            call(ours, error.sample_input)
        count += 1
    assert count


def test_both_operators_are_in_this_torch() -> None:
    assert set(INFO) == set(PAIRS)

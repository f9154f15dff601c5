"""Layouts: the output's strides follow torch's rule, inputs may have any strides, and only the output is
written.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path

import problems
import pytest
import torch
import torch.nn.functional as F
from variants import VARIANTS

TEXTS = (
    "n2_c4_k6_i5_f3",
    "n2_c1_k6_i5_f3_p1",
    "n2_c4_k1_i5_f3",
    "c4_k6_i1_f1",
    "n2_c4_k6_i1_f1",
    "c4_k6_i5_f5",
    "n2_c4_k4_i5_f3_g4",
    "c1_k1_i5_f3",
    "n2_c3_k4_i1x7_f1x3",
    "n2_c3_k4_i7x1_f3x1_s2",
)

LAYOUT_OF = {False: "nchw", True: "nhwc"}


@pytest.mark.parametrize("dtype", problems.REAL_DTYPES, ids=str)
@pytest.mark.parametrize("text", TEXTS)
def test_output_strides_are_torchs(text: str, dtype: torch.dtype) -> None:
    p, made = problems.parse(text, dtype), problems.operands(text, dtype)
    stride, padding, dilation, groups, _ = problems.parameters(p)
    for first, second in product(("contiguous", "channels_last", "transposed", "strided"), repeat=2):
        x, w = VARIANTS[first](made.input), VARIANTS[second](made.weight)
        want = F.conv2d(x, w, None, stride, padding[::2], dilation, groups)
        got = problems.run("forward", x, w, p)
        assert got.stride() == want.stride(), f"{first} input, {second} weight"


@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize("text", [t for t in TEXTS if "_i1_" not in t and "c1_" not in t and "k1_" not in t])
def test_gradients_are_channels_last_if_an_operand_is(text: str, pass_: str) -> None:
    p, made = problems.parse(text), problems.operands(text, torch.float32)
    a, b = problems.pick(pass_, made)
    for layouts in product(problems.LAYOUTS, repeat=2):
        got = problems.run(pass_, problems.in_layout(a, layouts[0]), problems.in_layout(b, layouts[1]), p)
        ambiguous = a.is_contiguous(memory_format=torch.channels_last) or b.is_contiguous(
            memory_format=torch.channels_last
        )
        if not ambiguous:
            memory_format = torch.channels_last if "nhwc" in layouts else torch.contiguous_format
            assert got.is_contiguous(memory_format=memory_format), layouts


@pytest.mark.parametrize("text", [*TEXTS, "n2_c4_k6_i5_f2x3_s2_g2"])
def test_grad_weight_has_the_strides_of_the_weight(text: str) -> None:
    """Whatever the layouts of input and grad_output are; also as the gradient of a gradient."""
    p, made = problems.parse(text), problems.operands(text, torch.float32)
    parameters = problems.parameters(p)
    for of_input, of_weight, of_gradient in product(problems.LAYOUTS, repeat=3):
        x, w, dy = (
            problems.in_layout(tensor, layout).requires_grad_()
            for tensor, layout in (
                (made.input, of_input),
                (made.weight, of_weight),
                (made.grad_output, of_gradient),
            )
        )
        y = torch.ops.pyconv.conv2d(x, w, None, *parameters)
        dx, dw = torch.autograd.grad(y, (x, w), dy, create_graph=True)
        assert dw.stride() == w.stride(), (of_input, of_weight, of_gradient)
        assert not problems.difference(dw.detach(), problems.expected(text, torch.float32, "grad_weight"))
        (again,) = torch.autograd.grad(dx, w, x.detach(), retain_graph=True)
        assert again.stride() == w.stride()
        assert torch.autograd.grad(y, w, torch.ones(()).expand(y.shape))[0].stride() == w.stride()


@pytest.mark.parametrize("dtype", problems.REAL_DTYPES, ids=str)
@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_grad_weight_in_the_other_layout(layout: str, dtype: torch.dtype) -> None:
    """Every row writes the layout that is asked for, with the bits that it writes into the operands' own."""
    results, rows = [], set()
    files = ["edges", "tiny", "depthwise", "groups", "planes", "resnet_small", "winograd"]
    files = files if dtype in (torch.float32, torch.bfloat16) else files[:2]
    for text in (text for file in files for text in problems.shapes(file, dtype)):
        p, made = problems.parse(text, dtype), problems.operands(text, dtype)
        a, b = (problems.in_layout(tensor, layout) for tensor in problems.pick("grad_weight", made))
        arguments = (a, b, problems.weight_size(p), *problems.parameters(p))
        for name in problems.supported(text, dtype, "grad_weight", layout):
            want, *got = (
                torch.ops.pyconv.conv2d_grad_weight(*arguments, name, last) for last in (None, False, True)
            )
            rows.add(name)
            for result, last in zip(got, (False, True), strict=True):
                assert result.stride() == problems.in_layout(result, LAYOUT_OF[last]).stride()
                results.append((f"{text} {name} {last}", problems.difference(result, want)))
    assert len(rows) > (5 if dtype.is_floating_point else 0), rows
    problems.report(results)


@pytest.mark.parametrize("second", VARIANTS)
@pytest.mark.parametrize("first", VARIANTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_any_strides(pass_: str, first: str, second: str) -> None:
    """Every pair of variants. The views' surroundings are NaN, or huge: a read beside them would show.

    A row may want other strides, if it says so when it is forced; the plan then has another.
    """
    results = []
    for text in ("n2_c3_k4_i5x6_f3x2_s2x1_p1x0x2x1_g1", "n2_c6_k6_i7x8_f3_p1_g6", "n2_c4_k6_i4x5_f1_g2"):
        for dtype in (torch.float32, torch.int64):
            p, made = problems.parse(text, dtype), problems.operands(text, dtype)
            a, b = problems.pick(pass_, made)
            a, b = VARIANTS[first](a), VARIANTS[second](b)
            want = problems.oracle(pass_, a, b, p).to(dtype)
            for name in ("", *problems.supported(text, dtype, pass_)):
                try:
                    got = problems.run(pass_, a, b, p, name)
                except RuntimeError as error:
                    assert name and problems.refuses_strides(error), error
                    continue
                results.append((f"{p} {name}", problems.difference(got, want)))
    problems.report(results)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_rows_of_a_plane(pass_: str, dtype: torch.dtype) -> None:
    """Pixels of a 1x1 layer that follow each other, but are no whole planes and end within a vector."""
    results = []
    for text in ("n2_c17_k17_i9_f1", "n2_c16_k2_i17x9_f1", "n2_c300_k8_i25x9_f1"):
        p, made = problems.parse(text, dtype), problems.operands(text, dtype)
        a, b = problems.pick(pass_, made)
        for first in (0, 3):
            planes = torch.full((*a.shape[:2], 32, a.shape[3]), torch.nan, dtype=dtype)
            rows = planes[:, :, first : first + a.shape[2]].copy_(a)
            want = problems.oracle(pass_, rows, b, p).to(dtype)
            for name in ("", *problems.supported(text, dtype, pass_)):
                got = problems.run(pass_, rows, b, p, name)
                results.append((f"{p} {name} from row {first}", problems.difference(got, want)))
    problems.report(results)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.complex64], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_any_strides_of_other_dtypes(pass_: str, variant: str, dtype: torch.dtype) -> None:
    text = "n2_c4_k6_i5x6_f3x2_s2x1_p1x0x2x1_g2"
    p, made = problems.parse(text, dtype), problems.operands(text, dtype)
    a, b = (VARIANTS[variant](tensor) for tensor in problems.pick(pass_, made))
    assert not problems.difference(problems.run(pass_, a, b, p), problems.oracle(pass_, a, b, p).to(dtype))


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_lazy_conjugation(pass_: str) -> None:
    """A conjugate view holds the unconjugated numbers, an imaginary part of one the negated numbers."""
    text = "n2_c2_k3_i5x4_f3_p1"
    p, made = problems.parse(text, torch.complex64), problems.operands(text, torch.complex64)
    a, b = problems.pick(pass_, made)
    want = problems.oracle(pass_, a.conj(), b, p).to(torch.complex64)
    assert a.conj().is_conj()
    assert not problems.difference(problems.run(pass_, a.conj(), b, p), want)
    real = problems.parse(text)
    part = a.conj().imag
    assert part.is_neg()
    want = problems.oracle(pass_, part.resolve_neg(), b.real, real).float()
    assert not problems.difference(problems.run(pass_, part, b.real, real), want)


@pytest.mark.parametrize("variant", ["contiguous", "window", "strided", "window_channels_last"])
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_operands_and_their_surroundings_are_not_written(pass_: str, variant: str) -> None:
    for text in problems.shapes("tiny") + problems.shapes("padding_modes") + problems.shapes("depthwise"):
        p, made = problems.parse(text, torch.int64), problems.operands(text, torch.int64)
        a, b = (VARIANTS[variant](tensor) for tensor in problems.pick(pass_, made))
        whole = [t.new_empty(0).set_(t.untyped_storage()).clone() for t in (a, b)]
        problems.run(pass_, a, b, p)
        for tensor, old in zip((a, b), whole, strict=True):
            assert torch.equal(tensor.new_empty(0).set_(tensor.untyped_storage()), old), text


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_every_output_is_written_and_no_workspace_is_read_unwritten(pass_: str, layout: str) -> None:
    """torch fills fresh memory with NaN (or the largest integer): what a kernel forgets to write shows."""
    results = []
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    try:
        for dtype in problems.REAL_DTYPES:
            for file in ("edges", "depthwise", "planes", "groups", "stride_dilation", "padding_modes"):
                for text in problems.shapes(file, dtype):
                    for name in problems.supported(text, dtype, pass_, layout):
                        what = f"{problems.parse(text, dtype)} {layout} {name}"
                        results.append((what, problems.check_exact(text, dtype, pass_, layout, name)))
    finally:
        torch.use_deterministic_algorithms(False)
    problems.report(results)


def guarded(mode: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).parent / "guarded.py"
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", str(script), mode, *arguments],
        env=problems.child_environment(**environment),
        capture_output=True,
        text=True,
    )


def explain(done: subprocess.CompletedProcess[str]) -> str:
    last = done.stdout.splitlines()[-1] if done.stdout else "nothing"
    return f"ended with {done.returncode} in: {last}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("side", ["after", "before"])
def test_operands_beside_unreadable_pages(side: str) -> None:
    """In a process of its own: the operands end (or begin) where readable memory does."""
    done = guarded("pages", side)
    assert done.returncode == 0, explain(done)


def test_allocations_are_intact_after_use() -> None:
    """In a process of its own, whose allocator stops it when something wrote past an allocation."""
    library = "libc_malloc_debug.so.0"
    if subprocess.run(["true"], env={"LD_PRELOAD": library}, capture_output=True).stderr:
        pytest.skip(f"this system's C library has no {library}")
    done = guarded("heap", LD_PRELOAD=library, GLIBC_TUNABLES="glibc.malloc.check=3")
    assert done.returncode == 0, explain(done)

"""The exact tests on the GPU, and what only a device has: streams, several devices, asynchronous errors."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import problems
import pytest
import test_batch
import torch
from variants import VARIANTS

import pyconv
from pyconv import _C

_built = _C.build_info()["cuda"]
if not torch.cuda.is_available():
    pytest.skip("no CUDA device here", allow_module_level=True)
if not _built:
    pytest.skip(f"pyconv was built without CUDA: {_C.build_info()['cuda_reason']}", allow_module_level=True)

ROWS = [tuple(row) for row in _C.algorithms("cuda")]
# torch has no int64 convolution on CUDA, and neither has pyconv.
DTYPES = tuple(dtype for dtype in problems.REAL_DTYPES if dtype != torch.int64)


@pytest.mark.parametrize("file", problems.shape_files())
@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize(("algorithm", "pass_"), ROWS, ids=["-".join(row) for row in ROWS])
def test_row(algorithm: str, pass_: str, layout: str, file: str) -> None:
    results = []
    for dtype in DTYPES:
        for text in problems.shapes(file, dtype):
            if algorithm in problems.supported(text, dtype, pass_, layout, "cuda"):
                for bias in (False, True) if pass_ == "forward" else (False,):
                    what = f"{problems.parse(text, dtype)} {layout}{' bias' if bias else ''}"
                    results.append(
                        (what, problems.check_exact(text, dtype, pass_, layout, algorithm, "cuda", bias))
                    )
    problems.report(results)


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize("dtype", DTYPES + problems.COMPLEX_DTYPES, ids=str)
def test_chosen_row(dtype: torch.dtype, pass_: str, layout: str) -> None:
    results = []
    for text in problems.all_shapes(dtype):
        what = f"{problems.parse(text, dtype)} {dtype} {layout}"
        results.append((what, problems.check_exact(text, dtype, pass_, layout, device="cuda")))
    problems.report(results)


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_batches(pass_: str, layout: str) -> None:
    """The operators on 5-D operands, and vmap, which folds a batch into groups here: both exact."""
    for text in test_batch.TEXTS:
        p = problems.parse(text)
        a, b = test_batch.pair(text, pass_, 3, layout, torch.float32)
        want = torch.stack([problems.oracle(pass_, *both, p) for both in zip(a, b, strict=True)]).float()
        operands = a.cuda(), b.cuda()
        assert torch.equal(test_batch.call(text, pass_, *operands).cpu(), want)
        mapped = torch.vmap(functools.partial(test_batch.call, text, pass_))(*operands)
        assert torch.equal(mapped.cpu(), want)


@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_any_strides(variant: str, pass_: str) -> None:
    results = []
    for text in problems.shapes("groups") + problems.shapes("depthwise") + problems.shapes("padding_modes"):
        p, made = problems.parse(text), problems.operands(text, torch.float32)
        a, b = (VARIANTS[variant](tensor.cuda()) for tensor in problems.pick(pass_, made))
        want = problems.oracle(pass_, a.cpu(), b.cpu(), p).float()
        for name in problems.supported(text, torch.float32, pass_, "nchw", "cuda"):
            results.append((f"{p} {name}", problems.difference(problems.run(pass_, a, b, p, name), want)))
    problems.report(results)


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_same_bits_on_every_run_and_alone(pass_: str) -> None:
    seed = problems.generator("cuda")
    for text in problems.shapes("resnet_small") + problems.shapes("large"):
        p = problems.parse(text)
        sizes = problems.input_size(p), problems.weight_size(p), [p.k], problems.output_size(p)
        made = problems.Operands(*(torch.randn(size, generator=seed).cuda() for size in sizes))
        a, b = problems.pick(pass_, made)
        first = problems.run(pass_, a, b, p)
        assert all(torch.equal(problems.run(pass_, a, b, p), first) for _ in range(3)), text
        if pass_ != "grad_weight":
            alone = problems.parse("_".join(token for token in text.split("_") if token[0] != "n"))
            assert torch.equal(problems.run(pass_, a[-1:].contiguous(), b, alone), first[-1:]), text


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_runs_on_the_current_stream(pass_: str) -> None:
    """A long kernel holds the operand back on a side stream: a call anywhere else reads zeros."""
    text = "n2_c16_k16_i14_f3_p1"
    p, made = problems.parse(text), problems.operands(text, torch.float32)
    a, b = (tensor.cuda() for tensor in problems.pick(pass_, made))
    late, stream = torch.zeros_like(a), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        late.copy_(a)
        got = problems.run(pass_, late, b, p)
    stream.synchronize()
    assert not problems.difference(got, problems.expected(text, torch.float32, pass_))


def test_graph_capture() -> None:
    """No synchronisation, no allocation outside torch's allocator: the call can be captured and replayed."""
    text = "n2_c8_k16_i9_f3_p1"
    p, made = problems.parse(text), problems.operands(text, torch.float32)
    x, w = torch.zeros_like(made.input).cuda(), made.weight.cuda()
    problems.run("forward", x, w, p)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = problems.run("forward", x, w, p)
    x.copy_(made.input)
    graph.replay()
    torch.cuda.synchronize()
    assert not problems.difference(got, problems.expected(text, torch.float32, "forward"))


def test_operands_on_different_devices() -> None:
    x, w = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)
    for a, b in ((x.cuda(), w), (x, w.cuda())):
        with pytest.raises(RuntimeError, match=r"device|should be the same"):
            torch.ops.pyconv.conv2d(a, b, None, [1, 1], [0] * 4, [1, 1], 1)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_device_that_is_not_current() -> None:
    text = "n2_c8_k16_i9_f3_p1"
    for pass_ in problems.PASSES:
        assert not problems.check_exact(text, torch.float32, pass_, "nchw", device="cuda:1")
    assert torch.cuda.current_device() == 0


@pytest.fixture(params=["ieee", "tf32"])
def convolution_precision(request: pytest.FixtureRequest) -> Iterator[str]:
    before = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = request.param
    yield request.param
    torch.backends.cudnn.conv.fp32_precision = before


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_float32_is_rounded_only_where_torch_would_round_it(convolution_precision: str, pass_: str) -> None:
    """Operands that tf32 does not hold: without leave for it, every row that does not refuse is exact."""
    allowed = convolution_precision == "tf32"
    text = "n2_c16_k16_i14_f3_p1"
    p = problems.parse(text)
    assert _C.tf32_allowed() == allowed == pyconv.plan(p, pass_=pass_, device="cuda").tf32
    rows = _C.plan(p, pass_, "nchw", "cuda")
    asked = _C.plan(p, pass_, "nchw", "cuda", "", allowed)
    assert [row["refusal"] for row in rows] == [row["refusal"] for row in asked]
    for row in rows:
        if "_tf32" in row["name"] and not allowed:
            assert "torch.backends.cudnn.conv.fp32_precision does not allow" in row["refusal"]
    shaped = problems.pick(pass_, problems.operands(text, torch.float32))
    a, b = (torch.full_like(tensor, 1 + 2.0**-12).cuda() for tensor in shaped)
    want = problems.oracle(pass_, a, b, p)
    for name in ["", *(row["name"] for row in rows if not row["refusal"])]:
        share = ((problems.run(pass_, a, b, p, name) - want) / want).abs().max().item()
        assert share < (2.0**-10 if allowed else 2.0**-14), f"{name or 'chosen'}: {share}"


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_operators_run_what_the_plan_chose(pass_: str) -> None:
    for text in problems.shapes("tiny") + problems.shapes("depthwise") + problems.shapes("planes"):
        chosen = next(
            row["name"] for row in problems.plan(text, torch.float32, pass_, "nchw", "cuda") if row["chosen"]
        )
        before = _C.executed()
        assert not problems.check_exact(text, torch.float32, pass_, "nchw", device="cuda")
        ran = {row for row, count in _C.executed().items() if count > before.get(row, 0)}
        assert ran == {(chosen, pass_)}, text

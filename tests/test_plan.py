"""The plan's table: what it refuses, why, what it chooses, and that the operators do what it says."""

from __future__ import annotations

import math
from collections import Counter

import problems
import pytest
import torch

from pyconv import _C

FILES = ("tiny", "edges", "groups", "depthwise", "planes", "resnet_small")


def cases() -> list[tuple[str, torch.dtype]]:
    return [
        (text, dtype)
        for dtype in problems.REAL_DTYPES
        for file in FILES
        for text in problems.shapes(file, dtype)
    ]


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_chosen_row_is_the_cheapest_supported(pass_: str, layout: str) -> None:
    for text, dtype in cases():
        what = f"{text} {dtype}"
        rows = problems.plan(text, dtype, pass_, layout)
        chosen = [row for row in rows if row["chosen"]]
        assert len(chosen) == 1, f"{what}: {len(chosen)} rows are chosen"
        offered = [row for row in rows if not row["refusal"]]
        assert chosen[0] in offered, f"{what}: the chosen row is refused"
        assert chosen[0]["cost"] == min(row["cost"] for row in offered), (
            f"{what}: a cheaper row was passed over"
        )


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_rows_are_complete(pass_: str) -> None:
    """Names are registered and unique; a supported row has a cost, a refused one a sentence and no cost."""
    registered = {name for name, _ in _C.algorithms("cpu")}
    passes = {name for name, its_pass in _C.algorithms("cpu") if its_pass == pass_}
    for text, dtype in cases():
        rows = problems.plan(text, dtype, pass_)
        names = [row["name"] for row in rows]
        assert len(set(names)) == len(names)
        assert set(names) <= registered
        for row in rows:
            if row["refusal"]:
                assert math.isnan(row["cost"])
                assert len(row["refusal"].split()) >= 2, f"{row['name']}: {row['refusal']!r} is no sentence"
            else:
                assert row["name"] in passes
                assert row["cost"] > 0 and math.isfinite(row["cost"])
                assert row["workspace"] >= 0


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_forcing_a_refused_row_raises_its_refusal(pass_: str, layout: str) -> None:
    # The sentences carry values, so nearly every problem has new ones: a few of each row and dtype will do.
    seen: Counter[tuple[str, torch.dtype]] = Counter()
    for text, dtype in cases():
        p, made = problems.parse(text, dtype), problems.operands(text, dtype)
        a, b = (problems.in_layout(tensor, layout) for tensor in problems.pick(pass_, made))
        for row in problems.plan(text, dtype, pass_, layout):
            if not row["refusal"] or seen[row["name"], dtype] >= 4:
                continue
            seen[row["name"], dtype] += 1
            with pytest.raises(RuntimeError) as caught:
                problems.run(pass_, a, b, p, row["name"])
            assert row["refusal"] in str(caught.value), f"{text} {dtype} {row['name']}"
    assert seen, "no row refused anything: the test has no case"


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_unknown_row_raises_its_name(pass_: str) -> None:
    text = "c2_k3_i5_f3_p1"
    a, b = problems.pick(pass_, problems.operands(text, torch.float32))
    with pytest.raises(RuntimeError, match="f32_gemm_1x1_abacus"):
        problems.run(pass_, a, b, problems.parse(text), "f32_gemm_1x1_abacus")


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_operators_run_what_the_plan_chose(pass_: str, layout: str) -> None:
    for text, dtype in cases():
        chosen = next(row["name"] for row in problems.plan(text, dtype, pass_, layout) if row["chosen"])
        assert ran(text, dtype, pass_, layout) == {(chosen, pass_)}, f"{text} {dtype}"


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_operators_run_what_is_forced(pass_: str) -> None:
    for text, dtype in cases():
        for name in problems.supported(text, dtype, pass_):
            assert ran(text, dtype, pass_, "nchw", name) == {(name, pass_)}, f"{text} {dtype}"


def ran(text: str, dtype: torch.dtype, pass_: str, layout: str, algorithm: str = "") -> set[tuple[str, str]]:
    """The rows whose count of executions rose during one call."""
    a, b = (problems.in_layout(t, layout) for t in problems.pick(pass_, problems.operands(text, dtype)))
    before = _C.executed()
    problems.run(pass_, a, b, problems.parse(text, dtype), algorithm)
    return {row for row, count in _C.executed().items() if count > before.get(row, 0)}


def test_plan_with_a_forced_row_chooses_it() -> None:
    text = "c2_k3_i5_f3_p1"
    for name in problems.supported(text, torch.float32, "forward"):
        rows = _C.plan(problems.parse(text), "forward", "nchw", "cpu", name)
        assert [row["name"] for row in rows if row["chosen"]] == [name]


def test_a_weaker_isa_refuses_the_stronger_rows_by_name() -> None:
    text = "c8_k32_i9_f3_p1"
    strongest = _C.isas()[-1]
    named = [n for n in problems.supported(text, torch.bfloat16, "forward") if n.endswith(f"_{strongest}")]
    _C.set_isa("portable")
    refusals = {row["name"]: row["refusal"] for row in problems.plan(text, torch.bfloat16, "forward")}
    assert named, f"no bfloat16 row for {strongest}"
    for name in named:
        if strongest != "portable":
            assert strongest in refusals[name]


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_calls_that_ran_before_obey_a_weaker_isa(pass_: str) -> None:
    """Choices are remembered, but for the instruction set they were made for."""
    for text in problems.shapes("tiny", torch.float32):
        for isa in [*_C.isas(), *reversed(_C.isas())]:
            _C.set_isa(isa)
            chosen = [row["name"] for row in problems.plan(text, torch.float32, pass_) if row["chosen"]]
            for _ in range(2):
                assert ran(text, torch.float32, pass_, "nchw") == {(chosen[0], pass_)}, f"{text} {isa}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n8_c64_k128_i56x55_f3x1_s2x1_p1x2_d1x3_g2", (8, 64, 128, 56, 55, 3, 1, 2, 1, 1, 1, 2, 2, 1, 3, 2)),
        ("c3_k4_i9_f5_p1x2x3x4", (1, 3, 4, 9, 9, 5, 5, 1, 1, 1, 2, 3, 4, 1, 1, 1)),
        ("c1_k1_i6x8_f1x2", (1, 1, 1, 6, 8, 1, 2, 1, 1, 0, 0, 0, 0, 1, 1, 1)),
        (
            "c1_k1_i64_f3",
            (1, 1, 1, 64, 64, 3, 3, 1, 1, 0, 0, 0, 0, 1, 1, 1),
        ),  # a size, not the dtype of that name
    ],
)
def test_problem_string(text: str, expected: tuple[int, ...]) -> None:
    sizes = ["n", "c", "k", "h", "w", "r", "s", "stride_h", "stride_w"]
    names = [*sizes, "pad_top", "pad_bottom", "pad_left", "pad_right", "dilation_h", "dilation_w", "groups"]
    p = _C.Problem.parse(text)
    assert tuple(getattr(p, name) for name in names) == expected
    assert (p.padding_mode, p.dtype) == ("zeros", "float32")
    assert _C.Problem.parse(str(p)) == p


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(("token", "dtype"), problems.TOKENS.items())
def test_problem_string_round_trip(mode: str, token: str, dtype: torch.dtype) -> None:
    p = _C.Problem.parse(f"n2_c4_k6_i7x8_f3x2_s1x2_p1x0x1x2_d2x1_g2_{mode}_{token}")
    assert (p.padding_mode, f"torch.{p.dtype}") == (mode, str(dtype))
    assert _C.Problem.parse(str(p)) == p
    assert p != _C.Problem.parse(f"n2_c4_k6_i7x8_f3x2_s1x2_p1x0x1x2_d2x1_g2_{token}")


@pytest.mark.parametrize("file", problems.shape_files())
def test_shapes_files_hold_problem_strings(file: str) -> None:
    """Each line is legal, says what the oracle computes, and survives printing."""
    for text in problems.shapes(file):
        p = problems.parse(text)
        p.validate()
        assert _C.Problem.parse(str(p)) == p
        if file != "large":
            made = problems.operands(text, torch.float32)
            result = problems.oracle("forward", made.input, made.weight, p)
            assert list(result.shape) == problems.output_size(p)
        assert p.flops == 2 * p.n * p.k * p.p * p.q * (p.c // p.groups) * p.r * p.s


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c1_k1_i5",
        "c1_k1_f3",
        "c1_k1_i5_f3_q1",
        "c1_k1_i5_f3_p-1",
        "c1_k1_i5_f3_s0",
        "c1_k1_i5_f3_d0",
        "c1_k1_i5_f3_g0",
        "c1_k1_i5_f6",
        "c3_k4_i5_f3_g2",
        "c4_k3_i5_f3_g2",
        "c1_k1_i5_f3_p1x1x1",
        "c1_k1_i5_f3_mirror",
        "c1_k1_i5_f3_f8",
        "c1_k1_i5_f3_p5_reflect",
        "c1_k1_i5_f3_p6_circular",
        "c1_k1_i99999999999999999999_f3",
    ],
)
def test_bad_problem_strings_are_refused(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        _C.Problem.parse(text).validate()
    assert str(caught.value)


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
def test_tiles_are_counted_without_running_them(pass_: str, layout: str) -> None:
    """Every step hands out something, to one worker and to many; of one image too there is work for eight."""
    before = _C.executed()
    for file in ("resnet_small", "depthwise", "groups", "planes"):
        for text in problems.shapes(file, torch.float32):
            for workers in (1, 8, 64):
                steps = _C.tiles(problems.parse(text, torch.float32), pass_, layout, workers)
                assert steps and min(steps) > 0, f"{text}, {workers} workers: {steps}"
    assert _C.executed() == before
    assert max(_C.tiles(_C.Problem.parse("n1_c64_k64_i56_f3_p1"), pass_, layout, 8)) >= 8


def test_a_result_without_elements_has_no_tiles() -> None:
    assert _C.tiles(_C.Problem.parse("n0_c64_k64_i56_f3_p1"), "forward", "nchw", 8) == []


def test_tiles_of_no_workers_are_refused() -> None:
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        _C.tiles(_C.Problem.parse("c1_k1_i3_f1"), "forward", "nchw", 0)

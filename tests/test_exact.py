"""Every algorithm, pass, dtype and layout gives the oracle's bits on integer data, over every shapes file."""

from __future__ import annotations

import subprocess
import sys
import zlib

import problems
import pytest
import torch

from pyconv import _C

ROWS = [tuple(row) for row in _C.algorithms("cpu")]


@pytest.mark.parametrize("file", problems.shape_files())
@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize(("algorithm", "pass_"), ROWS, ids=["-".join(row) for row in ROWS])
def test_row(algorithm: str, pass_: str, layout: str, file: str) -> None:
    results = []
    for dtype in problems.REAL_DTYPES:
        for text in problems.shapes(file, dtype):
            if algorithm not in problems.supported(text, dtype, pass_, layout):
                continue
            # A bias on half of the problems, so that stores with and without one are both tested.
            bias = pass_ == "forward" and zlib.crc32(text.encode()) % 2 == 0
            what = f"{problems.parse(text, dtype)} {layout}{' bias' if bias else ''}"
            results.append((what, problems.check_exact(text, dtype, pass_, layout, algorithm, bias=bias)))
    problems.report(results)


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize("dtype", problems.REAL_DTYPES + problems.COMPLEX_DTYPES, ids=str)
def test_chosen_row(dtype: torch.dtype, pass_: str, layout: str) -> None:
    """What the plan chooses on its own, complex dtypes included: they run through the real rows."""
    results = []
    for text in problems.all_shapes(dtype):
        for bias in (False, True) if pass_ == "forward" else (False,):
            what = f"{problems.parse(text, dtype)} {dtype} {layout}{' bias' if bias else ''}"
            results.append((what, problems.check_exact(text, dtype, pass_, layout, bias=bias)))
    problems.report(results)


@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize("isa", _C.isas())
def test_isa(isa: str, pass_: str) -> None:
    """Capped to each instruction set, every dtype still has a right algorithm, which keeps to the cap."""
    _C.set_isa(isa)
    assert _C.isa() == isa
    beyond = set(_C.isas()[_C.isas().index(isa) + 1 :])
    results = []
    for dtype in problems.REAL_DTYPES:
        for text in problems.shapes("edges", dtype) + problems.shapes("resnet_small", dtype):
            used = problems.supported(text, dtype, pass_)
            too_strong = [name for name in used if name.rpartition("_")[2] in beyond]
            results.append((f"{text} {dtype}", f"offered beyond {isa}: {too_strong}" if too_strong else ""))
            results.append((f"{text} {dtype}", problems.check_exact(text, dtype, pass_, "nchw")))
    problems.report(results)


def test_unknown_isa_is_refused() -> None:
    with pytest.raises(ValueError, match="avx1024"):
        _C.set_isa("avx1024")


@pytest.mark.parametrize("isa", _C.isas())
def test_environment_caps_the_isa(isa: str) -> None:
    script = "from pyconv import _C; print(_C.isa(), *_C.isas())"
    environment = problems.child_environment(PYCONV_ISA=isa)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == isa

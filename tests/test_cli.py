"""`python -m pyconv`, and what importing it says when something is wrong."""

import importlib
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import pyconv
from pyconv import _C, _env, _load, cli, planning, verify

PROBLEM = "n2_c4_k6_i8x9_f3x3_s1_p1_d1_g1"


def test_info_is_complete(capsys):
    assert cli.main(["info"]) == 0
    lines = dict(
        re.split(r"\s{2,}", line, maxsplit=1) for line in capsys.readouterr().out.strip().splitlines()
    )
    assert lines["pyconv"] == pyconv.__version__
    assert torch.__version__ in lines["torch"]
    assert lines["instructions"].startswith(f"{_C.isa()} in use, {_C.isa_detected()} found")
    assert {"python", "compiler", "processor", "threads", "algorithms", "cuda", "environment"} <= lines.keys()


def test_version_is_the_projects():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{pyconv.__version__}"' in text


@pytest.mark.parametrize("pass_", planning.PASSES)
@pytest.mark.parametrize("layout", planning.LAYOUTS)
def test_plan_prints_every_row(capsys, pass_, layout):
    assert cli.main(["plan", PROBLEM, "--pass", pass_, "--layout", layout]) == 0
    head, columns, *rows = capsys.readouterr().out.strip("\n").splitlines()
    assert head.endswith(f"{pass_}  {layout}  cpu")
    assert columns.split() == ["algorithm", "cost", "workspace"]
    table = pyconv.plan(PROBLEM, pass_=pass_, layout=layout)
    assert [row.split()[0] for row in rows] == [row.name for row in table]
    assert sum(row.endswith(" chosen") for row in rows) == 1


def test_plan_object():
    table = pyconv.plan(_C.Problem.parse(PROBLEM))
    assert table.chosen in [row.name for row in table]
    assert table[table.chosen].chosen and len(table) == len(list(table))
    with pytest.raises(KeyError):
        table["nothing"]
    for row in table:
        assert bool(row.refusal) == math.isnan(row.cost)
        assert not (row.chosen and row.refusal)


def test_plan_of_tensors_is_the_plan_of_their_problem():
    x, w = torch.randn(2, 4, 9, 8, dtype=torch.float64), torch.randn(6, 2, 3, 3, dtype=torch.float64)
    options = {
        "stride": (2, 1),
        "padding": (1, 0, 2, 1),
        "dilation": (1, 2),
        "groups": 2,
        "padding_mode": "circular",
    }
    problem = _C.Problem.parse("n2_c4_k6_i9x8_f3x3_s2x1_p1x0x2x1_d1x2_g2_circular_f64")
    assert pyconv.plan(x, w, **options).problem == str(problem)
    assert pyconv.plan(x, w, **options).layout == "nchw"
    assert pyconv.plan(x.to(memory_format=torch.channels_last), w, **options).layout == "nhwc"
    assert pyconv.plan(x[0], w, **options).problem == str(problem).replace("n2_", "n1_")
    same = pyconv.plan(x, w, padding="same", groups=2)
    assert same.problem == pyconv.plan(x, w, padding=1, groups=2).problem


def test_plan_explains_what_it_cannot_read(capsys):
    assert cli.main(["plan", "n1_c3_nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_units():
    assert [planning._seconds(value) for value in (2.0, 0.0123, 4.56e-5, 7e-8, math.nan)] == [
        "2 s",
        "12.3 ms",
        "45.6 us",
        "70 ns",
        "",
    ]
    assert [planning._bytes(value) for value in (0, 2048, 3 << 20, 5 << 30)] == [
        "0 B",
        "2.0 KiB",
        "3.0 MiB",
        "5.0 GiB",
    ]


def test_check_passes(capsys):
    assert cli.main(["check", "n1_c3_k4_i6x5_f3x2_s2x1_p1_g1", "n1_c2_k2_i5_f3_p1_i64", "--verbose"]) == 0
    out = capsys.readouterr().out
    assert "DIFFERENT" not in out and " 0 different" in out
    assert all(f" {pass_} {layout} " in out for pass_ in planning.PASSES for layout in planning.LAYOUTS)


def test_default_problems_parse_and_are_small():
    for problem in cli.CHECKED:
        parsed = _C.Problem.parse(problem)
        parsed.validate()
        assert (
            parsed.n * parsed.k * parsed.p * parsed.q * parsed.r * parsed.s * parsed.c // parsed.groups
            < 2**20
        )


@pytest.mark.parametrize("pass_", planning.PASSES)
@pytest.mark.parametrize("dtype", ["f32", "f64", "bf16", "f16", "i64"])
def test_check_sees_a_wrong_result(pass_, dtype):
    """One element off by a few units in its last place fails the comparison, for every dtype and pass."""
    case = verify.make_case(f"n1_c3_k4_i6x5_f3x2_p1_{dtype}")
    right = verify.oracle(case, pass_).to(case.input.dtype)
    assert verify.compare(case, pass_, right).passed
    wrong = right.clone()
    wrong.view(-1)[7] += 1 if dtype == "i64" else 0.5
    assert not verify.compare(case, pass_, wrong).passed
    if dtype != "i64":
        wrong.view(-1)[7] = math.nan
        assert not verify.compare(case, pass_, wrong).passed


def test_check_exits_non_zero_on_a_difference(capsys, monkeypatch):
    monkeypatch.setattr(verify, "run", lambda case, pass_, name: verify.oracle(case, pass_) + 1)
    assert cli.main(["check", "n1_c2_k2_i5_f3_p1"]) == 1
    assert capsys.readouterr().out.startswith("DIFFERENT n1_c2_k2_i5x5_f3x3")


def test_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert stop.value.code == 2
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("info", "plan", "check", "bench", "demo"))


@pytest.mark.parametrize("command", ["bench", "demo"])
def test_commands_of_their_own_get_the_rest_of_the_line(monkeypatch, command):
    seen = []
    module = type(sys)(f"pyconv.{command}")
    module.main = lambda argv: seen.append(argv)
    monkeypatch.setitem(sys.modules, f"pyconv.{command}", module)
    assert cli.main([command, "--quick", "x"]) == 0
    assert seen == [["--quick", "x"]]


def run_python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(
            __file__
        ).parent,  # the source folder's pyconv has no compiled half unless it was built in place
        env={**os.environ, "PYTHONPATH": str(Path(pyconv.__file__).parents[1]), **environment},
    )


def test_module_runs_and_reads_the_environment():
    done = run_python("-m", "pyconv", "info", PYCONV_ISA="portable")
    assert done.returncode == 0, done.stderr
    assert "portable in use" in done.stdout and "PYCONV_ISA=portable" in done.stdout


def test_unknown_isa_is_an_error_that_names_the_variable():
    done = run_python("-c", "import pyconv", PYCONV_ISA="sse9")
    assert done.returncode != 0 and "ValueError: PYCONV_ISA=sse9" in done.stderr


def test_environment_is_read_in_one_file():
    package = Path(pyconv.__file__).parent
    readers = [
        path.name
        for path in package.rglob("*.py")
        if re.search(r"os\.environ|getenv", path.read_text(encoding="utf-8"))
    ]
    assert readers == ["_env.py"]
    assert len(_env.NAMES) <= 8 and all(name.startswith("PYCONV_") for name in _env.NAMES)


def test_import_says_never_built(tmp_path):
    message = _load._explain(ImportError("No module named 'pyconv._C'"), tmp_path)
    assert message.startswith("pyconv was never built: there is no compiled _C in")
    assert "pip install --no-build-isolation ." in message


def test_import_says_built_for_another_python(tmp_path):
    (tmp_path / "_C.cpython-399-x86_64-linux-gnu.so").touch()
    message = _load._explain(ImportError("No module named 'pyconv._C'"), tmp_path)
    assert message.startswith("pyconv was built for another Python: found _C.cpython-399-x86_64-linux-gnu.so")


def test_import_says_built_for_another_torch(tmp_path):
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (tmp_path / f"_C{suffix}").touch()
    message = _load._explain(ImportError("undefined symbol: _ZN5torch8somethingE"), tmp_path)
    assert f"built for another torch than the one running, {torch.__version__}" in message
    assert "_ZN5torch8somethingE" in message
    with pytest.raises(ImportError, match=r"pyconv was built for torch 2\.1\.2\+cu118, running "):
        _load._check_release("2.1.2+cu118")
    _load._check_release(torch.__version__)


def test_import_passes_other_reasons_on(tmp_path):
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (tmp_path / f"_C{suffix}").touch()
    message = _load._explain(ImportError("libgomp.so.1: cannot open shared object file"), tmp_path)
    assert message == "pyconv's compiled half does not load: libgomp.so.1: cannot open shared object file"


def test_import_chains_the_real_exception(monkeypatch):
    def fail(name):
        raise ImportError("the linker's own sentence")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ImportError) as caught:
        _load._load()
    assert str(caught.value.__cause__) == "the linker's own sentence"


@pytest.mark.skipif(bool(_C.build_info()["cuda"]), reason="the sentence belongs to builds without CUDA")
def test_cuda_tensors_are_told_that_it_was_not_built():
    kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    operators = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith("pyconv::")]
    assert len(operators) == 4 and all(kernel(name, "CUDA") for name in operators)
    refusal = _load._refusal(_C.build_info()["cuda_reason"])
    with pytest.raises(
        NotImplementedError, match=r"pyconv was built without CUDA \(.+\): move the tensors to the CPU"
    ):
        refusal(torch.ones(1))

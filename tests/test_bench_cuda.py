"""The bench's parts for CUDA, as far as the CPU can test them: arithmetic, arguments, and the whole run on a
device that only pretends to be one.
"""

import contextlib
import json
import threading
import time
import types

import pytest
import torch

from pyconv import _C, bench
from pyconv.bench import arguments, cases, clock, cold_start, oracle, peak, peers, precision, runner, suites


def problem(text):
    return _C.Problem.parse(text)


@pytest.mark.parametrize(
    ("text", "n", "changed"),
    [
        ("n4_c3_k8_i14_f3_p1", 32, 32),
        ("n64_c3_k8_i14_f3_p1", 32, 32),
        ("n1_c64_k64_i256_f3_p1", 32, 16),  # 31 would fit
        ("n1_c64_k64_i256_f3_p1", 8, 8),
        ("n1_c3_k3_i1080x1920_f5_p2_g3", 32, 16),
        ("c1_k1_i30000_f3_p1", 32, 1),  # not even one fits
    ],
)
def test_a_batch_is_replaced_and_fits(text, n, changed):
    before = problem(text)
    after = suites.with_batch(before, n)
    assert after.n == changed and str(before) == str(problem(text))
    assert str(after) == str(before).replace(f"n{before.n}_", f"n{changed}_")
    assert changed == 1 or cases.tensor_bytes(after) <= 1 << 30


def test_problems_that_a_batch_makes_equal_are_measured_once():
    entries = suites.select(["vgg16", "first_layers"], [], [], quick=False, batch=32)
    shared = [entry for entry in entries if len(entry.suites) == 2]
    assert [str(entry.problem) for entry in shared] == [str(problem("n32_c3_k64_i224_f3_p1"))]
    assert all(entry.problem.n == 32 for entry in entries if "vgg16" in entry.suites)


def test_suites_take_turns():
    entries = suites.select(["tiny", "planes"], ["c2_k2_i5_f3"], [], quick=False)
    turned = suites.in_turn(entries)
    assert [entry.suites for entry in turned[:6]] == [
        ["tiny"],
        ["planes"],
        [],
        ["tiny"],
        ["planes"],
        ["tiny"],
    ]
    assert sorted(str(entry.problem) for entry in turned) == sorted(str(entry.problem) for entry in entries)


def rounded_to_tf32(tensor):
    """To 10 bits after the point, halves away from zero."""
    bits = tensor.view(torch.int32)
    return ((bits + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32)


@pytest.mark.parametrize("pass_", cases.PASSES)
def test_the_tf32_bound_admits_rounded_operands_and_the_ieee_bound_does_not(pass_):
    p = problem("n1_c8_k8_i3_f1")  # sums of eight and nine products
    tensors = cases.make(p)
    rounded = tensors.map(rounded_to_tf32)
    relative = ((rounded.x - tensors.x) / tensors.x).abs().max()
    assert 2.0**-13 < relative <= 2.0**-11
    result = peers.torch_call(p, pass_)(rounded.map(lambda t: t.double())).float()
    assert oracle.Oracle(p, pass_, tensors, tf32=True).check(result).passed
    assert not oracle.Oracle(p, pass_, tensors).check(result).passed
    wrong = result * (1 + 2.0**-8)
    assert not oracle.Oracle(p, pass_, tensors, tf32=True).check(wrong).passed


def test_the_tf32_bound_is_reached_by_one_product_and_is_for_float32_only():
    p = problem("c1_k1_i1_f1")
    worst = torch.tensor(1 + 2.0**-11).view(1, 1, 1, 1)  # half a last place above a tf32 number
    tensors = cases.Tensors(worst, worst, worst)
    check = oracle.Oracle(p, "forward", tensors, tf32=True).check(torch.ones(1, 1, 1, 1))
    assert 0.99 < check.error_over_bound <= 1
    half = suites.with_dtype(p, "bf16")
    made = cases.make(half)
    bounds = [oracle.Oracle(half, "forward", made, tf32=tf32).bound for tf32 in (False, True)]
    assert torch.equal(*bounds)


def test_precision_is_set_for_a_block_and_pyconv_sees_it():
    before = torch.backends.cudnn.conv.fp32_precision
    for name in precision.PRECISIONS:
        with precision.convolution_precision(name):
            assert torch.backends.cudnn.conv.fp32_precision == name
            assert torch.backends.cudnn.allow_tf32 == (name == "tf32") == _C.tf32_allowed()
            with precision.cudnn_flags(benchmark=True):
                assert torch.backends.cudnn.benchmark
                assert torch.backends.cudnn.conv.fp32_precision == name
            assert not torch.backends.cudnn.benchmark
            assert torch.backends.cudnn.conv.fp32_precision == name
    assert torch.backends.cudnn.conv.fp32_precision == before
    with precision.matmul_precision("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--precision", "tf32"], "is for --device cuda"),
        (["--device", "tpu"], "must be cpu or cuda[:N]"),
        (["--batch", "-1"], "must be at least 0"),
        (["--peers", "torch_tuned"], "no such peer on cpu: torch_tuned"),
    ],
)
def test_what_a_device_lacks_is_said(given, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        arguments.parsed(["c1_k1_i5_f3", *given])
    assert stopped.value.code == 2 and said in capsys.readouterr().err


def test_defaults_depend_on_the_device(monkeypatch):
    args, entries = arguments.parsed(["n2_c1_k1_i5_f3"])
    assert (args.batch, args.peers, args.budget) == (0, ["torch"], 0.12) and entries[0].problem.n == 2
    monkeypatch.setattr(arguments, "device_error", lambda device: "")
    args, entries = arguments.parsed(["n2_c1_k1_i5_f3", "--device", "cuda:1"])
    assert (args.batch, args.peers) == (32, ["torch", "torch_tuned"]) and entries[0].problem.n == 32
    args, entries = arguments.parsed(["n2_c1_k1_i5_f3", "--device", "cuda", "--batch", "0"])
    assert entries[0].problem.n == 2
    with pytest.raises(SystemExit):
        arguments.parsed(["c1_k1_i5_f3", "--device", "cuda", "--peers", "opencv"])


def test_the_best_setting_of_torch_is_over_layouts_and_settings():
    made = runner.Row("c1_k1_i5_f3", [], "forward", "nchw", "float32", "a")
    seconds = {"torch nchw": 4.0, "torch nhwc": 3.0, "torch_tuned nchw": 1.5, "scipy nchw": 1.0}
    beside = {key: runner.Entrant(None, None, [value]) for key, value in seconds.items()}
    options = runner.Options(("nchw",), "cpu", "", (), False, 0.0, {})
    errors = {key: {} for key in seconds}
    runner.fill(made, problem(made.problem), runner.Entrant(None, None, [1.0]), beside, errors, options)
    assert (made.same_layout, made.best_layout) == (4.0, 1.5)
    assert made.times("torch_tuned") == 1.5


class Event:
    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.seconds = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return (other.seconds - self.seconds) * 1e3


@pytest.fixture
def pretended_gpu(monkeypatch):
    """The CPU in a GPU's place: tensors asked for on "cuda" are made here, and the plan is the CPU's."""

    def here(function):
        return lambda *a, **k: function(*a, **({**k, "device": "cpu"} if "device" in k else k))

    for name in ("rand", "ones", "Generator"):
        monkeypatch.setattr(torch, name, here(getattr(torch, name)))
    properties = types.SimpleNamespace(
        name="Pretended GPU",
        major=9,
        minor=0,
        multi_processor_count=1,
        total_memory=1 << 33,
        L2_cache_size=1 << 20,
    )
    pretended = {
        "Event": Event,
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
        "memory_reserved": lambda: 1 << 33,
        "current_device": lambda: 0,
        "set_device": lambda index: None,
        "device": lambda device: contextlib.nullcontext(),
        "get_device_properties": lambda device: properties,
    }
    for name, value in pretended.items():
        monkeypatch.setattr(torch.cuda, name, value)
    plan = _C.plan
    monkeypatch.setattr(
        _C, "plan", lambda p, pass_, layout, device, forced: plan(p, pass_, layout, "cpu", forced)
    )
    monkeypatch.setattr(arguments, "device_error", lambda device: "")
    monkeypatch.setattr(peak, "MATRIX", 512)
    monkeypatch.setattr(peak, "MIB", 1 << 8)
    monkeypatch.setattr(clock.EventClock, "sample_seconds", 1e-5)
    peers.tuning_thread.cache_clear()
    yield
    peers.tuning_thread.cache_clear()


def test_a_whole_run(pretended_gpu, monkeypatch, tmp_path, capsys):
    threads = []
    call = peers.torch_call

    def seen(p, pass_):
        def run(tensors):
            threads.append((threading.get_ident(), torch.backends.cudnn.benchmark, torch.is_grad_enabled()))
            return call(p, pass_)(tensors)

        return run

    monkeypatch.setattr(peers, "torch_call", seen)
    monkeypatch.setattr(
        cold_start, "measure", lambda *a: {"problem": "p", "pyconv": {"error": "e"}, "torch": TIMES}
    )
    path = tmp_path / "result.json"
    command = ["n1_c2_k2_i5_f3", "--device", "cuda", "--budget", "0.001", "--precision", "tf32"]
    assert bench.main([*command, "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    assert len(result["rows"]) == 6
    for made in result["rows"]:
        assert made["problem"].startswith("n32_") and made["status"] == "ok"
        assert set(made["peers"]) == {f"{name} {layout}" for name in TORCHES for layout in cases.LAYOUTS}
        assert made["share_of_peak"] > 0
    assert result["machine"]["gpu"] == "Pretended GPU" and result["machine"]["precision"] == "tf32"
    assert set(result["limits"]["matmul_gflops"]) == {"bfloat16", "float16", "float32", "tf32", "float64"}
    assert result["limits"]["fma_peak_gflops"] == {"float32": result["limits"]["matmul_gflops"]["tf32"]}
    assert result["options"]["batch"] == 32 and result["cold_start"]["torch"] == TIMES
    printed = capsys.readouterr().out
    assert "x tuned" in printed and "torch's best setting" in printed and "second call 2 ms" in printed
    main = threading.get_ident()
    assert {(ident == main, tuned, grad) for ident, tuned, grad in threads} == {
        (True, False, False),
        (False, True, False),
    }
    assert not torch.backends.cudnn.benchmark


TORCHES = ("torch", "torch_tuned")
TIMES = {"first_seconds": 1.0, "second_seconds": 2e-3}


def test_tuning_and_the_run_end_when_their_time_is_over(pretended_gpu, tmp_path, capsys):
    path = tmp_path / "result.json"
    command = ["c1_k1_i5_f3", "c2_k2_i5_f3", "--device", "cuda", "--budget", "0.001", "--no-cold-start"]
    assert bench.main([*command, "--tuning", "0", "--limit", "1e-9", "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    assert result["rows"] == [] and result["problems_not_reached"] == 2
    assert "Not reached: 2 of 2 problems" in capsys.readouterr().out
    assert bench.main([*command, "--tuning", "0", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert len(rows) == 12 and all(set(made["peers"]) == {"torch nchw", "torch nhwc"} for made in rows)


def test_a_lost_device_ends_the_run(pretended_gpu, monkeypatch, tmp_path, capsys):
    def lost():
        raise RuntimeError("an illegal memory access was encountered\nmore")

    run = bench.run

    def run_and_lose(*given):
        monkeypatch.setattr(torch.cuda, "synchronize", lost)
        return run(*given)

    monkeypatch.setattr(bench, "run", run_and_lose)
    path = tmp_path / "result.json"
    assert bench.main(["c1_k1_i5_f3", "--device", "cuda", "--json", str(path)]) == 1
    assert json.loads(path.read_text())["limits_at_the_end"] is None
    assert "the device is lost: an illegal memory access" in capsys.readouterr().err


def test_the_first_call_is_that_of_a_fresh_process():
    result = cold_start.measure("float32", "cpu", "ieee")
    for who in cold_start.WHO:
        assert result[who]["first_seconds"] > 0 and result[who]["second_seconds"] > 0
    assert "pyconv" in cold_start.format_lines(result)
    assert "error" in cold_start.child("nobody", "c1_k1_i5_f3", "cpu", "ieee")

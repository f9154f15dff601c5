"""The bench in a small form: what it verifies, how it takes turns, what it writes, and when it fails."""

import importlib.util
import json
import math
from pathlib import Path

import pytest
import torch

from pyconv import _C, bench
from pyconv.bench import cases, oracle, peers, report, runner, suites, timing

TINY = ["n1_c1_k1_i6x8_f1x2", "n2_c4_k6_i7x9_f3x3_s2x1_p1"]
QUICK = ["--budget", "0.002"]
SUITES = ["convnext", "first_layers", "mobilenetv2", "planes", "replknet", "resnet50", "resnext", "tiny"]
SUITES += ["unet", "vgg16"]


def options(**changes):
    base = {"layouts": ("nchw", "nhwc"), "device": "cpu", "algorithm": "", "peers": ("torch",)}
    return runner.Options(**{**base, "exhaustive": False, "budget": 0.002, "peak": {}, **changes})


def row(ratio, pass_="forward", **changes):
    base = {"problem": "n1_c1_k1_i6x8_f1x2", "suites": ["tiny"], "layout": "nchw", "dtype": "float32"}
    timed = {"algorithm": "a", "seconds": 1e-3, "same_layout": 2 * ratio, "best_layout": ratio}
    return report.Row(**{**base, **timed, "pass_": pass_, **changes})


def test_every_suite_is_there_and_every_line_is_a_valid_problem():
    assert suites.names() == SUITES
    for name in SUITES:
        lines = suites.read(name)
        assert len(lines) >= 5
        parsed = [_C.Problem.parse(line) for line in lines]
        for problem in parsed:
            problem.validate()
            assert problem.p > 0 and problem.q > 0
        assert len(set(map(str, parsed))) == len(lines), f"{name} names a problem twice"


def test_a_problem_of_two_suites_is_measured_once():
    shared = "n4_c64_k64_i56_f3_p1"
    entries = suites.select(["resnet50", "resnet50"], [shared], [], quick=False)
    assert len(entries) == len(suites.read("resnet50"))
    assert all(entry.suites == ["resnet50"] for entry in entries)
    quick = suites.select(["resnet50"], [], [], quick=True)
    assert 0 < len(quick) < len(entries)


def test_dtypes_multiply_the_problems():
    entries = suites.select([], TINY[:1], ["f32", "bf16", "f64"], quick=False)
    assert [entry.problem.dtype for entry in entries] == ["float32", "bfloat16", "float64"]
    assert suites.with_dtype(entries[1].problem, "f16").dtype == "float16"
    assert suites.with_dtype(entries[1].problem, "f32") == _C.Problem.parse(TINY[0])


def test_rows_are_verified_timed_and_written(tmp_path, capsys):
    path = tmp_path / "new" / "result.json"
    assert bench.main([*TINY, *QUICK, "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    assert len(result["rows"]) == len(TINY) * 3 * 2
    for made in result["rows"]:
        problem = _C.Problem.parse(made["problem"])
        assert made["status"] == "ok" and made["seconds"] > 0 and made["samples"] >= timing.MIN_SAMPLES
        assert 0 <= made["error_over_bound"] <= 1
        assert made["gflops"] * made["seconds"] * 1e9 == pytest.approx(problem.flops, rel=1e-3)
        moved = made["gigabytes"] * made["seconds"] * 1e9
        assert moved == pytest.approx(cases.tensor_bytes(problem), rel=1e-3)
        times = {key: peer["seconds"] for key, peer in made["peers"].items()}
        assert set(times) == {"torch nchw", "torch nhwc"}
        assert made["same_layout"] * made["seconds"] == pytest.approx(
            times[f"torch {made['layout']}"], rel=2e-3
        )
        assert made["best_layout"] * made["seconds"] == pytest.approx(min(times.values()), rel=2e-3)
    logs = [math.log(made["same_layout"]) for made in result["rows"]]
    assert result["footer"]["overall"]["same_layout"] == pytest.approx(
        math.exp(sum(logs) / len(logs)), rel=1e-2
    )
    assert set(result["footer"]["passes"]) == set(cases.PASSES)
    assert result["limits"]["fma_peak_gflops"]["float32"] > 0 and result["limits"]["copy_gigabytes"] > 0
    assert result["machine"]["threads"] == torch.get_num_threads() and result["machine"]["cpu"]
    printed = capsys.readouterr().out
    assert str(_C.Problem.parse(TINY[1])) in printed and "Worst row" in printed


def test_threads_are_set_for_the_run_only(tmp_path):
    before = torch.get_num_threads()
    path = tmp_path / "one.json"
    assert bench.main([TINY[0], *QUICK, "--pass", "forward", "--threads", "1", "--json", str(path)]) == 0
    assert json.loads(path.read_text())["machine"]["threads"] == 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("wrong", [1e-2, float("nan")])
def test_a_wrong_result_is_failed_and_never_timed(wrong, monkeypatch, capsys):
    calls = []

    def broken(problem, pass_, algorithm=""):
        def call(tensors):
            calls.append(pass_)
            result = peers.torch_call(problem, pass_)(tensors).clone()
            result.view(-1)[-1] += wrong
            return result

        return call

    monkeypatch.setattr(runner, "pyconv_call", broken)
    assert bench.main([TINY[1], *QUICK, "--layout", "nchw"]) == 1
    assert calls == list(cases.PASSES)
    printed = capsys.readouterr().out
    assert printed.count("FAILED: largest error") == 3 and "FAILED: 3 rows" in printed


def test_an_exception_is_a_failed_row(monkeypatch):
    def broken(problem, pass_, algorithm=""):
        def call(tensors):
            raise RuntimeError("no such luck\nsecond line")

        return call

    monkeypatch.setattr(runner, "pyconv_call", broken)
    rows = runner.measure(suites.Entry(_C.Problem.parse(TINY[0])), "forward", options())
    assert [(made.status, made.note, made.seconds) for made in rows] == [
        ("failed", "RuntimeError: no such luck", None)
    ] * 2


def test_a_refusal_is_shown_and_is_no_failure(capsys):
    table = _C.plan(_C.Problem.parse(TINY[1]), "forward", "nchw")
    name = next(line["name"] for line in table if line["refusal"])
    assert bench.main([TINY[1], *QUICK, "--pass", "forward", "--algorithm", name]) == 0
    printed = capsys.readouterr().out
    assert printed.count("REFUSED: ") == 2 and "Refused: 2 rows" in printed


def test_exhaustive_times_every_supported_algorithm():
    problem = _C.Problem.parse(TINY[1])
    rows = runner.measure(suites.Entry(problem), "forward", options(exhaustive=True, layouts=("nchw",)))
    supported = {line["name"] for line in _C.plan(problem, "forward", "nchw") if not line["refusal"]}
    assert {made.algorithm for made in rows} == supported and len(supported) > 1
    assert [made.chosen for made in rows].count(True) == 1
    assert all(made.status == "ok" and made.seconds > 0 for made in rows)
    assert report.footer(rows)["overall"]["rows"] == 1
    assert report.plan_hits(rows)["contested"] == 1


@pytest.mark.parametrize("token", ["f64", "bf16", "f16"])
def test_other_dtypes_are_verified_too(token):
    entry = suites.select([], TINY[1:], [token], quick=False)[0]
    for pass_ in cases.PASSES:
        rows = runner.measure(entry, pass_, options(peers=()))
        assert [made.status for made in rows] == ["ok", "ok"], rows[0].note
        assert rows[0].same_layout is None and rows[0].peers == {}


@pytest.mark.parametrize(
    "text",
    [
        "n2_c3_k3_i12x15_f5_p2_g3_f64",
        "n1_c4_k8_i17x14_f7x5_s2x3_p3x1_d1x2_g4_f64",
        "c1_k1_i20_f6x4_p1x2x0x3_f64",
    ],
)
@pytest.mark.parametrize("pass_", cases.PASSES)
def test_the_fft_oracle_is_the_direct_sum(text, pass_):
    problem = _C.Problem.parse(text)
    tensors = cases.make(problem)
    direct = peers.torch_call(problem, pass_)(tensors)
    error = (oracle.fft_pass(problem, pass_, tensors) - direct).abs().max()
    assert error <= oracle.fft_error(problem, pass_, tensors)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("pass_", cases.PASSES)
def test_the_torch_peer_pads_as_autograd_does(mode, pass_):
    problem = _C.Problem.parse(f"n2_c2_k3_i6x7_f3_p1x2x0x2_{mode}_f64")
    t = cases.make(problem)
    x, w = t.x.clone().requires_grad_(), t.w.clone().requires_grad_()
    y = torch.nn.functional.conv2d(peers.pad(x, problem), w)
    expected = {"forward": y.detach()}
    expected["grad_input"], expected["grad_weight"] = torch.autograd.grad(y, (x, w), t.dy)
    torch.testing.assert_close(peers.torch_call(problem, pass_)(t), expected[pass_])


OTHERS = [name for name in peers.PEERS if not name.startswith("torch")]


def installed(name):
    absent = peers.missing(peers.PEERS[name])
    if absent:
        pytest.skip(absent)
    return peers.PEERS[name]


@pytest.mark.parametrize(
    "text",
    [
        "c1_k1_i20x24_f3_p1",
        "c1_k1_i20x24_f4x2_p1x2x0x1",
        "c1_k1_i20x24_f1x2",
        "c1_k1_i40_f15_p7",
        "c1_k1_i40_f15_p3x7x14x0",
        "n2_c6_k4_i9x8_f3x2_s2x1_p1x0_d1x2_g2",
    ],
)
@pytest.mark.parametrize("token", ["f32", "f64", "f16", "bf16"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_peers_do_the_same_sum_or_refuse(name, token, text):
    peer = installed(name)
    problem = suites.with_dtype(_C.Problem.parse(text), token)
    if peer.refusal(problem, "forward"):
        assert len(peer.refusal(problem, "forward").split()) > 3
        return
    tensors = cases.make(problem)
    try:
        result = peer.prepare(problem, "forward")(tensors)
    except runner.foreign_errors(name):
        pytest.skip(f"{name} has no kernel for {problem}")
    # SciPy's is an FFT, whose error is a share of the largest output, not of each.
    check = oracle.Oracle(problem, "forward", tensors).check(result)
    assert check.error_over_max < 32 * torch.finfo(tensors.x.dtype).eps


@pytest.mark.parametrize("name", OTHERS)
def test_other_peers_refuse_with_a_sentence(name):
    plain = _C.Problem.parse("c1_k1_i20x24_f3_p1")
    peer = peers.PEERS[name]
    assert not peer.refusal(plain, "forward")
    assert "forward" in peer.refusal(plain, "grad_weight")
    assert "reflect" in peer.refusal(_C.Problem.parse("c1_k1_i20x24_f3_p1_reflect"), "forward")
    assert "bfloat16" in peer.refusal(suites.with_dtype(plain, "bf16"), "forward")
    for text in ("n2_c1_k1_i9_f3", "c3_k3_i9_f3_g3", "c1_k1_i9_f3_s2", "c1_k1_i9_f3_d2", "c1_k1_i9_f3_p3"):
        refusal = peer.refusal(_C.Problem.parse(text), "forward")
        assert bool(refusal) == (name != "onnxruntime"), f"{text}: {refusal!r}"


@pytest.mark.parametrize("name", OTHERS)
def test_other_peers_have_a_column_and_a_line(name, tmp_path, capsys):
    peer = installed(name)
    path = tmp_path / "result.json"
    command = ["c1_k1_i20x24_f3_p1", *QUICK, "--pass", "forward", "grad_weight", "--json", str(path)]
    assert bench.main([*command, "--peers", "torch", name]) == 0
    printed = capsys.readouterr().out
    assert f"x {peer.label}" in printed and f"Against {name}, 2 rows" in printed
    result = json.loads(path.read_text())
    forward, backward = result["rows"][:2], result["rows"][2:]
    for made in forward:
        assert set(made["peers"]) == {"torch nchw", "torch nhwc", f"{name} nchw"}
        assert made["peers"][f"{name} nchw"]["error_over_bound"] <= 1
    for made in backward:
        assert set(made["peers"]) == {"torch nchw", "torch nhwc"}
    other = result["footer"]["others"][name]
    ratios = [made["peers"][f"{name} nchw"]["seconds"] / made["seconds"] for made in forward]
    assert other["rows"] == 2 and other["wins"] + other["ties"] + other["losses"] == 2
    assert other["worst"]["times"] == pytest.approx(min(ratios), rel=1e-2)
    assert other["mean"] == pytest.approx(math.sqrt(ratios[0] * ratios[1]), rel=1e-2)


def test_a_peer_that_is_not_installed_is_named(monkeypatch, capsys):
    monkeypatch.setattr(peers.OpenCV, "packages", ("no_such_module",))
    with pytest.raises(SystemExit) as stopped:
        bench.main([*TINY, "--peers", "torch", "opencv"])
    assert stopped.value.code == 2
    assert "opencv needs no_such_module: pip install 'pyconv[peers]'" in capsys.readouterr().err


def test_the_bound_admits_rounding_and_nothing_more():
    problem = _C.Problem.parse("n2_c16_k8_i9_f3_p1")
    tensors = cases.make(problem)
    checker = oracle.Oracle(problem, "forward", tensors)
    right = checker.answer.float()
    assert checker.check(right).error_over_bound < 0.01
    assert not checker.check(right * (1 + 1e-3)).passed
    wrong = right.clone()
    wrong[-1, -1, -1, -1] += 2e-3
    assert not checker.check(wrong).passed
    with pytest.raises(ValueError, match="shape"):
        checker.check(right[:1])


def test_operands_rotate_and_have_the_strides_of_their_layout():
    problem = _C.Problem.parse("n2_c1_k4_i5x6_f3")
    tensors = cases.make(problem)
    rotation = cases.Rotation(tensors, "nhwc", "grad_weight")
    assert rotation.sets[0].x.stride() == (30, 1, 6, 1)
    first, second = rotation.take(2)
    assert first.x.data_ptr() != second.x.data_ptr() and first.dy.data_ptr() != second.dy.data_ptr()
    assert first.w is second.w, "the weight only lends its shape to the weight gradient"
    assert rotation.take(1)[0] is rotation.sets[2]
    assert torch.equal(second.x, tensors.x)


def test_entrants_take_turns_until_each_has_its_samples():
    order = []
    rotation = cases.Rotation(cases.make(_C.Problem.parse(TINY[0])), "nchw", "forward")

    def slow(name):
        def call(tensors):
            order.append(name)
            torch.zeros(1 << 18).exp_()  # longer than SAMPLE_SECONDS, so that a sample is one call

        return call

    entrants = [timing.Entrant(slow(name), rotation) for name in "ab"]
    timing.round_robin(entrants, 0.0, "cpu")
    assert [len(entrant.samples) for entrant in entrants] == [timing.MIN_SAMPLES] * 2
    assert all(entrant.median > 0 for entrant in entrants)
    timed = "".join(order[-2 * timing.MIN_SAMPLES :])
    if all(entrant.repeats == 1 for entrant in entrants):
        assert timed == "ab" * timing.MIN_SAMPLES


def test_what_is_slow_is_not_run_again():
    rotation = cases.Rotation(cases.make(_C.Problem.parse(TINY[0])), "nchw", "forward")
    calls = []
    slow = timing.Entrant(calls.append, rotation, [timing.SLOW_SECONDS * 10])
    fast = timing.Entrant(lambda tensors: None, rotation, [1e-3])
    timing.round_robin([slow, fast], 0.0, "cpu")
    assert calls == [] and slow.median == timing.SLOW_SECONDS * 10
    assert len(fast.samples) == timing.MIN_SAMPLES and fast.median < 1e-3


def test_the_footer_counts_and_averages():
    rows = [row(4.0), row(0.25, pass_="grad_input"), row(1.02), row(9.0, chosen=False)]
    rows += [row(1.0, status="failed"), row(1.0, status="refused")]
    summary = report.footer(rows)
    assert summary["overall"] == {
        "rows": 3,
        "same_layout": pytest.approx(2 * 1.02 ** (1 / 3)),
        "best_layout": pytest.approx(1.02 ** (1 / 3)),
    }
    assert summary["best_layout"] == {"wins": 1, "ties": 1, "losses": 1}
    assert summary["worst"]["row"].endswith("grad_input nchw") and summary["worst"]["best_layout"] == 0.25
    assert (summary["failed"], summary["refused"]) == (1, 1)
    text = report.format_footer(summary, rows)
    assert "FAILED: 1 rows" in text and "0.25" in text


def test_a_choice_slower_than_the_best_is_a_miss():
    rows = [row(1.0, seconds=2e-3), row(2.0, seconds=1e-3, chosen=False, algorithm="b")]
    hits = report.plan_hits(rows)
    assert (hits["contested"], hits["picked_best"]) == (1, 0)
    assert hits["misses"][0]["chosen"] == "a" and hits["misses"][0]["best"] == "b"
    assert hits["misses"][0]["times_slower"] == 2.0


@pytest.mark.parametrize(
    "arguments", [["--suite", "nope"], ["n1_c3_k2_q"], ["c3_k4_i5_f3_g2"], ["--threads", "0"]]
)
def test_bad_arguments_end_with_a_sentence(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        bench.main(arguments)
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err


def readme_script():
    path = Path(__file__).resolve().parent.parent / "benchmarks" / "update_readme.py"
    spec = importlib.util.spec_from_file_location("update_readme", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_table_is_rewritten_between_its_markers(tmp_path):
    script = readme_script()
    result, readme = tmp_path / "machine.json", tmp_path / "README.md"
    assert bench.main(["--suite", "tiny", "--quick", *QUICK, "--pass", "forward", "--json", str(result)]) == 0
    readme.write_text(f"before\n{script.BEGIN}\nold\n{script.END}\nafter\n")
    assert script.main([str(result), "--readme", str(readme)]) == 0
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| tiny | 6 |" in text and "| **all** | 6 |" in text and "machine.json" in text
    assert script.main([str(result), "--readme", str(readme)]) == 0
    assert readme.read_text() == text
    readme.write_text("no markers")
    assert script.main([str(result), "--readme", str(readme)]) == 1
    assert readme.read_text() == "no markers"

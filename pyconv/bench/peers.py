"""Who is timed: pyconv, and the libraries beside it. A new peer is a class here and a line in PEERS."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F

import pyconv
from pyconv import _C

from .cases import Tensors
from .clock import Call
from .precision import cudnn_flags
from .timing import T, here


class Peer(Protocol):
    name: str
    label: str  # of its column: "x label"
    layouts: tuple[str, ...]  # those it takes as they are
    packages: tuple[str, ...]  # modules it cannot do without
    devices: tuple[str, ...]

    def place(self, work: Callable[[], T]) -> T:
        """Does the work where this peer's calls belong: `here`, or a thread with settings of its own."""

    def refusal(self, problem: _C.Problem, pass_: str) -> str:
        """Why this peer cannot run the pass, as a sentence, or an empty string."""

    def prepare(self, problem: _C.Problem, pass_: str) -> Call:
        """A function of the operands that does the pass and nothing else that can be done before it."""


def missing(peer: Peer) -> str:
    """What to install before this peer can be timed, as a sentence, or an empty string."""
    absent = []
    for package in peer.packages:
        try:
            importlib.import_module(package)
        except ImportError:
            absent.append(package)
    if not absent:
        return ""
    return f"peer {peer.name} needs {' and '.join(absent)}: pip install 'pyconv[peers]'"


def pyconv_call(problem: _C.Problem, pass_: str, algorithm: str = "") -> Call:
    """The public function for a plain forward, which is what a user calls; the operators for the rest."""
    stride = (problem.stride_h, problem.stride_w)
    padding = (problem.pad_top, problem.pad_bottom, problem.pad_left, problem.pad_right)
    dilation = (problem.dilation_h, problem.dilation_w)
    rest = (stride, padding, dilation, problem.groups, problem.padding_mode, algorithm)
    if pass_ == "grad_input":
        operator = torch.ops.pyconv.conv2d_grad_input.default
        size = (problem.n, problem.c, problem.h, problem.w)
        return lambda t: operator(t.dy, t.w, size, *rest)
    if pass_ == "grad_weight":
        operator = torch.ops.pyconv.conv2d_grad_weight.default
        size = (problem.k, problem.c // problem.groups, problem.r, problem.s)
        return lambda t: operator(t.dy, t.x, size, *rest)
    if algorithm or problem.padding_mode != "zeros":
        operator = torch.ops.pyconv.conv2d.default
        return lambda t: operator(t.x, t.w, None, *rest)
    sides = symmetric_padding(problem) or padding
    groups = problem.groups
    return lambda t: pyconv.conv2d(t.x, t.w, None, stride, sides, dilation, groups)


def symmetric_padding(problem: _C.Problem) -> tuple[int, int] | None:
    """(vertical, horizontal) where torch's own convolution can pad this problem, else None."""
    same = problem.pad_top == problem.pad_bottom and problem.pad_left == problem.pad_right
    return (problem.pad_top, problem.pad_left) if same and problem.padding_mode == "zeros" else None


def pad(x: torch.Tensor, problem: _C.Problem) -> torch.Tensor:
    mode = "constant" if problem.padding_mode == "zeros" else problem.padding_mode
    sides = [problem.pad_left, problem.pad_right, problem.pad_top, problem.pad_bottom]
    return F.pad(x, sides, mode=mode)


def torch_call(problem: _C.Problem, pass_: str) -> Call:
    """torch's convolution for one pass; padding it has no argument for is a padded copy, as in nn.Conv2d."""
    stride = (problem.stride_h, problem.stride_w)
    dilation = (problem.dilation_h, problem.dilation_w)
    groups = problem.groups
    symmetric = symmetric_padding(problem)
    padding = symmetric or (0, 0)
    prepare = (lambda x: x) if symmetric else (lambda x: pad(x, problem))
    if pass_ == "forward":
        return lambda t: F.conv2d(prepare(t.x), t.w, None, stride, padding, dilation, groups)
    mask = [pass_ == "grad_input", pass_ == "grad_weight", False]
    operator = torch.ops.aten.convolution_backward.default

    def backward(dy: torch.Tensor, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        gradients = operator(dy, x, w, None, stride, padding, dilation, False, (0, 0), groups, mask)
        return gradients[0] if mask[0] else gradients[1]

    if pass_ == "grad_weight":
        return lambda t: backward(t.dy, prepare(t.x), t.w)
    if symmetric:
        return lambda t: backward(t.dy, t.x, t.w)

    def through_padding(t: Tensors) -> torch.Tensor:
        with torch.enable_grad():
            x = t.x.detach().requires_grad_()
            padded = pad(x, problem)
        return torch.autograd.grad(padded, x, backward(t.dy, padded.detach(), t.w))[0]

    return through_padding


class Torch:
    """PyTorch's own convolution (oneDNN, MKL and native kernels on the CPU; cuDNN on CUDA)."""

    name = label = "torch"
    layouts = ("nchw", "nhwc")
    packages = ()
    devices = ("cpu", "cuda")
    place = staticmethod(here)

    def refusal(self, problem: _C.Problem, pass_: str) -> str:
        return ""

    def prepare(self, problem: _C.Problem, pass_: str) -> Call:
        return torch_call(problem, pass_)


@cache
def tuning_thread(device: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, initializer=torch.cuda.set_device, initargs=(device,))


class TunedTorch(Torch):
    """The same with torch.backends.cudnn.benchmark on: the first call of a shape tries cuDNN's algorithms.

    In a thread of its own: torch remembers an algorithm for each shape and thread, whether it was tried or
    taken from cuDNN's heuristics, so in one thread whichever setting comes first would decide for both.
    """

    name, label = "torch_tuned", "tuned"
    devices = ("cuda",)

    @staticmethod
    def place(work: Callable[[], T]) -> T:
        def tuned() -> T:
            with cudnn_flags(benchmark=True), torch.no_grad():  # the second is a setting of the thread
                return work()

        return tuning_thread(torch.cuda.current_device()).submit(tuned).result()


def not_forward_on_zeros(problem: _C.Problem, pass_: str, dtypes: tuple[str, ...]) -> str:
    """The refusal that the peers below have in common."""
    if pass_ != "forward":
        return f"does the forward pass only, not {pass_}"
    if problem.padding_mode != "zeros":
        return f"pads by zeros, not by padding mode {problem.padding_mode}"
    if problem.dtype not in dtypes:
        return f"takes {', '.join(dtypes)}, the problem is {problem.dtype}"
    return ""


def not_one_plane(problem: _C.Problem) -> str:
    """Why a filter of single images cannot do the problem."""
    if (problem.n, problem.c, problem.k) != (1, 1, 1):
        sizes = f"{problem.n} images, {problem.c} channels and {problem.k} filters"
        return f"filters one plane by one kernel, the problem has {sizes}"
    if (problem.stride_h, problem.stride_w, problem.dilation_h, problem.dilation_w) != (1, 1, 1, 1):
        return "takes stride 1 and dilation 1 only"
    return ""


class OnnxRuntime:
    """ONNX Runtime's Conv on its CPU provider, on the threads that torch has.

    The weight is a constant of the model, which it may pack when the session is made: at the first call.
    """

    name, label = "onnxruntime", "onnx"
    layouts = ("nchw",)
    packages = ("onnx", "onnxruntime")
    devices = ("cpu",)
    place = staticmethod(here)

    def refusal(self, problem: _C.Problem, pass_: str) -> str:
        return not_forward_on_zeros(problem, pass_, ("float32", "float64", "float16"))

    def prepare(self, problem: _C.Problem, pass_: str) -> Call:
        sessions: list[Any] = []

        def call(t: Tensors) -> torch.Tensor:
            if not sessions:
                sessions.append(self.session(problem, t.w))
            return torch.from_numpy(sessions[0].run(None, {"x": t.x.numpy()})[0])

        return call

    @staticmethod
    def session(problem: _C.Problem, weight: torch.Tensor) -> Any:
        import onnx
        import onnxruntime

        kind = onnx.helper.np_dtype_to_tensor_dtype(weight.numpy().dtype)
        node = onnx.helper.make_node(
            "Conv",
            ["x", "w"],
            ["y"],
            kernel_shape=[problem.r, problem.s],
            strides=[problem.stride_h, problem.stride_w],
            pads=[problem.pad_top, problem.pad_left, problem.pad_bottom, problem.pad_right],
            dilations=[problem.dilation_h, problem.dilation_w],
            group=problem.groups,
        )
        x = onnx.helper.make_tensor_value_info("x", kind, [problem.n, problem.c, problem.h, problem.w])
        y = onnx.helper.make_tensor_value_info("y", kind, [problem.n, problem.k, problem.p, problem.q])
        w = onnx.numpy_helper.from_array(weight.contiguous().numpy(), "w")
        graph = onnx.helper.make_graph([node], "conv", [x], [y], [w])
        # The oldest versions that have what is used here: every runtime of today reads them.
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4
        providers = ["CPUExecutionProvider"]
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers)


class OpenCV:
    """OpenCV's filter2D, a correlation that keeps the image's size: what it has beyond ours is cropped."""

    name, label = "opencv", "cv2"
    layouts = ("nchw",)
    packages = ("cv2",)
    devices = ("cpu",)
    place = staticmethod(here)

    def refusal(self, problem: _C.Problem, pass_: str) -> str:
        reason = not_forward_on_zeros(problem, pass_, ("float32", "float64")) or not_one_plane(problem)
        if reason:
            return reason
        if problem.pad_top >= problem.r or problem.pad_left >= problem.s:
            return "has its anchor inside the kernel, the padding is larger than that"
        if problem.p > problem.h or problem.q > problem.w:
            return "gives an output of the image's size, which is smaller than this one"
        return ""

    def prepare(self, problem: _C.Problem, pass_: str) -> Call:
        import cv2

        cv2.setNumThreads(torch.get_num_threads())
        anchor = (problem.pad_left, problem.pad_top)
        border = cv2.BORDER_CONSTANT

        def call(t: Tensors) -> torch.Tensor:
            image, kernel = t.x.numpy()[0, 0], t.w.numpy()[0, 0]
            result = cv2.filter2D(image, -1, kernel, anchor=anchor, borderType=border)
            return torch.from_numpy(result[: problem.p, : problem.q])[None, None]

        return call


class SciPy:
    """scipy.signal.oaconvolve: a convolution by overlap-add FFT, of the kernel flipped both ways."""

    name = label = "scipy"
    layouts = ("nchw",)
    packages = ("scipy",)
    devices = ("cpu",)
    place = staticmethod(here)

    def refusal(self, problem: _C.Problem, pass_: str) -> str:
        reason = not_forward_on_zeros(problem, pass_, ("float32", "float64")) or not_one_plane(problem)
        if reason:
            return reason
        if max(problem.pad_top, problem.pad_bottom) >= problem.r:
            return "pads by less than the kernel's rows"
        if max(problem.pad_left, problem.pad_right) >= problem.s:
            return "pads by less than the kernel's columns"
        return ""

    def prepare(self, problem: _C.Problem, pass_: str) -> Call:
        import scipy.fft
        import scipy.signal

        # Where its full output has ours; "same" starts in its middle, "valid" where the kernel first fits.
        row, column = problem.r - 1 - problem.pad_top, problem.s - 1 - problem.pad_left
        mode = "full"
        if (problem.p, problem.q) == (problem.h, problem.w):
            if (row, column) == ((problem.r - 1) // 2, (problem.s - 1) // 2):
                mode, row, column = "same", 0, 0
        elif (problem.pad_top, problem.pad_bottom, problem.pad_left, problem.pad_right) == (0, 0, 0, 0):
            mode, row, column = "valid", 0, 0
        threads = torch.get_num_threads()

        def call(t: Tensors) -> torch.Tensor:
            image, kernel = t.x.numpy()[0, 0], t.w.numpy()[0, 0, ::-1, ::-1]
            with scipy.fft.set_workers(threads):
                result = scipy.signal.oaconvolve(image, kernel, mode)
            return torch.from_numpy(result[row : row + problem.p, column : column + problem.q])[None, None]

        return call


PEERS: dict[str, Peer] = {
    peer.name: peer for peer in (Torch(), TunedTorch(), OnnxRuntime(), OpenCV(), SciPy())
}

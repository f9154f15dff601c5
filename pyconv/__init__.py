"""2-D cross-correlation for PyTorch in hand-written C++ and CUDA.

    import pyconv
    output = pyconv.conv2d(input, weight, padding=1)        # torch.nn.functional.conv2d's contract
    layer = pyconv.Conv2D(64, 128, 3)                       # a torch.nn.Conv2d
    print(pyconv.convert(model))                            # every nn.Conv2d of a model, in place
    print(pyconv.plan("n8_c64_k128_i56x56_f3x3_p1"))        # what would run, and why

`python -m pyconv info` says what was built and what this machine has.
"""

from . import d2l, filters, reference, transforms
from .convert import convert, use
from .decompositions import decompositions
from .functional import conv2d, convolve2d, corr2d
from .fusion import fuse
from .module import Conv2D, LazyConv2D
from .planning import plan, winograd
from .receptive_field import receptive_field
from .transposed import conv_transpose2d

__version__ = "0.1.0"

__all__ = [
    "Conv2D",
    "LazyConv2D",
    "conv2d",
    "conv_transpose2d",
    "convert",
    "convolve2d",
    "corr2d",
    "d2l",
    "decompositions",
    "filters",
    "fuse",
    "plan",
    "receptive_field",
    "reference",
    "transforms",
    "use",
    "winograd",
]

"""Dense or CSR, matrix by matrix, by the time that a product takes here.

Matrices are (out, in), activations (in, tokens): with a token's features far apart and tokens side
by side, every stored weight is multiplied with a whole contiguous row. The other layouts of the
same product took three to five times as long, and so did scipy's.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

TOKENS = 128  # of a product that is timed; the time of a token is the same from 16 to 512
ROUNDS = 5
MOST = 0.5  # density above which CSR is not even tried: it reads an index beside each weight


@dataclass(frozen=True)
class Form:
    """The form chosen for a matrix, and the seconds of a product in each; NaN where not timed."""

    weight: Tensor
    nonzero: int
    dense: float = math.nan
    csr: float = math.nan

    @property
    def is_csr(self) -> bool:
        """Whether the weight is kept in CSR."""
        return self.weight.layout == torch.sparse_csr

    @property
    def density(self) -> float:
        """Share of the entries that are not zero."""
        return self.nonzero / max(math.prod(self.weight.shape), 1)


Chooser = Callable[[Tensor], Form]


def product(weight: Tensor, x: Tensor, bias: Tensor) -> Tensor:
    """``weight @ x + bias``: (out, in) in either form, (in, tokens), (out, 1) to (out, tokens)."""
    return torch.addmm(bias, weight, x)


def to_csr(weight: Tensor) -> Tensor:
    """A dense matrix in CSR, with the 32-bit indices that MKL takes without a conversion.

    >>> to_csr(torch.tensor([[0.0, 2.0], [0.0, 0.0]])).crow_indices()
    tensor([0, 1, 1], dtype=torch.int32)
    """
    rows, columns = weight.nonzero(as_tuple=True)
    counts = torch.bincount(rows, minlength=weight.shape[0])
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            starts, columns.int(), weight[rows, columns], weight.shape, check_invariants=True
        )


def keep_dense(weight: Tensor) -> Form:
    """The dense form."""
    return Form(weight, int(weight.count_nonzero()))


def always_csr(weight: Tensor) -> Form:
    """The form in CSR whatever its speed, but for a matrix without entries."""
    return Form(to_csr(weight) if weight.numel() else weight, int(weight.count_nonzero()))


def faster(weight: Tensor) -> Form:
    """The faster form, from the least times of alternating products; a tie stays dense.

    Timed on one thread: with several, each product waits for the last of them, and on a machine
    with other work that wait hides the difference (22 of 72 matrices at 3% were left dense).
    """
    nonzero = int(weight.count_nonzero())
    if nonzero > MOST * weight.numel() or not weight.numel():
        return Form(weight, nonzero)
    csr = to_csr(weight)
    x, bias = torch.ones(weight.shape[1], TOKENS), torch.zeros(weight.shape[0], 1)
    try:
        product(csr, x, bias)
    except RuntimeError:  # a build of torch without this product, as for some processors
        return Form(weight, nonzero, csr=math.inf)
    runs = [functools.partial(product, form, x, bias) for form in (weight, csr)]
    with torch.inference_mode(), one_thread():
        rounds = [[_seconds(run) for run in runs] for _ in range(ROUNDS)]
    least = [min(times) for times in zip(*rounds, strict=True)]
    return Form(csr if least[1] < least[0] else weight, nonzero, *least)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch compute on one thread for a while."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def summary(forms: Mapping[str, Form]) -> str:
    """One sentence: how many matrices are in CSR, their densities, and what their products gain.

    >>> eye = torch.eye(4)
    >>> summary({"a": Form(to_csr(eye), 4, dense=6.0, csr=2.0), "b": Form(eye, 4)})
    '1 of 2 encoder matrices in CSR, 25.0% to 25.0% dense, whose products take 1/3.0 of the time'
    """
    chosen = [form for form in forms.values() if form.is_csr]
    said = f"{len(chosen)} of {len(forms)} encoder matrices in CSR"
    if not chosen:
        return said
    least, most = (100 * end(f.density for f in chosen) for end in (min, max))
    said += f", {least:.1f}% to {most:.1f}% dense"
    gain = sum(form.dense for form in chosen) / sum(form.csr for form in chosen)
    return said if math.isnan(gain) else f"{said}, whose products take 1/{gain:.1f} of the time"

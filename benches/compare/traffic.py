"""The bytes that a step moves in PyTorch: every kernel reads its inputs once and writes its outputs once; views are free."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import pytorch


class Traffic(TorchDispatchMode):
    """Counts kernels and the bytes of their operands while it is entered."""

    def __init__(self):
        super().__init__()
        self.kernels = self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **kwargs or {})
        read, written = _tensors((args, kwargs)), _tensors(results)
        memory = {tensor.untyped_storage().data_ptr() for tensor in read}
        moves = function._schema.is_mutable or any(tensor.untyped_storage().data_ptr() not in memory for tensor in written)
        if moves:
            self.kernels += 1
            # Of a broadcast view there is less in memory than it has elements.
            self.bytes += sum(min(tensor.nbytes, tensor.untyped_storage().nbytes()) for tensor in read + written)
        return results


def _tensors(values):
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def count(name, kind):
    """The kernels and the megabytes of a step of PyTorch eager."""
    step = pytorch.steps(name, 1, "cpu", channels_last=False, compiled=False)[kind]
    step()
    with Traffic() as traffic:
        step()
    return traffic.kernels, traffic.bytes / 1e6

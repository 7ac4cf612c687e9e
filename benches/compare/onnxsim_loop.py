"""A training step of onnxsim: its `compile_torch_training_loop`, which has no penalty."""

import logging

import networks
import onnxsim
import torch
from torch.nn import functional as F

import turns
import workload


class WithLoss(torch.nn.Module):
    """A network and its loss, of operators that onnxsim differentiates: cross-entropy it does not."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, y):
        return -(torch.log(torch.softmax(self.network(x), 1)) * y).sum(1).mean()


def steps(name, threads):
    """A function that takes one training step."""
    turns.pin(threads)
    images, labels = map(torch.from_numpy, workload.batch(name, "cpu"))
    batch = (images, F.one_hot(labels, workload.CLASSES).float())
    logging.disable()  # The exporter tells of versions that it cannot convert to.
    with networks.silence():
        loop = onnxsim.compile_torch_training_loop(WithLoss(networks.build(name)), batch, optimizer="sgd_momentum")
    feeds = dict(zip([value.name for value in loop.model.graph.input], (tensor.numpy() for tensor in batch)))

    def step():
        loop(feeds, lr=1e-3)

    step()
    return {"plain": step}

"""A training step in PyTorch."""

import torch
from torch.nn import functional as F

import networks
import workload

R, ALPHA = 0.1, 0.8


def steps(name, threads, device, channels_last, compiled):
    """Two functions that each take one training step: plain and GNP.

    `compiled`: whether torch.compile gets the network with its loss, and what GNP does to the lists of parameters.
    """
    torch.set_num_threads(threads)
    # TF32, and convolutions by the algorithms that measure fastest, as ONNX Runtime has both on CUDA by default.
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high" if device == "cuda" else "highest")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    compile = torch.compile if compiled else lambda function: function
    model = networks.build(name).to(device, memory_format=layout)
    batch = [torch.from_numpy(array) for array in workload.batch(name, device)]
    # A step begins with a batch in the memory of the processor, which a loader of PyTorch's pins for the copy.
    batch = [tensor.pin_memory() for tensor in batch] if device == "cuda" else batch
    images, labels = (tensor.to(device) for tensor in batch)
    images = images.contiguous(memory_format=layout)
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, fused=True)
    loss = compile(lambda: F.cross_entropy(model(images), labels))

    def gradient():
        return torch.autograd.grad(loss(), parameters)

    @compile
    def perturbation(gradients):
        return torch._foreach_mul(gradients, R / torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))

    @compile
    def mix(first, second):
        return torch._foreach_add(torch._foreach_mul(first, 1 - ALPHA), torch._foreach_mul(second, ALPHA))

    def penalised():
        first = gradient()
        with torch.no_grad():
            epsilon = perturbation(first)
            torch._foreach_add_(parameters, epsilon)
        second = gradient()
        with torch.no_grad():
            torch._foreach_sub_(parameters, epsilon)
            return mix(first, second)

    def step(gradients):
        if device == "cuda":
            images.copy_(batch[0], non_blocking=True)
            labels.copy_(batch[1], non_blocking=True)
        for p, g in zip(parameters, gradients()):
            p.grad = g
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return {"plain": lambda: step(gradient), "GNP": lambda: step(penalised)}

"""The same networks and steps in PyTorch, eager."""

import time

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x):
        y = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(y)
        return self.conv2(F.relu(self.bn2(self.conv1(y)))) + shortcut


def wrn_16_2():
    blocks, inputs = [nn.Conv2d(3, 16, 3, 1, 1)], 16
    for stage, outputs in enumerate([32, 64, 128]):
        for block in range(2):
            blocks.append(Block(inputs, outputs, 2 if stage > 0 and block == 0 else 1))
            inputs = outputs
    tail = [nn.BatchNorm2d(inputs), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10)]
    return nn.Sequential(*blocks, *tail)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        n, tokens, width = x.shape
        parts = self.qkv(self.norm(x)).reshape(n, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts)
        return x + self.out(mixed.transpose(1, 2).reshape(n, tokens, width))


class FeedForward(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return x + self.fc2(F.gelu(self.fc1(self.norm(x))))


class ViT(nn.Module):
    def __init__(self):
        super().__init__()
        width = 192
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 65, width) * 0.02)
        self.blocks = nn.Sequential(*(m for _ in range(12) for m in (Attention(width, 3), FeedForward(width))))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


MODELS = {"wrn-16-2": wrn_16_2, "vit-ti-4": ViT}


def steps(name, threads, images, labels):
    """Two functions that each take one training step and return its seconds: plain and GNP."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = MODELS[name]().train()
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)
    images, labels = torch.from_numpy(images), torch.from_numpy(labels)

    def gradient():
        return torch.autograd.grad(F.cross_entropy(model(images), labels), parameters)

    def update(gradients):
        for p, g in zip(parameters, gradients):
            p.grad = g
        optimizer.step()

    def timed(gradients):
        begin = time.perf_counter()
        update(gradients())
        return time.perf_counter() - begin

    def gnp(r=0.1, alpha=0.8):
        g1 = gradient()
        with torch.no_grad():
            scale = r / torch.linalg.vector_norm(torch.stack(torch._foreach_norm(g1)))
            epsilon = torch._foreach_mul(g1, scale)
            torch._foreach_add_(parameters, epsilon)
        g2 = gradient()
        with torch.no_grad():
            torch._foreach_sub_(parameters, epsilon)
            return torch._foreach_add(torch._foreach_mul(g1, 1 - alpha), torch._foreach_mul(g2, alpha))

    return lambda: timed(gradient), lambda: timed(gnp)

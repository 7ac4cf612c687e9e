"""Networks that people train: of timm, of torchvision, and small ones with what those have not."""

import math

import timm
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision


class Block(nn.Module):
    def __init__(self, width, heads=2):
        super().__init__()
        self.ln1, self.ln2, self.heads = nn.LayerNorm(width), nn.LayerNorm(width), heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, length, width)
        x = x + self.proj(attended)
        return x + self.down(F.gelu(self.up(self.ln2(x))))


class GPT(nn.Module):
    """A language model whose head is its table of tokens, with a mask that it does not read."""

    def __init__(self, tied=True, width=32):
        super().__init__()
        self.wte, self.wpe, self.ln = nn.Embedding(50, width), nn.Embedding(16, width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.head = nn.Linear(width, 50, bias=False)
        if tied:
            self.head.weight = self.wte.weight
        self.register_buffer("mask", torch.tril(torch.ones(16, 16)))

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln(x))


class Attention(nn.Module):
    """A mask among the buffers: additive, or to fill with −∞ where it is 0; learned positions that are cut to the input."""

    def __init__(self, additive, width=16):
        super().__init__()
        self.e, self.pos, self.additive = nn.Embedding(20, width), nn.Parameter(torch.zeros(1, 8, width)), additive
        self.q, self.k, self.v, self.ln, self.f = *(nn.Linear(width, width) for _ in range(3)), nn.LayerNorm(width), nn.Linear(width, 20)
        infinite = torch.triu(torch.full((8, 8), float("-inf")), 1)
        self.register_buffer("bias", infinite if additive else torch.tril(torch.ones(8, 8)).view(1, 8, 8))

    def forward(self, ids):
        length = ids.shape[1]
        x = self.e(ids) + self.pos[:, :length]
        scores = self.q(x) @ self.k(x).transpose(1, 2) / 4
        if self.additive:
            scores = scores + self.bias[:length, :length]
        else:
            scores = scores.masked_fill(self.bias[:, :length, :length] == 0, float("-inf"))
        return self.f(self.ln(x + scores.softmax(-1) @ self.v(x)))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)
        self.g, self.h, self.o, self.up = nn.GroupNorm(4, 16), nn.GroupNorm(2, 8), nn.Conv2d(8, 3, 1), nn.ConvTranspose2d(16, 8, 2, 2)

    def forward(self, x):
        a = F.relu(self.a(x))
        b = F.silu(self.g(self.b(F.max_pool2d(a, 2))))
        return self.o(F.silu(self.h(self.c(torch.cat([a, self.up(b)], 1)))))


class DETR(nn.Module):
    """Learned queries, and learned positions of rows and columns."""

    def __init__(self, width=32):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, width, 4, 4), nn.BatchNorm2d(width)
        self.transformer = nn.Transformer(width, 2, 1, 2, 64, dropout=0.0, batch_first=True)
        self.query_embed, self.head = nn.Embedding(5, width), nn.Linear(width, 4)
        self.row, self.col = nn.Parameter(torch.rand(4, width // 2)), nn.Parameter(torch.rand(4, width // 2))

    def forward(self, x):
        h = self.bn(self.conv(x))
        rows, columns = h.shape[-2:]
        across = self.col[:columns].unsqueeze(0).repeat(rows, 1, 1)
        down = self.row[:rows].unsqueeze(1).repeat(1, columns, 1)
        h = h.flatten(2).transpose(1, 2) + torch.cat([across, down], -1).flatten(0, 1)
        return self.head(self.transformer(h, self.query_embed.weight.unsqueeze(0).repeat(x.shape[0], 1, 1)))


class Sines(nn.Module):
    """A table of sines and cosines among the buffers; layers that are copies of one."""

    def __init__(self, width=16):
        super().__init__()
        t, f = torch.arange(12.0).unsqueeze(1), torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))
        self.register_buffer("pe", torch.stack([torch.sin(t * f), torch.cos(t * f)], -1).flatten(1).unsqueeze(0))
        self.e, self.f = nn.Embedding(20, width), nn.Linear(width, 20)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(width, 2, 32, batch_first=True), 2)

    def forward(self, ids):
        return self.f(self.encoder(self.e(ids) * 4.0 + self.pe[:, : ids.shape[1]]))


class Numbers(nn.Module):
    """Pixels normalised by buffers; parameters of one number: ReZero, a logit scale, the bias of Linear(…, 1); LayerScale; PReLU."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.2, 0.3, 0.25]).view(1, 3, 1, 1))
        self.c, self.bn, self.p, self.f, self.g = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.PReLU(8), nn.Linear(8, 8), nn.Linear(8, 1)
        self.rezero, self.layer_scale = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.full((8, 1, 1), 1e-2))
        self.logit_scale = nn.Parameter(torch.tensor(2.6))

    def forward(self, x):
        x = self.p(self.bn(self.c((x - self.mean) / self.std)))
        x = x + self.rezero * x.tanh()
        h = (x + self.layer_scale * x.sigmoid()).mean((2, 3))
        return self.f(h) * self.logit_scale.exp() + torch.sigmoid(self.g(h))


class Blur(nn.Module):
    """A filter that is no parameter between two that are."""

    def __init__(self):
        super().__init__()
        k = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("filt", (k[:, None] * k / 16).expand(8, 1, 3, 3).clone())
        self.a, self.b, self.f = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x):
        x = F.conv2d(F.relu(self.a(x)), self.filt, stride=2, padding=1, groups=8)
        return self.f(F.relu(self.b(x)).mean((2, 3)))


class LoRA(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.A, self.B, self.f = nn.Linear(6, 8), nn.Parameter(torch.randn(2, 6)), nn.Parameter(torch.randn(8, 2) / 10), nn.Linear(8, 3)

    def forward(self, x):
        return self.f(torch.tanh(F.linear(x, self.w.weight + self.B @ self.A * 2.0, self.w.bias)))


class Normalised(nn.Module):
    """Weights by their directions and lengths, and by their spectral norms."""

    def __init__(self):
        super().__init__()
        self.c = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 8))
        self.w, self.f = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.Linear(8, 3)

    def forward(self, x):
        return self.f(torch.tanh(self.w(torch.tanh(self.c(x)))))


class Masked(nn.Module):
    """A weight behind a mask of zeros and ones."""

    def __init__(self):
        super().__init__()
        self.layer, self.f = nn.Linear(6, 8), nn.Linear(8, 6)
        self.register_buffer("mask", (torch.rand(8, 6) > 0.5).float())

    def forward(self, x):
        return self.f(torch.relu(F.linear(x, self.layer.weight * self.mask, self.layer.bias)))


class Segmentation(nn.Module):
    def __init__(self):
        super().__init__()
        options = {"weights": None, "weights_backbone": None, "num_classes": 3}
        self.net = torchvision.models.segmentation.lraspp_mobilenet_v3_large(**options)

    def forward(self, x):
        return self.net(x)["out"]


def of_timm(name, **options):
    return lambda: timm.create_model(name, num_classes=10, **options)


def images(size):
    return torch.randn(2, 3, size, size)


def tokens(count, length):
    return torch.randint(0, count, (2, length))


rows = lambda: torch.randn(4, 6)
small = {"img_size": 32, "patch_size": 8}
windows = {"depths": (2, 2), "num_heads": (2, 4), "embed_dim": 32}
# Name: how it is made, and an input.
NETWORKS = {
    "vit_tiny": (of_timm("vit_tiny_patch16_224", depth=3, **small), lambda: images(32)),
    "deit_tiny": (of_timm("deit_tiny_distilled_patch16_224", depth=3, **small), lambda: images(32)),
    "cait_xxs24": (of_timm("cait_xxs24_224", depth=2, **small), lambda: images(32)),
    "swin_tiny": (of_timm("swin_tiny_patch4_window7_224", img_size=56, **windows), lambda: images(56)),
    "swinv2_tiny": (of_timm("swinv2_tiny_window8_256", img_size=64, **windows), lambda: images(64)),
    "convnext_atto": (of_timm("convnext_atto"), lambda: images(64)),
    "xcit_nano": (of_timm("xcit_nano_12_p16_224", depth=2), lambda: images(64)),
    "mobilenetv3_small": (of_timm("mobilenetv3_small_050"), lambda: images(64)),
    "resnet18": (of_timm("resnet18"), lambda: images(64)),
    "resnetv2_50": (of_timm("resnetv2_50", layers=(1, 1, 1, 1)), lambda: images(64)),
    "densenet": (of_timm("densenet121", block_config=(2, 2, 2, 2)), lambda: images(64)),
    "beit": (of_timm("beit_base_patch16_224", depth=2, embed_dim=64, num_heads=2, **small), lambda: images(32)),
    "eva02_tiny": (of_timm("eva02_tiny_patch14_224", img_size=28, depth=2), lambda: images(28)),
    "mixer_s32": (of_timm("mixer_s32_224", img_size=64), lambda: images(64)),
    "levit_128s": (of_timm("levit_128s"), lambda: images(224)),
    "lraspp": (Segmentation, lambda: images(64)),
    "GPT, tied head": (GPT, lambda: tokens(50, 8)),
    "GPT": (lambda: GPT(False), lambda: tokens(50, 8)),
    "mask to fill": (lambda: Attention(False), lambda: tokens(20, 6)),
    "additive mask": (lambda: Attention(True), lambda: tokens(20, 6)),
    "U-Net, GroupNorm": (UNet, lambda: images(16)),
    "DETR": (DETR, lambda: images(16)),
    "sines": (Sines, lambda: tokens(20, 7)),
    "single numbers": (Numbers, lambda: images(8)),
    "blur": (Blur, lambda: images(8)),
    "LoRA": (LoRA, rows),
    "weight norm": (Normalised, rows),
    "masked weight": (Masked, rows),
}

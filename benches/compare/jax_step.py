"""A training step in JAX, jit-compiled: WRN-16-2 and ViT-Ti/4 by hand, images as [batch, height, width, channel], as Flax has them."""

import os
from functools import partial

import numpy as np

import turns
import workload

R, ALPHA, MOMENTUM, RATE = 0.1, 0.8, 0.9, 1e-3


class Layers:
    """What the networks are made of. Parameters are drawn at the first call of a network, and looked up by name from then on."""

    def __init__(self, parameters=None):
        self.drawn = parameters is None
        self.parameters = {} if self.drawn else parameters
        self.statistics = {}
        self.random = np.random.default_rng(0)

    def parameter(self, name, shape, deviation=None, value=0.0):
        """Normal draws of this deviation, else all of this value."""
        if self.drawn:
            drawn = np.full(shape, value) if deviation is None else self.random.normal(0, deviation, shape)
            self.parameters[name] = drawn.astype(np.float32)
        return self.parameters[name]

    def conv(self, x, name, outputs, kernel, stride=1):
        shape = (kernel, kernel, x.shape[-1], outputs)
        weight = self.parameter(f"{name}.weight", shape, (2 / np.prod(shape[:3])) ** 0.5)
        return lax.conv_general_dilated(x, weight, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def linear(self, x, name, outputs):
        weight = self.parameter(f"{name}.weight", (x.shape[-1], outputs), x.shape[-1] ** -0.5)
        return x @ weight + self.parameter(f"{name}.bias", (outputs,))

    def affine(self, x, name):
        return x * self.parameter(f"{name}.weight", x.shape[-1:], value=1.0) + self.parameter(f"{name}.bias", x.shape[-1:])

    def batch_norm(self, x, name):
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        self.statistics |= {f"{name}.mean": mean, f"{name}.var": variance}
        return self.affine((x - mean) * lax.rsqrt(variance + 1e-5), name)

    def layer_norm(self, x, name):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return self.affine((x - mean) * lax.rsqrt(variance + 1e-6), name)


def wide_resnet(layers, x):
    """WRN-16-2, as networks.py has it."""
    x, inputs = layers.conv(x, "stem", 16, 3), 16
    for stage, outputs in enumerate([32, 64, 128]):
        for block in range(2):
            name, stride = f"{stage}.{block}", 2 if stage > 0 and block == 0 else 1
            y = jax.nn.relu(layers.batch_norm(x, f"{name}.bn1"))
            shortcut = x if inputs == outputs else layers.conv(y, f"{name}.shortcut", outputs, 1, stride)
            y = jax.nn.relu(layers.batch_norm(layers.conv(y, f"{name}.conv1", outputs, 3, stride), f"{name}.bn2"))
            x, inputs = layers.conv(y, f"{name}.conv2", outputs, 3) + shortcut, outputs
    return layers.linear(jax.nn.relu(layers.batch_norm(x, "bn")).mean((1, 2)), "head", workload.CLASSES)


def vision_transformer(layers, x, width=192, heads=3):
    """ViT-Ti/4, as networks.py has it."""
    batch, side = x.shape[0], x.shape[1] // 4
    x = x.reshape(batch, side, 4, side, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(batch, side * side, 48)
    token = jnp.broadcast_to(layers.parameter("token", (1, 1, width)), (batch, 1, width))
    x = jnp.concatenate([token, layers.linear(x, "patch", width)], 1) + layers.parameter("position", (1, side * side + 1, width), 0.02)
    for block in range(12):
        qkv = layers.linear(layers.layer_norm(x, f"{block}.norm1"), f"{block}.qkv", 3 * width)
        q, k, v = jnp.moveaxis(qkv.reshape(batch, -1, 3, heads, width // heads), 2, 0)
        x = x + layers.linear(jax.nn.dot_product_attention(q, k, v).reshape(x.shape), f"{block}.out", width)
        y = jax.nn.gelu(layers.linear(layers.layer_norm(x, f"{block}.norm2"), f"{block}.up", 4 * width), approximate=False)
        x = x + layers.linear(y, f"{block}.down", width)
    return layers.linear(layers.layer_norm(x, "norm")[:, 0], "head", workload.CLASSES)


NETWORKS = {"wrn-16-2": wide_resnet, "vit-ti-4": vision_transformer}


def step(network, kind, state, images, labels):
    """One training step of (parameters, momenta, running statistics); the statistics come from the pass at the parameters."""
    parameters, momenta, running = state

    def loss(parameters):
        layers = Layers(parameters)
        logits = network(layers, images)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean(), layers.statistics

    gradient, statistics = jax.grad(loss, has_aux=True)(parameters)
    if kind == "GNP":
        scale = R / jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradient)))
        second, _ = jax.grad(loss, has_aux=True)(jax.tree.map(lambda p, g: p + scale * g, parameters, gradient))
        gradient = jax.tree.map(lambda a, b: (1 - ALPHA) * a + ALPHA * b, gradient, second)
    momenta = jax.tree.map(lambda m, g: MOMENTUM * m + g, momenta, gradient)
    running = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, running, statistics)
    return jax.tree.map(lambda p, m: p - RATE * m, parameters, momenta), momenta, running


def steps(name, threads, device):
    """Two functions that each take one training step: plain and GNP."""
    if name not in NETWORKS:
        raise turns.LeftOut("not written for it")
    turns.pin(threads)
    os.environ["JAX_PLATFORMS"] = device
    global jax, jnp, lax
    import jax
    import jax.numpy as jnp
    from jax import lax

    network = NETWORKS[name]
    images, labels = workload.batch(name, device)
    images, labels = jax.device_put(images.transpose(0, 2, 3, 1)), jax.device_put(labels.astype(np.int32))
    layers = Layers()
    network(layers, images)
    parameters = jax.device_put(layers.parameters)

    def stepper(kind):
        compiled = jax.jit(partial(step, network, kind), donate_argnums=0)
        state = jax.tree.map(jnp.copy, (parameters, jax.tree.map(jnp.zeros_like, parameters), layers.statistics))

        def stepped():
            nonlocal state
            state = jax.block_until_ready(compiled(state, images, labels))

        return stepped

    return {kind: stepper(kind) for kind in ["plain", "GNP"]}

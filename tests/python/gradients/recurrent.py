"""RNN, GRU and LSTM in place of those of `onnx.reference`, which leave out lengths, clipping and most activations.

Written from the standard's equations, one step after the other. Where a length is 0, all outputs are 0, as in ONNX Runtime.
"""

import numpy as np
from onnx.reference.op_run import OpRun


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


# The function of x, α and β, and their defaults. ONNX Runtime has none of the standard's for affine, thresholdedrelu and scaledtanh.
ACTIVATIONS = {
    "relu": (lambda x, a, b: np.maximum(x, 0), None, None),
    "tanh": (lambda x, a, b: np.tanh(x), None, None),
    "sigmoid": (lambda x, a, b: sigmoid(x), None, None),
    "softsign": (lambda x, a, b: x / (1 + np.abs(x)), None, None),
    "softplus": (lambda x, a, b: softplus(x), None, None),
    "affine": (lambda x, a, b: a * x + b, np.nan, np.nan),
    "leakyrelu": (lambda x, a, b: np.where(x >= 0, x, a * x), 0.01, None),
    "thresholdedrelu": (lambda x, a, b: np.where(x > a, x, 0), np.nan, None),
    "scaledtanh": (lambda x, a, b: a * np.tanh(b * x), np.nan, np.nan),
    "hardsigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), 0.2, 0.5),
    "elu": (lambda x, a, b: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0))), 1.0, None),
}


def functions(names, alphas, betas, clip, each):
    """The activations; each takes its numbers from the lists, in order, where it has any. The third is not of a sum, and not clipped."""
    alphas, betas = list(alphas or []), list(betas or [])
    made = []
    for i, name in enumerate(names):
        function, alpha, beta = ACTIVATIONS[name.lower()]
        alpha = alphas.pop(0) if alpha is not None and alphas else alpha
        beta = betas.pop(0) if beta is not None and betas else beta
        bound = np.inf if clip is None or i % each == 2 else clip
        made.append(lambda x, f=function, a=alpha, b=beta, c=bound: f(np.clip(x, -c, c), a, b))
    return made


class Recurrent(OpRun):
    """A layer: `step` makes of x·Wᵀ + b, the states and the weights the next states, the first of which is returned."""

    op_domain = ""
    states = 1

    def layer(self, x, w, r, b, lengths, firsts, p, names, alpha, beta, clip, direction, layout, **options):
        if layout == 1:
            x = x.swapaxes(0, 1)
            firsts = [None if s is None else s.swapaxes(0, 1) for s in firsts]
        steps, batch = x.shape[:2]
        directions, hidden = w.shape[0], r.shape[2]
        each = len(self.default)
        acts = functions(names or self.default * directions, alpha, beta, clip, each)
        y = np.zeros((steps, directions, batch, hidden), x.dtype)
        last = [np.zeros((directions, batch, hidden), x.dtype) for _ in range(self.states)]
        lengths = np.full(batch, steps) if lengths is None else lengths
        for d in range(directions):
            is_reverse = direction == "reverse" or d == 1
            biases = np.zeros((2, w.shape[1]), x.dtype) if b is None else b[d].reshape(2, -1)
            peepholes = np.zeros((3, hidden), x.dtype) if p is None else p[d].reshape(3, hidden)
            for n in range(batch):
                state = [np.zeros(hidden, x.dtype) if s is None else s[d, n] for s in firsts]
                order = range(lengths[n])
                for t in reversed(order) if is_reverse else order:
                    of_x = w[d] @ x[t, n]
                    state = self.step(of_x, state, r[d], biases, peepholes, acts[d * each : (d + 1) * each], **options)
                    y[t, d, n] = state[0]
                for k in range(self.states):
                    last[k][d, n] = state[k] if lengths[n] > 0 else 0
        if layout == 1:
            y = y.transpose(2, 0, 1, 3)
            last = [s.swapaxes(0, 1) for s in last]
        return tuple([y, *last][: len(self.onnx_node.output)])


class RNN(Recurrent):
    default = ["Tanh"]

    def step(self, of_x, state, r, b, p, acts):
        (f,) = acts
        return [f(of_x + r @ state[0] + b[0] + b[1])]

    def _run(self, X, W, R, B=None, sequence_lens=None, initial_h=None, activation_alpha=None, activation_beta=None,
             activations=None, clip=None, direction=None, hidden_size=None, layout=None):  # fmt: skip
        return self.layer(X, W, R, B, sequence_lens, [initial_h], None, activations, activation_alpha, activation_beta,
                          clip, direction, layout)  # fmt: skip


class GRU(Recurrent):
    default = ["Sigmoid", "Tanh"]

    def step(self, of_x, state, r, b, p, acts, linear_before_reset):
        f, g = acts
        (h,) = state
        xz, xr, xh = np.split(of_x, 3)
        rz, rr, rh = np.split(r, 3)
        (wbz, wbr, wbh), (rbz, rbr, rbh) = (np.split(bias, 3) for bias in b)
        z = f(xz + rz @ h + wbz + rbz)
        reset = f(xr + rr @ h + wbr + rbr)
        if linear_before_reset:
            new = g(xh + reset * (rh @ h + rbh) + wbh)
        else:
            new = g(xh + rh @ (reset * h) + rbh + wbh)
        return [(1 - z) * new + z * h]

    def _run(self, X, W, R, B=None, sequence_lens=None, initial_h=None, activation_alpha=None, activation_beta=None,
             activations=None, clip=None, direction=None, hidden_size=None, layout=None, linear_before_reset=None):  # fmt: skip
        return self.layer(X, W, R, B, sequence_lens, [initial_h], None, activations, activation_alpha, activation_beta,
                          clip, direction, layout, linear_before_reset=linear_before_reset)  # fmt: skip


class LSTM(Recurrent):
    default = ["Sigmoid", "Tanh", "Tanh"]
    states = 2

    def step(self, of_x, state, r, b, p, acts, input_forget):
        f, g, h = acts
        before, c = state
        i, o, forget, new = np.split(of_x + r @ before + b[0] + b[1], 4)
        pi, po, pf = p
        i = f(i + pi * c)
        forget = 1 - i if input_forget else f(forget + pf * c)
        c = forget * c + i * g(new)
        return [f(o + po * c) * h(c), c]

    def _run(self, X, W, R, B=None, sequence_lens=None, initial_h=None, initial_c=None, P=None, activation_alpha=None,
             activation_beta=None, activations=None, clip=None, direction=None, hidden_size=None, input_forget=None,
             layout=None):  # fmt: skip
        return self.layer(X, W, R, B, sequence_lens, [initial_h, initial_c], P, activations, activation_alpha,
                          activation_beta, clip, direction, layout, input_forget=input_forget)  # fmt: skip


OPERATORS = [RNN, GRU, LSTM]

"""Cases of recurrent layers, which the standard's node tests have few of: directions, lengths, states, peepholes, clipping,
activations, and which of the outputs are used."""

import numpy as np

from building import floats, ints, one_node

STEPS, BATCH, FEATURES, HIDDEN = 5, 3, 2, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
OUTPUTS = {"LSTM": 3, "GRU": 2, "RNN": 2}
# Unlike the others, so that no two of a direction are the same.
ACTIVATIONS = {"LSTM": ["HardSigmoid", "Elu", "ScaledTanh"], "GRU": ["Sigmoid", "LeakyRelu"], "RNN": ["Affine"]}
OTHERS = {"LSTM": ["Softsign", "Softplus", "Relu"], "GRU": ["HardSigmoid", "ThresholdedRelu"], "RNN": ["Softsign"]}


def layer(name, operator, directions=1, bias=True, lengths=None, states=True, cells=True, peepholes=False, outputs=None,
          layout=0, steps=STEPS, scale=0.7, **attributes):  # fmt: skip
    """A case of one layer; `lengths` are those of the sequences."""

    def numbers(*shape, seed):
        return floats(*shape, low=-scale, high=scale, seed=seed)

    def batch_first(array):
        return array.swapaxes(0, 1) if layout else array

    rows = GATES[operator] * HIDDEN
    first = (directions, BATCH, HIDDEN)
    inputs = [
        batch_first(floats(steps, BATCH, FEATURES, seed=1)),
        numbers(directions, rows, FEATURES, seed=2),
        numbers(directions, rows, HIDDEN, seed=3),
        numbers(directions, 2 * rows, seed=4) if bias else None,
        ints(*lengths, dtype=np.int32) if lengths else None,
        batch_first(numbers(*first, seed=5)) if states else None,
    ]
    if operator == "LSTM":
        inputs += [batch_first(numbers(*first, seed=6)) if states and cells else None]
        inputs += [numbers(directions, 3 * HIDDEN, seed=7) if peepholes else None]
    while inputs[-1] is None:
        inputs.pop()
    if layout:
        attributes["layout"] = 1
    if directions == 2:
        attributes["direction"] = "bidirectional"
    return one_node(name, operator, inputs, outputs or OUTPUTS[operator], hidden_size=HIDDEN, **attributes)


def recurrent():
    for operator in GATES:
        yield layer("forward", operator)
        yield layer("reverse", operator, direction="reverse")
        yield layer("both_directions", operator, directions=2)
        yield layer("no_bias_no_states", operator, bias=False, states=False)
        yield layer("one_step", operator, steps=1)
        yield layer("batch_first", operator, directions=2, layout=1)
        lengths = [5, 2, 3]
        yield layer("lengths", operator, lengths=lengths)
        yield layer("lengths_reverse", operator, lengths=lengths, direction="reverse")
        yield layer("lengths_reverse_no_states", operator, lengths=lengths, direction="reverse", states=False)
        yield layer("lengths_both_directions", operator, directions=2, lengths=[4, 0, 2])
        yield layer("all_states_alone", operator, directions=2, outputs=["y0"])
        yield layer("last_state_alone", operator, directions=2, outputs=["", "y1"])
        yield layer("clip", operator, clip=0.4, lengths=lengths)
        numbers = dict(activation_alpha=[0.3, 0.9, 0.7, 0.4], activation_beta=[0.6, 1.3, 0.2])
        both = [*ACTIVATIONS[operator], *OTHERS[operator]]
        yield layer("activations", operator, activations=ACTIVATIONS[operator], **numbers)
        yield layer("activations_of_both_directions", operator, directions=2, activations=both, **numbers)
    for reset in ("lengths", "both_directions"):
        options = dict(lengths=[5, 2, 3]) if reset == "lengths" else dict(directions=2)
        yield layer(f"linear_before_reset_{reset}", "GRU", linear_before_reset=1, **options)
    yield layer("linear_before_reset_no_bias", "GRU", linear_before_reset=1, bias=False)
    yield layer("linear_before_reset_clip", "GRU", linear_before_reset=1, clip=0.3)
    yield layer("peepholes", "LSTM", peepholes=True)
    yield layer("peepholes_both_directions", "LSTM", directions=2, peepholes=True, lengths=[5, 2, 3])
    yield layer("peepholes_clip", "LSTM", peepholes=True, clip=0.4)
    yield layer("input_forget", "LSTM", input_forget=1)
    yield layer("input_forget_peepholes", "LSTM", input_forget=1, peepholes=True, lengths=[5, 2, 3])
    yield layer("hidden_state_alone_given", "LSTM", cells=False)
    yield layer("last_cell_alone", "LSTM", outputs=["", "", "y2"])
    for activation in (
        "Relu",
        "LeakyRelu",
        "ThresholdedRelu",
        "ScaledTanh",
        "HardSigmoid",
        "Elu",
        "Softsign",
        "Softplus",
    ):
        numbers = dict(activation_alpha=[0.8], activation_beta=[0.5])
        yield layer(f"activation_{activation.lower()}", "RNN", activations=[activation], **numbers)

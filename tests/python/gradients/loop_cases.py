"""Cases of Scan and Loop: directions and axes, several states, what bodies capture, ends that come early, loops in loops."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from building import OPSET, floats, ints

node = helper.make_node
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def body(nodes, inputs, outputs, constants=None):
    """A body; inputs and outputs are names, of floats where they come without a type."""

    def info(value):
        name, element, shape = value if isinstance(value, tuple) else (value, FLOAT, None)
        return helper.make_tensor_value_info(name, element, shape)

    given = [numpy_helper.from_array(v, n) for n, v in (constants or {}).items()]
    return helper.make_graph(nodes, "body", [info(i) for i in inputs], [info(o) for o in outputs], given)


def case(name, operator, nodes, values, outputs):
    from cases import Case

    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in values.items()
    ]
    made = [helper.make_tensor_value_info(o, FLOAT, None) for o in outputs]
    graph = helper.make_graph(nodes, name, infos, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return Case(f"{operator.lower()}_{name}", model, values, operator)


def scans():
    """h' = tanh(h w + x u), the state and weights in every role."""
    step = [
        node("MatMul", ["h", "w"], ["hw"]), node("MatMul", ["x", "u"], ["xu"]), node("Add", ["hw", "xu"], ["z"]),
        node("Tanh", ["z"], ["h2"]), node("Mul", ["h2", "h"], ["y"]),
    ]  # fmt: skip
    values = {
        "h0": floats(2, 3, seed=1),
        "xs": floats(4, 2, 2, seed=2),
        "w": floats(3, 3, seed=3),
        "u": floats(2, 3, seed=4),
    }
    plain = body(step, ["h", "x"], ["h2", "y"])

    def scan(
        name, inner=plain, given=values, inputs=("h0", "xs"), outputs=("last", "ys"), count=1, before=(), **attributes
    ):
        loop = node("Scan", list(inputs), list(outputs), body=inner, num_scan_inputs=count, **attributes)
        return case(name, "Scan", [*before, loop], given, [o for o in outputs if o])

    yield scan("forward")
    yield scan("reverse", scan_input_directions=[1], scan_output_directions=[1])
    yield scan("input_reverse", scan_input_directions=[1])
    yield scan("output_reverse", scan_output_directions=[1])
    turned = {**values, "xs": values["xs"].transpose(1, 0, 2)}
    yield scan("other_axes", given=turned, scan_input_axes=[1], scan_output_axes=[2])
    yield scan(
        "axes_from_the_end", given=turned, scan_input_axes=[-2], scan_output_axes=[-1], scan_input_directions=[1]
    )
    yield scan("last_state_alone", outputs=("last", ""))
    yield scan("all_results_alone", outputs=("", "ys"))
    yield scan("what_is_captured_is_made", before=[node("Mul", ["v", "v"], ["w"])],
               given={("v" if k == "w" else k): v for k, v in values.items()})  # fmt: skip

    # Two states, of which one is multiplied by the other; a count, which has no derivative; one that nothing reads.
    several = body(
        [node("Mul", ["a", "b"], ["ab"]), node("Add", ["ab", "x"], ["a2"]), node("Mul", ["b", "scale"], ["b2"]),
         node("Add", ["n", "one"], ["n2"]), node("Cast", ["n"], ["f"], to=FLOAT), node("Mul", ["a2", "f"], ["y"]),
         node("Identity", ["k"], ["k2"])],
        ["a", "b", ("n", INT64, []), "k", "x"], ["a2", "b2", ("n2", INT64, []), "k2", "y"],
        {"one": np.int64(1)},
    )  # fmt: skip
    given = {"a0": floats(3), "b0": floats(3, seed=1), "n0": np.int64(2), "k0": floats(2, seed=5), "xs": floats(4, 3, seed=2),
             "scale": floats(3, seed=3)}  # fmt: skip
    states = ("a0", "b0", "n0", "k0", "xs")
    yield scan("several_states", several, given, states, ("a", "b", "", "k", "ys"))
    # Two tensors that are gone over in different directions, and a state that is a scalar.
    two = body(
        [node("Mul", ["x", "z"], ["xz"]), node("ReduceSum", ["xz"], ["dot"], keepdims=0), node("Mul", ["s", "half"], ["hs"]),
         node("Add", ["hs", "dot"], ["s2"]), node("Mul", ["x", "s"], ["y1"]), node("Exp", ["s2"], ["y2"])],
        ["s", "x", "z"], ["s2", "y1", "y2"], {"half": np.float32(0.5)},
    )  # fmt: skip
    given = {"s0": floats(), "xs": floats(4, 3), "zs": floats(3, 4, seed=1)}
    yield scan("two_tensors", two, given, ("s0", "xs", "zs"), ("s", "ys", "es"), count=2,
               scan_input_directions=[0, 1], scan_input_axes=[0, 1], scan_output_directions=[1, 0])  # fmt: skip
    no_state = body([node("Sin", ["x"], ["sin"]), node("Mul", ["sin", "w"], ["y"])], ["x"], ["y"])
    yield scan("no_state", no_state, {"xs": floats(4, 3), "w": floats(3, seed=1)}, ("xs",), ("ys",))
    # A branch in a loop, and a loop in one.
    small = body([node("Mul", ["x", "w"], ["p"])], [], ["p"])
    large = body([node("Exp", ["h"], ["q"])], [], ["q"])
    choice = node("If", ["c"], ["z"], then_branch=small, else_branch=large)
    chosen = body(
        [node("ReduceSum", ["h"], ["sum"], keepdims=0), node("Less", ["sum", "bound"], ["c"]), choice,
         node("Mul", ["z", "third"], ["z3"]), node("Add", ["h", "z3"], ["h2"]), node("Identity", ["z"], ["y"])],
        ["h", "x"], ["h2", "y"], {"bound": np.float32(1.0), "third": np.float32(0.3)},
    )  # fmt: skip
    given = {"h0": floats(3), "xs": floats(4, 3, low=0.3, seed=1), "w": floats(3, low=0.5, seed=2)}
    yield scan("branch", chosen, given, ("h0", "xs"))
    inner = body([node("Mul", ["g", "e"], ["ge"]), node("Add", ["ge", "h"], ["g2"])], ["g", "e"], ["g2"])
    outer = body([node("Scan", ["h", "x"], ["h2"], body=inner, num_scan_inputs=1), node("Mul", ["h2", "w"], ["y"])],
                 ["h", "x"], ["h2", "y"])  # fmt: skip
    yield scan("nested", outer, {"h0": floats(3), "xs": floats(3, 2, 3, seed=1), "w": floats(3, seed=2)}, ("h0", "xs"))


def loops():
    """s' = s w + sin(x)."""
    step = [node("Mul", ["s", "w"], ["sw"]), node("Sin", ["x"], ["sx"]), node("Add", ["sw", "sx"], ["s2"]),
            node("Mul", ["s2", "s"], ["y"])]  # fmt: skip
    values = {"s0": floats(3), "x": floats(3, seed=1), "w": floats(3, low=0.5, high=1.5, seed=2)}
    counted = [("i", INT64, []), ("go", BOOL, [])]
    keep = node("Identity", ["go"], ["on"])
    plain = body([*step, keep], [*counted, "s"], [("on", BOOL, []), "s2", "y"])

    # ONNX Runtime wants all outputs of a Loop to have a name.
    def loop(name, inner=plain, given=values, count=3, condition=None, inputs=("s0",), outputs=("last", "ys")):
        settings = {} if count is None else {"n": np.int64(count)}
        settings |= {} if condition is None else {"c": np.array(condition)}
        first = ["" if count is None else "n", "" if condition is None else "c"]
        made = node("Loop", [*first, *inputs], list(outputs), body=inner)
        return case(name, "Loop", [made], {**given, **settings}, [o for o in outputs if not o.startswith("_")])

    yield loop("counted")
    yield loop("counted_and_condition", condition=True)
    yield loop("once", count=1)
    yield loop("not_at_all", count=0, outputs=("last", "_ys"))
    yield loop("condition_is_false", condition=False, outputs=("last", "_ys"))
    yield loop("last_state_alone", outputs=("last", "_ys"))
    yield loop("all_results_alone", outputs=("_last", "ys"))
    # The iteration's number is part of what it computes.
    numbered = body(
        [node("Cast", ["i"], ["f"], to=FLOAT), node("Mul", ["s", "f"], ["sf"]), node("Mul", ["sf", "w"], ["sfw"]),
         node("Add", ["sfw", "x"], ["s2"]), keep],
        [*counted, "s"], [("on", BOOL, []), "s2"],
    )  # fmt: skip
    yield loop("numbered", numbered, outputs=("last",))
    # A row of a table each time.
    row = body([node("Gather", ["table", "i"], ["r"]), node("Mul", ["r", "s"], ["s2"]), keep], [*counted, "s"],
               [("on", BOOL, []), "s2"])  # fmt: skip
    yield loop("rows", row, {"s0": floats(3), "table": floats(4, 3, seed=1)}, outputs=("last",))
    # It ends when the sum of the state is above a bound, after 3 of 8 iterations.
    ends = body(
        [*step, node("ReduceSum", ["s2"], ["sum"], keepdims=0), node("Less", ["sum", "bound"], ["on"])],
        [*counted, "s"], [("on", BOOL, []), "s2", "y"], {"bound": np.float32(8.5)},
    )  # fmt: skip
    growing = {"s0": floats(3, low=0.2), "x": floats(3, low=0.5, seed=1), "w": floats(3, low=1.0, high=1.4, seed=2)}
    yield loop("ends_early", ends, growing, count=8)
    yield loop("while", ends, growing, count=None, condition=True)
    two = body(
        [node("Mul", ["a", "b"], ["a2"]), node("Add", ["b", "w"], ["b2"]), node("Add", ["n", "one"], ["n2"]), keep],
        [*counted, "a", ("n", INT64, []), "b"], [("on", BOOL, []), "a2", ("n2", INT64, []), "b2"], {"one": np.int64(1)},
    )  # fmt: skip
    given = {"a0": floats(3), "n0": np.int64(0), "b0": floats(3, seed=1), "w": floats(3, seed=2)}
    yield loop("several_states", two, given, inputs=("a0", "n0", "b0"), outputs=("a", "_n", "b"))
    inner = body([node("Mul", ["t", "w"], ["tw"]), node("Add", ["tw", "s"], ["t2"]), node("Identity", ["gi"], ["oi"])],
                 [("j", INT64, []), ("gi", BOOL, []), "t"], [("oi", BOOL, []), "t2"])  # fmt: skip
    nested = body([node("Loop", ["two", "", "s"], ["s2"], body=inner), keep], [*counted, "s"], [("on", BOOL, []), "s2"],
                  {"two": np.int64(2)})  # fmt: skip
    yield loop("nested", nested, {"s0": floats(3), "w": floats(3, seed=2)}, outputs=("last",))


def looping():
    yield from scans()
    yield from loops()

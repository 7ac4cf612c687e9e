"""Writes which operators other programs that make gradients of ONNX graphs say that they differentiate.

    pip install onnx-ad==0.3.0 onnxsim==0.8.1
    python tests/python/gradients/peers.py > tests/gradients/peers.txt

Each is asked by what it decides by itself: onnx-ad by its table of reverse rules without those of a derivative of zero, its
lowerings, and the standard's function bodies, which it expands; onnxsim by `graph_grad.supported_ops()`, which its
`compile_training_loop` refuses all others by. What is listed is not checked here.
"""

from importlib.metadata import version

from onnx import defs
from onnx_ad import lower, recurrent, rules
from onnxsim import graph_grad


def newest():
    """The newest form of each standard operator."""
    schemas = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.since_version >= getattr(schemas.get(schema.name), "since_version", 0):
            schemas[schema.name] = schema
    return schemas.values()


def takes_floats(schema):
    types = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    return any("tensor(float)" in types.get(i.type_str, [i.type_str]) for i in schema.inputs)


def onnx_ad():
    direct = set(rules.REVERSE) - set(rules.ZERO_DERIVATIVE)
    bodies = {s.name for s in newest() if takes_floats(s) and (s.has_function or s.has_context_dependent_function)}
    # A body of a derivative of zero; and one of sequences, on which the expansion ends.
    without = {"SequenceMap"} | set(rules.ZERO_DERIVATIVE)
    return direct | set(lower.LOWERINGS) | set(recurrent.RECURRENT) | bodies - without


def main():
    for name, operators in (("onnx-ad", onnx_ad()), ("onnxsim", set(graph_grad.supported_ops()) - {"IsNaN"})):
        print(f"{name} {version(name)}: {' '.join(sorted(operators))}")


if __name__ == "__main__":
    main()

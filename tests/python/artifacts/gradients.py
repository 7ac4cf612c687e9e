"""The gradients of artifacts that gnp-rewrite makes are those of the artifacts that the package onnxruntime-training makes.

python gradients.py GNP-REWRITE FOLDER small|losses|loss_alone|light NAME ...

Prints a line a model: the relative difference of the gradients of all parameters together.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, version_converter

sys.path.append(str(Path(__file__).resolve().parents[1] / "step_model"))

import models  # noqa: E402
from runtime import IR, Training, artifacts, generate, gnp_rewrite, onnxruntime, relative_error  # noqa: E402

BOUND = 1e-5
CROSS_ENTROPY = ["--loss", "cross-entropy"]
# What the package has no gradient for.
LACKS = {"shufflenet": "Sum", "resnet50": "Sum", "inception_v1": "LRN", "bvlc_alexnet": "LRN", "zfnet512": "LRN"}
# Some ten million activations behind BatchNormalization: a rounding of the weights moves the package's own gradient by 3e-3 to 2e-2.
DEEP = ["inception_v2", "densenet121", "resnet50"]


def both(program: str, folder: Path, model: onnx.ModelProto, trains: list[str], *flags, **how) -> list[Training]:
    """The artifacts of gnp-rewrite and of the package, loaded."""
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    plain = ["--r", 0, "--optimizer", "sgd"]
    gnp_rewrite(program, folder / "model.onnx", "--emit", "ort-training", "-o", folder / "ours", *plain, *flags)
    generate(model, trains, folder / "package", **how)
    return [Training(folder / who) for who in ("ours", "package")]


def check(name: str, trainings: list[Training], batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The same loss and gradients, for one of the batches at least: where rounding puts a single activation to the
    other side of the kink of a Relu, the gradient differs by 1e-3."""
    errors = []
    for batch in batches:
        (loss, ours), (expected, package) = (training.gradients(*batch) for training in trainings)
        assert np.isclose(loss, expected, rtol=1e-5), f"{name}: {loss} and {expected}"
        errors.append(relative_error(ours, package))
        if errors[-1] <= BOUND:
            check_statistics(name, trainings)
            return errors[-1]
    raise AssertionError(f"{name}: {errors}")


def check_statistics(name: str, trainings: list[Training]):
    """The steps have moved the running statistics in the same way."""
    ours, package = (
        {name: np.array(p.data) for name, p in training.state.parameters if not p.requires_grad and name != "step"}
        for training in trainings
    )
    assert ours.keys() <= package.keys(), ours.keys() - package.keys()
    if ours:
        error = relative_error(ours, {name: package[name] for name in ours})
        assert error <= BOUND, f"{name}: the statistics differ by {error}"


def small(program: str, folder: Path):
    """The models of models/, BatchNormalization and Dropout among them, and a text transformer."""
    rng = np.random.default_rng(1)
    for name, model in models.small().items():
        frozen = models.frozen(name)
        trainings = both(program, folder / name, model, weights(model, frozen=bool(frozen)), *CROSS_ENTROPY, *frozen)
        shape = [8] + sizes(model.graph.input[0])[1:]
        x = rng.integers(0, models.VOCABULARY, shape) if name == "text" else rng.normal(size=shape).astype(np.float32)
        print(f"{name}: {check(name, trainings, [(x, rng.integers(0, models.CLASSES, 8))]):.1e}")


def losses(program: str, folder: Path):
    """The losses that the package has."""
    rng = np.random.default_rng(1)
    model = models.small()["mlp"]
    x = rng.normal(size=(8, 64)).astype(np.float32)
    target = rng.uniform(size=(8, models.CLASSES)).astype(np.float32)
    kinds = {"mse": "MSELoss", "l1": "L1Loss", "bce": "BCEWithLogitsLoss"}
    for name, kind in kinds.items():
        trainings = both(program, folder / name, model, weights(model), "--loss", name, loss=artifacts.LossType[kind])
        print(f"{name}: {check(name, trainings, [(x, target)]):.1e}")


def loss_alone(program: str, folder: Path):
    """A module returns the loss and nothing else, and is exported all the same."""
    flags = [*CROSS_ENTROPY, "--loss-alone"]
    model = models.small()["mlp"]
    trainings = both(program, folder / "mlp", model, weights(model), *flags)
    batch = np.ones((8, 64), np.float32), np.arange(8)
    inputs = np.full((3, 64), 0.5, np.float32)
    found = []
    for training in trainings:
        outputs = []
        for train in (True, False):
            training.module.train(train)
            returned = training.module(*batch)
            assert isinstance(returned, np.ndarray) and returned.shape == ()
            assert len(training.module.output_names()) == 1
            outputs.append(returned)
        exported = str(folder / f"{len(found)}.onnx")
        training.module.export_model_for_inferencing(exported, ["logits"])
        session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
        found.append((*outputs, session.run(["logits"], {"input": inputs})[0]))
    for ours, package in zip(*found):
        assert np.allclose(ours, package, rtol=1e-6), (ours, package)


def light(program: str, folder: Path, names: list[str]):
    """Architectures of the package onnx."""
    for name in names:
        if name in LACKS:
            check_lack(name, folder / f"{name}.lacks")
        # What rounding does to a Relu behind BatchNormalization it does in these to many, whatever the batch.
        smooth = name in DEEP
        model = known(light_model(name, smooth))
        trainings = both(program, folder / name, model, weights(model), *CROSS_ENTROPY)
        shape = sizes(model.graph.input[0])
        batches = [np.random.default_rng(seed).normal(size=shape).astype(np.float32) for seed in range(1, 9)]
        error = check(name, trainings, [(x, np.array([7])) for x in batches])
        print(f"{name}{' with Sigmoid for Relu' if smooth else ''}: {error:.1e}")


def check_lack(name: str, folder: Path):
    """The package refuses the architecture as it is; gnp-rewrite does not."""
    model = light_model(name, smooth=False)
    try:
        generate(model, weights(model), folder)
    except RuntimeError as error:
        assert "gradient builder has not been registered" in str(error) and LACKS[name] in str(error), error
    else:
        raise AssertionError(f"the package makes artifacts of {name}")


def light_model(name: str, smooth: bool) -> onnx.ModelProto:
    """The architecture up to its logits, [1, 1000], without Dropout, whose draws follow from the order of the nodes,
    in a form that the package reads."""
    model = models.light(name)
    graph = model.graph
    if graph.node[-1].op_type == "Softmax":
        graph.output[0].name = graph.node.pop().input[0]
    leave_out(graph, "Dropout")
    held = {tensor.name for tensor in graph.initializer}
    data = [i for i in graph.input if i.name not in held]
    del graph.input[:]
    graph.input.extend(data)
    model.ir_version = IR
    model = version_converter.convert_version(model, 17)
    graph = model.graph
    if smooth:
        for node in graph.node:
            node.op_type = "Sigmoid" if node.op_type == "Relu" else node.op_type
    if len(sizes(graph.output[0])) > 2:
        # The package takes the last axis for that of the classes.
        graph.node.append(helper.make_node("Flatten", [graph.output[0].name], ["logits"], axis=1))
        graph.output[0].name = "logits"
        del graph.output[0].type.tensor_type.shape.dim[2:]
    return model


def known(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in operators that the package has gradients for: Add for the Sum of two, and no LRN."""
    leave_out(model.graph, "LRN")
    for node in model.graph.node:
        node.op_type = "Add" if node.op_type == "Sum" and len(node.input) == 2 else node.op_type
    return model


def leave_out(graph: onnx.GraphProto, operator: str):
    """Has those who read what nodes of the operator make read their first inputs."""
    renamed = {node.output[0]: node.input[0] for node in graph.node if node.op_type == operator}
    nodes = [node for node in graph.node if node.op_type != operator]
    for node in nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    del graph.node[:]
    graph.node.extend(nodes)


def weights(model: onnx.ModelProto, frozen: bool = False) -> list[str]:
    """What trains: floats that are read, but no scalars and statistics; without the backbone where that is frozen."""
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    statistics = {name for node in norms for name in node.input[3:5]}
    read = {name for node in model.graph.node for name in node.input} - statistics
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in read and tensor.dims]
    floats = [tensor.name for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT]
    return [name for name in floats if not (frozen and name.startswith("backbone."))]


def sizes(value: onnx.ValueInfoProto) -> list[int]:
    """The shape of a value; 0 where it is open."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


if __name__ == "__main__":
    program, folder, what, *names = sys.argv[1:]
    if what == "light":
        light(program, Path(folder), names)
    else:
        {"small": small, "losses": losses, "loss_alone": loss_alone}[what](program, Path(folder))

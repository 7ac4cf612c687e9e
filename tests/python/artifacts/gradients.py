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
from runtime import IR, Training, artifacts, generate, gnp_rewrite, norm, onnxruntime, relative_error  # noqa: E402

BOUND = 1e-5
CROSS_ENTROPY = ["--loss", "cross-entropy"]
# What the package has no gradient for.
LACKS = {"shufflenet": "Sum", "resnet50": "Sum", "inception_v1": "LRN", "bvlc_alexnet": "LRN", "zfnet512": "LRN"}
# Ten million activations of Relu behind BatchNormalization, of which some are at the kink whatever the batch: a rounding of
# the weights moves the package's own gradient by 3e-3 to 2e-2.
DEEP = ["inception_v2", "densenet121", "resnet50"]


def ours(program: str, folder: Path, model: onnx.ModelProto, *flags) -> Training:
    """The artifacts of gnp-rewrite, loaded."""
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    plain = ["--r", 0, "--optimizer", "sgd"]
    gnp_rewrite(program, folder / "model.onnx", "--emit", "ort-training", "-o", folder / "ours", *plain, *flags)
    return Training(folder / "ours")


def both(program: str, folder: Path, model: onnx.ModelProto, trains: list[str], *flags, **how) -> list[Training]:
    """The artifacts of gnp-rewrite and of the package, loaded."""
    made = ours(program, folder, model, *flags)
    generate(model, trains, folder / "package", **how)
    return [made, Training(folder / "package")]


def check(name: str, trainings: list[Training], batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The same loss and gradients, for one of the batches at least: where rounding puts a single activation to the
    other side of the kink of a Relu, the gradient differs by 1e-3."""
    errors = []
    for batch in batches:
        (loss, found), (expected, package) = (training.gradients(*batch) for training in trainings)
        assert np.isclose(loss, expected, rtol=1e-5), f"{name}: {loss} and {expected}"
        errors.append(relative_error(found, package))
        if errors[-1] <= BOUND:
            check_statistics(name, trainings)
            return errors[-1]
    raise AssertionError(f"{name}: {errors}")


def check_statistics(name: str, trainings: list[Training]):
    """The steps have moved the running statistics in the same way."""
    found, package = (
        {name: np.array(p.data) for name, p in training.state.parameters if not p.requires_grad and name != "step"}
        for training in trainings
    )
    assert found.keys() <= package.keys(), found.keys() - package.keys()
    if found:
        error = relative_error(found, {name: package[name] for name in found})
        assert error <= BOUND, f"{name}: the statistics differ by {error}"


def small(program: str, folder: Path):
    """The models of models/, BatchNormalization and Dropout among them, and a text transformer."""
    rng = np.random.default_rng(1)
    for name, model in models.small().items():
        frozen = models.frozen(name)
        trains = weights(model, frozen=bool(frozen))
        shape = [8] + sizes(model.graph.input[0])[1:]
        x = rng.integers(0, models.VOCABULARY, shape) if name == "text" else rng.normal(size=shape).astype(np.float32)
        labels = rng.integers(0, models.CLASSES, 8)
        for kind in ("standard", "ort"):
            flags = [*CROSS_ENTROPY, "--gradients", kind, *frozen]
            trainings = both(program, folder / f"{name}.{kind}", model, trains, *flags)
            print(f"{name}, --gradients {kind}: {check(name, trainings, [(x, labels)]):.1e}")


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
    for one, other in zip(*found):
        assert np.allclose(one, other, rtol=1e-6), (one, other)


def light(program: str, folder: Path, names: list[str]):
    """Architectures of the package onnx."""
    for name in names:
        check_as_it_is(program, name, folder / f"{name}.published")
        for kind in ("standard", "ort"):
            # The runtime's operators round as the package's artifacts do.
            smooth = kind == "standard" and name in DEEP
            model = light_model(name, smooth)
            flags = [*CROSS_ENTROPY, "--gradients", kind]
            place = folder / f"{name}.{kind}"
            if LACKS.get(name) == "Sum":
                trainings = [ours(program, place, model, *flags)]
                model = known(model)
                generate(model, weights(model), place / "package")
                trainings.append(Training(place / "package"))
            else:
                model = known(model)
                trainings = both(program, place, model, weights(model), *flags)
            batches = [batch(model, seed) for seed in range(1, 9)]
            error = check(name, trainings, batches)
            print(f"{name}{' with Sigmoid for Relu' if smooth else ''}, --gradients {kind}: {error:.1e}", flush=True)


def batch(model: onnx.ModelProto, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of noise and its class."""
    held = {tensor.name for tensor in model.graph.initializer}
    data = next(value for value in model.graph.input if value.name not in held)
    image = np.random.default_rng(seed).normal(size=sizes(data))
    return image.astype(np.float32), np.array([7])


def check_as_it_is(program: str, name: str, folder: Path):
    """gnp-rewrite makes artifacts of the architecture, Dropout and LRN and all; the package refuses some."""
    model = models.light(name)
    trained = ours(program, folder, model, *CROSS_ENTROPY)
    image, label = batch(model, seed=1)
    declared = onnx.load(folder / "ours" / "training_model.onnx", load_external_data=False).graph.input
    axes = next(len(sizes(value)) for value in declared if value.name == "labels")
    loss, gradients = trained.gradients(image, label.reshape([1] * axes))
    assert np.isfinite(loss) and np.isfinite(norm(gradients)) and norm(gradients) > 0, (name, loss)
    if name in LACKS:
        model = light_model(name, smooth=False)
        try:
            generate(model, weights(model), folder / "package")
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

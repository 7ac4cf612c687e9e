"""Training with gnp's engines from Python."""

import gc
import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pytest

import gnp

MODELS = Path(__file__).parents[3] / "models"
ENGINES = ["onnxruntime", "tract"]


def mlp(**options):
    return gnp.rewrite(MODELS / "mlp/model.onnx", **{"loss": "cross-entropy", "optimizer": "momentum", **options})


def digits():
    data = np.load(MODELS / "digits.npz")
    x = data["x_train"].reshape(-1, 64).astype(np.float32) / 16
    return x, data["y_train"].astype(np.int64)


def epoch(x, y, number, seed, size=64):
    order = gnp.epoch_order(len(x), number, seed)
    for begin in range(0, len(x), size):
        rows = order[begin : begin + size]
        yield x[rows], y[rows]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_goes_on_where_it_was(engine, tmp_path):
    x, y = digits()
    batches = list(epoch(x, y, 1, seed=0))
    trainer = gnp.Trainer(mlp(), engine=engine, threads=1)
    for batch in batches[:5]:
        trainer.step(batch, lr=0.1)
    file = tmp_path / "state.safetensors"
    trainer.save(file)
    state = trainer.state_dict()
    expected = [trainer.step(batch, lr=0.1)["loss"] for batch in batches[5:]]

    for begin in (lambda other: other.load(file), lambda other: other.load_state_dict(state)):
        other = gnp.Trainer(mlp(), engine=engine, threads=1)
        begin(other)
        assert [other.step(batch, lr=0.1)["loss"] for batch in batches[5:]] == expected


def test_a_state_moves_to_another_engine():
    x, y = digits()
    one, other = (gnp.Trainer(mlp(), engine=engine) for engine in ENGINES)
    one.step((x[:64], y[:64]), lr=0.1)
    other.load_state_dict(one.state_dict())
    losses = [trainer.evaluate((x, y))["loss"] for trainer in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_evaluation_changes_nothing_and_has_predictions():
    x, y = digits()
    trainer = gnp.Trainer(mlp(), engine="tract")
    before = trainer.state_dict()
    found = trainer.evaluate({"input": x[:10], "labels": y[:10]})
    assert found["logits"].shape == (10, 10)
    assert list(found)[0] == "loss"
    for name, array in trainer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_hyperparameters_are_fed():
    x, y = digits()
    batch = (x[:64], y[:64])
    still = gnp.Trainer(mlp(), engine="tract")
    before = still.state_dict()
    still.step(batch, lr=0.0)
    parameters = mlp().report.parameters
    assert all(np.array_equal(still.state_dict()[name], before[name]) for name in parameters)
    plain, sam = (gnp.Trainer(mlp(), engine="tract") for _ in range(2))
    for _ in range(3):
        plain.step(batch, r=0.0)
        sam.step(batch, r=0.5, alpha=1.0)
    assert not np.array_equal(plain.state_dict()[parameters[0]], sam.state_dict()[parameters[0]])
    with pytest.raises(gnp.GnpError, match="no hyperparameter `gnp.beta`") as raised:
        plain.step(batch, **{"gnp.beta": 0.5})
    assert "gnp.momentum" in str(raised.value)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_that_is_not_finite_is_not_taken(engine):
    x, y = digits()
    trainer = gnp.Trainer(mlp(), engine=engine)
    before = trainer.state_dict()
    with pytest.raises(gnp.GnpError) as raised:
        trainer.step((np.full_like(x[:8], np.inf), y[:8]))
    assert raised.value.kind == "diverged"
    for name, array in trainer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert np.isfinite(trainer.step((x[:8], y[:8]))["loss"])


BAD = [
    None,
    3,
    "batch",
    (),
    (np.zeros((4, 64), np.float32),),
    (np.zeros((4, 63), np.float32), np.zeros(4, np.int64)),
    (np.zeros((4, 64), np.float32), np.zeros(3, np.int64)),
    (np.zeros((0, 64), np.float32), np.zeros(0, np.int64)),
    (np.zeros((4, 64), np.float32), np.full(4, 10)),
    (np.zeros((4, 64), np.float32), np.full(4, -1)),
    (np.zeros((4, 64), np.float32), np.full(4, 0.5)),
    (np.zeros((4, 64), np.complex64), np.zeros(4, np.int64)),
    (np.array([["a"] * 64] * 4), np.zeros(4, np.int64)),
    (np.full((4, 64), object()), np.zeros(4, np.int64)),
    {"input": np.zeros((4, 64), np.float32)},
    {"input": np.zeros((4, 64), np.float32), "labels": np.zeros(4, np.int64), "more": 1},
    {1: 2},
]


@pytest.mark.parametrize("engine", ENGINES)
def test_bad_batches_raise_and_change_nothing(engine):
    trainer = gnp.Trainer(mlp(), engine=engine)
    before = trainer.state_dict()
    for batch in BAD:
        for call in (trainer.step, trainer.evaluate):
            with pytest.raises(gnp.GnpError):
                call(batch)
    for name, array in trainer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    x, y = digits()
    assert np.isfinite(trainer.step((x[:8], y[:8]))["loss"])


def test_bad_states_raise_and_change_nothing(tmp_path):
    trainer = gnp.Trainer(mlp(), engine="tract")
    before = trainer.state_dict()
    first = next(iter(before))
    (tmp_path / "text").write_text("no state")
    bad = [
        None,
        {},
        {1: 2},
        before | {"more": np.zeros(3, np.float32)},
        {name: array for name, array in before.items() if name != first},
        before | {first: np.zeros((1, 2, 3), np.float32)},
        before | {first: before[first].astype(np.float64)},
        before | {first: np.full_like(before[first], np.nan)},
        before | {first: "text"},
    ]
    for state in bad:
        with pytest.raises(gnp.GnpError):
            trainer.load_state_dict(state)
    for path in (tmp_path / "text", tmp_path / "none", tmp_path, None, 3):
        with pytest.raises(gnp.GnpError):
            trainer.load(path)
    for path in (tmp_path, tmp_path / "none/state", None):
        with pytest.raises(gnp.GnpError):
            trainer.save(path)
    for name, array in trainer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"engine": "torch"}, "invalid value 'torch' for 'engine='"),
        ({"engine": "ort-training"}, "gnp.run"),
        ({"device": "tpu"}, "unknown device"),
        ({"threads": 0}, "threads="),
        ({"threads": 10**6}, "threads="),
        ({"ort_lib": "/no/such/library.so"}, "/no/such/library.so"),
        ({"seed": -1}, "seed"),
        ({"seed": "x"}, "seed"),
        ({"tf32": "on", "engine": "tract"}, "tf32="),
        ({"speed": "high"}, "no argument `speed`"),
    ],
)
def test_engines_that_are_none_are_told(options, says):
    with pytest.raises(gnp.GnpError) as raised:
        gnp.Trainer(mlp(), **options)
    assert says in str(raised.value)


def test_threads_take_turns():
    x, y = digits()
    trainer = gnp.Trainer(mlp(), engine="onnxruntime")
    failed = []

    def train():
        try:
            for batch in epoch(x, y, 1, seed=0):
                trainer.step(batch, lr=0.01)
                trainer.evaluate(batch)
                trainer.state_dict()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    slots = [array for name, array in trainer.state_dict().items() if name.endswith(".momentum")]
    assert slots and all(np.abs(array).max() > 0 for array in slots)


def test_what_it_was_made_of_may_go():
    x, y = digits()
    step = mlp()
    trainer = gnp.Trainer(step, engine="onnxruntime")
    evaluation = trainer.evaluate((x, y))["logits"]
    state = trainer.state_dict()
    del step, trainer
    gc.collect()
    assert np.isfinite(evaluation).all()
    assert all(np.isfinite(array).all() for array in state.values())
    # Arrays own their memory: they may be written to.
    for array in state.values():
        array += 1


def _use(trainer, x, y, results):
    try:
        trainer.step((x, y))
        results.put("stepped")
    except gnp.GnpError as error:
        results.put(error.kind)


def test_a_forked_process_is_told():
    x, y = digits()
    trainer = gnp.Trainer(mlp(), engine="onnxruntime")
    trainer.step((x[:64], y[:64]))
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=_use, args=(trainer, x[:64], y[:64], results))
    process.start()
    assert results.get(timeout=60) == "engine"
    process.join(timeout=60)
    assert process.exitcode == 0
    assert np.isfinite(trainer.step((x[:64], y[:64]))["loss"])


def test_adapters_train_alone():
    x, y = digits()
    trainer = gnp.Trainer(mlp(lora=4, lora_alpha=8.0), engine="tract")
    before = trainer.evaluate((x[:64], y[:64]))["loss"]
    for _ in range(5):
        trainer.step((x[:64], y[:64]), lr=0.1)
    assert trainer.evaluate((x[:64], y[:64]))["loss"] < before
    state = trainer.state_dict()
    assert {"fc1.lora_A.weight", "fc1.lora_B.weight"} <= state.keys()
    assert state["fc1.lora_A.weight"].shape == (4, 64) and "fc1.weight" not in state


@pytest.mark.parametrize("options", [{"accumulate": 4}, {"recompute": True}], ids=str)
def test_less_memory_changes_nothing_else(options):
    x, y = digits()
    one, other = (gnp.Trainer(mlp(**more), engine="onnxruntime") for more in ({}, options))
    for trainer in (one, other):
        for begin in (0, 50):
            trainer.step((x[begin : begin + 50], y[begin : begin + 50]), lr=0.1)
    for name, tensor in one.state_dict().items():
        np.testing.assert_allclose(other.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)


def test_half_precision_skips_what_overflows():
    x, y = digits()
    step = mlp(precision="float16", loss_scale=2.0**24)
    with pytest.raises(gnp.GnpError, match="ONNX Runtime has no kernels on this processor") as refused:
        gnp.Trainer(step, engine="onnxruntime")
    assert "half= emulated" in str(refused.value.help)
    trainer = gnp.Trainer(step, engine="onnxruntime", half="emulated")
    outputs = [trainer.step((x[:50], y[:50]), lr=0.05) for _ in range(12)]
    skipped = [output["gnp.skipped"] for output in outputs]
    assert skipped[0] == 1.0 and skipped[-1] == 0.0
    scales = [output["gnp.scaled_by"] for output in outputs]
    assert scales == sorted(scales, reverse=True) and scales[-1] < scales[0]
    assert outputs[-1]["loss"] < outputs[0]["loss"]
    before = outputs[0]["loss"]
    with pytest.warns(UserWarning, match="computes in float32, and rounds nothing"):
        loop = gnp.Loop(step)
    assert loop.step((x[:50], y[:50]))["loss"] == pytest.approx(before, rel=1e-2)

"""What a batch may be."""

from __future__ import annotations

from collections import UserDict, namedtuple
from typing import Any

import numpy as np
import pytest

from gnp.batches import Input, Range, as_batch
from gnp.errors import GnpError

X = Input("x", np.dtype(np.float32), ("batch", 3))
LABELS = Input("labels", np.dtype(np.int64), ("batch",), (Range(9, ignored=-100),))
INPUTS = (X, LABELS)


def refusal(call: Any, *given: Any) -> GnpError:
    with pytest.raises(GnpError) as caught:
        call(*given)
    return caught.value


@pytest.fixture
def x() -> Any:
    return np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def y() -> Any:
    return np.array([3, 9])


def test_mappings_and_sequences_are_batches(x: Any, y: Any) -> None:
    pair = namedtuple("pair", ["first", "second"])
    for given in ({"labels": y, "x": x}, UserDict(x=x, labels=y), (x, y), [x, y], pair(x, y)):
        batch = as_batch(INPUTS, given)
        assert list(batch) == ["x", "labels"] and batch.samples == 2
        assert batch["x"] is x and batch["labels"] is y
    assert as_batch(INPUTS, batch) is batch
    assert as_batch((X,), x)["x"] is x


def test_what_is_no_batch_is_refused_by_name(x: Any, y: Any) -> None:
    assert "lacks `labels`; it has x" in refusal(as_batch, INPUTS, {"x": x}).message
    unknown = refusal(as_batch, INPUTS, {"x": x, "labels": y, "mask": y})
    assert unknown.message == "the model has no input `mask`"
    assert unknown.help == "leave it out of the batch; the model takes `x`: float32 [batch, 3], `labels`: int64 [batch]"
    assert "takes 2 arrays, but the batch has 1" in refusal(as_batch, INPUTS, (x,)).message
    for given in (x, "text", 3, None, {x.tobytes()}):
        assert "mapping from input names to arrays" in refusal(as_batch, INPUTS, given).message


def test_shapes_are_checked(x: Any, y: Any) -> None:
    assert refusal(as_batch, INPUTS, (x[:, :2], y)).message == (
        "the input `x` is float32 [batch, 3], but the batch has float32 [2, 2]"
    )
    assert refusal(as_batch, INPUTS, (x, y[:, None])).help == "the last axis has one place: leave it out"
    assert "one axis is missing" in str(refusal(as_batch, INPUTS, (x[0], y)))
    assert refusal(as_batch, INPUTS, (x, y[:1])).message == (
        "`batch` is 2 in the input `x`, but 1 in the input `labels`"
    )
    assert refusal(as_batch, INPUTS, (x[:0], y[:0])).message == "the batch is empty: the input `x` has the shape [0, 3]"


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "i8", "u8", "?", "f2", "f8", ">f4"])
def test_what_loses_nothing_is_converted(dtype: str, x: Any, y: Any) -> None:
    batch = as_batch(INPUTS, ((x > 2).astype(dtype), np.array([1, 0]).astype(dtype)))
    assert batch["x"].dtype == np.float32 and batch["labels"].dtype == np.int64
    assert batch["x"].tolist() == [[0, 0, 0], [1, 1, 1]] and batch["labels"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("value", "into"),
    [
        (0.5, "i8"), (np.nan, "i8"), (np.inf, "i4"), (2.0**63, "i8"), (-(2.0**70), "i8"), (2**24 + 1, "f4"),
        (1e39, "f4"), (2**32 + 1, "i4"), (-1, "u8"), (2**63, "i8"), (2, "?"),
    ],
)  # fmt: skip
def test_what_would_lose_something_is_refused(value: Any, into: str) -> None:
    port = Input("x", np.dtype(into), (None,))
    error = refusal(port.take, np.array([0, value]))
    assert f"the input `x` takes {np.dtype(into)}, which cannot hold" in error.message and "[1]" in error.message


def test_floats_may_be_rounded_and_need_not_be_numbers() -> None:
    taken = Input("x", np.dtype(np.float32), (None,)).take([0.1, np.nan, np.inf])
    np.testing.assert_array_equal(taken, np.array([0.1, np.nan, np.inf], np.float32))


@pytest.mark.parametrize("value", [["a"], [None], [[1, 2], [3]], object(), np.array(["2020"], "M8"), [1j]])
def test_what_is_no_array_of_numbers_is_refused(value: Any) -> None:
    assert "the input `x`" in refusal(Input("x", np.dtype(np.float32), (None,)).take, value).message


def test_ranges_are_checked() -> None:
    error = refusal(LABELS.take, [0, -1])
    assert error.message == "the input `labels` holds -1 at [1]; expected 0 to 9, or -100, which does not count"
    assert LABELS.take([0, 9, -100]).tolist() == [0, 9, -100]
    assert "holds 10 at [0]" in refusal(LABELS.take, [10]).message
    assert Input("x", np.dtype(np.int64), (None,), (Range(None),)).take([-5, 10**9]).size == 2
    # Numbers of the second of two columns, and probabilities, which may be off by rounding.
    column = Input("x", np.dtype(np.int64), (None, 2), (Range(4, part=(1, -1, 2)),))
    assert column.take([[99, 4]]).size == 2
    assert "holds 5 at [1, 1]" in refusal(column.take, [[99, 4], [0, 5]]).message
    probabilities = Input("p", np.dtype(np.float32), (None,), (Range(1),))
    assert probabilities.take([-1e-5, 1.0001]).size == 2
    assert "holds nan" in refusal(probabilities.take, [np.nan]).message


class Subclass(np.ndarray):
    """An array with a class of its own."""


def test_arrays_are_made_contiguous(x: Any) -> None:
    for given in (x.T.copy().T, x[:, ::-1][:, ::-1], np.asfortranarray(x)):
        taken = X.take(given)
        assert taken.flags.c_contiguous and np.array_equal(taken, x)
    assert type(X.take(x.view(Subclass))) is np.ndarray
    assert Input("x", np.dtype(np.float32), ()).take(3).shape == ()


class OnDevice:
    """What DLPack knows of an array, in the memory of some device."""

    def __init__(self, array: Any, device: int) -> None:
        self.array, self.device = array, device

    def __dlpack__(self, **settings: Any) -> Any:
        return self.array.__dlpack__(**settings)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0


def test_dlpack_is_read_without_a_copy(x: Any) -> None:
    taken = X.take(OnDevice(x, 1))
    assert np.shares_memory(taken, x) and np.array_equal(taken, x)
    error = refusal(X.take, OnDevice(x, 2))
    assert "in the memory of another device (number 2 of DLPack)" in error.message and ".cpu()" in str(error)


def test_tensors_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    taken = X.take(tensor)
    assert np.shares_memory(taken, tensor.numpy()) and taken.dtype == np.float32
    assert X.take(tensor.double()).dtype == np.float32
    assert np.array_equal(X.take(tensor.T.contiguous().T), tensor.numpy())
    assert LABELS.take(torch.tensor([1, 2], dtype=torch.int32)).dtype == np.int64
    assert "requires grad" in refusal(X.take, tensor.clone().requires_grad_()).message
    assert "bfloat16" in refusal(X.take, tensor.bfloat16()).message.lower()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(tensor, torch.tensor([1, 2])), batch_size=2)
    assert as_batch(INPUTS, next(iter(loader)))["labels"].tolist() == [1, 2]

"""Cases of transforms, running products, caches, and of numbers in few bits."""

import numpy as np

from building import floats, ints, one_node, positive


def transforms():
    real, complex_ = floats(2, 6, 1), floats(2, 5, 2)
    for inverse in (0, 1):
        yield one_node(f"complex_{inverse}", "DFT", [complex_], inverse=inverse, axis=1, opset=19)
        for length in (4, 7):
            yield one_node(
                f"length_{length}_{inverse}", "DFT", [complex_, np.int64(length)], inverse=inverse, axis=1, opset=19
            )
    yield one_node("real", "DFT", [real], axis=1, opset=19)
    yield one_node("real_half", "DFT", [real], axis=1, onesided=1, opset=19)
    yield one_node("real_half_odd", "DFT", [floats(2, 7, 1)], axis=1, onesided=1, opset=19)
    yield one_node("real_half_length", "DFT", [real, np.int64(9)], axis=1, onesided=1, opset=19)
    yield one_node("last_but_one", "DFT", [floats(2, 3, 4, 2), None, np.int64(-2)], opset=20)
    yield one_node("first", "DFT", [floats(4, 3, 1), None, np.int64(0)], onesided=1, opset=20)
    for length in (None, 6, 7):
        given = [floats(2, 4, 2)] + ([None, np.int64(1)] if length is None else [np.int64(length), np.int64(1)])
        yield one_node(f"back_to_real_{length}", "DFT", given, onesided=1, inverse=1, opset=20)
    signal, step = floats(2, 16, 1), np.int64(3)
    yield one_node("length", "STFT", [signal, step, None, np.int64(5)])
    yield one_node("window", "STFT", [signal, step, positive(6)])
    yield one_node("all_frequencies", "STFT", [signal, step, positive(6), np.int64(6)], onesided=0)
    yield one_node("complex", "STFT", [floats(1, 12, 2), step, positive(4)], onesided=0)


def products():
    x = positive(2, 3, 4)
    for exclusive in (0, 1):
        for reverse in (0, 1):
            options = dict(exclusive=exclusive, reverse=reverse, opset=26)
            yield one_node(f"middle_{exclusive}{reverse}", "CumProd", [x, np.int64(1)], **options)
            zeros = floats(3, 5)
            zeros[0, 2] = zeros[1, 1] = zeros[1, 3] = 0
            yield one_node(f"zeros_{exclusive}{reverse}", "CumProd", [zeros, np.int64(-1)], moved=False, **options)
    for size in (1, 2, 3, 4):
        yield one_node(f"of_{size}", "Det", [floats(2, size, size) + np.eye(size, dtype=np.float32)])
    yield one_node("alone", "Det", [floats(3, 3)])
    singular = np.array([[[1, 2, 3], [2, 4, 6], [1, 1, 2]]], np.float32)
    yield one_node("singular", "Det", [singular], moved=False)


def caches():
    cache, update = floats(2, 3, 5, 2), floats(2, 3, 2, 2, seed=1)
    yield one_node("linear", "TensorScatter", [cache, update, ints(0, 3)], opset=24)
    yield one_node("circular", "TensorScatter", [cache, update, ints(4, 1)], mode="circular", opset=24)
    yield one_node("no_starts", "TensorScatter", [cache, floats(2, 2, 5, 2, seed=1)], axis=1, opset=24)
    yield one_node("matrix", "Unique", [floats(3, 4)], outputs=["y0", "_i", "_j", "_k"])
    yield one_node("rows", "Unique", [floats(4, 3)], outputs=["y0", "_i", "_j", "_k"], axis=0, sorted=0)


def few_bits():
    whole = np.random.default_rng(1).integers(0, 255, (3, 4)).astype(np.uint8)
    yield one_node("tensor", "DequantizeLinear", [whole, np.float32(0.3), np.uint8(120)], opset=21)
    yield one_node("rows", "DequantizeLinear", [whole, positive(3), np.full(3, 99, np.uint8)], axis=0, opset=21)
    yield one_node("no_zero_point", "DequantizeLinear", [whole, positive(4)], axis=-1, opset=21)
    yield one_node("blocks", "DequantizeLinear", [whole, positive(3, 2)], axis=1, block_size=2, opset=21)
    yield one_node("scale", "DynamicQuantizeLinear", [floats(3, 4)], outputs=["_y", "y1", "_z"])
    yield one_node("same", "BitCast", [floats(3, 4)], to=1, opset=26)


def signal_cases():
    for family in (transforms, products, caches, few_bits):
        yield from family()

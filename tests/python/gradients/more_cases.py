"""Cases that the standard's node tests lack: shapes, attributes and operators of `com.microsoft`."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from building import OPSET, floats, ints, one_node, positive, separated
from signal_cases import signal_cases
from spatial_cases import spatial_cases
from transformer_cases import transformer_cases

SINGULAR_POINTS = Path(__file__).parents[2] / "gradients/singular_points.json"


def elementwise():
    for operator in ("Add", "Sub", "Mul", "Div", "Pow"):
        for name, a, b in (
            ("both_broadcast", (3, 1, 2), (4, 1)),
            ("scalar_right", (2, 3), ()),
            ("scalar_left", (), (2, 3)),
            ("ones_kept", (1, 1), (2, 3)),
            ("same_operand_rank", (2, 1, 3), (2, 4, 3)),
        ):
            yield one_node(name, operator, [positive(*a), positive(*b, seed=1)])
    for operator in ("Max", "Min", "Mean", "Sum"):
        yield one_node("broadcast", operator, [floats(2, 3), floats(3, seed=1), floats(2, 1, seed=2)])
        yield one_node("scalar", operator, [floats(2, 3), floats(seed=1)])
    yield one_node("broadcast", "Where", [np.array([[True], [False]]), floats(2, 3), floats(3, seed=1)])
    yield one_node("broadcast_scalar", "Where", [np.array([True, False, True]), floats(), floats(2, 3, seed=1)])
    yield one_node("negative_base_whole_exponent", "Pow", [floats(2, 3, low=-2.0, high=-0.5), ints(2, 3, 2)])
    yield one_node("square", "Pow", [floats(2, 3), ints(2)[0]])
    yield one_node("same_type", "CastLike", [floats(2, 3), floats(4)])
    yield one_node("bounds_left_out", "Clip", [floats(3, 4)])
    yield one_node("inside_and_outside", "Clip", [floats(3, 4), np.float32(-0.4), np.float32(0.5)])
    yield one_node("large", "Sigmoid", [floats(20, low=-12.0, high=12.0)])
    yield one_node("large", "Softplus", [floats(3, low=-30.0, high=30.0)])
    yield one_node("large", "Tanh", [floats(3, low=-8.0, high=8.0)])
    yield one_node("around_zero", "Erf", [floats(2, 5, low=-2.0, high=2.0)])
    yield one_node("negative", "Reciprocal", [floats(2, 5, low=-2.0, high=-0.5)])
    yield one_node("both_signs", "Abs", [floats(2, 5)])
    yield one_node("both_signs", "Relu", [floats(2, 5)])
    yield one_node("rank_0", "Relu", [floats()])
    for approximate in ("none", "tanh"):
        yield one_node(
            f"around_zero_{approximate}", "Gelu", [floats(4, 5, low=-3, high=3)], opset=20, approximate=approximate
        )
    yield one_node("default", "Elu", [floats(3, 4)])
    yield one_node("default", "HardSigmoid", [floats(3, 4, low=-4, high=4)])
    yield one_node("all_pieces", "HardSwish", [floats(3, 8, low=-5, high=5)])
    yield one_node("slope_by_channel", "PRelu", [floats(2, 3, 2), floats(3, 1, seed=1)])
    yield one_node("slope_of_one", "PRelu", [floats(2, 3, 2), floats(1, seed=1)])
    for operator in ("Softmax", "LogSoftmax"):
        yield one_node("rank_1", operator, [floats(5)])
        yield one_node("first_axis", operator, [floats(3, 2, 4)], axis=0)
        yield one_node("axis_of_one", operator, [floats(3, 1)])


def products():
    shapes = {
        "2d": ((2, 3), (3, 4)),
        "batch": ((2, 2, 3), (2, 3, 4)),
        "batch_of_one": ((1, 2, 3), (5, 3, 4)),
        "batch_left_only": ((5, 2, 3), (3, 4)),
        "batch_right_only": ((2, 3), (5, 3, 4)),
        "batches_cross": ((2, 1, 2, 3), (3, 3, 4)),
        "vector_vector": ((3,), (3,)),
        "vector_matrix": ((3,), (3, 4)),
        "matrix_vector": ((2, 3), (3,)),
        "vector_batch": ((3,), (5, 3, 4)),
        "batch_vector": ((5, 2, 3), (3,)),
        "batches_vector": ((2, 5, 2, 3), (3,)),
        "column": ((2, 3), (3, 1)),
    }
    for name, (a, b) in shapes.items():
        yield one_node(name, "MatMul", [floats(*a), floats(*b, seed=1)])
    for a in (0, 1):
        for b in (0, 1):
            shape = lambda transposed, rows, columns: (columns, rows) if transposed else (rows, columns)
            inputs = [floats(*shape(a, 2, 3)), floats(*shape(b, 3, 4), seed=1), floats(4, seed=2)]
            yield one_node(f"transposed_{a}{b}", "Gemm", inputs, transA=a, transB=b, alpha=0.5, beta=-1.5)
    for name, c in (("scalar", ()), ("row", (1, 4)), ("column", (2, 1)), ("full", (2, 4)), ("one", (1,))):
        yield one_node(f"bias_{name}", "Gemm", [floats(2, 3), floats(3, 4, seed=1), floats(*c, seed=2)])
    yield one_node("no_bias", "Gemm", [floats(2, 3), floats(3, 4, seed=1)])


def convolutions():
    def conv(name, x, w, bias=True, **attributes):
        inputs = [floats(*x), floats(*w, seed=1)] + ([floats(w[0], seed=2)] if bias else [])
        return one_node(name, "Conv", inputs, **attributes)

    yield conv("1d", (2, 3, 8), (4, 3, 3))
    yield conv("1d_stride_pads", (2, 3, 8), (4, 3, 3), strides=[2], pads=[1, 2])
    yield conv("1d_dilation", (1, 2, 9), (3, 2, 3), dilations=[3])
    yield conv("1d_depthwise", (2, 4, 8), (4, 1, 3), group=4, pads=[1, 1])
    yield conv("2d", (2, 3, 5, 6), (4, 3, 3, 2), bias=False)
    yield conv("2d_pads", (1, 2, 5, 5), (3, 2, 3, 3), pads=[1, 0, 2, 1])
    yield conv("2d_strides", (1, 2, 7, 8), (3, 2, 3, 3), strides=[2, 3])
    yield conv("2d_strides_leave_rest", (1, 2, 8, 8), (3, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
    yield conv("2d_stride_beyond_kernel", (1, 2, 8, 8), (3, 2, 1, 1), strides=[3, 2])
    yield conv("2d_dilations", (1, 2, 8, 8), (3, 2, 3, 2), dilations=[2, 3])
    yield conv(
        "2d_dilations_strides_pads", (2, 2, 9, 8), (3, 2, 3, 3), dilations=[2, 1], strides=[2, 3], pads=[1, 2, 0, 1]
    )
    yield conv("2d_groups", (2, 4, 5, 5), (6, 2, 3, 3), group=2)
    yield conv("2d_groups_strides_pads", (2, 6, 7, 7), (6, 2, 3, 3), group=3, strides=[2, 2], pads=[1, 1, 1, 1])
    yield conv("2d_depthwise", (1, 4, 6, 6), (8, 1, 3, 3), group=4, pads=[1, 1, 1, 1])
    yield conv("2d_pointwise", (2, 3, 4, 4), (5, 3, 1, 1))
    yield conv("2d_kernel_covers", (2, 3, 4, 4), (5, 3, 4, 4))
    for auto_pad in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        yield conv(f"2d_{auto_pad.lower()}", (1, 2, 6, 7), (3, 2, 3, 2), auto_pad=auto_pad, strides=[2, 2])
        yield conv(f"1d_{auto_pad.lower()}", (1, 2, 7), (3, 2, 4), auto_pad=auto_pad)
    yield conv("1d_large_kernel", (2, 2, 290), (3, 2, 280), pads=[3, 2])
    yield conv("1d_large_kernel_strides", (2, 1, 300), (2, 1, 270), strides=[4], pads=[1, 2])
    yield conv("2d_large_kernel_groups", (2, 4, 22, 20), (4, 2, 18, 16), group=2, strides=[2, 3], pads=[1, 2, 0, 1])
    yield conv("3d", (1, 2, 4, 5, 4), (3, 2, 2, 3, 2))
    yield conv(
        "3d_all",
        (1, 4, 5, 6, 5),
        (4, 2, 2, 3, 2),
        group=2,
        strides=[2, 1, 2],
        pads=[1, 0, 1, 0, 1, 1],
        dilations=[1, 2, 1],
    )

    def transposed(name, x, w, bias=True, group=1, **attributes):
        inputs = [floats(*x), floats(*w, seed=1)] + ([floats(w[1] * group, seed=2)] if bias else [])
        return one_node(name, "ConvTranspose", inputs, group=group, **attributes)

    yield transposed("1d", (2, 3, 5), (3, 4, 3))
    yield transposed("1d_stride", (2, 3, 5), (3, 4, 3), strides=[2], pads=[1, 0], output_padding=[1])
    yield transposed("2d", (1, 2, 4, 3), (2, 3, 3, 2), bias=False)
    yield transposed("2d_strides", (1, 2, 4, 3), (2, 3, 3, 3), strides=[2, 3])
    yield transposed("2d_pads", (1, 2, 4, 5), (2, 3, 3, 3), pads=[1, 0, 2, 1])
    yield transposed(
        "2d_output_padding", (1, 2, 4, 3), (2, 3, 3, 3), strides=[3, 2], output_padding=[2, 1], pads=[1, 1, 1, 1]
    )
    yield transposed("2d_dilations", (1, 2, 4, 3), (2, 3, 3, 2), dilations=[2, 3], strides=[1, 2])
    yield transposed("2d_groups", (2, 4, 3, 3), (4, 3, 2, 2), group=2, strides=[2, 2])
    yield transposed("2d_depthwise", (1, 3, 4, 4), (3, 1, 3, 3), group=3, pads=[1, 1, 1, 1])
    yield transposed("2d_output_shape", (1, 2, 3, 3), (2, 2, 3, 3), strides=[3, 2], output_shape=[10, 8])
    for auto_pad in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        yield transposed(f"2d_{auto_pad.lower()}", (1, 2, 3, 4), (2, 3, 3, 3), auto_pad=auto_pad, strides=[2, 2])
    yield transposed("1d_large_kernel", (2, 2, 5), (2, 3, 270), strides=[2], pads=[4, 3])
    yield transposed("3d", (1, 2, 3, 2, 3), (2, 2, 2, 2, 2), strides=[2, 1, 2], pads=[0, 1, 0, 1, 0, 0])


def pools():
    for operator in ("MaxPool", "AveragePool"):
        opset = 19 if operator == "AveragePool" else OPSET
        plain = dict(opset=opset)
        yield one_node("1d", operator, [floats(2, 3, 8)], kernel_shape=[3], **plain)
        yield one_node("1d_overlap", operator, [floats(1, 2, 8)], kernel_shape=[3], strides=[2], pads=[1, 1], **plain)
        yield one_node("2d_apart", operator, [floats(2, 2, 6, 6)], kernel_shape=[2, 2], strides=[2, 2], **plain)
        yield one_node(
            "2d_overlap",
            operator,
            [floats(2, 2, 6, 7)],
            kernel_shape=[3, 3],
            strides=[2, 1],
            pads=[1, 0, 1, 1],
            **plain,
        )
        yield one_node("2d_skipping", operator, [floats(1, 2, 8, 8)], kernel_shape=[2, 2], strides=[3, 3], **plain)
        yield one_node(
            "2d_ceil", operator, [floats(1, 2, 6, 7)], kernel_shape=[3, 3], strides=[2, 3], ceil_mode=1, **plain
        )
        ceil_pads = dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1)
        yield one_node("2d_ceil_pads", operator, [floats(1, 2, 6, 6)], **ceil_pads, **plain)
        yield one_node("2d_dilations", operator, [floats(1, 2, 8, 8)], kernel_shape=[3, 2], dilations=[2, 3], **plain)
        for auto_pad in ("SAME_UPPER", "SAME_LOWER", "VALID"):
            same = dict(kernel_shape=[3, 2], strides=[2, 2], auto_pad=auto_pad)
            yield one_node(f"2d_{auto_pad.lower()}", operator, [floats(1, 2, 6, 7)], **same, **plain)
        yield one_node("3d", operator, [floats(1, 2, 4, 5, 4)], kernel_shape=[2, 3, 2], strides=[2, 1, 2], **plain)
    counted = dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1, opset=19)
    yield one_node("2d_count_include_pad", "AveragePool", [floats(1, 2, 6, 6)], **counted)
    yield one_node("2d_count_include_pad_ceil", "AveragePool", [floats(1, 2, 6, 6)], ceil_mode=1, **counted)
    yield one_node(
        "negative_everywhere", "MaxPool", [floats(1, 1, 5, 5, low=-3, high=-1)], kernel_shape=[3, 3], pads=[1, 1, 1, 1]
    )
    for operator in ("GlobalAveragePool", "GlobalMaxPool"):
        yield one_node("1d", operator, [floats(2, 3, 5)])
        yield one_node("3d", operator, [separated(2, 3, 2, 3, 4)], moved=False)
    yield one_node("2d", "GlobalLpPool", [floats(2, 3, 3, 4)], p=2)
    yield one_node(
        "2d_overlap", "LpPool", [floats(1, 2, 5, 6)], p=3, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]
    )


def norms():
    for name, shape in (("2d", (6, 3)), ("3d", (4, 3, 5)), ("4d", (2, 3, 4, 4))):
        c = shape[1]
        inputs = [floats(*shape), positive(c), floats(c, seed=1), floats(c, seed=2), positive(c, seed=3)]
        yield one_node(f"{name}_training", "BatchNormalization", inputs, outputs=3, training_mode=1, epsilon=1e-3)
        yield one_node(f"{name}_frozen", "BatchNormalization", inputs, epsilon=1e-3)
    for name, shape, axis in (("last", (2, 3, 4), -1), ("last_two", (2, 3, 4), 1), ("all", (3, 4), 0)):
        scale = shape[axis:]
        yield one_node(
            name, "LayerNormalization", [floats(*shape), positive(*scale), floats(*scale, seed=1)], axis=axis
        )
        yield one_node(
            f"{name}_no_bias", "LayerNormalization", [floats(*shape), positive(*scale)], axis=axis, epsilon=0.1
        )
    yield one_node("scale_broadcasts", "LayerNormalization", [floats(2, 3, 4), positive(4), floats(1, seed=1)], axis=1)
    yield one_node("1d", "InstanceNormalization", [floats(2, 3, 5), positive(3), floats(3, seed=1)], epsilon=1e-2)
    yield one_node("3d", "InstanceNormalization", [floats(1, 2, 2, 3, 2), positive(2), floats(2, seed=1)])
    for groups in (1, 2, 4):
        inputs = [floats(2, 4, 3, 2), positive(4), floats(4, seed=1)]
        yield one_node(f"{groups}_groups", "GroupNormalization", inputs, num_groups=groups, opset=21)
    inputs = [floats(2, 4, 3, 2), positive(2), floats(2, seed=1)]
    yield one_node("scale_by_group", "GroupNormalization", inputs, num_groups=2, opset=18)
    for size in (1, 3, 5):
        yield one_node(f"size_{size}", "LRN", [floats(2, 4, 3, 2)], size=size, alpha=0.5, beta=0.6, bias=1.5)


def reductions():
    for operator in (
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL2",
        "ReduceLogSumExp",
        "ReduceSumSquare",
    ):
        opset = 20 if operator in ("ReduceMax", "ReduceMin") else OPSET
        x = positive(2, 3, 4)
        for keepdims in (0, 1):
            yield one_node(f"one_axis_{keepdims}", operator, [x, ints(1)], keepdims=keepdims, opset=opset)
            yield one_node(f"two_axes_{keepdims}", operator, [x, ints(0, -1)], keepdims=keepdims, opset=opset)
            yield one_node(f"all_axes_{keepdims}", operator, [x], keepdims=keepdims, opset=opset)
        yield one_node("noop", operator, [x], noop_with_empty_axes=1, opset=opset)
        yield one_node("no_axes", operator, [x, ints()], opset=opset)
        yield one_node("rank_0", operator, [positive()], opset=opset)
    for name, zeros in (("one_zero", [(0, 1)]), ("two_zeros", [(0, 1), (0, 2)]), ("two_zeros_apart", [(0, 1), (1, 1)])):
        x = positive(2, 3)
        for index in zeros:
            x[index] = 0.0
        yield one_node(name, "ReduceProd", [x, ints(1)], moved=False)
        yield one_node(f"all_{name}", "ReduceProd", [x], moved=False)
    yield one_node("negative", "ReduceProd", [floats(3, 4), ints(0)])
    yield one_node("large", "ReduceLogSumExp", [floats(3, 4, low=80, high=90), ints(0)])


def layouts():
    x = floats(2, 3, 4)
    yield one_node("zero_and_rest", "Reshape", [x, ints(0, -1)])
    yield one_node("to_vector", "Reshape", [x, ints(-1)])
    yield one_node("of_scalar", "Reshape", [floats(), ints(1, 1)])
    for axis in (0, 1, 2, 3, -1):
        yield one_node(f"axis_{axis}".replace("-", "minus_"), "Flatten", [x], axis=axis)
    yield one_node("default", "Transpose", [x])
    yield one_node("cycle", "Transpose", [x], perm=[2, 0, 1])
    yield one_node("all", "Squeeze", [floats(1, 3, 1)])
    yield one_node("negative", "Squeeze", [floats(1, 3, 1), ints(-1)])
    yield one_node("several", "Unsqueeze", [x, ints(0, -1)])
    yield one_node("higher_rank", "Expand", [floats(3, 1), ints(2, 3, 4)])
    yield one_node("ones_in_shape", "Expand", [floats(3, 4), ints(2, 1, 1)])
    yield one_node("scalar", "Expand", [floats(), ints(2, 3)])
    yield one_node("all_axes", "Tile", [x, ints(2, 1, 3)])
    yield one_node("none", "Tile", [x, ints(1, 1, 1)])
    yield one_node("vector", "Tile", [floats(3), ints(4)])
    yield one_node("three", "Concat", [x, floats(2, 1, 4, seed=1), floats(2, 2, 4, seed=2)], axis=1)
    yield one_node("negative_axis", "Concat", [x, floats(2, 3, 1, seed=1)], axis=-1)
    yield one_node("single", "Concat", [x], axis=0)
    yield one_node("given", "Split", [floats(2, 6), ints(1, 3, 2)], outputs=3, axis=1)
    yield one_node("equal", "Split", [floats(6, 2)], outputs=3, num_outputs=3)
    yield one_node("last_smaller", "Split", [floats(7, 2)], outputs=3, num_outputs=3)
    yield one_node("output_unused", "Split", [floats(2, 6), ints(1, 3, 2)], outputs=["a", "_b", "c"], axis=-1)
    yield one_node("steps", "Slice", [floats(5, 6), ints(0, 1), ints(5, 6), ints(0, 1), ints(2, 3)])
    yield one_node("negative_step", "Slice", [floats(5, 6), ints(4), ints(-6), ints(0), ints(-2)])
    yield one_node(
        "negative_step_all_axes", "Slice", [floats(5, 6), ints(-1, 4), ints(-99, 0), ints(0, 1), ints(-1, -2)]
    )
    yield one_node("beyond_the_end", "Slice", [floats(5, 6), ints(1), ints(2**40), ints(-1)])
    yield one_node("no_axes", "Slice", [floats(5, 6), ints(1, 2), ints(4, -1)])
    for mode in ("constant", "reflect", "edge", "wrap"):
        opset = 19 if mode == "wrap" else OPSET
        yield one_node(f"{mode}_2d", "Pad", [floats(3, 4), ints(1, 0, 2, 3)], mode=mode, opset=opset)
        yield one_node(f"{mode}_begin", "Pad", [floats(2, 4), ints(0, 2, 0, 0)], mode=mode, opset=opset)
    yield one_node("constant_value", "Pad", [floats(3, 4), ints(1, 0, 2, 3), np.float32(0.7)])
    yield one_node("negative", "Pad", [floats(4, 5), ints(-1, 1, 0, -2)])
    yield one_node("axes", "Pad", [floats(2, 3, 4), ints(1, 2), None, ints(-1)])
    for mode in ("DCR", "CRD"):
        yield one_node(mode.lower(), "DepthToSpace", [floats(2, 8, 2, 3)], blocksize=2, mode=mode)
    yield one_node("two", "SpaceToDepth", [floats(2, 2, 4, 6)], blocksize=2)
    for upper in (0, 1):
        yield one_node(f"plain_{upper}", "Trilu", [floats(3, 4)], upper=upper)
        yield one_node(f"batch_{upper}", "Trilu", [floats(2, 4, 3), np.int64(1)], upper=upper)
        yield one_node(f"below_{upper}", "Trilu", [floats(2, 4, 3), np.int64(-1)], upper=upper)


def resizes():
    def resize(name, shape, scales=None, sizes=None, opset=19, roi=None, **attributes):
        inputs = [floats(*shape), roi, None if scales is None else np.array(scales, np.float32)]
        return one_node(name, "Resize", inputs + ([ints(*sizes)] if sizes else []), opset=opset, **attributes)

    for mode in ("nearest", "linear"):
        for coordinates in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"):
            options = dict(mode=mode, coordinate_transformation_mode=coordinates)
            yield resize(f"{mode}_{coordinates}_up", (1, 2, 3, 4), scales=[1, 1, 2, 2], **options)
            yield resize(f"{mode}_{coordinates}_sizes", (1, 2, 5, 4), sizes=[1, 2, 3, 7], **options)
        yield resize(f"{mode}_1d", (1, 2, 5), scales=[1, 1, 2], mode=mode)
        yield resize(f"{mode}_3d", (1, 1, 2, 3, 2), scales=[1, 1, 2, 2, 2], mode=mode)
    for rounding in ("floor", "ceil", "round_prefer_ceil"):
        yield resize(
            f"nearest_{rounding}", (1, 1, 4, 4), scales=[1, 1, 1.6, 2.5], mode="nearest", nearest_mode=rounding
        )
    yield resize(
        "nearest_repeated",
        (2, 1, 2, 3),
        scales=[1, 1, 2, 3],
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    yield resize("linear_antialias_down", (1, 1, 6, 6), scales=[1, 1, 0.5, 0.5], mode="linear", antialias=1)
    for coordinates in ("pytorch_half_pixel", "align_corners", "half_pixel_symmetric"):
        yield resize(
            f"cubic_{coordinates}",
            (1, 2, 5, 4),
            sizes=[1, 2, 3, 7],
            mode="cubic",
            coordinate_transformation_mode=coordinates,
        )
    for mode in ("nearest", "linear", "cubic"):
        for policy in ("not_larger", "not_smaller"):
            yield resize(
                f"{mode}_{policy}", (1, 2, 4, 5), sizes=[7, 12], mode=mode, axes=[2, 3], keep_aspect_ratio_policy=policy
            )
    for mode in ("nearest", "linear"):
        region = np.array([0, 0, 0.3, -0.2, 1, 1, 1.2, 0.7], np.float32)
        yield resize(
            f"{mode}_region",
            (1, 2, 4, 5),
            sizes=[1, 2, 3, 6],
            roi=region,
            mode=mode,
            extrapolation_value=2.5,
            coordinate_transformation_mode="tf_crop_and_resize",
        )


def indices():
    x = floats(4, 3, 2)
    yield one_node("repeated", "Gather", [x, ints(0, 2, 0, -1)])
    yield one_node("scalar_index", "Gather", [x, np.int64(1)], axis=1)
    yield one_node("matrix_of_indices", "Gather", [x, np.array([[0, 1], [-2, 0]])], axis=-1)
    yield one_node("int32", "Gather", [x, ints(1, 1, dtype=np.int32)], axis=1)
    yield one_node("repeated", "GatherElements", [floats(3, 4), np.array([[0, 0, 2, 1], [-1, 0, 1, 1]])], axis=0)
    yield one_node("last_axis", "GatherElements", [floats(3, 4), np.array([[0, 0], [3, 1], [-1, 2]])], axis=1)
    yield one_node("whole_index", "GatherND", [x, np.array([[0, 0, 1], [3, 2, 0], [0, 0, 1]])])
    yield one_node("rows", "GatherND", [x, np.array([[0], [-1], [0]])])
    yield one_node("batch", "GatherND", [floats(2, 3, 4), np.array([[[0], [2]], [[1], [1]]])], batch_dims=1)
    yield one_node("batch_2", "GatherND", [floats(2, 3, 4), np.arange(6).reshape(2, 3, 1) % 4], batch_dims=2)
    yield one_node("vector_index", "GatherND", [x, ints(1, 2)])
    for reduction in ("none", "add", "mul", "max", "min"):
        repeated = reduction != "none"
        index = np.array([[1, 0, 1 if repeated else 2], [0, 2, 0 if repeated else 1]])
        inputs = [floats(2, 4), index, floats(2, 3, seed=1)]
        yield one_node(f"{reduction}_last_axis", "ScatterElements", inputs, axis=1, reduction=reduction)
        inputs = [floats(4, 3), np.array([[1, 0, -1], [0, 2, 1]]), floats(2, 3, seed=1)]
        yield one_node(f"{reduction}_first_axis", "ScatterElements", inputs, axis=0, reduction=reduction)
        where = np.array([[0], [2], [0]]) if repeated else np.array([[0], [2], [-1]])
        yield one_node(
            f"{reduction}_rows", "ScatterND", [floats(4, 3), where, floats(3, 3, seed=1)], reduction=reduction
        )
        inputs = [floats(2, 3, 2), np.array([[[0, 1], [1, 2]]]), floats(1, 2, 2, seed=1)]
        yield one_node(f"{reduction}_pairs", "ScatterND", inputs, reduction=reduction)


def losses_and_dropout():
    for reduction in ("none", "mean", "sum"):
        for name, shape, labels in (
            ("2d", (4, 5), ints(0, 3, 4, 2)),
            ("3d", (2, 3, 4), np.arange(8).reshape(2, 4) % 3),
        ):
            for ignored in (None, 2):
                options = dict(reduction=reduction) | ({} if ignored is None else dict(ignore_index=ignored))
                suffix = f"{name}_{reduction}" + ("" if ignored is None else "_ignored")
                weights = positive(shape[1], seed=2)
                for weighted in ([], [weights]):
                    full = suffix + ("_weighted" if weighted else "")
                    inputs = [floats(*shape), labels, *weighted]
                    yield one_node(full, "SoftmaxCrossEntropyLoss", inputs, **options)
                    yield one_node(full, "NegativeLogLikelihoodLoss", inputs, **options)
    yield one_node("both_outputs", "SoftmaxCrossEntropyLoss", [floats(4, 5), ints(0, 3, 4, 2)], outputs=2)
    # Masks from the engine are drawn with the number of the node as the seed: of the first, 0.
    yield one_node("training", "Dropout", [floats(8, 9), np.float32(0.4), np.bool_(True)], seed=0)
    yield one_node("training_mask", "Dropout", [floats(8, 9), np.float32(0.4), np.bool_(True)], outputs=2, seed=0)
    yield one_node("inference", "Dropout", [floats(8, 9), np.float32(0.4)])


def contrib():
    x = floats(3, 4, low=-3, high=3)
    contrib = dict(domain="com.microsoft")
    yield one_node("plain", "Gelu", [x], **contrib)
    yield one_node("plain", "FastGelu", [x], **contrib)
    yield one_node("bias", "FastGelu", [x, floats(4, seed=1)], **contrib)
    yield one_node("plain", "BiasGelu", [x, floats(4, seed=1)], **contrib)
    yield one_node("default", "QuickGelu", [x], **contrib)
    yield one_node("alpha", "QuickGelu", [x], alpha=0.8, **contrib)
    for a in (0, 1):
        for b in (0, 1):
            left, right = floats(*((2, 5, 3) if a else (2, 3, 5))), floats(*((2, 4, 5) if b else (2, 5, 4)), seed=1)
            yield one_node(f"transposed_{a}{b}", "FusedMatMul", [left, right], transA=a, transB=b, alpha=0.5, **contrib)
    batch = dict(transBatchA=1, **contrib)
    yield one_node("transposed_batch", "FusedMatMul", [floats(3, 2, 5), floats(2, 5, 4, seed=1)], **batch)


def branches():
    """Branches that capture the same and different values, one of which makes its result of a constant; and branches in one."""
    from cases import Case

    def body(nodes, output, **constants):
        constants = [numpy_helper.from_array(value, name) for name, value in constants.items()]
        result = helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)
        return helper.make_graph(nodes, "body", [], [result], constants)

    node = helper.make_node
    scaled = body([node("Mul", ["h", "w"], ["a"]), node("Mul", ["a", "two"], ["b"])], "b", two=np.float32([2]))
    bent = body([node("Sin", ["h"], ["d"]), node("Mul", ["d", "u"], ["e"]), node("Mul", ["e", "d"], ["f"])], "f")
    inner = [body([node("Mul", ["p", "w"], ["q"])], "q"), body([node("Mul", ["p", "p"], ["r"])], "r")]
    inside = node("If", ["inner"], ["s"], then_branch=inner[0], else_branch=inner[1])
    nested = body([node("Exp", ["h"], ["p"]), inside, node("Mul", ["s", "p"], ["t"])], "t")
    handed_on = body([node("Identity", ["x"], ["g"])], "g")
    values = {"x": floats(3, 4), "w": floats(4, seed=1), "u": floats(3, 1, seed=2)}
    for name, then, otherwise in (("plain", scaled, bent), ("nested", nested, handed_on)):
        for taken in (True, False):
            given = {**values, "c": np.array(taken), "inner": np.array(not taken)}
            nodes = [node("Sigmoid", ["x"], ["h"]), node("If", ["c"], ["y"], then_branch=then, else_branch=otherwise)]
            read = "xwuc" if name == "plain" else ["x", "w", "c", "inner"]
            given = {key: given[key] for key in read}
            inputs = [
                helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
                for k, v in given.items()
            ]
            output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
            graph = helper.make_graph(nodes, name, inputs, [output])
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
            yield Case(f"if_{name}_{str(taken).lower()}", model, given, "If")


def more_cases():
    from loop_cases import looping
    from recurrent_cases import recurrent

    for family in (
        elementwise,
        products,
        convolutions,
        pools,
        norms,
        reductions,
        layouts,
        resizes,
        indices,
        recurrent,
        looping,
    ):
        yield from family()
    yield from losses_and_dropout()
    yield from contrib()
    yield from branches()
    for cases in (transformer_cases, spatial_cases, signal_cases):
        yield from cases()


def singular_points():
    """The points of `singular_points.py`, with PyTorch's gradients."""
    for point in json.loads(SINGULAR_POINTS.read_text()):
        given = [np.asarray(value) for value in point["inputs"]]
        inputs = [v.astype(np.float32) if v.dtype == np.float64 else v for v in given]
        name = f"singular_{point['name']}"
        case = one_node(name, point["operator"], inputs, opset=point["opset"], moved=False, **point["attributes"])
        gradients = {f"x{i}": np.asarray(gradient, np.float64) for i, gradient in point["gradients"].items()}
        case.expected = (np.asarray(point["cotangent"], np.float64), gradients)
        yield case

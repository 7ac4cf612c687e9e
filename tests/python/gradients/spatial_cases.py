"""Cases of operators on images and the places in them."""

import numpy as np

from building import floats, ints, one_node, separated


def grids():
    two, three = floats(2, 3, 4, 5), floats(2, 2, 3, 4, 3)
    # Inside, at the edge, and far beyond it.
    grid = floats(2, 3, 2, 2, low=-1.9, high=1.9, seed=1)
    solid = floats(2, 2, 3, 1, 3, low=-1.9, high=1.9, seed=1)
    for mode in ("nearest", "linear", "cubic"):
        for padding in ("zeros", "border", "reflection"):
            for align in (0, 1):
                options = dict(mode=mode, padding_mode=padding, align_corners=align, opset=22)
                yield one_node(f"{mode}_{padding}_{align}", "GridSample", [two, grid], **options)
                if mode != "cubic":
                    yield one_node(f"3d_{mode}_{padding}_{align}", "GridSample", [three, solid], **options)
    yield one_node(
        "one_pixel",
        "GridSample",
        [floats(1, 2, 1, 3), floats(1, 2, 2, 2)],
        padding_mode="reflection",
        align_corners=1,
        opset=22,
    )
    for padding in ("zeros", "border", "reflection"):
        names = dict(mode="bilinear", padding_mode=padding, domain="com.microsoft")
        yield one_node(f"bilinear_{padding}", "GridSample", [two, grid], **names)
    for align in (0, 1):
        yield one_node(f"2d_{align}", "AffineGrid", [floats(2, 2, 3), ints(2, 3, 3, 4)], align_corners=align, opset=20)
        yield one_node(
            f"3d_{align}", "AffineGrid", [floats(1, 3, 4), ints(1, 2, 2, 3, 2)], align_corners=align, opset=20
        )


def deformed():
    def case(
        name,
        images=2,
        inputs=4,
        outputs=4,
        size=(5, 6),
        kernel=(3, 2),
        groups=1,
        offset_groups=1,
        more="",
        **attributes,
    ):
        strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
        pads = attributes.get("pads", [0] * 4)
        rows = [
            (size[i] + pads[i] + pads[i + 2] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1 for i in (0, 1)
        ]
        x, weight = floats(images, inputs, *size), floats(outputs, inputs // groups, *kernel, seed=1)
        places = offset_groups * kernel[0] * kernel[1]
        offset = floats(images, 2 * places, *rows, low=-1.4, high=1.4, seed=2)
        bias = floats(outputs, seed=3) if "b" in more else None
        mask = floats(images, places, *rows, seed=4) if "m" in more else None
        options = dict(group=groups, offset_group=offset_groups, opset=22, **attributes)
        given = [x, weight, offset, bias, mask]
        return one_node(name, "DeformConv", given[: 5 if "m" in more else 4 if "b" in more else 3], **options)

    yield case("plain")
    yield case("bias", more="b")
    yield case("all", more="bm", strides=[2, 1], dilations=[1, 2], pads=[1, 0, 2, 1], kernel_shape=[3, 2])
    yield case("groups", groups=2, offset_groups=2, more="m", pads=[1, 1, 1, 1])
    yield case("more_offset_groups", offset_groups=4, images=1)


def regions():
    x = separated(2, 3, 6, 7)
    rois = np.array([[0.6, 0.7, 4.9, 4.2], [1.3, -0.4, 9.1, 3.3], [2.2, 2.1, 2.9, 5.6]], np.float32)
    images = ints(0, 1, 1)
    for shift in ("half_pixel", "output_half_pixel"):
        for ratio in (0, 2):
            for mode in ("avg", "max"):
                options = dict(coordinate_transformation_mode=shift, sampling_ratio=ratio, mode=mode, opset=16)
                sizes = dict(output_height=2, output_width=3, spatial_scale=0.9)
                yield one_node(f"{shift}_{ratio}_{mode}", "RoiAlign", [x, rois, images], **options, **sizes)


def columns():
    def case(name, image, block, steps, channels=2, **attributes):
        x = floats(2, channels * int(np.prod(block)), steps)
        return one_node(name, "Col2Im", [x, ints(*image), ints(*block)], **attributes)

    yield case("overlapping", (4, 5), (2, 3), 9)
    yield case("1d", (7,), (3,), 5)
    yield case("all", (5, 6), (2, 2), 12, strides=[2, 1], pads=[1, 0, 1, 1], dilations=[2, 3])
    yield case("3d", (3, 3, 2), (2, 2, 1), 8)


def unpools():
    x, places = floats(1, 2, 2, 2), np.array([[[[0, 3], [8, 15]], [[17, 22], [24, 26]]]])
    yield one_node("2d", "MaxUnpool", [x, places], kernel_shape=[2, 2], strides=[2, 2])
    yield one_node("1d", "MaxUnpool", [floats(1, 1, 3), ints(1, 2, 4).reshape(1, 1, 3)], kernel_shape=[2], strides=[2])


def spatial_cases():
    for family in (grids, deformed, regions, columns, unpools):
        yield from family()

"""Cases of attention and of what stands around it, as the standard and ONNX Runtime's optimizer write it; and of Einsum."""

import numpy as np

from building import floats, ints, one_node, positive


def attention():
    def case(name, queries, keys, values=None, more=(), opset=23, **attributes):
        inputs = [floats(*queries), floats(*keys, seed=1), floats(*(values or keys), seed=2), *more]
        return one_node(name, "Attention", inputs, opset=opset, **attributes)

    packed = dict(q_num_heads=4, kv_num_heads=2)
    row = np.array([[True, False, True, True], [False] * 4, [True] * 4])
    yield case("grouped_packed_mask", (2, 3, 8), (2, 4, 4), (2, 4, 6), [row], **packed)
    yield case("empty_row_of_floats", (1, 2, 3, 4), (1, 2, 4, 4), more=[np.where(row, np.float32(0.3), -np.inf)])
    yield case("mask_by_head", (2, 2, 3, 4), (2, 2, 5, 4), more=[floats(2, 3, 5, seed=3)], scale=0.7, softcap=1.5)
    yield case("more_queries_causal", (2, 2, 5, 4), (2, 2, 3, 4), is_causal=1)
    yield case("in_float", (1, 2, 3, 4), (1, 2, 3, 4), softmax_precision=1, is_causal=1)
    yield case("one_head", (1, 1, 3, 4), (1, 1, 3, 4), opset=24)


def rotary():
    angles = floats(5, 2, low=-3, high=3)
    cos, sin = np.cos(angles), np.sin(angles)
    x, places = floats(2, 3, 3, 6), np.array([[0, 2, 4], [1, 1, 3]])
    for interleaved in (0, 1):
        rotated = dict(rotary_embedding_dim=4, interleaved=interleaved)
        yield one_node(f"partial_{interleaved}", "RotaryEmbedding", [x, cos, sin, places], opset=23, **rotated)
        contrib = dict(domain="com.microsoft", interleaved=interleaved)
        full = floats(2, 3, 12)
        yield one_node(f"packed_{interleaved}", "RotaryEmbedding", [full, places, cos, sin], **contrib)
        yield one_node(f"heads_{interleaved}", "RotaryEmbedding", [floats(2, 3, 3, 4), places, cos, sin], **contrib)
    offset = dict(domain="com.microsoft", num_heads=3)
    yield one_node("from_an_offset", "RotaryEmbedding", [floats(2, 3, 12), ints(1), cos, sin], **offset)


def contrib():
    """Operators of com.microsoft. The first weights of `Attention` make queries, keys and values."""
    contrib = dict(domain="com.microsoft")
    x, weights, bias = floats(2, 3, 5), floats(5, 24, seed=1), floats(24, seed=2)
    plain = dict(num_heads=2, **contrib)
    yield one_node("plain", "Attention", [x, weights, bias], **plain)
    yield one_node("lengths", "Attention", [x, weights, bias, ints(2, 3, dtype=np.int32)], **plain)
    mask = np.array([[1, 1, 0], [1, 1, 1]], np.int32)
    yield one_node("mask", "Attention", [x, weights, bias, mask], **plain)
    mask = np.array([[[1, 0, 0], [1, 1, 0], [0, 1, 1]]] * 2, np.int32)
    yield one_node("mask_by_query", "Attention", [x, weights, bias, mask], scale=0.4, **plain)
    yield one_node("causal", "Attention", [x, weights, bias], unidirectional=1, **plain)
    narrow = dict(qkv_hidden_sizes=[6, 6, 12], **plain)
    yield one_node("added", "Attention", [x, weights, bias, None, None, floats(2, 2, 3, 3, seed=3)], **plain)
    yield one_node("sizes", "Attention", [x, weights, bias], **narrow)
    yield one_node("present", "Attention", [x, weights, bias], outputs=2, **plain)

    query, key, value = floats(2, 3, 8), floats(2, 4, 8, seed=1), floats(2, 4, 8, seed=2)
    yield one_node("present", "MultiHeadAttention", [query, key, value], outputs=3, **plain)
    yield one_node("plain", "MultiHeadAttention", [query, key, value], **plain)
    yield one_node("bias", "MultiHeadAttention", [query, key, value, bias], **plain)
    padding = np.array([[1, 1, 0, 0], [1, 1, 1, 1]], np.int32)
    yield one_node("padding", "MultiHeadAttention", [query, key, value, None, padding], **plain)
    lengths = ints(2, 4, dtype=np.int32)
    yield one_node("lengths", "MultiHeadAttention", [query, key, value, None, lengths], **plain)
    added = floats(1, 2, 3, 4, seed=3)
    yield one_node("added", "MultiHeadAttention", [query, key, value, None, None, added], scale=0.3, **plain)
    yield one_node("causal", "MultiHeadAttention", [query, query, query], unidirectional=1, **plain)
    heads = [floats(2, 2, 4, 4, seed=1), floats(2, 2, 4, 4, seed=2)]
    yield one_node("keys_by_head", "MultiHeadAttention", [query, *heads], **plain)

    # Three heads of queries and one of keys, of width 16; two samples of five places, and what the operator asks for beside.
    packed, lengths, total = floats(2, 5, 80), ints(4, 4, dtype=np.int32), np.array(5, np.int32)
    angles = floats(6, 8, low=-3, high=3)
    grouped = lambda name, inputs, **more: one_node(
        name, "GroupQueryAttention", inputs, outputs=1, num_heads=3, kv_num_heads=1, **more, **contrib
    )
    rotation = [np.cos(angles), np.sin(angles)]
    yield grouped("packed", [packed, None, None, None, None, lengths, total])
    apart = [floats(2, 5, 48), floats(2, 5, 16, seed=1), floats(2, 5, 16, seed=2), None, None, lengths, total]
    yield grouped("apart", apart, scale=0.3, softcap=1.5)
    yield grouped("window", apart, local_window_size=2)
    for interleaved in (0, 1):
        rotary = dict(do_rotary=1, rotary_interleaved=interleaved)
        yield grouped(f"rotary_{interleaved}", [*apart, *rotation], **rotary)
    places = np.array([[0, 1, 2, 3, 4]] * 2)
    yield grouped("places", [*apart, *rotation, places], do_rotary=1)
    yield grouped("added", [*apart, None, None, None, floats(2, 3, 5, 5, seed=4)])
    yield grouped("sink", [*apart, None, None, None, None, floats(3, seed=5)])
    yield grouped("smooth", apart, smooth_softmax=1)

    x, skip, scale, shift = floats(2, 3, 4, low=0.5, high=2), floats(2, 3, 4, seed=1), positive(4), floats(4, seed=2)
    outputs = ["y0", "", "", "y3"]
    for operator, parameters in (
        ("SkipLayerNormalization", [scale, shift]),
        ("SkipSimplifiedLayerNormalization", [scale]),
    ):
        yield one_node("plain", operator, [x, skip, *parameters], epsilon=1e-3, **contrib)
        more = [x, skip, *parameters, floats(4, seed=3)]
        yield one_node("bias_and_sum", operator, more, outputs=outputs, epsilon=1e-3, **contrib)
    yield one_node("broadcast", "SkipLayerNormalization", [x, floats(1, 3, 4, seed=1), scale, shift], **contrib)
    yield one_node("plain", "SimplifiedLayerNormalization", [x, scale], epsilon=1e-3, axis=-1, stash_type=1)

    ids, segments = np.array([[1, 4, 1], [0, 2, 3]], np.int32), np.array([[0, 0, 1], [1, 1, 1]], np.int32)
    tables = [floats(5, 4), floats(6, 4, seed=1), floats(2, 4, seed=2)]
    embed = lambda name, inputs, **more: one_node(name, "EmbedLayerNormalization", inputs, **more, **contrib)
    norm = [positive(4), floats(4, seed=3)]
    mask = np.array([[1, 1, 0], [1, 1, 1]], np.int32)
    yield embed("plain", [ids, segments, *tables, *norm], outputs=["y0", "_lengths"], epsilon=1e-3)
    yield embed("mask", [ids, segments, *tables, *norm, mask], outputs=["y0", "_lengths", "y2"], epsilon=1e-3)
    two = [ids, None, *tables[:2], None, *norm]
    yield embed("no_segments", two, outputs=["y0", "_lengths"], epsilon=1e-3)
    positions = np.array([[3, 4, 5], [0, 0, 1]], np.int32)
    yield embed("positions", [*two, None, positions], outputs=["y0", "_lengths"], epsilon=1e-3)

    image, kernel = floats(1, 2, 5, 5), floats(3, 2, 3, 3, seed=1)
    yield one_node("relu", "FusedConv", [image, kernel, floats(3, seed=2)], activation="Relu", **contrib)
    left, right = floats(3, 4), floats(4, 5, seed=1)
    activation = dict(activation="LeakyRelu", activation_alpha=0.1)
    yield one_node("leaky", "FusedGemm", [left, right, floats(5, seed=2)], alpha=0.5, **activation, **contrib)


def gates():
    x, weight, past = floats(2, 3, 5), floats(3, 1, 4, seed=1), floats(2, 3, 3, seed=2)
    both = dict(outputs=["y0", "y1"], opset=27)
    yield one_node(
        "short", "CausalConvWithState", [floats(2, 3, 2), weight, floats(3, seed=3), past], activation="silu", **both
    )
    yield one_node("long", "CausalConvWithState", [x, weight], **both)


def linear():
    def case(name, rule, decay=None, **attributes):
        queries, keys, values = floats(2, 5, 8), floats(2, 5, 4, seed=1), floats(2, 5, 6, seed=2)
        state = floats(2, 2, 2, 3, seed=3)
        gate = None if decay is None else floats(2, 5, decay, low=-0.9, high=-0.1, seed=4)
        beta = floats(2, 5, 2, low=0.2, high=0.8, seed=5) if rule.endswith("delta") else None
        inputs = [queries, keys, values, state, gate, beta]
        inputs = inputs[: max(i for i, value in enumerate(inputs) if value is not None) + 1]
        heads = dict(q_num_heads=4, kv_num_heads=2, update_rule=rule)
        return one_node(name, "LinearAttention", inputs, outputs=2, opset=27, **heads, **attributes)

    yield case("state", "linear", scale=0.7)
    yield case("state_gated", "gated", 2)
    yield case("state_gated_by_element", "gated", 4)


def einsum():
    def case(name, equation, *shapes):
        inputs = [floats(*shape, seed=i) for i, shape in enumerate(shapes)]
        return one_node(name, "Einsum", inputs, equation=equation)

    yield case("matrices", "ij,jk->ik", (2, 3), (3, 4))
    yield case("implicit", "ij, jk", (2, 3), (3, 4))
    yield case("implicit_order", "ba", (2, 3))
    yield case("three", "bik,bkj,j->bi", (2, 3, 4), (2, 4, 5), (5,))
    yield case("outer", "i,j->ij", (3,), (4,))
    yield case("attention", "bqhd,bkhd->bhqk", (2, 3, 2, 4), (2, 5, 2, 4))
    yield case("alone", "ij,jk->k", (2, 3), (3, 4))
    yield case("sum", "ijk->j", (2, 3, 4))
    yield case("trace", "ii->", (3, 3))
    yield case("diagonal", "ii->i", (3, 3))
    yield case("diagonal_and_more", "iji,jk->ik", (3, 2, 3), (2, 4))
    yield case("diagonal_in_both", "ii,ij->j", (3, 3), (3, 4))
    yield case("ellipsis", "...ij,...jk->...ik", (5, 2, 3), (5, 3, 4))
    yield case("ellipsis_broadcast", "...ij,jk...->...ik", (1, 2, 3), (3, 4, 5))
    yield case("ellipsis_implicit", "...j,j", (2, 3, 4), (4,))
    yield case("ellipsis_diagonal", "...ii->...i", (2, 3, 3))
    yield case("with_itself", "i,i->", (4,), (4,))


def in_bits():
    """Weights of 3 rows in blocks that are whole or not, and zero points of as many bits, in whole bytes a row."""

    def case(name, bits, columns, block, zeros=None, bias=None):
        blocks = -(-columns // block)
        packed = np.random.default_rng(bits).integers(0, 256, (3, blocks, block * bits // 8), np.uint8)
        sizes = dict(K=columns, N=3, bits=bits, block_size=block)
        inputs = [floats(2, 4, columns), packed, positive(3, blocks, seed=1), zeros, None, bias]
        while inputs[-1] is None:
            inputs.pop()
        return one_node(name, "MatMulNBits", inputs, domain="com.microsoft", **sizes)

    yield case("four", 4, 20, 16)
    yield case("four_from_zero_points", 4, 20, 16, np.array([[0x38], [0xF5], [0x0A]], np.uint8))
    yield case("odd_blocks", 4, 40, 16, np.array([[0x38, 7], [0xF5, 3], [0x0A, 15]], np.uint8))
    yield case("eight", 8, 32, 32)
    yield case("bias", 8, 32, 32, bias=floats(3, seed=2))
    yield case("eight_from_zero_points", 8, 20, 16, np.array([[130, 7], [250, 99], [1, 128]], np.uint8))


def transformer_cases():
    for family in (attention, rotary, contrib, gates, linear, einsum, in_bits):
        yield from family()

use super::*;
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, NodeProto, TensorProto};
use crate::shapes::analyse;
use crate::shapes::tests::{graph, info, model, shape, weight, with};
use crate::testing::node;

fn ints(name: &str, values: &[i64]) -> TensorProto {
    TensorProto::int64s(name, values)
}

fn dims(list: &[(&str, &str)]) -> Dims {
    list.iter().map(|(key, size)| ((*key).to_owned(), size.parse().unwrap())).collect()
}

/// A model of the input `x` and the output that its last node makes.
fn net(x: &str, constants: &[TensorProto], nodes: Vec<NodeProto>) -> Model {
    let mut graph = graph(&[info("x", x)], constants, nodes);
    let last = graph.node.last().and_then(|node| node.output.first()).cloned().unwrap_or_default();
    graph.output = vec![Fact::of(DataType::Float).info(&last)];
    model(graph)
}

/// The shape of the output with the first axis of `x` open.
fn opened(mut model: Model) -> String {
    let output = model.graph.output[0].name().to_owned();
    apply(&mut model, &dims(&[("x[0]", "B")]), None).unwrap_or_else(|e| panic!("{e}"));
    let facts = analyse(&model, &BTreeMap::new()).unwrap();
    assert_eq!(model.graph.input[0], info("x", &shape(&facts, "x")));
    shape(&facts, &output)
}

/// Why it cannot be opened.
fn refused(mut model: Model) -> String {
    apply(&mut model, &dims(&[("x[0]", "B")]), None).unwrap_err().to_string()
}

fn reshape(data: &str, shape: &str, made: &str) -> NodeProto {
    node("Reshape", &[data, shape], &[made]).into()
}

fn transpose(data: &str, perm: &[i64], made: &str) -> NodeProto {
    with(node("Transpose", &[data], &[made]), AttributeProto::ints("perm", perm))
}

/// What the shape that is reshaped to becomes.
fn target(x: &str, to: &[i64]) -> Vec<i64> {
    let mut model = net(x, &[ints("to", to)], vec![reshape("x", "to", "y")]);
    apply(&mut model, &dims(&[("x[0]", "B")]), None).unwrap();
    let read = &model.graph.node[0].input[1];
    model.graph.initializer.iter().find(|t| t.name() == read).and_then(TensorProto::ints).unwrap()
}

#[test]
fn shapes_follow_as_the_elements_lie() {
    assert_eq!(target("1,16,4,4", &[1, 256]), [0, 256]);
    assert_eq!(target("1,16,4,4", &[1, -1]), [0, -1], "what is left is not the batch");
    assert_eq!(target("1,16,4,4", &[-1, 256]), [-1, 256]);
    assert_eq!(target("1,16,4,4", &[1, 16, 16]), [0, 16, 16]);
    assert_eq!(target("1,28,28,1", &[1, 1, 28, 28]), [0, 1, 28, 28]);
    assert_eq!(target("1,4,11", &[4, 11]), [-1, 11]);
    assert_eq!(target("1,4,11", &[4, -1]), [-1, 11]);
    assert_eq!(target("2,4,11", &[8, 11]), [-1, 11]);
    assert_eq!(target("1,4,11", &[0, 2, 2, 11]), [0, 2, 2, 11]);
    assert_eq!(target("1,seq,8", &[1, -1, 2, 4]), [0, -1, 2, 4]);
}

#[test]
fn a_batch_in_the_middle_is_followed_through_heads() {
    // PyTorch's attention: sequence, batch, features; heads and batch are one axis; back, and flat for a Gemm.
    let nodes = || {
        vec![
            transpose("x", &[1, 0, 2], "t"),
            reshape("t", "heads", "h"),
            transpose("h", &[1, 0, 2], "q"),
            transpose("h", &[1, 2, 0], "k"),
            node("MatMul", &["q", "k"], &["a"]).into(),
            reshape("a", "apart", "s"),
            with(node("Softmax", &["s"], &["p"]), AttributeProto::int("axis", -1)),
            reshape("p", "together", "m"),
            node("MatMul", &["m", "q"], &["v"]).into(),
            transpose("v", &[1, 0, 2], "c"),
            reshape("c", "flat", "f"),
            node("Gemm", &["f", "w"], &["g"]).into(),
            reshape("g", "whole", "o"),
            transpose("o", &[1, 0, 2], "y"),
        ]
    };
    for batch in [1, 3] {
        let constants = [
            ints("heads", &[5, 2 * batch, 4]),
            ints("apart", &[batch, 2, 5, 5]),
            ints("together", &[2 * batch, 5, 5]),
            ints("flat", &[5 * batch, 8]),
            weight("w", &[8, 8]),
            ints("whole", &[5, batch, 8]),
        ];
        assert_eq!(opened(net(&format!("{batch},5,8"), &constants, nodes())), "B,5,8");
    }
}

#[test]
fn a_way_that_does_not_fit_is_given_up() {
    // [L·B, 2, 4] and [L, B·2, 4] are both [4, 2, 4] in a batch of 1; only the first can be multiplied with a matrix of
    // 2 rows.
    let nodes = vec![
        transpose("x", &[1, 0, 2], "t"),
        reshape("t", "to", "r"),
        transpose("r", &[0, 2, 1], "u"),
        node("MatMul", &["u", "w"], &["y"]).into(),
    ];
    assert_eq!(opened(net("1,4,8", &[ints("to", &[4, 2, 4]), weight("w", &[2, 7])], nodes)), "(4 * B),4,7");
}

#[test]
fn what_is_put_beside_the_batch_is_repeated() {
    let concat = || with(node("Concat", &["cls", "x"], &["y"]), AttributeProto::int("axis", 1));
    assert_eq!(opened(net("1,4,8", &[weight("cls", &[1, 1, 8])], vec![concat()])), "B,5,8");
    let said = refused(net("2,4,8", &[weight("cls", &[2, 1, 8])], vec![concat()]));
    assert!(said.contains("node `y` (Concat)") && said.contains("has an input `cls` of size 2 there"), "{said}");
    // An expansion to the size of the batch is one to any.
    let nodes = vec![
        node("Expand", &["cls", "to"], &["e"]).into(),
        with(node("Concat", &["e", "x"], &["y"]), AttributeProto::int("axis", 1)),
    ];
    assert_eq!(opened(net("2,4,8", &[weight("cls", &[1, 1, 8]), ints("to", &[2, 1, 8])], nodes)), "B,5,8");
}

#[test]
fn learned_queries_are_repeated_before_their_heads_are_split() {
    let nodes = vec![
        reshape("q", "to_q", "h"),
        transpose("h", &[1, 0, 2], "a"),
        transpose("x", &[1, 0, 2], "t"),
        reshape("t", "to_k", "k"),
        transpose("k", &[1, 2, 0], "b"),
        node("MatMul", &["a", "b"], &["y"]).into(),
    ];
    let constants = [weight("q", &[5, 1, 8]), ints("to_q", &[5, 2, 4]), ints("to_k", &[4, 2, 4])];
    assert_eq!(opened(net("1,4,8", &constants, nodes)), "(2 * B),5,4");
}

#[test]
fn position_numbers_that_are_equal_for_all_samples_are_read_once() {
    let nodes = vec![node("Gather", &["table", "ids"], &["p"]).into(), node("Add", &["x", "p"], &["y"]).into()];
    let net = |ids: &[i64]| {
        let ids = TensorProto { dims: vec![2, 4], ..ints("ids", ids) };
        net("2,4,8", &[weight("table", &[16, 8]), ids], nodes.clone())
    };
    assert_eq!(opened(net(&[0, 1, 2, 3, 0, 1, 2, 3])), "B,4,8");
    let said = refused(net(&[0, 1, 2, 3, 1, 2, 3, 4]));
    assert!(said.contains("node `y` (Add)") && said.contains("cannot take [any, 4, 8] and [2, 4, 8]"), "{said}");
}

#[test]
fn states_of_recurrent_layers_are_one_for_each_sample() {
    let lstm = with(
        node("LSTM", &["t", "w", "r", "", "", "h", "c"], &["y", "yh", "yc"]),
        AttributeProto::int("hidden_size", 3),
    );
    let constants =
        [weight("w", &[1, 12, 8]), weight("r", &[1, 12, 3]), weight("h", &[1, 1, 3]), weight("c", &[1, 1, 3])];
    let mut model = net("1,4,8", &constants, vec![transpose("x", &[1, 0, 2], "t"), lstm]);
    apply(&mut model, &dims(&[("x[0]", "B")]), None).unwrap();
    let lstm = model.graph.node.last().unwrap();
    let facts = analyse(&model, &BTreeMap::new()).unwrap();
    assert_eq!([5, 6].map(|i| shape(&facts, &lstm.input[i])), ["1,B,3", "1,B,3"]);
}

#[test]
fn sizes_to_resize_to_and_ends_of_slices_follow() {
    let resize =
        |sizes: &str| with(node("Resize", &["x", "", "", sizes], &["y"]), AttributeProto::string("mode", "linear"));
    assert_eq!(opened(net("1,3,4,4", &[ints("to", &[1, 3, 8, 8])], vec![resize("to")])), "B,3,8,8");
    let slice = || node("Slice", &["x", "from", "to", "axes"], &["y"]).into();
    let constants = |from: i64, to: i64| [ints("from", &[from]), ints("to", &[to]), ints("axes", &[0])];
    assert_eq!(opened(net("4,3", &constants(0, 4), vec![slice()])), "B,3");
    assert_eq!(opened(net("4,3", &constants(0, 1_000), vec![slice()])), "B,3");
    let short = |tensor: TensorProto| {
        let bytes: Vec<u8> = tensor.ints().unwrap().iter().flat_map(|i| (*i as i32).to_le_bytes()).collect();
        TensorProto::raw(tensor.name(), DataType::Int32, &tensor.dims, bytes.into())
    };
    let mut model = net("4,3", &constants(0, 4).map(short), vec![slice()]);
    apply(&mut model, &dims(&[("x[0]", "B")]), None).unwrap();
    let facts = analyse(&model, &BTreeMap::new()).unwrap();
    let read = model.graph.node.last().unwrap().input[1..].iter().map(|input| facts.get(input).unwrap().element);
    assert_eq!(read.collect::<Vec<_>>(), [DataType::Int32; 3]);
    let said = refused(net("4,3", &constants(0, 2), vec![slice()]));
    assert!(said.contains("takes a part of this axis"), "{said}");
}

#[test]
fn elements_are_taken_from_each_row_where_they_were_from_the_only_one() {
    let nodes = vec![reshape("x", "flat", "f"), node("Gather", &["f", "i"], &["y"]).into()];
    let indices = TensorProto { dims: vec![1, 2, 2], ..ints("i", &[3, 1, 2, 0]) };
    assert_eq!(opened(net("1,2,2", &[ints("flat", &[-1]), indices], nodes)), "B,2,2");
}

#[test]
fn what_takes_the_batch_away_is_named() {
    let refused = |operator: &str, inputs: &[&str], axis: Option<i64>, constants: &[TensorProto]| {
        let mut taken: NodeProto = node(operator, inputs, &["z"]).into();
        taken.attribute.extend(axis.map(|axis| AttributeProto::int("axis", axis)));
        refused(net("1,4,8", constants, vec![node("Relu", &["x"], &["r"]).into(), taken]))
    };
    let said = refused("Squeeze", &["r", "a"], None, &[ints("a", &[0])]);
    assert_eq!(
        said,
        "node `z` (Squeeze): `x[0]`, of size 1 in the file, cannot be opened: this node takes this axis away"
    );
    let zero = TensorProto { dims: vec![], ..ints("i", &[0]) };
    assert!(refused("Gather", &["r", "i"], Some(0), &[zero]).contains("takes some elements of this axis"));
    assert!(refused("Split", &["r"], Some(0), &[]).contains("takes this axis apart"));
    // The mean over the samples has no batch.
    let mean = refused("ReduceMean", &["r", "a"], None, &[ints("a", &[0])]);
    assert!(mean.contains("(ReduceMean)") && mean.contains("takes it away, and `z` does not have it"), "{mean}");
}

#[test]
fn samples_are_not_mixed() {
    // Without its batch, a sequence is attended to as a whole: with one, all samples would be one sequence.
    let nodes = vec![
        reshape("x", "flat", "f"),
        transpose("f", &[1, 0], "t"),
        node("MatMul", &["f", "t"], &["a"]).into(),
        node("MatMul", &["a", "f"], &["y"]).into(),
    ];
    let said = refused(net("1,4,8", &[ints("flat", &[4, 8])], nodes));
    assert!(said.contains("node `a` (MatMul)") && said.contains("would have it twice"), "{said}");
}

#[test]
fn a_shape_with_the_axis_twice_has_no_constants() {
    // All pairs of samples, as in a contrastive loss, are a matter of the batch as a whole.
    let pairs = || vec![transpose("x", &[1, 0], "t"), node("MatMul", &["x", "t"], &["p"]).into()];
    assert_eq!(opened(net("1,8", &[], pairs())), "B,B");
    let said = refused(net("1,8", &[ints("to", &[1, 1, 1])], [pairs(), vec![reshape("p", "to", "y")]].concat()));
    assert!(said.contains("node `y` (Reshape)") && said.contains("cannot reshape [any, any] to [1, 1, 1]"), "{said}");
}

#[test]
fn bodies_are_not_followed() {
    let branch = |made: &str| crate::testing::body(&[], &[node("Reshape", &["x", "to"], &[made])], &[made]);
    let choice = node("If", &["c"], &["y"]).with(branch("a")).with(branch("b"));
    let said = refused(net("1,4,8", &[ints("to", &[1, -1]), ints("c", &[1])], vec![choice.into()]));
    assert!(said.contains("node `y` (If)") && said.contains("has a Reshape in its body"), "{said}");
}

#[test]
fn only_what_matters_must_follow() {
    let nodes = vec![node("Relu", &["x"], &["r"]).into(), node("Squeeze", &["r", "a"], &["y"]).into()];
    let mut model = net("1,4", &[ints("a", &[0])], nodes);
    let opened = apply(&mut model, &dims(&[("x[0]", "B")]), Some("r")).unwrap();
    assert_eq!(opened[0].to_string(), "`x[0]` was 1 and may be any size");
}

#[test]
fn several_axes_are_opened_one_after_the_other() {
    let nodes = vec![reshape("x", "apart", "h"), transpose("h", &[0, 2, 1, 3], "y")];
    let mut model = net("1,16,8", &[ints("apart", &[1, 16, 2, 4])], nodes);
    let opened = apply(&mut model, &dims(&[("x[0]", "B"), ("x[1]", "L")]), None).unwrap();
    assert_eq!(opened.len(), 2);
    assert_eq!(opened[0].to_string(), "`x[0]` was 1 and may be any size; 1 Reshape follows");
    let facts = analyse(&model, &BTreeMap::new()).unwrap();
    assert_eq!(shape(&facts, "y"), "B,2,L,4");
}

#[test]
fn inputs_of_one_size_are_opened_together() {
    let mut graph = graph(
        &[info("x", "1,4"), info("mask", "1,3")],
        &[],
        vec![with(node("Concat", &["x", "mask"], &["y"]), AttributeProto::int("axis", 1))],
    );
    graph.output = vec![info("y", "1,7")];
    let mut together = model(graph.clone());
    apply(&mut together, &dims(&[("*[0]", "B")]), None).unwrap();
    assert_eq!(together.graph.output[0], info("y", "B,7"));
    graph.input[1] = info("mask", "2,3");
    let error = apply(&mut model(graph), &dims(&[("*[0]", "B")]), None).unwrap_err();
    assert_eq!(error.to_string(), "`x[0]` is 1 and `mask[0]` is 2: they are not one size");
    assert_eq!(error.help_text(), Some("open them under different names: --dim 'x[0]=B' --dim 'mask[0]=B2'"));
}

#[test]
fn sizes_and_names_are_given_by_position() {
    let model = || net("N,?,3,4", &[], vec![node("Relu", &["x"], &["y"]).into()]);
    let shape_with = |list: &[(&str, &str)]| {
        let mut model = model();
        apply(&mut model, &dims(list), None).unwrap();
        shape(&analyse(&model, &BTreeMap::new()).unwrap(), "y")
    };
    assert_eq!(shape_with(&[("x[0]", "8"), ("x[-1]", "4")]), "8,x[1],3,4");
    assert_eq!(shape_with(&[("N", "8"), ("x[1]", "L"), ("x[2]", "5")]), "8,L,5,4");
    assert_eq!(shape_with(&[("x[0]", "batch")]), "batch,x[1],3,4");
    let mut fixed = net("1,4", &[ints("to", &[1, 2, 2])], vec![reshape("x", "to", "y")]);
    let opened = apply(&mut fixed, &dims(&[("x[0]", "8")]), None).unwrap();
    assert_eq!(opened[0].to_string(), "`x[0]` was 1 and is 8; 1 Reshape follows");
    assert_eq!(shape(&analyse(&fixed, &BTreeMap::new()).unwrap(), "y"), "8,2,2");
    let error = |list: &[(&str, &str)]| {
        let error = apply(&mut model(), &dims(list), None).unwrap_err();
        format!("{error} / {}", error.help_text().unwrap_or_default())
    };
    let unknown = error(&[("M", "8")]);
    assert!(unknown.starts_with("the model has no dimension called `M`, and no input with such an axis"), "{unknown}");
    assert!(unknown.contains("did you mean `N`?") && unknown.contains("--dim 'x[0]=batch'"), "{unknown}");
    assert!(error(&[("x[4]", "8")]).starts_with("there is no axis `x[4]` / `x` is FLOAT [N, ?, 3, 4]"));
    assert!(error(&[("N", "8"), ("x[0]", "9")]).starts_with("the dimension `N` is to be 8 and 9"));
    assert!(error(&[("N", "M")]).starts_with("--dim N=M: `N` is open already"));
}

#[test]
fn what_the_file_declares_of_values_is_forgotten_where_it_was_for_the_fixed_size() {
    let mut model = net(
        "1,4",
        &[weight("w", &[4, 2])],
        vec![node("Relu", &["x"], &["r"]).into(), node("MatMul", &["r", "w"], &["y"]).into()],
    );
    model.graph.value_info = vec![info("r", "1,4"), info("w", "4,2")];
    model.graph.output = vec![info("y", "1,2")];
    apply(&mut model, &dims(&[("x[0]", "B")]), None).unwrap();
    assert_eq!(model.graph.value_info, [info("w", "4,2")]);
    assert_eq!(model.graph.output, [info("y", "B,2")]);
}

#[test]
fn a_part_of_a_sum_that_is_nothing_is_no_part_of_it() {
    let inputs = [info("x", "N,T"), info("past", "N,P"), info("mask", "N,P + T"), info("next", "N,P + 1")];
    let mut model = model(graph(&inputs, &[], vec![node("Add", &["x", "mask"], &["y"]).into()]));
    apply(&mut model, &dims(&[("P", "0")]), None).unwrap();
    let found = model.graph.input.iter().map(|input| Fact::declared(input).unwrap().to_string());
    assert_eq!(found.collect::<Vec<_>>(), ["FLOAT [N, T]", "FLOAT [N, 0]", "FLOAT [N, T]", "FLOAT [N, P + 1]"]);
}

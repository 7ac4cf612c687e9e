use super::*;
use crate::graph::{Dim, Fact, scalar_info};
use crate::onnx::DataType;
use crate::onnx::proto::tensor_proto::DataLocation;
use crate::onnx::proto::tensor_shape_proto::Dimension;
use crate::onnx::proto::tensor_shape_proto::dimension::Value as DimValue;
use crate::onnx::proto::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use crate::testing::{body, node};

/// A declaration of float32 with the sizes in a text: `N,3,?`.
pub(crate) fn info(name: &str, sizes: &str) -> ValueInfoProto {
    let dim = |size: &str| {
        let value = match size.parse() {
            Ok(number) => Some(DimValue::DimValue(number)),
            Err(_) if size == "?" => None,
            Err(_) => Some(DimValue::DimParam(size.into())),
        };
        Dimension { value, ..Default::default() }
    };
    let shape = TensorShapeProto { dim: sizes.split(',').filter(|s| !s.is_empty()).map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape: Some(shape) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(r#type), ..Default::default() }
}

/// A weight whose bytes are in a file that is not there.
pub(crate) fn weight(name: &str, sizes: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        data_type: Some(DataType::Float as i32),
        dims: sizes.to_vec(),
        data_location: Some(DataLocation::External as i32),
        ..Default::default()
    }
}

pub(crate) fn with(node: impl Into<NodeProto>, attribute: AttributeProto) -> NodeProto {
    let mut node = node.into();
    node.attribute.push(attribute);
    node
}

fn of(domain: &str, node: impl Into<NodeProto>) -> NodeProto {
    NodeProto { domain: Some(domain.into()), ..node.into() }
}

pub(crate) fn graph(inputs: &[ValueInfoProto], weights: &[TensorProto], nodes: Vec<NodeProto>) -> GraphProto {
    GraphProto { input: inputs.to_vec(), initializer: weights.to_vec(), node: nodes, ..Default::default() }
}

pub(crate) use crate::testing::model;

fn analysed(graph: GraphProto) -> Facts {
    analyse(&model(graph), &BTreeMap::new()).unwrap()
}

/// The shape of a value as text: `N,3,?`; `none` where nothing is known of it.
pub(crate) fn shape(facts: &Facts, value: &str) -> String {
    let text = |dim: &Dim| match dim {
        Dim::Known(size) => size.to_string(),
        Dim::Symbol(symbol) => symbol.to_string(),
        Dim::Unknown => "?".into(),
    };
    let dims = facts.get(value).and_then(|fact| fact.shape.as_ref());
    dims.map_or("none".into(), |dims| dims.iter().map(text).collect::<Vec<_>>().join(","))
}

fn bindings(bound: &[(&str, i64)]) -> BTreeMap<String, i64> {
    bound.iter().map(|&(symbol, size)| (symbol.to_owned(), size)).collect()
}

#[test]
fn symbols_go_through_and_can_be_bound() {
    let pads = AttributeProto::ints("pads", &[1, 1, 1, 1]);
    let conv = with(with(node("Conv", &["x", "w"], &["c"]), pads), AttributeProto::ints("strides", &[2, 2]));
    let nodes = vec![conv, node("Flatten", &["c"], &["f"]).into()];
    let graph = graph(&[info("x", "N,3,H,32")], &[weight("w", &[8, 3, 3, 3])], nodes);
    let facts = analysed(graph.clone());
    assert_eq!(facts.get("c").unwrap().element, DataType::Float);
    assert_eq!(facts.get("c").unwrap().dim(0), Some(&Dim::Symbol("N".into())));
    assert!(facts.get("c").unwrap().dim(2).unwrap().known().is_none());
    let facts = analyse(&model(graph.clone()), &bindings(&[("N", 4), ("H", 32)])).unwrap();
    assert_eq!((shape(&facts, "c"), shape(&facts, "f")), ("4,8,16,16".into(), "4,2048".into()));
    let mut bound = model(graph);
    bind(&mut bound, &bindings(&[("N", 4), ("H", 32)])).unwrap();
    assert_eq!(shape(&analyse(&bound, &BTreeMap::new()).unwrap(), "f"), "4,2048");
}

#[test]
fn a_binding_of_what_is_not_there_names_what_is() {
    let model = model(graph(&[info("x", "batch,height")], &[], vec![]));
    let error = analyse(&model, &bindings(&[("bach", 4)])).unwrap_err();
    assert!(error.to_string().contains("`bach`"), "{error}");
    let help = error.help_text().unwrap();
    assert!(help.contains("did you mean `batch`?") && help.contains("`height`"), "{help}");
    let error = analyse(&model, &bindings(&[("batch", -1)])).unwrap_err();
    assert!(error.to_string().contains("`batch`"), "{error}");
}

#[test]
fn a_tensor_says_more_than_a_note_on_it() {
    let tensor = TensorProto::int64s("axes", &[1]);
    let noted = scalar_info("axes", DataType::Int64);
    let mut graph = graph(&[info("x", "N,3")], &[], vec![node("ReduceSum", &["x", "axes"], &["y"]).into()]);
    graph.initializer.push(tensor);
    graph.value_info.push(noted);
    let facts = analyse(&model(graph), &BTreeMap::new()).unwrap();
    assert_eq!(facts.get("axes").unwrap().rank(), Some(1));
}

#[test]
fn a_file_that_contradicts_itself_is_refused() {
    let mut graph = graph(&[info("x", "N,3")], &[], vec![node("Relu", &["x"], &["y"]).into()]);
    graph.output = vec![info("y", "N,3")];
    graph.value_info = vec![info("y", "N,4")];
    let error = analyse(&model(graph), &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains("`y`: 3 and 4"), "{error}");
}

#[test]
fn a_declaration_that_the_operators_contradict_counts_for_nothing() {
    let nodes = vec![node("Relu", &["x"], &["y"]).into(), node("Relu", &["y"], &["z"]).into()];
    let mut graph = graph(&[info("x", "4,3")], &[], nodes);
    graph.value_info = vec![info("y", "1,3"), info("z", "1,3")];
    let facts = analysed(graph);
    assert_eq!((shape(&facts, "y"), shape(&facts, "z")), ("?,3".into(), "?,3".into()));
    let nodes = vec![node("Relu", &["x"], &["y"]).into()];
    let mut graph = self::graph(&[info("x", "4,3")], &[], nodes);
    graph.value_info = vec![info("y", "4,1,3")];
    let facts = analysed(graph);
    assert_eq!(shape(&facts, "y"), "?,?");
}

#[test]
fn an_unknown_operator_blinds_nothing_that_is_declared() {
    let nodes = || {
        let unknown = of("my.domain", node("Relu", &["x"], &["y"]));
        vec![unknown, node("Relu", &["y"], &["z"]).into(), node("MatMul", &["z", "w"], &["m"]).into()]
    };
    let weights = [weight("w", &[5, 7])];
    let facts = analysed(graph(&[info("x", "N,5")], &weights, nodes()));
    assert_eq!(facts.get("y"), None);
    let mut declared = graph(&[info("x", "N,5")], &weights, nodes());
    declared.value_info = vec![info("y", "N,?")];
    let facts = analysed(declared);
    assert_eq!((shape(&facts, "z"), shape(&facts, "m")), ("N,y[1]".into(), "N,7".into()));
}

#[test]
fn sizes_that_are_not_known_equal_themselves_only() {
    let nodes = ["a", "b"].map(|name| node("NonZero", &["x"], &[name]).into()).to_vec();
    let facts = analysed(graph(&[info("x", "?,?"), info("y", "?,?")], &[], nodes));
    let dim = |value: &str, axis| facts.get(value).unwrap().dim(axis).unwrap().clone();
    assert!(dim("a", 1).is(&dim("a", 1)));
    assert!(!dim("a", 1).is(&dim("b", 1)));
    assert!(!dim("x", 0).is(&dim("x", 1)) && !dim("x", 0).is(&dim("y", 0)));
}

#[test]
fn a_symbol_of_the_file_is_not_one_that_is_made() {
    let facts = analysed(graph(&[info("x", "x[1],?")], &[], vec![node("NonZero", &["x"], &["a"]).into()]));
    let fact = facts.get("x").unwrap();
    assert!(!fact.dim(0).unwrap().is(fact.dim(1).unwrap()), "{fact:?}");
}

#[test]
fn shapes_that_are_computed_are_known_by_their_numbers() {
    let ints = |name, values: &[i64]| TensorProto::int64s(name, values);
    let nodes = || {
        let axis = AttributeProto::int("axis", 0);
        vec![
            node("Shape", &["x"], &["s"]).into(),
            node("Slice", &["s", "zero", "two"], &["front"]).into(),
            with(node("Concat", &["front", "rest"], &["to"]), axis),
            node("Reshape", &["x", "to"], &["y"]).into(),
        ]
    };
    let constants = [ints("zero", &[0]), ints("two", &[2]), ints("rest", &[-1])];
    let facts = analysed(graph(&[info("x", "4,5,2,3")], &constants, nodes()));
    assert_eq!(facts.ints("to"), Some([4, 5, -1].as_slice()));
    assert_eq!(shape(&facts, "y"), "4,5,6");
    assert_eq!(facts.get("to").unwrap().element, DataType::Int64);
    let facts = analysed(graph(&[info("x", "N,5,2,3")], &constants, nodes()));
    assert_eq!(facts.ints("to"), None);
    assert_eq!(shape(&facts, "y"), "N,5,6");
}

#[test]
fn an_input_with_a_default_is_no_constant() {
    let mut to = info("to", "2");
    if let Some(type_proto::Value::TensorType(tensor)) = to.r#type.as_mut().and_then(|t| t.value.as_mut()) {
        tensor.elem_type = Some(DataType::Int64 as i32);
    }
    let constants = [TensorProto::int64s("to", &[3, 4])];
    let nodes = vec![node("Reshape", &["x", "to"], &["y"]).into()];
    let mut model = model(graph(&[info("x", "12"), to], &constants, nodes));
    assert_eq!(analyse(&model, &BTreeMap::new()).unwrap().ints("to"), None);
    model.header.ir_version = Some(3);
    assert_eq!(shape(&analyse(&model, &BTreeMap::new()).unwrap(), "y"), "3,4");
}

#[test]
fn what_is_for_training_alone_is_known_too() {
    let normalised = with(
        node("BatchNormalization", &["x", "c", "c", "c", "c"], &["y", "mean", "variance"]),
        AttributeProto::int("training_mode", 1),
    );
    let dropout = node("Dropout", &["y", "", "training"], &["d", "mask"]).into();
    let layer = with(node("LayerNormalization", &["d", "s"], &["l", "m", "i"]), AttributeProto::int("axis", 2));
    let loss = node("SoftmaxCrossEntropyLoss", &["l", "labels"], &["loss", "log_prob"]).into();
    let each = with(
        node("NegativeLogLikelihoodLoss", &["log_prob", "labels"], &["each"]),
        AttributeProto::string("reduction", "none"),
    );
    let training = TensorProto::raw("training", DataType::Bool, &[], vec![1].into());
    let weights = [weight("c", &[6]), weight("s", &[4, 5]), training];
    let inputs = [info("x", "N,6,4,5"), info("labels", "N,4,5")];
    let facts = analysed(graph(&inputs, &weights, vec![normalised, dropout, layer, loss, each]));
    for (value, sizes) in [
        ("y", "N,6,4,5"),
        ("mean", "6"),
        ("variance", "6"),
        ("d", "N,6,4,5"),
        ("mask", "N,6,4,5"),
        ("l", "N,6,4,5"),
        ("i", "N,6,1,1"),
        ("loss", ""),
        ("log_prob", "N,6,4,5"),
        ("each", "N,4,5"),
    ] {
        assert_eq!(shape(&facts, value), sizes, "{value}");
    }
    assert_eq!(facts.get("mask").unwrap().element, DataType::Bool);
}

#[test]
fn branches_are_known_and_what_they_agree_on() {
    let branch = |rows: i64, shared: &str| {
        let mut branch = body(&[], &[node("MatMul", &["x", "w"], &["h"]), node("Relu", &["h"], &[shared])], &[shared]);
        branch.initializer.push(weight("w", &[5, rows]));
        branch
    };
    let choice = node("If", &["c"], &["y"]).with(branch(7, "a")).with(branch(8, "b"));
    let facts = analysed(graph(&[info("x", "N,5"), info("c", "")], &[], vec![choice.into()]));
    assert_eq!([shape(&facts, "a"), shape(&facts, "b"), shape(&facts, "y")], ["N,7", "N,8", "N,y[1]"]);
    assert_eq!(facts.get("h"), None, "there are two");
}

#[test]
fn large_constants_are_not_computed() {
    let size = TensorProto::int64s("size", &[100_000, 1_000_000]);
    let facts = analysed(graph(&[], &[size], vec![node("ConstantOfShape", &["size"], &["w"]).into()]));
    assert_eq!(facts.get("w"), Some(&Fact::with_sizes(DataType::Float, &[100_000, 1_000_000])));
}

#[test]
fn expressions_that_differ_read_differently() {
    // Twice the sum, and the sum of a double and a single.
    let axis = |axis| AttributeProto::int("axis", axis);
    let nodes = vec![
        with(node("Concat", &["x", "y"], &["sum"]), axis(0)),
        with(node("Concat", &["sum", "sum"], &["twice"]), axis(0)),
        with(node("Concat", &["x", "x", "y"], &["mixed"]), axis(0)),
    ];
    let facts = analysed(graph(&[info("x", "A,1"), info("y", "B,1")], &[], nodes));
    let dim = |value: &str| facts.get(value).unwrap().dim(0).unwrap().clone();
    assert!(!dim("twice").is(&dim("mixed")), "{:?}", dim("twice"));
}

#[test]
fn what_is_left_for_a_reshape_is_known_in_symbols() {
    let ints = |name: &str, values: &[i64]| TensorProto::int64s(name, values);
    let nodes = vec![
        node("Reshape", &["x", "flat"], &["f"]).into(),
        node("Reshape", &["f", "back"], &["b"]).into(),
        node("Shape", &["x"], &["s"]).into(),
        node("Slice", &["s", "one", "two"], &["length"]).into(),
        with(node("Concat", &["rest", "length", "four"], &["by_length"]), AttributeProto::int("axis", 0)),
        node("Reshape", &["f", "by_length"], &["l"]).into(),
        node("Reshape", &["x", "odd"], &["o"]).into(),
    ];
    let constants = [
        ints("flat", &[-1, 8]),
        ints("back", &[-1, 2, 4]),
        ints("one", &[1]),
        ints("two", &[2]),
        ints("rest", &[-1]),
        ints("four", &[4]),
        ints("odd", &[-1, 3]),
    ];
    let facts = analysed(graph(&[info("x", "N,L,8")], &constants, nodes));
    assert_eq!(shape(&facts, "f"), "(L * N),8");
    assert_eq!(shape(&facts, "b"), "(L * N),2,4");
    assert_eq!(shape(&facts, "l"), "(2 * N),L,4");
    assert_eq!(shape(&facts, "o"), "o[0],3");
}

/// What is known of `y`, which `nodes` make of the constants `big` = [2⁶³ − 1], `large` = [2⁴⁰], `two` = [2], `axes` =
/// [0] and of the shape of `x`, [N, 3].
fn whole(nodes: Vec<NodeProto>) -> Option<Vec<i64>> {
    let constants =
        [("big", i64::MAX), ("large", 1 << 40), ("two", 2), ("axes", 0)].map(|(n, v)| TensorProto::int64s(n, &[v]));
    analysed(graph(&[info("x", "N,3")], &constants, nodes)).ints("y").map(<[i64]>::to_vec)
}

#[test]
fn whole_numbers_of_any_size_are_exact() {
    let one = |operator: &str, inputs: &[&str]| whole(vec![node(operator, inputs, &["y"]).into()]).unwrap();
    let to = |element: DataType| AttributeProto::int("to", element as i64);
    let cast = |input: &str, element| whole(vec![with(node("Cast", &[input], &["y"]), to(element))]).unwrap();
    assert_eq!(cast("big", DataType::Int64), [i64::MAX]);
    assert_eq!(cast("large", DataType::Int64), [1 << 40]);
    assert_eq!(cast("big", DataType::Int32), [-1]);
    assert_eq!(one("Reshape", &["big", "axes"]).len(), 1);
    assert_eq!(one("Squeeze", &["big", "axes"]), [i64::MAX]);
    assert_eq!(one("Unsqueeze", &["large", "axes"]), [1 << 40]);
    assert_eq!(one("Identity", &["large"]), [1 << 40]);
    assert_eq!(one("Mul", &["large", "two"]), [1 << 41]);
    assert_eq!(one("Add", &["big", "two"]), [i64::MIN + 1]);
    assert_eq!(one("Sub", &["two", "large"]), [2 - (1 << 40)]);
    assert_eq!(one("Div", &["large", "two"]), [1 << 39]);
    assert_eq!(one("Neg", &["big"]), [-i64::MAX]);
    assert_eq!(one("Min", &["big", "two", "large"]), [2]);
    assert_eq!(one("Max", &["large", "two"]), [1 << 40]);
    assert_eq!(one("Gather", &["large", "axes"]), [1 << 40]);
    let axis = || AttributeProto::int("axis", 0);
    assert_eq!(whole(vec![with(node("Concat", &["big", "two"], &["y"]), axis())]).unwrap(), [i64::MAX, 2]);
}

#[test]
fn what_no_engine_computes_is_refused_at_its_node() {
    let says = |x: &str, constants: &[TensorProto], nodes: Vec<NodeProto>| {
        let model = model(graph(&[info("x", x)], constants, nodes));
        analyse(&model, &BTreeMap::new()).map_or_else(|error| error.to_string(), |_| "fine".to_owned())
    };
    let ints = |values: &[i64]| TensorProto::int64s("ints", values);
    let one = |operator: &str| vec![NodeProto::from(node(operator, &["x", "ints"], &["y"]))];
    assert_eq!(says("N,3", &[ints(&[-1, 3])], one("Reshape")), "fine");
    assert!(
        says("N,3", &[ints(&[i64::MAX, 2])], one("Reshape"))
            .contains("node `y` (Reshape): it has 9223372036854775807 in its shape")
    );
    assert!(says("1,1", &[ints(&[1 << 30, 1 << 30])], one("Expand")).contains("more than 2^42 elements"));
    assert!(
        says(&format!("N,{}", 1i64 << 40), &[], vec![]).contains("the value `x` has an axis of size 1099511627776")
    );
    let mut nodes: Vec<NodeProto> = one("Add");
    for i in 0..60 {
        let (from, to) = (if i == 0 { "x".to_owned() } else { format!("d{i}") }, format!("d{}", i + 1));
        let concat = node("Concat", &[&from, &from], &[&to]);
        nodes.push(with(concat, AttributeProto::int("axis", 1)));
    }
    assert!(says("N,3", &[ints(&[1])], nodes).contains("(Concat): the value `d30` has an axis of size"));
}

#[test]
fn a_part_of_a_shape_goes_to_the_end() {
    let shape = || NodeProto::from(node("Shape", &["x"], &["shape"]));
    let ends = |input: &str| with(node("Cast", &[input], &["ends"]), AttributeProto::int("to", 7));
    for far in ["big", "large"] {
        let starts = vec![shape(), ends(far), node("Slice", &["shape", "one", "ends", "axes"], &["y"]).into()];
        let mut constants =
            ["big", "large"].map(|n| TensorProto::int64s(n, &[if n == "big" { i64::MAX } else { 1 << 40 }])).to_vec();
        constants.extend([TensorProto::int64s("one", &[1]), TensorProto::int64s("axes", &[0])]);
        let facts = analysed(graph(&[info("x", "N,3")], &constants, starts));
        assert_eq!(facts.ints("y"), Some(&[3][..]), "{far}");
    }
    // With a symbol among them, large numbers are left out rather than taken for others.
    let sum = whole(vec![shape(), node("Add", &["shape", "large"], &["y"]).into()]);
    assert_eq!(sum, None);
}

#[test]
fn numbers_computed_from_constants_are_known() {
    let float = |name: &str, values: &[f32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        TensorProto::raw(name, DataType::Float, &[values.len() as i64], bytes.into())
    };
    let nodes = vec![
        node("Mul", &["two", "half"], &["one"]).into(),
        with(node("Concat", &["one", "two"], &["scales"]), AttributeProto::int("axis", 0)),
    ];
    let facts = analysed(graph(&[], &[float("two", &[2.0]), float("half", &[0.5])], nodes));
    assert_eq!(facts.floats("scales"), Some(&[1.0, 2.0][..]));
    assert_eq!(facts.number("one"), Some(1.0));
}

#[test]
fn the_number_of_axes_is_known_without_their_sizes() {
    let nodes =
        vec![NodeProto::from(node("Flatten", &["x"], &["matrix"])), node("Reshape", &["x", "sizes"], &["y"]).into()];
    let open = Fact::of(DataType::Float).info("x");
    let sizes = Fact { element: DataType::Int64, shape: Some(vec![Dim::Known(3)]) }.info("sizes");
    let facts = analysed(graph(&[open, sizes], &[], nodes));
    assert_eq!(facts.get("matrix").and_then(Fact::rank), Some(2));
    assert_eq!(facts.get("y").and_then(Fact::rank), Some(3));
}

#[test]
fn windows_go_over_sizes_in_symbols() {
    let window = |operator: &str, inputs: &[&str], lists: &[(&str, &[i64])], rounds_up: i64| {
        let node = NodeProto::from(node(operator, inputs, &["y"]));
        let node = lists.iter().fold(node, |node, (name, list)| with(node, AttributeProto::ints(name, list)));
        let node = with(node, AttributeProto::int("ceil_mode", rounds_up));
        shape(&analysed(graph(&[info("x", "N,4,H,9")], &[weight("w", &[4, 2, 3, 3])], vec![node])), "y")
    };
    let kernel = ("kernel_shape", &[3, 3][..]);
    let strides = ("strides", &[2, 2][..]);
    let pads = ("pads", &[1, 1, 1, 1][..]);
    assert_eq!(window("MaxPool", &["x"], &[kernel, strides], 0), "N,4,(-1 + ((H + 1) / 2)),4");
    assert_eq!(window("MaxPool", &["x"], &[kernel, strides, pads], 1), "N,4,(1 + (H / 2)),5");
    assert_eq!(window("Conv", &["x", "w"], &[strides, pads], 0), "N,4,((H + 1) / 2),5");
    assert_eq!(window("ConvTranspose", &["x", "w"], &[strides, pads], 0), "N,2,(-1 + (2 * H)),17");
    // Whether the last window begins in the padding, the size says.
    let far = ("pads", &[0, 0, 2, 2][..]);
    assert_eq!(window("MaxPool", &["x"], &[("kernel_shape", &[2, 2]), strides, far], 1), "N,4,y[2],5");
}

#[test]
fn arithmetic_on_shapes_is_exact_in_symbols() {
    let axis = || AttributeProto::int("axis", 0);
    let nodes = vec![
        node("Shape", &["x"], &["s"]).into(),
        with(node("Gather", &["s", "one"], &["height"]), axis()),
        node("Mul", &["height", "two"], &["twice"]).into(),
        node("Div", &["height", "two"], &["half"]).into(),
        node("Sub", &["height", "two"], &["less"]).into(),
        // Of what may be below 0, engines round to the other side.
        node("Div", &["less", "two"], &["open"]).into(),
        node("Equal", &["height", "rest"], &["never"]).into(),
        node("Where", &["never", "two", "half"], &["chosen"]).into(),
        with(node("Concat", &["twice", "chosen"], &["sizes"]), axis()),
        node("ConstantOfShape", &["sizes"], &["zeros"]).into(),
        node("ConstantOfShape", &["open"], &["unknown"]).into(),
    ];
    let constants = [("one", 1), ("two", 2), ("rest", -1)].map(|(name, value)| TensorProto::int64s(name, &[value]));
    let facts = analysed(graph(&[info("x", "N,H")], &constants, nodes));
    assert_eq!(shape(&facts, "zeros"), "(2 * H),(H / 2)");
    assert_eq!(facts.ints("never"), Some(&[0][..]));
    assert_eq!(shape(&facts, "unknown"), "unknown[0]");
}

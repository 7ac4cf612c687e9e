use super::*;
use crate::graph::{Dim, Fact, Graph, scalar_info};
use crate::onnx::DataType;
use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
};
use crate::testing::{TestNode, body, node};

fn import(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) }
}

fn model(version: i64, graph: GraphProto) -> Model {
    let opset_import = vec![import("", version)];
    Model::new(ModelProto { graph: Some(graph), opset_import, ir_version: Some(8), ..Default::default() }, "m.onnx")
        .unwrap()
}

fn with(node: TestNode, attributes: &[AttributeProto]) -> TestNode {
    let mut node = NodeProto::from(node);
    node.attribute.extend_from_slice(attributes);
    node.into()
}

fn float(name: &str, value: f32) -> TensorProto {
    TensorProto::raw(name, DataType::Float, &[], value.to_le_bytes().to_vec().into())
}

/// The operators of a graph that is well-formed.
fn operators(model: &Model) -> Vec<String> {
    let graph = Graph::new(model.graph.clone()).unwrap();
    graph.nodes().iter().map(NodeProto::operator).collect()
}

#[track_caller]
fn refused(mut model: Model, says: &str) {
    let error = normalise(&mut model).unwrap_err();
    assert!(error.to_string().contains(says), "{error}");
    assert!(error.help_text().is_some(), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn what_cannot_be_brought_here_is_refused() {
    refused(model(6, body(&["x"], &[], &["x"])), "operator set 6; 7 and newer");
    let mut without = model(18, body(&["x"], &[], &["x"]));
    without.header.opset_import.clear();
    refused(without, "does not import the standard operators");
    let scan = node("Scan", &["", "x"], &["y"]).named("s").with(body(&["a"], &[], &["a"]));
    let scan = with(scan, &[AttributeProto::int("num_scan_inputs", 1)]);
    refused(model(8, body(&["x"], &[scan], &["y"])), "node `s` (Scan): Scan changed its meaning in operator set 9");
    let half_pixel = [AttributeProto::string("coordinate_transformation_mode", "tf_half_pixel_for_nn")];
    let resize = with(node("Resize", &["x", "", "s"], &["y"]), &half_pixel);
    refused(model(11, body(&["x", "s"], &[resize], &["y"])), "tf_half_pixel_for_nn");
    let mut graph = body(&["x"], &[node("Resize", &["x", "s"], &["y"])], &["y"]);
    let scales = [0.5f32, 2.0].iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<_>>();
    graph.initializer = vec![TensorProto::raw("s", DataType::Float, &[2], scales.into())];
    refused(model(10, graph), "node `y` (Resize): it enlarges one axis and shrinks another");
    let read = [node("BatchNormalization", &["x"; 5], &["y", "m", "v", "sm", "sv"]), node("Neg", &["sm"], &["z"])];
    refused(model(9, body(&["x"], &read, &["y", "z"])), "saved_mean");
}

#[test]
fn a_newer_model_keeps_its_version() {
    let mut newer = model(21, body(&["x"], &[node("Neg", &["x"], &["y"])], &["y"]));
    let before = newer.graph.clone();
    assert_eq!(normalise(&mut newer).unwrap(), Normalised::default());
    assert_eq!((newer.opset(""), newer.graph), (Some(21), before));
}

#[test]
fn batch_normalization_that_trained_still_does() {
    let outputs = ["y", "mean", "var", "saved_mean", "saved_var"];
    let graph = body(&["x"], &[node("BatchNormalization", &["x"; 5], &outputs)], &["y", "mean"]);
    let mut model = model(9, graph);
    normalise(&mut model).unwrap();
    assert_eq!(model.graph.node[0].output, ["y", "mean", "var"]);
    assert_eq!(model.graph.node[0].int("training_mode", 0), 1);
}

#[test]
fn a_mask_of_numbers_is_cast() {
    let nodes = [node("Dropout", &["x"], &["a", "mask"]), node("Mul", &["a", "mask"], &["y"])];
    let mut used = model(7, body(&["x"], &nodes, &["y"]));
    normalise(&mut used).unwrap();
    assert_eq!(operators(&used), ["Dropout", "CastLike", "Mul"]);
    assert_eq!(used.graph.node[1].output, ["mask"]);
    let mut unused = model(7, body(&["x"], &[node("Dropout", &["x"], &["y", "mask"])], &["y"]));
    normalise(&mut unused).unwrap();
    assert_eq!(unused.graph.node[0].output, ["y"]);
}

#[test]
fn initializers_are_no_inputs_in_old_files_alone() {
    for (ir_version, inputs) in [(3, 1), (8, 2)] {
        let mut graph = body(&["x", "w"], &[node("Mul", &["x", "w"], &["y"])], &["y"]);
        graph.initializer = vec![float("w", 2.0)];
        let mut model = model(8, graph);
        model.header.ir_version = Some(ir_version);
        normalise(&mut model).unwrap();
        assert_eq!(model.graph.input.len(), inputs);
        assert_eq!(model.header.ir_version, Some(8));
    }
}

#[test]
fn constants_move_without_a_copy() {
    let weights = TensorProto::raw("", DataType::Float, &[1024], vec![1u8; 4096].into());
    let payload = weights.raw_data.clone().unwrap();
    let large = [TensorProto::int64s("shape", &[3]), TensorProto::int64s("large", &[1 << 30])];
    let nodes = [
        with(node("Constant", &[], &["w"]), &[AttributeProto::tensor("value", weights)]),
        with(node("Constant", &[], &["returned"]), &[AttributeProto::float("value_float", 1.0)]),
        with(node("ConstantOfShape", &["shape"], &["b"]), &[AttributeProto::tensor("value", float("", 0.5))]),
        node("ConstantOfShape", &["large"], &["l"]),
        node("Sum", &["x", "w", "b", "l"], &["y"]),
    ];
    let mut model = model(13, body(&["x"], &nodes, &["y", "returned"]));
    model.graph.initializer = large.to_vec();
    let moved = normalise(&mut model).unwrap().moved;
    assert_eq!(operators(&model), ["Constant", "ConstantOfShape", "Sum"]);
    let find = |name: &str| model.graph.initializer.iter().find(|t| t.name() == name).unwrap();
    assert_eq!(find("w").raw_data.as_ref().unwrap().as_ptr(), payload.as_ptr());
    assert_eq!(find("b").floats(), Some(vec![0.5; 3]));
    let moved: Vec<_> = moved.iter().map(|m| (m.initializer.as_str(), m.origin.clone())).collect();
    assert_eq!(moved, [("w", Origin::Constant), ("b", Origin::ConstantOfShape)]);
}

fn function(name: &str, inputs: &[&str], nodes: &[TestNode], outputs: &[&str], version: i64) -> FunctionProto {
    let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    FunctionProto {
        name: Some(name.into()),
        domain: Some("own".into()),
        input: names(inputs),
        output: names(outputs),
        node: nodes.iter().cloned().map(Into::into).collect(),
        opset_import: vec![import("", version), import("own", 1), import("com.other", 3)],
        ..Default::default()
    }
}

fn in_domain(node: TestNode, domain: &str) -> TestNode {
    NodeProto { domain: Some(domain.into()), ..node.into() }.into()
}

#[test]
fn a_function_is_brought_from_its_own_version_and_passes_inputs_on() {
    let axes = AttributeProto {
        name: Some("axes".into()),
        ref_attr_name: Some("dims".into()),
        r#type: Some(AttributeType::Ints as i32),
        ..Default::default()
    };
    let nodes = [
        with(node("ReduceMean", &["a"], &["t"]), &[axes]),
        with(node("Constant", &[], &["c"]), &[AttributeProto::float("value_float", 2.0)]),
        in_domain(node("Strange", &["t", "missing"], &["b"]), "com.other"),
        node("Mul", &["b", "c"], &["d"]),
    ];
    let mean = function("Mean", &["a", "missing"], &nodes, &["d", "a"], 13);
    let call = in_domain(node("Mean", &["x"], &["y", "same"]), "own").named("call");
    let call = with(call, &[AttributeProto::ints("dims", &[1])]);
    let mut model = model(18, body(&["x"], &[call], &["y", "same"]));
    model.header.functions = vec![mean];
    model.header.opset_import.push(import("own", 1));
    let moved = normalise(&mut model).unwrap().moved;
    assert_eq!(operators(&model), ["Identity", "ReduceMean", "com.other.Strange", "Mul"]);
    assert_eq!(model.graph.node[1].input[1], "gnp/normalise/call/t/axes");
    assert_eq!(model.graph.node[2].input[1], "");
    assert_eq!(model.graph.node[3].output, ["y"]);
    assert_eq!(moved, [Moved { initializer: "gnp/normalise/call/c".into(), origin: Origin::Inlined }]);
    assert_eq!(model.header.opset_import, [import("", 18), import("com.other", 3)]);
    assert!(model.header.functions.is_empty());
}

/// A model that calls the first of `count` functions, of which each calls the next as often as `times` says.
fn chain(count: usize, times: usize) -> Model {
    let call = |i: usize, from: &str, to: &str| in_domain(node(&format!("F{i}"), &[from], &[to]), "own");
    let functions = (0..count).map(|i| {
        let calls: Vec<TestNode> = (0..times)
            .map(|j| match i + 1 == count {
                true => node("Neg", &["a"], &[&format!("b{j}")]),
                false => call(i + 1, "a", &format!("b{j}")),
            })
            .collect();
        function(&format!("F{i}"), &["a"], &calls, &["b0"], 18)
    });
    let mut model = model(18, body(&["x"], &[call(0, "x", "y")], &["y"]));
    // The last comes first, so that each is known when another calls it.
    model.graph.node.splice(0..0, (0..count).rev().map(|i| call(i, "x", &format!("unused{i}")).into()));
    model.header.functions = functions.collect();
    model
}

#[test]
fn functions_that_multiply_or_go_deep_are_refused() {
    refused(chain(40, 2), "more than 5000 nodes");
    refused(chain(20_000, 1), "more than 100 deep");
    let mut model = chain(50, 1);
    normalise(&mut model).unwrap();
    assert_eq!(operators(&model).len(), 51);
    let mut model = chain(50, 1);
    model.limits.nodes = 50;
    refused(model, "more than 50 nodes");
}

#[test]
fn a_function_that_calls_itself_is_refused() {
    let call = |name| in_domain(node(name, &["a"], &["b"]), "own").named("inner");
    let mut model = model(18, body(&["x"], &[in_domain(node("F", &["x"], &["y"]), "own")], &["y"]));
    model.header.functions =
        vec![function("F", &["a"], &[call("G")], &["b"], 18), function("G", &["a"], &[call("F")], &["b"], 18)];
    refused(model, "calls itself");
}

#[test]
fn the_branch_that_is_always_taken_takes_the_place_of_if() {
    let branch = |name: &str, operator| {
        let mut graph = body(&[], &[node(operator, &["x", "w"], &["t"])], &["t"]);
        graph.initializer = vec![float("w", 2.0)];
        AttributeProto::graph(name, graph)
    };
    let choice = node("If", &["b"], &["y"]);
    let choice = with(choice, &[branch("then_branch", "Mul"), branch("else_branch", "Div")]);
    // Another value is called as one of the branch.
    let mut graph = body(&["x"], &[choice, node("Neg", &["y"], &["t"])], &["t"]);
    graph.initializer = vec![TensorProto::raw("b", DataType::Bool, &[], vec![0].into())];
    graph.output = vec![scalar_info("t", DataType::Float)];
    let mut model = model(18, graph);
    let moved = normalise(&mut model).unwrap().moved;
    assert_eq!(operators(&model), ["Div", "Identity", "Neg"]);
    let places: Vec<_> = moved.iter().filter_map(Moved::place).collect();
    let names: Vec<_> = places.iter().map(|(initializer, place)| (*initializer, place.name.as_str())).collect();
    assert_eq!(names, [("y/then_branch/w", "w"), ("y/else_branch/w", "w")]);
    assert_eq!(model.graph.node[0].input[1], "y/else_branch/w");
}

#[test]
fn weights_in_branches_are_the_main_graphs_and_can_be_found_again() {
    let branch = |name: &str, weight: &str, returned: &str| {
        let nodes = [node("Mul", &["x", weight], &["p"]), node("Neg", &["p"], &["n"])];
        let mut graph = body(&[], &nodes, &["n", returned]);
        graph.initializer = vec![float(weight, 2.0), TensorProto::int64s("places", &[3])];
        AttributeProto::graph(name, graph)
    };
    let constant = with(node("Constant", &[], &["own"]), &[AttributeProto::float("value_float", 3.0)]);
    let mut otherwise = branch("else_branch", "other", "own");
    otherwise.g.as_deref_mut().unwrap().node.push(constant.into());
    let choice = with(node("If", &["x"], &["y", "z"]), &[branch("then_branch", "w", "w"), otherwise]);
    let before = model(18, body(&["x"], &[choice], &["y", "z"]));
    let mut after = before.clone();
    let moved = normalise(&mut after).unwrap().moved;
    operators(&after);
    let initializers: Vec<_> = after.graph.initializer.iter().map(|t| t.name()).collect();
    // What a branch returns has its name in the branch.
    assert_eq!(initializers, ["y+z/then_branch/w", "other", "y+z/else_branch/own"]);
    let mut graph = before.graph;
    for (initializer, place) in moved.iter().filter_map(Moved::place) {
        let branch = place.body(&mut graph).unwrap();
        let here = branch.initializer.iter().map(|t| t.name()).chain(branch.node.iter().map(|n| n.output[0].as_str()));
        assert!(here.into_iter().any(|name| name == place.name), "{initializer}");
    }
    let bodies: Vec<_> = after.graph.node[0].subgraphs().collect();
    let operators = |body: &GraphProto| body.node.iter().map(|n| n.op_type().to_owned()).collect::<Vec<_>>();
    assert_eq!(operators(bodies[0]), ["Identity", "Mul", "Neg"]);
    assert_eq!(bodies[0].node[1].input[1], "w");
    assert_eq!(bodies[0].initializer.len(), 1, "whole numbers stay");
}

#[test]
fn what_is_taken_out_of_a_split_is_a_part() {
    let at = |k: i64| TensorProto { dims: vec![], ..TensorProto::int64s("k", &[k]) };
    let lowered = |split: Option<TensorProto>, attributes: &[AttributeProto], k: i64| {
        let inputs: &[&str] = if split.is_some() { &["x", "split"] } else { &["x"] };
        let nodes = [
            with(node("SplitToSequence", inputs, &["s"]), attributes),
            node("SequenceAt", &["s", "k"], &["y"]),
            node("Neg", &["y"], &["z"]),
        ];
        let mut graph = body(&["x"], &nodes, &["z"]);
        graph.initializer = split.into_iter().chain([at(k)]).collect();
        let mut model = model(17, graph);
        normalise(&mut model).unwrap();
        let ints = |name: &str| model.graph.initializer.iter().find(|t| t.name() == name)?.ints();
        let last = &model.graph.node[model.graph.node.len() - 2];
        (operators(&model)[1..].join(" "), last.input[1..].iter().map(|name| ints(name)).collect::<Vec<_>>())
    };
    let one_number = |size| TensorProto { dims: vec![], ..TensorProto::int64s("split", &[size]) };
    let axis = AttributeProto::int("axis", 1);
    let slice = |start, end, axis| vec![Some(vec![start]), Some(vec![end]), Some(vec![axis])];
    let constant = lowered(Some(one_number(4)), std::slice::from_ref(&axis), 2);
    assert_eq!(constant, ("Slice Neg".into(), slice(8, 12, 1)));
    let listed = lowered(Some(TensorProto::int64s("split", &[5, 7, 2])), &[], -2);
    assert_eq!(listed, ("Slice Neg".into(), slice(5, 12, 0)));
    let (kept, _) = lowered(None, &[], 1);
    assert_eq!(kept, "Gather Unsqueeze Neg");
    let (taken, position) = lowered(None, &[AttributeProto::int("keepdims", 0)], -1);
    assert_eq!((taken.as_str(), position), ("Gather Neg", vec![Some(vec![-1])]));
    // The last of pieces of 4, however many there are.
    let (computed, _) = lowered(Some(one_number(4)), &[axis], -1);
    assert!(computed.contains("Shape") && computed.ends_with("Slice Neg"), "{computed}");
}

#[test]
fn what_is_not_known_stays() {
    let strange = in_domain(node("FusedMatMul", &["x", "x"], &["y"]), "com.microsoft");
    let strange = with(strange, &[AttributeProto::int("transBatchA", 1)]);
    let mut model = model(18, body(&["x"], &[strange], &["y"]));
    let before = model.graph.clone();
    model.header.opset_import.push(import("com.microsoft", 1));
    normalise(&mut model).unwrap();
    assert_eq!(model.graph, before);
    assert_eq!(model.opset("com.microsoft"), Some(1));
}

#[test]
fn an_old_softmax_goes_over_the_last_axis_alone_where_there_are_no_others() {
    let softmax = |axis| {
        let softmax = with(node("Softmax", &["x"], &["y"]), &[AttributeProto::int("axis", axis)]);
        let mut model = model(11, body(&["x"], &[softmax], &["y"]));
        normalise(&mut model).unwrap();
        model
    };
    let simplified = |axis, shape: &[i64]| {
        let mut model = softmax(axis);
        let mut facts = Facts::default();
        let shape = shape.iter().map(|&size| Dim::Known(size)).collect();
        facts.insert("x".into(), Fact { element: DataType::Float, shape: Some(shape) });
        simplify(&mut model.graph, &facts);
        operators(&model)
    };
    let as_a_matrix = operators(&softmax(1));
    assert_eq!(as_a_matrix, ["Shape", "Flatten", "Softmax", "Reshape"]);
    assert_eq!(simplified(1, &[2, 3]), ["Softmax"]);
    assert_eq!(simplified(2, &[2, 3, 4]), ["Softmax"]);
    assert_eq!(simplified(1, &[2, 3, 4]), as_a_matrix);
}

#[test]
fn constants_made_from_sizes_are_bounded_together() {
    let zeros = |name: &str| node("ConstantOfShape", &["sizes"], &[name]);
    let nodes = [zeros("a"), zeros("b"), zeros("c"), node("Sum", &["a", "b", "c"], &["y"])];
    let mut graph = body(&["x"], &nodes, &["y"]);
    graph.initializer = vec![TensorProto::int64s("sizes", &[4, 4])];
    let mut model = model(18, graph);
    model.limits.constant_bytes = 128;
    normalise(&mut model).unwrap();
    assert_eq!(operators(&model), ["ConstantOfShape", "Sum"]);
    let made: Vec<_> = model.graph.initializer.iter().map(TensorProto::name).collect();
    assert_eq!(made, ["sizes", "a", "b"]);
}

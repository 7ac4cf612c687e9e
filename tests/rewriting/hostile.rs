//! Files of a few hundred bytes that ask for more than there is, or for what no operator does: each is refused with one
//! message that names the node, and leaves nothing behind.
use crate::support::command::gnp_rewrite;
use crate::support::forward::{empty, graph, info, node, weight, with, write};
use gnp::onnx::DataType;
use gnp::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
};

const FLOAT: DataType = DataType::Float;

/// x, [2, 3, 8, 8], times a weight, and then `nodes`, of which the last makes y.
fn after_weight(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> ModelProto {
    let mut model = empty();
    let graph: &mut GraphProto = graph(&mut model);
    graph.input = vec![info("x", FLOAT, "2,3,8,8")];
    graph.initializer = vec![weight("w", &[8])];
    graph.initializer.extend(constants);
    graph.node = [vec![node("Mul", &["x", "w"], "h")], nodes].concat();
    graph.output = vec![info("y", FLOAT, "")];
    graph.output[0].r#type = None;
    model
}

fn ints(name: &str, numbers: &[i64]) -> TensorProto {
    TensorProto::int64s(name, numbers)
}

fn list(name: &str, numbers: &[i64]) -> AttributeProto {
    AttributeProto::ints(name, numbers)
}

/// Functions each of which calls the next `times` times.
fn functions(count: usize, times: usize) -> ModelProto {
    let call = |i: usize, from: &str, to: &str| NodeProto {
        domain: Some("own".into()),
        ..node(&format!("F{i}"), &[from], to)
    };
    let mut model = after_weight(vec![call(0, "h", "y")], vec![]);
    let own = OperatorSetIdProto { domain: Some("own".into()), version: Some(1) };
    model.opset_import.push(own.clone());
    let standard = OperatorSetIdProto { domain: Some(String::new()), version: Some(18) };
    let function = |i: usize| FunctionProto {
        name: Some(format!("F{i}")),
        domain: Some("own".into()),
        input: vec!["a".into()],
        output: vec!["b0".into()],
        node: (0..times)
            .map(|j| {
                let to = format!("b{j}");
                if i + 1 == count { node("Neg", &["a"], &to) } else { call(i + 1, "a", &to) }
            })
            .collect(),
        opset_import: vec![standard.clone(), own.clone()],
        ..Default::default()
    };
    model.functions = (0..count).map(function).collect();
    model
}

/// Models, and what is said of each.
fn hostile() -> Vec<(&'static str, ModelProto, &'static str)> {
    let one = |node: NodeProto, constants: Vec<TensorProto>| after_weight(vec![node], constants);
    let op = |operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>| NodeProto {
        attribute: attributes,
        ..node(operator, inputs, "y")
    };
    let conv = |attributes| one(op("Conv", &["h", "k"], attributes), vec![weight("k", &[4, 3, 3, 3])]);
    let lying = |tensor: TensorProto, dims: &[i64]| TensorProto { dims: dims.to_vec(), ..tensor };
    let mut many_outputs = node("Relu", &["h"], "y");
    many_outputs.output.push("z".into());
    let doubled = (0..40).map(|i| {
        let (from, to) = (if i == 0 { "h".to_owned() } else { format!("d{i}") }, format!("d{}", i + 1));
        with(node("Concat", &[&from, &from], if i == 39 { "y" } else { &to }), AttributeProto::int("axis", 0))
    });
    vec![
        ("functions_doubling", functions(30, 2), "more than 5000 nodes"),
        ("functions_deep", functions(20_000, 1), "more than 100 deep"),
        ("concat_doubling", after_weight(doubled.collect(), vec![]), "(Concat): the value"),
        (
            "lying_dims",
            one(op("Mul", &["h", "v"], vec![]), vec![lying(weight("v", &[8]), &[1 << 40])]),
            "`v` has 32 bytes",
        ),
        (
            "overflowing_dims",
            one(op("Mul", &["h", "v"], vec![]), vec![lying(weight("v", &[8]), &[1 << 62, 4])]),
            "no memory",
        ),
        (
            "negative_dims",
            one(op("Mul", &["h", "v"], vec![]), vec![lying(weight("v", &[8]), &[-8])]),
            "an axis of size -8",
        ),
        ("perm", one(op("Transpose", &["h"], vec![list("perm", &[0, 0, 1, 2])]), vec![]), "no permutation"),
        ("outputs", after_weight(vec![many_outputs], vec![]), "it has 2 outputs; expected 1"),
        ("inputs", one(op("Relu", &["h", "x"], vec![]), vec![]), "it has 2 inputs; expected 1"),
        ("attribute", one(op("Concat", &["h"], vec![list("axis", &[0])]), vec![]), "`axis` is not of type INT"),
        ("constant_of_shape", one(op("ConstantOfShape", &["n"], vec![]), vec![ints("n", &[1 << 40])]), "in its shape"),
        (
            "expand",
            one(op("Expand", &["s", "n"], vec![]), vec![ints("n", &[1 << 29, 1 << 29]), weight("s", &[1])]),
            "(Expand)",
        ),
        ("tile", one(op("Tile", &["h", "n"], vec![]), vec![ints("n", &[1, 1, 1 << 40, 1])]), "in its repeats"),
        (
            "resize",
            one(op("Resize", &["h", "", "", "n"], vec![]), vec![ints("n", &[2, 3, 1 << 62, 8])]),
            "in its sizes",
        ),
        ("reshape", one(op("Reshape", &["h", "n"], vec![]), vec![ints("n", &[-1, -1])]), "more than one -1"),
        ("conv_pads", conv(vec![list("pads", &[1 << 62; 4])]), "`pads` has"),
        ("conv_strides", conv(vec![list("strides", &[0, 0])]), "`strides` has 0"),
        ("conv_group", conv(vec![AttributeProto::int("group", 0)]), "`group` is 0"),
        (
            "pool",
            one(op("MaxPool", &["h"], vec![list("kernel_shape", &[1 << 30; 2])]), vec![]),
            "more than 2³¹ elements",
        ),
        ("gather_nd", one(op("GatherND", &["h", "i"], vec![]), vec![lying(ints("i", &[0]), &[])]), "has 0 axes"),
        ("gather", one(op("Gather", &["h", "i"], vec![]), vec![ints("i", &[i64::MIN])]), "it takes index"),
        (
            "slice",
            one(op("Slice", &["h", "a", "b"], vec![]), vec![ints("a", &[0]), ints("b", &[1, 2])]),
            "differ in length",
        ),
        (
            "step",
            one(op("Slice", &["h", "a", "a", "a", "s"], vec![]), vec![ints("a", &[0]), ints("s", &[0])]),
            "0 in its steps",
        ),
        ("pad", one(op("Pad", &["h", "n"], vec![]), vec![ints("n", &[i64::MAX; 8])]), "in its pads"),
        ("split", one(op("Split", &["h", "n"], vec![]), vec![ints("n", &[-1])]), "-1 in its sizes"),
        (
            "batch_norm",
            one(op("BatchNormalization", &["v", "v", "v", "v", "v"], vec![]), vec![weight("v", &[3])]),
            "has 1 axes; expected 2 or more",
        ),
        ("layer_norm", one(op("LayerNormalization", &["s", "s"], vec![]), vec![weight("s", &[])]), "has 0 axes"),
        ("axes", one(op("ReduceSum", &["h", "n"], vec![]), vec![ints("n", &[7])]), "and there are 4 axes"),
        (
            "one_hot",
            one(op("OneHot", &["i", "n", "v"], vec![]), vec![ints("i", &[0]), ints("n", &[-4]), weight("v", &[2])]),
            "-4 in its depth",
        ),
    ]
}

#[test]
fn what_no_operator_does_is_refused_at_its_node() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("made.onnx");
    let mut wrong = Vec::new();
    for (name, model, says) in hostile() {
        let path = write(&model, &folder.path().join(format!("{name}.onnx")));
        let mut command = gnp_rewrite();
        let run = command.arg(&path).arg("-o").arg(&output).args(["--loss", "mse", "--train", "*"]).output().unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        let is_right = run.status.code() == Some(2) && said.contains(says) && said.contains(&format!("{name}.onnx: "));
        if !is_right || output.exists() {
            wrong.push(format!("{name}: {}: {said}", run.status));
            let _ = std::fs::remove_file(&output);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_large_kernel_takes_no_more_nodes_than_a_small_one() {
    let folder = tempfile::tempdir().unwrap();
    let count = |size: usize| {
        let mut model = empty();
        let graph = graph(&mut model);
        graph.input = vec![info("x", FLOAT, "2,1,20000")];
        graph.initializer = vec![weight("k", &[4, 1, size])];
        graph.node = vec![node("Conv", &["x", "k"], "y")];
        graph.output = vec![info("y", FLOAT, "2,4,length")];
        let step = folder.path().join("step.onnx");
        let path = write(&model, &folder.path().join("model.onnx"));
        gnp_rewrite().arg(&path).arg("-o").arg(&step).args(["--loss", "mse", "--force"]).assert().success();
        gnp::onnx::read(step).unwrap().graph.node.len()
    };
    assert!(count(10_000) < count(3) + 10, "{} and {}", count(10_000), count(3));
}

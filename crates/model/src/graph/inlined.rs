//! Functions of ours put in place of their calls, for engines that know no functions.

use super::{Names, Renaming, Value};
use crate::onnx::Model;
use crate::onnx::proto::{FunctionProto, GraphProto, NodeProto, TensorProto};
use foldhash::HashMap;
use gnp_base::contract::functions::DOMAIN;
use gnp_base::naming::PREFIX;
use std::mem;

/// The pass, as the names of the nodes say it.
const PASS: &str = "inlined";

/// Puts the nodes of the functions that [`Builder::call`](super::Builder::call) has made in place of their calls.
/// What the bodies hold as constants becomes initializers.
///
/// Functions of anyone else are brought into a graph by [`normalise`](crate::normalise::normalise).
pub fn inline_functions(model: &mut Model) {
    inline_functions_but(model, |_| false);
    model.header.opset_import.retain(|import| import.domain() != DOMAIN);
}

/// The same, but for functions whose names `stays` knows.
pub fn inline_functions_but(model: &mut Model, stays: impl Fn(&str) -> bool) {
    let (ours, others) = mem::take(&mut model.header.functions)
        .into_iter()
        .partition::<Vec<FunctionProto>, _>(|function| function.domain() == DOMAIN && !stays(function.name()));
    model.header.functions = others;
    if ours.is_empty() {
        return;
    }
    let functions = ours.iter().map(|function| (function.name(), function)).collect();
    let mut names = Names::of(&model.graph);
    inline(&mut model.graph, &functions, &mut names);
}

fn inline(graph: &mut GraphProto, functions: &HashMap<&str, &FunctionProto>, names: &mut Names) {
    for mut node in mem::take(&mut graph.node) {
        node.subgraphs_mut().for_each(|body| inline(body, functions, names));
        put(node, functions, graph, names);
    }
}

/// Appends `node`, or the nodes of the function that it calls.
fn put(node: NodeProto, functions: &HashMap<&str, &FunctionProto>, graph: &mut GraphProto, names: &mut Names) {
    match functions.get(node.op_type()).filter(|_| node.domain() == DOMAIN) {
        Some(function) => put_nodes(function, &node, functions, graph, names),
        None => graph.node.push(node),
    }
}

/// Appends the nodes of `function` as `call` calls it.
fn put_nodes(
    function: &FunctionProto,
    call: &NodeProto,
    functions: &HashMap<&str, &FunctionProto>,
    graph: &mut GraphProto,
    names: &mut Names,
) {
    let label = call.label().strip_prefix(PREFIX).unwrap_or(call.label()).to_owned();
    let mut renaming = Renaming::default();
    let formal = function.input.iter().chain(&function.output);
    for (formal, actual) in formal.zip(call.input.iter().chain(&call.output)) {
        renaming.insert(formal, actual.as_str().into());
    }
    for name in function.node.iter().flat_map(|node| &node.output).filter(|name| !function.output.contains(name)) {
        renaming.insert(name, Value::from(names.value(PASS, &format!("{label}/{name}")).as_str()));
    }
    for node in &function.node {
        if let Some(tensor) = constant(node) {
            let name = Some(renaming.apply(&node.output[0]).to_string());
            graph.initializer.push(TensorProto { name, ..tensor.clone() });
            continue;
        }
        let mut node = node.clone();
        node.name = Some(names.node(PASS, &format!("{label}/{}", node.label())));
        node.input.iter_mut().chain(&mut node.output).for_each(|name| renaming.rename(name));
        put(node, functions, graph, names);
    }
}

fn constant(node: &NodeProto) -> Option<&TensorProto> {
    node.attribute("value").filter(|_| node.is("", "Constant"))?.t.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Builder, Fact, Graph, Signature};
    use crate::onnx::DataType;
    use crate::onnx::proto::ModelProto;
    use crate::testing::body;

    /// y = −2x and z = −2y, each by a call of a function, whose body is a call of another.
    fn model() -> Model {
        let mut graph = Graph::new(body(&["x"], &[], &["x"])).unwrap();
        graph.make_functions(18);
        graph.declare("x", Fact::with_sizes(DataType::Float, &[3]));
        let b = Builder::new(&mut graph, "update");
        let call = |x: &Value| {
            let signature = Signature { kind: "Twice", inputs: &["x"], outputs: &["y"], attributes: vec![] };
            b.call(signature, &[x], b.fact(x), |b, x| b.neg(b.scale(&x[0], 2.0)))
        };
        let result = call(&call(&"x".into()));
        graph.declare_outputs([Fact::with_sizes(DataType::Float, &[3]).info(&result)]);
        graph.retain_needed();
        let functions = graph.take_functions();
        let proto = ModelProto { functions, graph: Some(graph.into_proto()), ..Default::default() };
        let mut model = Model::new(proto, "model.onnx").unwrap();
        model.import(DOMAIN, 1);
        model
    }

    #[test]
    fn calls_with_one_body_share_a_function() {
        let model = model();
        let operators = |function: &FunctionProto| -> Vec<String> {
            function.node.iter().map(|node| node.op_type().to_owned()).collect()
        };
        // Who is called comes first.
        let [chain, function] = &model.header.functions[..] else { panic!("{:?}", model.header.functions) };
        assert_eq!(
            (chain.name(), operators(chain)),
            ("Elementwise", ["Constant", "Mul", "Neg"].map(String::from).into())
        );
        assert_eq!((function.name(), operators(function)), ("Twice", vec!["Elementwise".to_owned()]));
        assert_eq!((&function.input[..], &function.output[..]), (&["x".to_owned()][..], &["y".to_owned()][..]));
        assert_eq!(function.opset_import.iter().map(|import| import.domain()).collect::<Vec<_>>(), ["", DOMAIN]);
        assert_eq!(model.graph.node.len(), 2);
        assert!(model.graph.initializer.is_empty());
    }

    #[test]
    fn inlined_calls_are_the_nodes_of_their_bodies() {
        let mut model = model();
        let output = model.graph.output[0].name().to_owned();
        inline_functions(&mut model);
        assert!(model.header.functions.is_empty() && model.opset(DOMAIN).is_none());
        let operators: Vec<_> = model.graph.node.iter().map(|node| node.op_type()).collect();
        assert_eq!(operators, ["Mul", "Neg", "Mul", "Neg"]);
        assert_eq!(model.graph.node[3].output, [output]);
        assert_eq!(model.graph.initializer.len(), 2);
        Graph::new(model.graph).expect("the graph is well-formed");
    }
}

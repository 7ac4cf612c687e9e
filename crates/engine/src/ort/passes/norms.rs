//! LayerNormalizations on the processor, by our kernel.
//!
//! ONNX Runtime's LayerNormalization takes as long on two threads as on one. And it normalises over the last axes: so
//! networks that convolve exchange the axes of an image before it and behind it, and the gradient does so again. Our
//! kernel takes images as they are, [N, C, …], where nothing else reads the image with its channels last.
//!
//! The condition: our kernels are there. The numbers are the same but for the order of additions.

use super::remove_unread;
use foldhash::{HashMap, HashSet};
use gnp_base::Result;
use gnp_base::contract::functions::{self, CHANNELS_FIRST, DOMAIN, LAYER_NORM, LAYER_NORM_GRAD};
use gnp_model::graph::{Builder, Fact, Graph, Replacing, Value, for_each_use};
use gnp_model::onnx::proto::{AttributeProto, GraphProto, NodeProto};
use gnp_model::onnx::{DataType, Model};
use gnp_model::shapes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rewrites `model`. Where its shapes contradict each other it stays as it is: the runtime says so better.
///
/// # Errors
/// Where the graph is not well-formed.
pub(super) fn apply(model: &mut Model) -> Result<()> {
    if !has_norms(&model.graph) {
        return Ok(());
    }
    let Ok(facts) = shapes::analyse(model, &BTreeMap::new()) else { return Ok(()) };
    let mut readers = Readers::default();
    readers.meet(&model.graph);
    let mut graph = Graph::knowing(std::mem::take(&mut model.graph), facts)?;
    let b = Builder::new(&mut graph, "norms");
    b.replace_nodes_and_inner(&mut Norms { b: &b, readers, first: vec![HashMap::default()] })?;
    graph.clear_types();
    model.graph = graph.into_proto();
    remove_unread(&mut model.graph, &|node| node.is("", "Transpose"));
    model.import(DOMAIN, 1);
    Ok(())
}

fn has_norms(graph: &GraphProto) -> bool {
    let is_norm = |node: &NodeProto| node.is("", "LayerNormalization") || node.subgraphs().any(has_norms);
    graph.node.iter().any(is_norm)
}

/// Who reads the values of a graph and its bodies.
#[derive(Default)]
struct Readers {
    /// The values that something reads other than what moves the channels from the end.
    others: HashSet<String>,
}

impl Readers {
    fn meet(&mut self, graph: &GraphProto) {
        self.others.extend(graph.output.iter().map(|output| output.name().to_owned()));
        for node in &graph.node {
            node.subgraphs().for_each(|body| self.meet(body));
            if moves(node) == Some(Move::FromTheEnd) {
                continue;
            }
            for_each_use(node, &mut |name| {
                if !self.others.contains(name) {
                    self.others.insert(name.to_owned());
                }
            });
        }
    }
}

/// Where the axes of an image are moved.
#[derive(Clone, Copy, PartialEq)]
enum Move {
    /// [N, C, …] to [N, …, C].
    ToTheEnd,
    /// Back.
    FromTheEnd,
}

/// How `node` moves channels, if it does.
fn moves(node: &NodeProto) -> Option<Move> {
    let perm = node.ints("perm").filter(|perm| node.is("", "Transpose") && perm.len() > 2)?;
    let last = perm.len() as i64 - 1;
    if perm.iter().copied().eq([0].into_iter().chain(2..=last).chain([1])) {
        Some(Move::ToTheEnd)
    } else if perm.iter().copied().eq([0, last].into_iter().chain(1..last)) {
        Some(Move::FromTheEnd)
    } else {
        None
    }
}

/// The walk through a graph.
struct Norms<'g> {
    b: &'g Builder<'g>,
    readers: Readers,
    /// Of the graph, and of the bodies in it that the walk is in: what values whose channels are last were, or are,
    /// with their channels first.
    first: Vec<HashMap<String, Value>>,
}

impl Norms<'_> {
    fn first(&self, value: &str) -> Option<Value> {
        self.first.iter().rev().find_map(|scope| scope.get(value)).cloned()
    }

    fn is_first(&mut self, last: &str, first: Value) {
        if let Some(scope) = self.first.last_mut() {
            scope.insert(last.to_owned(), first);
        }
    }

    fn float(&self, value: &str) -> Option<Arc<Fact>> {
        Some(self.b.fact(&value.into())).filter(|fact| fact.element == DataType::Float && fact.shape.is_some())
    }

    /// Whether `value` has an element for each that the last axes of x have, from `axis` on.
    fn is_of(&self, value: &str, x: &Fact, axis: i64) -> bool {
        let (Some(fact), Some((_, last))) = (self.float(value), x.split_at(axis)) else { return false };
        fact.shape.as_deref() == Some(last)
    }

    /// Whether channels that come last are all that is normalised over, of an image that is there with them first; and
    /// `output` is read with them first alone.
    fn is_best_first(&self, x: &Fact, axis: i64, output: &str) -> bool {
        let rank = x.rank().unwrap_or_default() as i64;
        (axis == -1 || axis == rank - 1) && !self.readers.others.contains(output)
    }

    fn layer_norm(&mut self, node: &NodeProto) -> Option<()> {
        let (x, scale) = (node.input(0)?, node.input(1)?);
        let fact = self.float(x)?;
        let (axis, stash) = (node.int("axis", -1), node.int("stash_type", 1));
        let bias = node.input(2).filter(|bias| !bias.is_empty());
        let parameters = [Some(scale), bias];
        if stash != 1 || !parameters.into_iter().flatten().all(|value| self.is_of(value, &fact, axis)) {
            return None;
        }
        let first = self.first(x).filter(|_| self.is_best_first(&fact, axis, &node.output[0]));
        let mut attributes = vec![AttributeProto::float("epsilon", node.float("epsilon", 1e-5))];
        attributes.push(match first {
            Some(_) => AttributeProto::int(CHANNELS_FIRST, 1),
            None => AttributeProto::int("axis", axis),
        });
        let inputs: Vec<Value> = [first.clone().unwrap_or_else(|| x.into()), scale.into()]
            .into_iter()
            .chain(bias.map(Value::from))
            .collect();
        let statistic = Arc::new(Fact::of(DataType::Float));
        let facts = [self.b.fact(&inputs[0]), statistic.clone(), statistic];
        let outputs = self.call(LAYER_NORM, &inputs, attributes, facts);
        self.returned(node, &outputs, first.is_some());
        Some(())
    }

    fn layer_norm_grad(&mut self, node: &NodeProto) -> Option<()> {
        let fact = self.float(node.input(0)?)?;
        let dx = &node.output[0];
        let axis = node.int("axis", -1);
        if !self.is_best_first(&fact, axis, dx) {
            return None;
        }
        let mut inputs: Vec<Value> = node.input.iter().map(|input| input.as_str().into()).collect();
        for image in &mut inputs[..2] {
            *image = self.first(image)?;
        }
        let facts = [&inputs[0], &inputs[2], &inputs[2]].map(|value| self.b.fact(value));
        let outputs = self.call(node.op_type(), &inputs, vec![AttributeProto::int(CHANNELS_FIRST, 1)], facts);
        self.returned(node, &outputs, true);
        Some(())
    }

    /// A call of a kernel with three outputs.
    fn call(&self, kind: &str, inputs: &[Value], attributes: Vec<AttributeProto>, facts: [Arc<Fact>; 3]) -> Vec<Value> {
        let inputs: Vec<&Value> = inputs.iter().collect();
        let outputs = self.b.nodes_in(DOMAIN, kind, &inputs, attributes, facts.map(Some).into());
        outputs.into_iter().flatten().collect()
    }

    /// Lets what `node` has returned be these values; where its image has the channels first now, that is what is read
    /// of it.
    fn returned(&mut self, node: &NodeProto, values: &[Value], is_first: bool) {
        if is_first {
            self.is_first(&node.output[0], values[0].clone());
        }
        let named = node.output.iter().map(String::as_str).zip(values).skip(is_first.into());
        self.b.define_all(named.filter(|(name, _)| !name.is_empty()));
    }
}

impl Replacing for Norms<'_> {
    fn enter(&mut self) {
        self.first.push(HashMap::default());
    }

    fn leave(&mut self, _: &[Value]) -> Result<()> {
        self.first.pop();
        Ok(())
    }

    fn node(&mut self, node: NodeProto) -> Result<Option<NodeProto>> {
        self.b.set_scope(node.label());
        let kind = functions::kind_of(node.op_type());
        let is_replaced = match moves(&node) {
            Some(Move::ToTheEnd) => {
                self.is_first(&node.output[0], node.input[0].as_str().into());
                None
            }
            Some(Move::FromTheEnd) => self.first(&node.input[0]).map(|first| _ = self.b.define(&node.output[0], first)),
            None if node.is("", "LayerNormalization") => self.layer_norm(&node),
            None if node.domain() == DOMAIN && kind == LAYER_NORM_GRAD => self.layer_norm_grad(&node),
            None => None,
        };
        Ok(if is_replaced.is_some() { None } else { Some(node) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::testing::{TestNode, body, model, node};

    /// The nodes behind the pass, as text: x is an image [4, 24, 5, 5], scale and bias are of its channels, m and s of
    /// its places.
    fn nodes(nodes: &[TestNode], outputs: &[&str]) -> Vec<String> {
        let float = |name: &str, sizes: &[i64]| Fact::with_sizes(DataType::Float, sizes).info(name);
        let mut graph = body(&[], nodes, outputs);
        graph.input = vec![
            float("x", &[4, 24, 5, 5]),
            float("dy", &[4, 24, 5, 5]),
            float("scale", &[24]),
            float("bias", &[24]),
            float("one", &[1]),
            float("m", &[4, 5, 5, 1]),
            float("r", &[4, 5, 5, 1]),
        ];
        let mut model = model(graph);
        apply(&mut model).unwrap();
        Graph::new(model.graph.clone()).expect("the graph is well-formed");
        let told = |node: &NodeProto| {
            let first = if node.int(CHANNELS_FIRST, 0) == 1 { " of channels first" } else { "" };
            format!("{} {}{first}", node.op_type(), node.input.join(" "))
        };
        model.graph.node.iter().map(told).collect()
    }

    fn moved(from: &str, to: &str, perm: &[i64]) -> TestNode {
        let mut node: NodeProto = node("Transpose", &[from], &[to]).into();
        node.attribute = vec![AttributeProto::ints("perm", perm)];
        node.into()
    }

    const TO_THE_END: &[i64] = &[0, 2, 3, 1];
    const FROM_THE_END: &[i64] = &[0, 3, 1, 2];

    fn gradient(inputs: [&str; 5]) -> TestNode {
        let mut node: NodeProto = node(LAYER_NORM_GRAD, &inputs, &["dx", "dscale", "dbias"]).into();
        node.domain = Some(DOMAIN.into());
        node.into()
    }

    #[test]
    fn an_image_is_normalised_as_it_is() {
        let forward = [
            moved("x", "last", TO_THE_END),
            node("LayerNormalization", &["last", "scale", "bias"], &["normal", "mean", "s"]),
            moved("normal", "y", FROM_THE_END),
        ];
        let found = nodes(&forward, &["y"]);
        assert_eq!(found[0], "LayerNorm x scale bias of channels first");
        assert_eq!(found[1..], ["Identity gnp/norms/normal+mean+s/LayerNorm"]);
        let backward = [
            moved("dy", "dy_last", TO_THE_END),
            gradient(["last", "dy_last", "scale", "mean", "s"]),
            moved("dx", "z", FROM_THE_END),
        ];
        let found = nodes(&[&forward[..], &backward].concat(), &["y", "z", "dscale", "dbias"]);
        let of_gradient = "LayerNormGrad x dy scale mean s of channels first";
        assert!(found.contains(&of_gradient.to_owned()), "{found:?}");
        assert!(!found.iter().any(|node| node.starts_with("Transpose")), "{found:?}");
    }

    #[test]
    fn what_is_read_with_its_channels_last_stays_so() {
        let forward = [
            moved("x", "last", TO_THE_END),
            node("LayerNormalization", &["last", "scale", "bias"], &["normal", "mean", "s"]),
            moved("normal", "y", FROM_THE_END),
            node("Relu", &["normal"], &["z"]),
        ];
        let found = nodes(&forward, &["y", "z"]);
        assert_eq!(found[..2], ["Transpose x", "LayerNorm last scale bias"]);
        assert!(found.iter().any(|node| node == "Transpose normal"), "{found:?}");
        // The cotangent comes with its channels last.
        let backward = [moved("x", "last", TO_THE_END), gradient(["last", "m", "scale", "m", "r"])];
        assert_eq!(nodes(&backward, &["dx"]), ["Transpose x", "LayerNormGrad last m scale m r"]);
    }

    #[test]
    fn what_is_read_in_a_branch_counts_too() {
        let nodes = [
            moved("x", "last", TO_THE_END),
            node("LayerNormalization", &["last", "scale", "bias"], &["normal"]),
            moved("normal", "image", FROM_THE_END),
            node("Relu", &["normal"], &["relu"]),
        ];
        let branch = body(&[], &nodes, &["image", "relu"]);
        let choice = node("If", &["yes"], &["y", "z"]).with(branch);
        let mut graph = body(&["x", "scale", "bias", "yes"], &[choice], &["y", "z"]);
        let float = |name: &str, sizes: &[i64]| Fact::with_sizes(DataType::Float, sizes).info(name);
        graph.input[..3].clone_from_slice(&[float("x", &[4, 24, 5, 5]), float("scale", &[24]), float("bias", &[24])]);
        let mut model = model(graph);
        apply(&mut model).unwrap();
        Graph::new(model.graph.clone()).expect("the graph is well-formed");
        let body = model.graph.node[0].subgraphs().next().unwrap();
        let norm = body.node.iter().find(|node| node.op_type() == LAYER_NORM).unwrap();
        assert_eq!((norm.input(0), norm.int(CHANNELS_FIRST, 0)), (Some("last"), 0));
    }

    #[test]
    fn a_scale_that_broadcasts_is_left_to_the_runtime() {
        let forward = [node("LayerNormalization", &["x", "one"], &["y"])];
        assert_eq!(nodes(&forward, &["y"]), ["LayerNormalization x one"]);
    }
}

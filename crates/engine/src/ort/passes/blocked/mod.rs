//! Convolutions on the processor, in blocks of channels.
//!
//! ONNX Runtime's fastest convolutions want the channels of an image in blocks that fill a vector register: [N, C, H,
//! W] as [N, C / b, H, W, b]. By itself the runtime lays out so what has constant weights, and the weights of a step
//! model change. Its operators for this layout (domain `com.microsoft.nchwc`) take any weights, though, so they are
//! written here, with the weights laid out anew in each step, which is little beside the images.
//!
//! An image stays in blocks from one convolution to the next: what computes element by element, and sums over the
//! places of the channels, are the same in either layout; pools have operators for blocks; where channels go to the
//! end, as a LayerNormalization of them wants it, whole blocks do. Other operators get the image as it was.
//!
//! The condition: the runtime lays images out as is meant here ([`probe`] asks it), the sizes of channels are known and
//! multiples of the block.

mod convolution;
mod elementwise;
mod norm;
mod pool;
pub(super) mod probe;
mod transpose;

use foldhash::{HashMap, HashSet};
use gnp_base::Result;
use gnp_base::contract::functions;
use gnp_model::graph::{Builder, Dim, Fact, Graph, Replacing, Value};
use gnp_model::onnx::proto::{AttributeProto, NodeProto};
use gnp_model::onnx::{DataType, Model};
use gnp_model::shapes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The domain of ONNX Runtime's operators on images in blocks. They take images of the shape [N, C, H, W] whose memory
/// is that of [N, C / b, H, W, b].
pub(super) const NCHWC: &str = "com.microsoft.nchwc";

/// Rewrites `model` for blocks of `block` channels. Where its shapes contradict each other it stays as it is: the
/// runtime says so better.
///
/// With `kernels`, gradients of convolutions are computed by ours, which take either layout.
///
/// # Errors
/// Where the graph is not well-formed.
pub(super) fn apply(model: &mut Model, block: i64, kernels: bool) -> Result<()> {
    if !model.graph.node.iter().any(|node| node.is("", "Conv")) {
        return Ok(());
    }
    let Ok(facts) = shapes::analyse(model, &BTreeMap::new()) else { return Ok(()) };
    let mut graph = Graph::knowing(std::mem::take(&mut model.graph), facts)?;
    let convolved = transpose::convolved(graph.proto());
    let outputs: Vec<Value> = graph.proto().output.iter().map(|output| output.name().into()).collect();
    let b = Builder::new(&mut graph, "blocked");
    let mut pass = Blocked { b: &b, block, kernels, convolved, scopes: vec![Scope::default()] };
    b.replace_nodes_and_inner(&mut pass)?;
    outputs.iter().for_each(|output| _ = pass.plain(output));
    graph.clear_types();
    model.graph = graph.into_proto();
    model.import(NCHWC, 1);
    Ok(())
}

/// The walk through a graph.
struct Blocked<'g> {
    b: &'g Builder<'g>,
    /// The number of channels in a block.
    block: i64,
    /// Whether our kernels are there.
    kernels: bool,
    /// The values that convolutions read as images.
    convolved: HashSet<String>,
    /// The graph, and the bodies in it that the walk is in.
    scopes: Vec<Scope>,
}

/// What the nodes of a graph, or of a body, have made so far.
#[derive(Default)]
struct Scope {
    /// The values that there are in blocks, [N, C / b, H, W, b].
    blocked: HashMap<Value, Value>,
    /// Those of them that there are not as they were.
    only_blocked: HashSet<Value>,
    /// What values of graphs around this one are called here, as they were.
    plain: HashMap<Value, Value>,
}

impl Blocked<'_> {
    fn scope(&mut self) -> &mut Scope {
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    /// Whether a value is there in blocks.
    fn is_blocked(&self, value: &str) -> bool {
        self.scopes.iter().any(|scope| scope.blocked.contains_key(value))
    }

    /// Whether a value is there in blocks and not as it was.
    fn is_only_blocked(&self, value: &str) -> bool {
        let plain = self.scopes.iter().any(|scope| scope.plain.contains_key(value));
        !plain && self.scopes.iter().any(|scope| scope.only_blocked.contains(value))
    }

    /// What is known of a value of float32, as which alone ONNX Runtime has images in blocks.
    fn float(&self, value: &str) -> Option<Arc<Fact>> {
        Some(self.b.fact(&value.into())).filter(|fact| fact.element == DataType::Float)
    }

    /// The sizes of the channels and the places of an image that can be in blocks: [C, H, W].
    fn image(&self, value: &str) -> Option<[i64; 3]> {
        match self.float(value)?.shape.as_deref()? {
            &[_, Dim::Known(channels), Dim::Known(height), Dim::Known(width)] => {
                (channels > 0 && channels % self.block == 0).then_some([channels, height, width])
            }
            _ => None,
        }
    }

    /// An image [N, C, H, W] in blocks, [N, C / b, H, W, b].
    fn blocked(&mut self, value: &Value) -> Option<Value> {
        if let Some(found) = self.scopes.iter().rev().find_map(|scope| scope.blocked.get(value)) {
            return Some(found.clone());
        }
        self.image(value)?;
        let fact = self.b.fact(value);
        let packed = self.b.node_in(NCHWC, "ReorderInput", &[value], vec![], fact);
        let blocked = self.unfold(&packed)?;
        self.scope().blocked.insert(value.clone(), blocked.clone());
        Some(blocked)
    }

    /// A value as it was before this pass.
    fn plain(&mut self, value: &Value) -> Value {
        let named = self.scopes.iter().rev().find_map(|scope| scope.plain.get(value)).cloned();
        if let Some(named) = named {
            return named;
        }
        let Some(home) = self.scopes.iter().rposition(|scope| scope.only_blocked.contains(value)) else {
            return value.clone();
        };
        let Some(blocked) = self.scopes[home].blocked.get(value).cloned() else { return value.clone() };
        let packed = self.fold(&blocked);
        let fact = self.b.fact(value);
        let channels = fact.dim(1).and_then(Dim::known).unwrap_or_default();
        let attributes = vec![AttributeProto::int("channels", channels)];
        let made = self.b.node_in(NCHWC, "ReorderOutput", &[&packed], attributes, fact);
        if home + 1 == self.scopes.len() {
            self.scopes[home].only_blocked.remove(value);
            return self.b.define(value, made);
        }
        // The graph around may need the value too, and then gives it its name there.
        self.scope().plain.insert(value.clone(), made.clone());
        made
    }

    /// [N, C, H, W] with the memory of blocks, as what it is.
    fn unfold(&self, packed: &Value) -> Option<Value> {
        let fact = self.b.fact(packed);
        let dims = fact.shape.as_deref()?;
        let [batch, Dim::Known(channels), height, width] = dims else { return None };
        let dims = [batch, &Dim::Known(channels / self.block), height, width, &Dim::Known(self.block)];
        self.b.reshape_dims(packed, dims.map(Dim::clone).to_vec())
    }

    /// [N, C / b, H, W, b], as ONNX Runtime's operators take it.
    fn fold(&self, blocked: &Value) -> Value {
        let fact = self.b.fact(blocked);
        let folded = match fact.shape.as_deref() {
            Some([batch, Dim::Known(blocks), height, width, Dim::Known(block)]) => {
                let dims = [batch, &Dim::Known(blocks * block), height, width];
                self.b.reshape_dims(blocked, dims.map(Dim::clone).to_vec())
            }
            _ => None,
        };
        folded.unwrap_or_else(|| blocked.clone())
    }

    /// Lets `name` be the image whose blocks are `blocked`.
    fn define(&mut self, name: &str, blocked: Value) {
        let scope = self.scope();
        scope.blocked.insert(name.into(), blocked);
        scope.only_blocked.insert(name.into());
    }

    /// Lets `name` be the image that an operator of ONNX Runtime returns.
    fn define_packed(&mut self, name: &str, packed: &Value) -> Option<()> {
        let blocked = self.unfold(packed)?;
        self.define(name, blocked);
        Some(())
    }

    /// The shape of an image, or its size, which blocks have too.
    fn shape(&mut self, node: &NodeProto) -> Option<()> {
        let image = node.input(0).filter(|image| self.is_only_blocked(image))?;
        let blocked = self.blocked(&image.into())?;
        let packed = self.fold(&blocked);
        let output = node.output[0].as_str();
        let fact = self.b.fact(&output.into());
        self.b.define(output, self.b.node(node.op_type(), &[&packed], node.attribute.clone(), fact));
        Some(())
    }

    /// Does what `node` does on images in blocks; none where it stays.
    fn in_blocks(&mut self, node: &NodeProto) -> Option<()> {
        self.b.set_scope(node.label());
        match (node.domain(), node.op_type()) {
            ("", "Conv") => self.conv(node),
            ("", "Shape" | "Size") => self.shape(node),
            ("", "MaxPool" | "AveragePool") => self.pool(node),
            ("", "Transpose") => self.transpose(node),
            ("", "ReduceSum" | "ReduceMean" | "ReduceSumSquare") => self.reduce(node),
            ("", _) => self.elementwise(node),
            (functions::DOMAIN, function) => match functions::kind_of(function) {
                functions::ELEMENTWISE => self.elementwise(node),
                functions::REDUCE => self.reduce(node),
                functions::CONV_GRAD_INPUT => self.conv_grad_input(node),
                functions::CONV_GRAD_WEIGHT => self.conv_grad_weight(node),
                functions::MAX_POOL_GRAD => self.max_pool_grad(node),
                functions::LAYER_NORM => self.norm(node, 1),
                functions::LAYER_NORM_GRAD => self.norm(node, 2),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Replacing for Blocked<'_> {
    fn enter(&mut self) {
        self.scopes.push(Scope::default());
    }

    fn leave(&mut self, outputs: &[Value]) -> Result<()> {
        outputs.iter().for_each(|output| _ = self.plain(output));
        self.scopes.pop();
        Ok(())
    }

    fn node(&mut self, mut node: NodeProto) -> Result<Option<NodeProto>> {
        if self.in_blocks(&node).is_some() {
            return Ok(None);
        }
        for input in node.input.iter_mut().filter(|input| !input.is_empty()) {
            *input = self.plain(&input.as_str().into()).to_string();
        }
        Ok(Some(node))
    }
}

/// What is known of a tensor of these sizes, floats.
fn floats(sizes: &[i64]) -> Fact {
    Fact::with_sizes(DataType::Float, sizes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::graph::scalar_info;
    use gnp_model::onnx::DataType;
    use gnp_model::onnx::proto::{GraphProto, TensorProto};
    use gnp_model::testing::{TestNode, body, model, node};

    /// The operators of a graph of `nodes` in blocks of 16 channels: its input x is an image of 32 channels, w and v
    /// are weights of as many, b is a number for each channel.
    fn operators(nodes: &[TestNode], outputs: &[&str], kernels: bool) -> Vec<String> {
        let float = |name: &str, sizes: &[i64]| Fact::with_sizes(DataType::Float, sizes).info(name);
        let mut graph: GraphProto = body(&[], nodes, &[]);
        graph.input = vec![
            float("x", &[4, 32, 8, 8]),
            float("w", &[32, 32, 3, 3]),
            float("v", &[16, 32, 1, 1]),
            float("u", &[32, 32, 1, 1]),
            float("b", &[32, 1, 1]),
            scalar_info("c", DataType::Bool),
        ];
        graph.initializer = vec![TensorProto::int64s("places", &[-2, -1])];
        graph.output = outputs.iter().map(|name| scalar_info(name, DataType::Float)).collect();
        graph.output.iter_mut().for_each(|output| output.r#type = None);
        let mut model = model(graph);
        apply(&mut model, 16, kernels).unwrap();
        Graph::new(model.graph.clone()).expect("the graph is well-formed");
        let ours = ["Reshape", "Transpose", "ConvWeights"];
        model.graph.node.iter().map(|n| n.op_type().to_owned()).filter(|name| !ours.contains(&name.as_str())).collect()
    }

    #[test]
    fn an_image_stays_in_blocks_from_one_convolution_to_the_next() {
        let nodes = [
            node("Conv", &["x", "w"], &["first"]),
            node("Add", &["first", "b"], &["shifted"]),
            node("Relu", &["shifted"], &["relu"]),
            node("Conv", &["relu", "v"], &["second"]),
            node("ReduceMean", &["second", "places"], &["mean"]),
        ];
        for kernels in [false, true] {
            let found = operators(&nodes, &["mean"], kernels);
            assert_eq!(found, ["ReorderInput", "Conv", "Add", "Relu", "Conv", "ReduceMean"]);
        }
    }

    #[test]
    fn other_operators_get_the_image_as_it_was() {
        let nodes = [
            node("Conv", &["x", "w"], &["first"]),
            node("LpPool", &["first"], &["pooled"]),
            node("Relu", &["first"], &["relu"]),
        ];
        let found = operators(&nodes, &["pooled", "relu"], true);
        assert_eq!(found, ["ReorderInput", "Conv", "ReorderOutput", "LpPool", "Relu"]);
    }

    #[test]
    fn a_branch_gets_an_image_under_a_name_of_its_own() {
        let branch = |operator: &str, output: &str| body(&[], &[node(operator, &["first"], &[output])], &[output]);
        let mut choice: NodeProto =
            node("If", &["c"], &["y"]).with(branch("LpPool", "m")).with(branch("LpNormalization", "n")).into();
        for (attribute, name) in choice.attribute.iter_mut().zip(["then_branch", "else_branch"]) {
            attribute.name = Some(name.into());
        }
        let nodes = [node("Conv", &["x", "w"], &["first"]), choice.into(), node("LpPool", &["first"], &["pooled"])];
        // Each branch reorders the image for itself, and so does the graph behind them.
        let found = operators(&nodes, &["y", "pooled"], true);
        assert_eq!(found, ["ReorderInput", "Conv", "If", "ReorderOutput", "LpPool"]);
    }

    #[test]
    fn pools_and_their_gradients_are_of_blocks() {
        let window = |name: &str| AttributeProto::ints(name, &[2, 2]);
        let mut pool: NodeProto = node("MaxPool", &["relu"], &["pooled"]).into();
        let mut gradient: NodeProto = node("MaxPoolGrad", &["relu", "second"], &["dx"]).into();
        gradient.domain = Some(functions::DOMAIN.into());
        for node in [&mut pool, &mut gradient] {
            node.attribute = ["kernel_shape", "strides"].map(window).to_vec();
        }
        let nodes = [
            node("Conv", &["x", "w"], &["first"]),
            node("Relu", &["first"], &["relu"]),
            pool.into(),
            node("Conv", &["pooled", "u"], &["second"]),
            gradient.into(),
            node("ReduceMean", &["dx", "places"], &["mean"]),
        ];
        let found = operators(&nodes, &["mean"], true);
        assert_eq!(found, ["ReorderInput", "Conv", "Relu", "MaxPool", "Conv", "MaxPoolGrad", "ReduceMean"]);
        let found = operators(&nodes, &["mean"], false);
        let rest = ["ReorderOutput", "ReorderOutput", "MaxPoolGrad", "ReduceMean"];
        assert_eq!(found, [&["ReorderInput", "Conv", "Relu", "MaxPool", "Conv"][..], &rest].concat());
    }

    #[test]
    fn channels_go_to_the_end_from_blocks_and_come_back_into_blocks() {
        let perm = |mut node: NodeProto, perm: &[i64]| {
            node.attribute = vec![AttributeProto::ints("perm", perm)];
            node
        };
        let nodes = [
            node("Conv", &["x", "w"], &["first"]),
            perm(node("Transpose", &["first"], &["last"]).into(), &[0, 2, 3, 1]).into(),
            node("Softmax", &["last"], &["softmax"]),
            perm(node("Transpose", &["softmax"], &["back"]).into(), &[0, 3, 1, 2]).into(),
            node("Conv", &["back", "v"], &["second"]),
            node("ReduceMean", &["second", "places"], &["mean"]),
        ];
        let found = operators(&nodes, &["mean"], true);
        assert_eq!(found, ["ReorderInput", "Conv", "Softmax", "Conv", "ReduceMean"]);
        // No convolution reads it: it is made as it was.
        let nodes = [&nodes[..4], &[node("LpPool", &["back"], &["pooled"])]].concat();
        assert_eq!(operators(&nodes, &["pooled"], true), ["ReorderInput", "Conv", "Softmax", "LpPool"]);
    }

    #[test]
    fn channels_are_normalised_in_blocks() {
        let of_images = |mut node: NodeProto| {
            node.domain = Some(functions::DOMAIN.into());
            node.attribute = vec![AttributeProto::int(functions::CHANNELS_FIRST, 1)];
            node
        };
        let inputs = ["normal", "second", "b", "m", "s"];
        let nodes = [
            node("Conv", &["x", "w"], &["first"]),
            of_images(node("LayerNorm", &["first", "b"], &["normal", "m", "s"]).into()).into(),
            node("Conv", &["normal", "u"], &["second"]),
            of_images(node("LayerNormGrad", &inputs, &["dx", "dscale", "dbias"]).into()).into(),
            node("ReduceMean", &["dx", "places"], &["mean"]),
        ];
        let found = operators(&nodes, &["mean", "dscale"], true);
        assert_eq!(found, ["ReorderInput", "Conv", "LayerNorm", "Conv", "LayerNormGrad", "ReduceMean"]);
    }

    #[test]
    fn what_has_no_convolution_stays() {
        assert_eq!(operators(&[node("Relu", &["x"], &["relu"])], &["relu"], true), ["Relu"]);
    }
}

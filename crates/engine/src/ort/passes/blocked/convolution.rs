//! Convolutions and their gradients on images in blocks.

use super::{Blocked, NCHWC, floats};
use gnp_base::contract::functions;
use gnp_model::graph::{Fact, Value};
use gnp_model::onnx::proto::{AttributeProto, NodeProto};

/// How the weights of a convolution fit blocks.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// Both channels in blocks.
    Dense,
    /// The channels of the output in blocks; those of the input, fewer than one, as they are: the first convolution.
    Few,
    /// A channel of the input for each of the output.
    Depthwise,
}

impl Blocked<'_> {
    /// The sizes of weights [outer, inner, kernel, kernel].
    fn weights(&self, value: &str) -> Option<[i64; 4]> {
        self.b.fact(&value.into()).sizes()?.try_into().ok()
    }

    fn form(&self, [outer, inner, ..]: [i64; 4], group: i64) -> Option<Form> {
        let fits = |channels: i64| channels % self.block == 0;
        match group {
            1 if fits(outer) && fits(inner) => Some(Form::Dense),
            1 if fits(outer) && inner < self.block => Some(Form::Few),
            group if group == outer && inner == 1 && fits(outer) => Some(Form::Depthwise),
            _ => None,
        }
    }

    pub(super) fn conv(&mut self, node: &NodeProto) -> Option<()> {
        let (x, w) = (Value::from(node.input(0)?), Value::from(node.input(1)?));
        let sizes = self.weights(&w)?;
        let form = self.form(sizes, node.int("group", 1))?;
        self.image(&node.output[0])?;
        let x = match form {
            Form::Few => self.plain(&x),
            _ => {
                let blocked = self.blocked(&x)?;
                self.fold(&blocked)
            }
        };
        let w = self.plain(&w);
        let w = self.laid_out(&w, sizes, form, false);
        let bias = node.input(2).map(|bias| self.plain(&bias.into()));
        let inputs: Vec<&Value> = [&x, &w].into_iter().chain(&bias).collect();
        let fact = self.b.fact(&node.output[0].as_str().into());
        let packed = self.b.node_in(NCHWC, "Conv", &inputs, node.attribute.clone(), fact);
        self.define_packed(&node.output[0], &packed)
    }

    /// The gradient of the input where all strides are one: a convolution with the weights turned around.
    pub(super) fn conv_grad_input(&mut self, node: &NodeProto) -> Option<()> {
        let (dy, w) = (Value::from(node.input(0)?), Value::from(node.input(1)?));
        let [outer, inner, height, width] = self.weights(&w)?;
        let group = node.int("group", 1);
        let Some(form) = self.form([outer, inner, height, width], group).filter(|form| *form != Form::Few) else {
            return self.by_kernel(node, &dy, &w);
        };
        let (strides, dilations) = (node.ints("strides")?, node.ints("dilations")?);
        let pads = node.ints("pads").filter(|pads| pads.len() == 4)?;
        if strides != [1, 1] || dilations.len() != 2 {
            return self.by_kernel(node, &dy, &w);
        }
        let reach = [height, width].into_iter().zip(dilations).map(|(size, dilation)| (size - 1) * dilation);
        let reach: Vec<i64> = reach.collect();
        let pads: Vec<i64> = pads.iter().zip(reach.iter().cycle()).map(|(pad, reach)| reach - pad).collect();
        if pads.iter().any(|pad| *pad < 0) {
            return None;
        }
        self.image(&node.output[0])?;
        let blocked = self.blocked(&dy)?;
        let dy = self.fold(&blocked);
        let w = self.plain(&w);
        let w = self.laid_out(&w, [outer, inner, height, width], form, true);
        let attributes = vec![
            AttributeProto::ints("kernel_shape", &[height, width]),
            AttributeProto::ints("dilations", dilations),
            AttributeProto::ints("pads", &pads),
            AttributeProto::int("group", group),
        ];
        let fact = self.b.fact(&node.output[0].as_str().into());
        let packed = self.b.node_in(NCHWC, "Conv", &[&dy, &w], attributes, fact);
        self.define_packed(&node.output[0], &packed)
    }

    /// The gradient of the input by our kernel.
    fn by_kernel(&mut self, node: &NodeProto, dy: &Value, w: &Value) -> Option<()> {
        let output = node.output[0].as_str();
        let in_blocks = self.image(output).is_some();
        if !self.kernels || !in_blocks && !self.is_only_blocked(dy) {
            return None;
        }
        let blocks = [self.is_blocked(dy), in_blocks].map(|is| if is { self.block } else { 0 });
        let (dy, w) = (self.as_it_is(dy)?, self.plain(w));
        let made = self.b.fact(&output.into());
        let fact = if in_blocks { self.fact_in_blocks(&made)? } else { Fact::clone(&made) };
        let dx = self.b.node_in(node.domain(), node.op_type(), &[&dy, &w], with_blocks(node, &blocks), fact);
        if in_blocks {
            self.define(output, dx);
        } else {
            self.b.define(output, dx);
        }
        Some(())
    }

    /// The gradient of the weights, by our kernel, from images as they are.
    pub(super) fn conv_grad_weight(&mut self, node: &NodeProto) -> Option<()> {
        let [x, dy] = [node.input(0)?, node.input(1)?].map(Value::from);
        if !self.kernels || ![&x, &dy].into_iter().any(|image| self.is_only_blocked(image)) {
            return None;
        }
        let blocks = [&x, &dy].map(|image| if self.is_blocked(image) { self.block } else { 0 });
        let [x, dy] = [self.as_it_is(&x)?, self.as_it_is(&dy)?];
        let fact = self.b.fact(&node.output[0].as_str().into());
        let dw = self.b.node_in(node.domain(), node.op_type(), &[&x, &dy], with_blocks(node, &blocks), fact);
        self.b.define(&node.output[0], dw);
        Some(())
    }

    /// An image in blocks where it is in blocks, as it was elsewhere.
    fn as_it_is(&mut self, image: &Value) -> Option<Value> {
        if self.is_blocked(image) { self.blocked(image) } else { Some(image.clone()) }
    }

    /// Weights as ONNX Runtime's operator reads them, or those of the adjoint.
    fn laid_out(&self, w: &Value, [outer, inner, height, width]: [i64; 4], form: Form, adjoint: bool) -> Value {
        let (g, b) = (self.b, self.block);
        let exchanged = adjoint && form == Form::Dense;
        let [outer, inner] = if exchanged { [inner, outer] } else { [outer, inner] };
        let sizes = [outer, inner, height, width];
        if self.kernels {
            let is = |name, is: bool| AttributeProto::int(name, is.into());
            let attributes =
                vec![AttributeProto::int("block", b), is("both", form == Form::Dense), is("adjoint", adjoint)];
            return g.node_in(functions::DOMAIN, functions::CONV_WEIGHTS, &[w], attributes, floats(&sizes));
        }
        let w = if exchanged { g.transpose(w, &[1, 0, 2, 3]) } else { w.clone() };
        let w = if adjoint { g.slice(&w, &[-1, -1], &[i64::MIN; 2], &[2, 3], &[-1, -1]) } else { w };
        let moved = if form == Form::Dense {
            let parts = g.reshape(&w, &[outer / b, b, inner / b, b, height, width]);
            g.transpose(&parts, &[0, 2, 4, 5, 3, 1])
        } else {
            let parts = g.reshape(&w, &[outer / b, b, inner, height, width]);
            g.transpose(&parts, &[0, 2, 3, 4, 1])
        };
        g.reshape_to(&moved, g.int64s(&sizes), floats(&sizes))
    }
}

/// The attributes of a gradient, two of whose tensors are in such blocks.
fn with_blocks(node: &NodeProto, blocks: &[i64]) -> Vec<AttributeProto> {
    node.attribute.iter().cloned().chain([AttributeProto::ints(functions::BLOCKED, blocks)]).collect()
}

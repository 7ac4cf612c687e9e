//! Convolutions and their gradients on images in blocks.

use super::{Blocked, NCHWC, floats};
use gnp_base::contract::functions;
use gnp_model::graph::{Dim, Fact, Value};
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
        self.float(value)?.sizes()?.try_into().ok()
    }

    /// How weights fit. Channels that are no multiple of a block leave it partly empty: our kernel lays out the weights
    /// for that, and ONNX Runtime reorders images of multiples of four channels.
    fn form(&self, [outer, inner, ..]: [i64; 4], group: i64) -> Option<Form> {
        let fits = |channels: i64| channels % self.block == 0 || self.kernels && channels % 4 == 0;
        match group {
            1 if fits(outer) && fits(inner) => Some(Form::Dense),
            1 if fits(outer) && inner < self.block => Some(Form::Few),
            group if group == outer && inner == 1 && fits(outer) => Some(Form::Depthwise),
            _ => None,
        }
    }

    /// So many channels in full blocks.
    fn full(&self, channels: i64) -> i64 {
        (channels + self.block - 1) / self.block * self.block
    }

    pub(super) fn conv(&mut self, node: &NodeProto) -> Option<()> {
        let (x, w) = (Value::from(node.input(0)?), Value::from(node.input(1)?));
        let sizes = self.weights(&w)?;
        let group = node.int("group", 1);
        let form = self.form(sizes, group)?;
        let made = self.b.fact(&node.output[0].as_str().into());
        let x = if form == Form::Few { self.plain(&x) } else { self.packed(&x)? };
        let w = self.plain(&w);
        let w = self.laid_out(&w, sizes, form, false);
        let empty = self.full(sizes[0]) - sizes[0];
        let bias = node.input(2).map(|bias| {
            let bias = self.plain(&bias.into());
            self.b.pad(&bias, &[0], &[empty])
        });
        let inputs: Vec<&Value> = [&x, &w].into_iter().chain(&bias).collect();
        let mut attributes = node.attribute.clone();
        if form == Form::Depthwise {
            attributes.retain(|attribute| attribute.name() != "group");
            attributes.push(AttributeProto::int("group", self.full(group)));
        }
        let packed = self.b.node_in(NCHWC, "Conv", &inputs, attributes, self.in_full_blocks(&made)?);
        self.unpack(&node.output[0], &packed)
    }

    /// An image with the memory of blocks, as ONNX Runtime's operators take it: the last block is filled with zeros.
    fn packed(&mut self, image: &Value) -> Option<Value> {
        if self.image(image).is_some() {
            let blocked = self.blocked(image)?;
            return Some(self.fold(&blocked));
        }
        let fact = self.in_full_blocks(&self.b.fact(image))?;
        let plain = self.plain(image);
        Some(self.b.node_in(NCHWC, "ReorderInput", &[&plain], vec![], fact))
    }

    /// Lets `name` be the image that an operator of ONNX Runtime returns: in blocks, or as it was where the last block
    /// is not full.
    fn unpack(&mut self, name: &str, packed: &Value) -> Option<()> {
        if self.image(name).is_some() {
            return self.define_packed(name, packed);
        }
        let fact = self.b.fact(&name.into());
        let channels = AttributeProto::int("channels", fact.dim(1).and_then(Dim::known)?);
        self.b.define(name, self.b.node_in(NCHWC, "ReorderOutput", &[packed], vec![channels], fact));
        Some(())
    }

    /// What is known of an image whose channels fill blocks.
    fn in_full_blocks(&self, image: &Fact) -> Option<Fact> {
        let [batch, Dim::Known(channels), height, width] = image.shape.as_deref()? else { return None };
        let places_are_known = [height, width].into_iter().all(|dim| dim.known().is_some());
        let dims = vec![batch.clone(), Dim::Known(self.full(*channels)), height.clone(), width.clone()];
        (*channels > 0 && places_are_known).then_some(Fact { element: image.element, shape: Some(dims) })
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
        let made = self.b.fact(&node.output[0].as_str().into());
        let dy = self.packed(&dy)?;
        let w = self.plain(&w);
        let w = self.laid_out(&w, [outer, inner, height, width], form, true);
        let attributes = vec![
            AttributeProto::ints("kernel_shape", &[height, width]),
            AttributeProto::ints("dilations", dilations),
            AttributeProto::ints("pads", &pads),
            AttributeProto::int("group", if form == Form::Depthwise { self.full(group) } else { 1 }),
        ];
        let packed = self.b.node_in(NCHWC, "Conv", &[&dy, &w], attributes, self.in_full_blocks(&made)?);
        self.unpack(&node.output[0], &packed)
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
            let inner = if form == Form::Dense { self.full(inner) } else { inner };
            let sizes = [self.full(outer), inner, height, width];
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
pub(super) fn with_blocks(node: &NodeProto, blocks: &[i64]) -> Vec<AttributeProto> {
    node.attribute.iter().cloned().chain([AttributeProto::ints(functions::BLOCKED, blocks)]).collect()
}

//! What is the same on images in blocks: operators that compute element by element, and sums over places.

use super::Blocked;
use gnp_model::graph::{Dim, Fact, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::NodeProto;

/// The standard's operators that compute each element from those at its place.
const ELEMENTWISE: &[&str] = &[
    "Abs",
    "Add",
    "Clip",
    "Div",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Log",
    "Max",
    "Min",
    "Mish",
    "Mul",
    "Neg",
    "Pow",
    "Reciprocal",
    "Relu",
    "Selu",
    "Sigmoid",
    "Sign",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Sum",
    "Tanh",
];

impl Blocked<'_> {
    /// An operator, or a function, that computes each element of an image from those at its place.
    pub(super) fn elementwise(&mut self, node: &NodeProto) -> Option<()> {
        let [output] = &node.output[..] else { return None };
        if node.domain().is_empty() && !ELEMENTWISE.contains(&node.op_type()) {
            return None;
        }
        let image = self.b.fact(&output.as_str().into());
        let inputs = self.operands(&node.input, &image)?;
        let inputs: Vec<&Value> = inputs.iter().collect();
        let fact = self.fact_in_blocks(&image)?;
        let blocked = self.b.node_in(node.domain(), node.op_type(), &inputs, node.attribute.clone(), fact);
        self.define(output, blocked);
        Some(())
    }

    /// A sum or mean over the places of each image, or over those of all images.
    pub(super) fn reduce(&mut self, node: &NodeProto) -> Option<()> {
        let (images, axes) = if node.domain().is_empty() {
            let axes: Vec<i64> = match node.input(1) {
                Some(axes) => self.b.ints(&axes.into())?.iter().map(|axis| axis.rem_euclid(4)).collect(),
                None => return None,
            };
            (&node.input[..1], axes)
        } else {
            (&node.input[..], node.ints("axes")?.to_vec())
        };
        if ![&[0, 2, 3][..], &[2, 3], &[3, 2]].contains(&axes.as_slice()) {
            return None;
        }
        let image = images.iter().find(|name| self.image(name).is_some())?;
        let image = self.b.fact(&image.as_str().into());
        let mut inputs = self.operands(images, &image)?;
        // Counted from the end, they would be others now.
        inputs.extend(node.domain().is_empty().then(|| self.b.int64s(&axes)));

        let keeps = node.int("keepdims", 1) != 0;
        let in_blocks = self.fact_in_blocks(&image)?;
        let left = |(axis, dim): (usize, &Dim)| match axes.contains(&(axis as i64)) {
            true => keeps.then_some(Dim::Known(1)),
            false => Some(dim.clone()),
        };
        let shape = in_blocks.shape.as_ref().map(|dims| dims.iter().enumerate().filter_map(left).collect());
        let inputs: Vec<&Value> = inputs.iter().collect();
        let fact = Fact { element: image.element, shape };
        let sums = self.b.node_in(node.domain(), node.op_type(), &inputs, node.attribute.clone(), fact);
        let output = Value::from(node.output.first()?.as_str());
        self.b.define(&output, self.b.reshape_like(&sums, &output));
        Some(())
    }

    /// What a node reads, for images in blocks: those of the shape of `image` in blocks, others so that they broadcast
    /// as before. None where that cannot be, or where no image is in blocks alone: then the node is best left.
    fn operands(&mut self, names: &[String], image: &Fact) -> Option<Vec<Value>> {
        self.fact_in_blocks(image).filter(|_| image.element == DataType::Float)?;
        let is_image = |pass: &Self, name: &str| pass.b.fact(&name.into()).same_shape(image);
        let fits = |name: &String| {
            let fact = self.b.fact(&name.as_str().into());
            name.is_empty()
                || fact.element == DataType::Float && (fact.same_shape(image) || self.broadcasts(&fact, image))
        };
        if !names.iter().any(|name| self.is_only_blocked(name)) || !names.iter().all(fits) {
            return None;
        }
        let operand = |name: &String| {
            let value = Value::from(name.as_str());
            if name.is_empty() {
                return Some(value);
            }
            if is_image(self, name) {
                return self.blocked(&value);
            }
            let plain = self.plain(&value);
            Some(self.of_channels(&plain))
        };
        names.iter().map(operand).collect()
    }

    /// Whether a value broadcasts to images as a number, or as one for each channel.
    fn broadcasts(&self, value: &Fact, image: &Fact) -> bool {
        let is_one = |dim: &Dim| dim.known() == Some(1);
        match value.shape.as_deref() {
            Some(dims) if dims.len() <= 4 && value.is_single() => true,
            Some([channels, height, width]) => Some(channels) == image.dim(1) && is_one(height) && is_one(width),
            Some([batch, channels, height, width]) => {
                let of_batch = is_one(batch) || Some(batch) == image.dim(0);
                of_batch && Some(channels) == image.dim(1) && is_one(height) && is_one(width)
            }
            _ => false,
        }
    }

    /// A number for each channel, for blocks of channels; a single number as it is.
    fn of_channels(&self, value: &Value) -> Value {
        let fact = self.b.fact(value);
        let blocks = |channels: &Dim| {
            let channels = channels.known().filter(|channels| *channels > 1)?;
            Some([channels / self.block, 1, 1, self.block].map(Dim::Known))
        };
        let dims = match fact.shape.as_deref() {
            Some([channels, _, _]) => blocks(channels).map(Vec::from),
            Some([batch, channels, _, _]) => {
                blocks(channels).map(|blocks| [std::slice::from_ref(batch), &blocks[..]].concat())
            }
            _ => None,
        };
        dims.and_then(|dims| self.b.reshape_dims(value, dims)).unwrap_or_else(|| value.clone())
    }

    /// What is known of an image in blocks.
    pub(super) fn fact_in_blocks(&self, image: &Fact) -> Option<Fact> {
        let [batch, Dim::Known(channels), Dim::Known(height), Dim::Known(width)] = image.shape.as_deref()? else {
            return None;
        };
        let sizes = [channels / self.block, *height, *width, self.block].map(Dim::Known);
        let fits = *channels > 0 && channels % self.block == 0;
        fits.then(|| Fact { element: image.element, shape: Some([std::slice::from_ref(batch), &sizes[..]].concat()) })
    }
}

//! Elements written to places that an operand says, and reduced with what is there.

use super::positions::scatter_add;
use gnp_model::graph::{Builder, Value};
use gnp_model::onnx::proto::AttributeProto;

/// A `ScatterElements` with a reduction.
pub(super) struct Scattered<'v> {
    pub x: &'v Value,
    pub indices: &'v Value,
    pub updates: &'v Value,
    pub y: &'v Value,
    pub axis: i64,
}

impl Scattered<'_> {
    /// What is in `x` where the updates are written.
    pub(super) fn read(&self, x: &Value, g: &Builder<'_>) -> Value {
        let fact = g.fact(self.updates).with_element(g.fact(x).element);
        g.node("GatherElements", &[x, self.indices], vec![AttributeProto::int("axis", self.axis)], fact)
    }

    /// x̄ and ū of max, min and mul; none of another reduction.
    pub(super) fn cotangents(&self, reduction: &str, dy: &Value, g: &Builder<'_>) -> Option<(Value, Value)> {
        match reduction {
            "max" | "min" => Some(self.of_extremum(dy, g)),
            "mul" => Some(self.of_product(dy, g)),
            _ => None,
        }
    }

    /// ȳ goes to the elements that are the extremum, in equal shares, as in PyTorch's `scatter_reduce`.
    fn of_extremum(&self, dy: &Value, g: &Builder<'_>) -> (Value, Value) {
        let y_read = self.read(self.y, g);
        let [kept, taken] =
            [(self.x, self.y), (self.updates, &y_read)].map(|(value, y)| g.mask(g.compare("Equal", value, y), value));
        let share = g.div(dy, scatter_add(&kept, self.indices, &taken, self.axis, g));
        let share_read = self.read(&share, g);
        (g.mul(&share, &kept), g.mul(&share_read, &taken))
    }

    /// ȳ times the product of all others that are written to the place, x among them. With p the product of those that
    /// are not 0: p / xᵢ where none is 0; p for the one that is; 0 where there are more.
    fn of_product(&self, dy: &Value, g: &Builder<'_>) -> (Value, Value) {
        let is_zero = |value: &Value| g.mask(g.compare("Equal", value, g.number(0.0, value)), value);
        let (zero, zero_updates) = (is_zero(self.x), is_zero(self.updates));
        let (others, other_updates) = (g.add(self.x, &zero), g.add(self.updates, &zero_updates));
        let attributes = vec![AttributeProto::int("axis", self.axis), AttributeProto::string("reduction", "mul")];
        let product = g.node("ScatterElements", &[&others, self.indices, &other_updates], attributes, g.fact(self.x));
        let zeros = scatter_add(&zero, self.indices, &zero_updates, self.axis, g);
        let dy = g.mul(dy, product);
        let with_zeros = |count: f64| g.mul(&dy, g.mask(g.compare("Equal", &zeros, g.number(count, &zeros)), &dy));
        let (none, one) = (with_zeros(0.0), with_zeros(1.0));
        let dx = g.add(g.div(&none, &others), g.mul(&one, &zero));
        let (none, one) = (self.read(&none, g), self.read(&one, g));
        (dx, g.add(g.div(none, &other_updates), g.mul(one, &zero_updates)))
    }
}

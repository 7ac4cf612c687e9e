//! Products with weights in few bits, for which ONNX Runtime has
//! [an operator](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). The operator stays; its
//! gradient alone needs the weights as floats, for as long as it reads them.

use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::MICROSOFT;

pub(super) const RULES: &[Entry] = &[(MICROSOFT, "MatMulNBits", Rule::Vjp(matmul))];

/// y = a Wᵀ + b  ⇒  ā = ȳ W, b̄ = Σ ȳ; W̄ = ȳᵀ a, and of the scales s̄ = Σ W̄ (q − z)
///
/// W [N, K] = (q − z) s, with s and z for each block of a row.
fn matmul(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    if op.optional(4).is_some() {
        return Err(op.error("the order of the weights' columns is given by `g_idx`, which has no gradient rule"));
    }
    let (packed, a, scales) = (Packed::of(op)?, op.input(0)?, op.input(2)?);
    let numbers = packed.numbers(op, dy, g)?;
    let weight = g.cast_like(packed.weight(&numbers, scales, g), dy);
    let rows = |value: &Value, size: i64| g.reshape(value, &[-1, size]);
    let product = g.matmul(g.transpose(rows(dy, packed.rows), &[1, 0]), rows(a, packed.columns));
    let blocks = packed.in_blocks(&g.cast(product, DataType::Float), g);
    let sums = g.reduce("ReduceSum", g.mul(blocks, &numbers), &[2], false);
    let bias = op.optional(5).map(|bias| g.sum_to(dy, bias));
    let scales = g.cast_like(g.reshape_like(sums, scales), scales);
    Ok(Cotangents::of([Some(g.matmul(dy, weight)), None, Some(scales), None, None, bias]))
}

/// How the numbers of a weight lie: rows of whole blocks, several numbers in a byte, the lowest bits first.
struct Packed {
    rows: i64,
    columns: i64,
    block: i64,
    bits: u32,
}

impl Packed {
    fn of(op: &Op) -> Result<Self> {
        let this = Self {
            rows: op.int("N", 0),
            columns: op.int("K", 0),
            block: op.int("block_size", 0),
            bits: u32::try_from(op.int("bits", 4)).unwrap_or(0),
        };
        let Self { rows, columns, block, bits } = this;
        if !matches!(bits, 2 | 4 | 8) {
            return Err(op.error(format!("weights of {bits} bits have no gradient rule, those of 2, 4 and 8 have")));
        }
        // What no weight has: the file says that there are so many numbers.
        let is_size = |size: i64| (1..=1 << 31).contains(&size);
        if !(is_size(rows) && is_size(columns) && is_size(block) && block % 8 == 0) {
            return Err(op.error("`N`, `K` and `block_size` are no sizes of a weight in blocks"));
        }
        Ok(this)
    }

    fn blocks(&self) -> i64 {
        (self.columns + self.block - 1) / self.block
    }

    /// q − z, in float32, a block in each row of a row. It is computed when `dy` is there: an engine would make floats
    /// of a constant once, and keep them.
    fn numbers(&self, op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Value> {
        let (rows, blocks) = (self.rows, self.blocks());
        // No number is below itself, nor is NaN.
        let some = g.reduce_all("ReduceSum", dy);
        let never = g.compare("Less", &some, &some);
        let packed = op.input(1)?;
        let numbers = g.reshape(self.unpacked(&g.select(never, packed, packed), g), &[rows, blocks, self.block]);
        let zeros = match op.optional(3) {
            None => g.number_of(f64::from(1u32 << (self.bits - 1)), DataType::Float),
            Some(zeros) if g.fact(zeros).element == DataType::Uint8 => {
                let numbers = g.reshape(self.unpacked(zeros, g), &[rows, -1]);
                self.of_blocks(&g.slice(numbers, &[0], &[blocks], &[1], &[1]), g)
            }
            Some(zeros) => self.of_blocks(zeros, g),
        };
        Ok(g.sub(numbers, zeros))
    }

    /// W, in float32.
    fn weight(&self, numbers: &Value, scales: &Value, g: &Builder<'_>) -> Value {
        let whole = self.blocks() * self.block;
        let weight = g.reshape(g.mul_by(numbers, self.of_blocks(scales, g)), &[self.rows, whole]);
        if whole == self.columns { weight } else { g.slice(weight, &[0], &[self.columns], &[1], &[1]) }
    }

    /// A matrix of the weight's sizes with its rows in blocks, zeros behind the last number.
    fn in_blocks(&self, x: &Value, g: &Builder<'_>) -> Value {
        let beyond = self.blocks() * self.block - self.columns;
        g.reshape(g.pad_along(x, &[0], &[beyond], &[1]), &[self.rows, self.blocks(), self.block])
    }

    /// One number for each block, in float32.
    fn of_blocks(&self, value: &Value, g: &Builder<'_>) -> Value {
        g.reshape(g.cast(value, DataType::Float), &[self.rows, self.blocks(), 1])
    }

    /// The numbers in bytes, in float32, in their order. Quotients by powers of two are exact, and every device has
    /// them, as not all can shift bits.
    fn unpacked(&self, bytes: &Value, g: &Builder<'_>) -> Value {
        let mut rest = g.reshape(g.cast(bytes, DataType::Float), &[-1, 1]);
        let base = f64::from(1u32 << self.bits);
        let mut numbers = Vec::new();
        for _ in 1..8 / self.bits {
            let above = g.unary("Floor", g.scale(&rest, 1.0 / base));
            numbers.push(g.sub(&rest, g.scale(&above, base)));
            rest = above;
        }
        numbers.push(rest);
        g.concat(&numbers.iter().collect::<Vec<_>>(), 1)
    }
}

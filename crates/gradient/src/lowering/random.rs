//! Random numbers from a seed and the number of the step, in standard operators.
//!
//! The generator is counter-based: number i of draw d of step t is a hash of (seed, t, d, i), so it needs no state,
//! every engine computes the same numbers, and a training that is resumed goes on as if it had not stopped. The hash is
//! C. Wellons' `lowbias32` (<https://nullprogram.com/blog/2018/07/31/>), xor-shifts and multiplications modulo 2³²,
//! with the first half of a key of 64 bits put in (by exclusive or) before and the second half amid its rounds; the key
//! is made of seed, step and draw in the same way. All of it is arithmetic of uint32, which is the same to the bit
//! everywhere; no addition, since some engines check additions for overflow.

use super::{Lowering, required};
use foldhash::HashMap;
use gnp_base::contract::{SEED, STEP};
use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{AttributeProto, NodeProto, TensorProto};

const FIRST: f64 = 0x7feb_352d_u32 as f64;
const SECOND: f64 = 0x846c_a68b_u32 as f64;

/// Where the two halves of a key begin: the digits of π and of the golden ratio.
const HALVES: [u32; 2] = [0x243f_6a88, 0x9e37_79b9];

/// What draws of a graph have in common.
#[derive(Debug, Default)]
pub(super) struct Generator {
    draws: u32,
    /// A hash of seed and step, two halves.
    key: Option<Value>,
    /// 0, 1, 2, … for as many elements as shapes have.
    indices: HashMap<Vec<Dim>, Value>,
}

impl Generator {
    /// Whether the seed and the step are read.
    pub(super) fn is_used(&self) -> bool {
        self.key.is_some()
    }

    /// The number of the next draw.
    pub(super) fn site(&mut self) -> u32 {
        self.draws += 1;
        self.draws
    }

    /// 32 random bits for each element of a tensor of the shape of `x`.
    pub(super) fn bits_like(&mut self, x: &Value, b: &Builder<'_>) -> Value {
        let index = self.indices(x, b);
        let key = self.key(b);
        let [first, second] = [0, 1].map(|half| b.gather(&key, b.int64(half), 0));
        let bits = b.scale(xor_shift(&b.binary("BitwiseXor", &index, &first), 16, b), FIRST);
        let bits = b.scale(xor_shift(&b.binary("BitwiseXor", &bits, &second), 15, b), SECOND);
        // The last xor-shift of the hash would leave the high half as it is, and the low half matters to nobody.
        b.reshape_like(&bits, x)
    }

    /// Numbers from 0 to 1 (exclusive), multiples of 2⁻²⁴, in float32 and the shape of `x`.
    fn uniform_like(&mut self, x: &Value, b: &Builder<'_>) -> Value {
        b.scale(self.whole_like(x, b), 2f64.powi(-24))
    }

    /// Numbers of the standard normal distribution, in float32 and the shape of `x`: √(−2 log u) · cos 2πv of uniform u
    /// and v (Box and Muller, 1958).
    fn normal_like(&mut self, x: &Value, b: &Builder<'_>) -> Value {
        let u = self.whole_like(x, b);
        // Never 0.
        let u = b.scale(b.plus(&u, 0.5), 2f64.powi(-24));
        let radius = b.unary("Sqrt", b.scale(b.unary("Log", &u), -2.0));
        let angle = self.whole_like(x, b);
        b.mul(&radius, b.unary("Cos", b.scale(&angle, std::f64::consts::TAU * 2f64.powi(-24))))
    }

    /// Whole numbers from 0 to 2²⁴ (exclusive), in float32.
    fn whole_like(&mut self, x: &Value, b: &Builder<'_>) -> Value {
        b.cast(shift_right(&self.bits_like(x, b), 8, b), DataType::Float)
    }

    /// 0, 1, 2, … for the elements of `x`.
    fn indices(&mut self, x: &Value, b: &Builder<'_>) -> Value {
        let shape = b.fact(x).shape.clone().filter(|shape| !shape.contains(&Dim::Unknown));
        if let Some(index) = shape.as_ref().and_then(|shape| self.indices.get(shape)) {
            return index.clone();
        }
        let scalar = Fact::with_sizes(DataType::Int64, &[]);
        let size: Option<i64> = b.fact(x).sizes().map(|sizes| sizes.iter().product());
        let count = match size {
            Some(size) => b.int64(size),
            None => b.node("Size", &[x], vec![], scalar),
        };
        let (zero, one) = (b.int64(0), b.int64(1));
        let vector = Fact { element: DataType::Int64, shape: Some(vec![size.map_or(Dim::Unknown, Dim::Known)]) };
        let index = b.node("Range", &[&zero, &count, &one], vec![], vector);
        let index = b.cast(&index, DataType::Uint32);
        if let Some(shape) = shape {
            self.indices.insert(shape, index.clone());
        }
        index
    }

    /// The key of the next draw, two numbers.
    fn key(&mut self, b: &Builder<'_>) -> Value {
        let draw = f64::from(self.site());
        let step = self.key.get_or_insert_with(|| step_key(b)).clone();
        hash(&b.binary("BitwiseXor", &step, b.number_of(draw, DataType::Uint32)), b)
    }
}

/// A hash of seed and step, two numbers.
fn step_key(b: &Builder<'_>) -> Value {
    let payload: Vec<u8> = HALVES.iter().flat_map(|half| half.to_le_bytes()).collect();
    let mut key = b.constant(TensorProto::raw("", DataType::Uint32, &[2], payload.into()), "constant/halves");
    for number in [SEED, STEP].map(Value::from) {
        // ONNX casts whole numbers to others by their low bits.
        let number = b.cast(&number, DataType::Uint64);
        let high = shift_right(&number, 32, b);
        for word in [number, high] {
            key = b.binary("BitwiseXor", &key, b.cast(&word, DataType::Uint32));
            key = hash(&key, b);
        }
    }
    key
}

/// `lowbias32`.
fn hash(x: &Value, b: &Builder<'_>) -> Value {
    xor_shift(&b.scale(xor_shift(&b.scale(xor_shift(x, 16, b), FIRST), 15, b), SECOND), 16, b)
}

/// x ^ (x >> by)
fn xor_shift(x: &Value, by: u8, b: &Builder<'_>) -> Value {
    b.binary("BitwiseXor", x, shift_right(x, by, b))
}

/// x >> by
fn shift_right(x: &Value, by: u8, b: &Builder<'_>) -> Value {
    let by = b.number(by.into(), x);
    b.node("BitShift", &[x, &by], vec![AttributeProto::string("direction", "RIGHT")], b.fact(x))
}

impl Lowering<'_> {
    /// RandomNormal, RandomUniform, both `Like` another tensor, and Bernoulli; their attribute `seed` is not used.
    pub(super) fn random(&mut self, node: &NodeProto) -> Result<()> {
        let (random, b) = (&mut self.random, self.b);
        let like = match node.op_type() {
            "RandomNormal" | "RandomUniform" => {
                let sizes = node.ints("shape").ok_or_else(|| Error::input("expected the attribute `shape`"))?;
                let shape = b.int64s(sizes);
                let zero = b.number_of(0.0, DataType::Float);
                b.node("Expand", &[&zero, &shape], vec![], Fact::with_sizes(DataType::Float, sizes))
            }
            _ => required(node, 0)?,
        };
        let default = b.fact(&like).element;
        let element = match node.attribute("dtype") {
            None => default,
            Some(a) => {
                DataType::try_from(a.i() as i32).map_err(|_| Error::input(format!("unknown dtype {}", a.i())))?
            }
        };
        let drawn = match node.op_type() {
            "Bernoulli" => b.compare("Less", random.uniform_like(&like, b), b.cast(&like, DataType::Float)),
            "RandomNormal" | "RandomNormalLike" => {
                let scaled = b.scale(random.normal_like(&like, b), node.float("scale", 1.0).into());
                b.plus(&scaled, node.float("mean", 0.0).into())
            }
            _ => {
                let (low, high) = (f64::from(node.float("low", 0.0)), f64::from(node.float("high", 1.0)));
                b.plus(b.scale(random.uniform_like(&like, b), high - low), low)
            }
        };
        self.define(node, 0, b.cast(&drawn, element));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::Gradients;
    use crate::lowering::tests::{infer, tensor_info};
    use crate::lowering::{Settings, lower};
    use gnp_model::graph::{Graph, scalar_info};
    use gnp_model::onnx::proto::GraphProto;
    use tract_onnx::prelude::tensor0;

    fn hashed(x: u32) -> u32 {
        let x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
        let x = (x ^ x >> 15).wrapping_mul(0x846c_a68b);
        x ^ x >> 16
    }

    /// The generator, with the integers of this language.
    fn bits(seed: i64, step: i64, draw: u32, count: u32) -> Vec<u32> {
        let key = HALVES.map(|half| {
            let words = [seed, step].into_iter().flat_map(|n| [n as u32, (n as u64 >> 32) as u32]);
            let step = words.fold(half, |key, word| hashed(key ^ word));
            hashed(step ^ draw)
        });
        let number = |i: u32| {
            let x = i ^ key[0];
            let x = (x ^ x >> 16).wrapping_mul(0x7feb_352d) ^ key[1];
            (x ^ x >> 15).wrapping_mul(0x846c_a68b)
        };
        (0..count).map(number).collect()
    }

    #[test]
    fn an_engine_computes_the_generator() {
        let draw = |output: &str| NodeProto {
            op_type: Some("RandomUniformLike".into()),
            input: vec!["x".into()],
            output: vec![output.into()],
            ..Default::default()
        };
        let proto = GraphProto {
            input: vec![tensor_info("x", &[5, 7])],
            node: vec![draw("first"), draw("second")],
            output: vec![tensor_info("first", &[5, 7]), tensor_info("second", &[5, 7])],
            ..Default::default()
        };
        let mut graph = Graph::new(proto).unwrap();
        assert!(lower(&mut graph, &Settings::default(), Gradients::Standard, &Default::default()).unwrap().draws);
        for (i, name) in [SEED, STEP].into_iter().enumerate() {
            graph.insert_input(i + 1, scalar_info(name, DataType::Int64)).unwrap();
        }
        let x = tract_onnx::prelude::Tensor::zero::<f32>(&[5, 7]).unwrap();
        for (seed, step) in [(0i64, 0i64), (-3, 1), (1 << 40, (1 << 33) + 5)] {
            let found = infer(&graph, vec![x.clone(), tensor0(seed), tensor0(step)]);
            for (draw, found) in (1..).zip(found) {
                let expected = bits(seed, step, draw, 35).into_iter().map(|bits| (bits >> 8) as f32 / 16_777_216.0);
                assert_eq!(found, expected.collect::<Vec<_>>(), "seed {seed}, step {step}, draw {draw}");
            }
        }
    }

    /// Correlation of two streams, in standard deviations of that of independent ones.
    fn correlation<'a>(a: impl IntoIterator<Item = &'a u32>, b: impl IntoIterator<Item = &'a u32>) -> f64 {
        let centred = |x: &u32| (f64::from(*x) + 0.5) / 4_294_967_296.0 - 0.5;
        let (mut sum, mut count) = (0.0, 0.0f64);
        for (a, b) in a.into_iter().zip(b) {
            sum += centred(a) * centred(b) * 12.0;
            count += 1.0;
        }
        sum / count.sqrt()
    }

    #[test]
    fn numbers_are_uniform() {
        const COUNT: u32 = 1 << 18;
        for (seed, step) in [(0, 0), (0, 1), (1, 0), (42, 1000)] {
            let numbers = bits(seed, step, 1, COUNT);
            let mean = numbers.iter().map(|&x| f64::from(x) / 4_294_967_296.0 - 0.5).sum::<f64>();
            assert!((mean * (12.0 / f64::from(COUNT)).sqrt()).abs() < 4.5);
            // Of the bytes that draws use, each value as often as any other: χ² of 255 degrees has deviation √510.
            for shift in [24, 16, 8] {
                let mut counts = [0u32; 256];
                numbers.iter().for_each(|x| counts[(x >> shift & 255) as usize] += 1);
                let expected = f64::from(COUNT) / 256.0;
                let chi: f64 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
                assert!((chi - 255.0).abs() < 4.5 * 510f64.sqrt(), "χ² of byte {shift}: {chi}");
            }
        }
    }

    #[test]
    fn numbers_are_independent_of_neighbours_steps_seeds_and_other_draws() {
        const COUNT: u32 = 1 << 16;
        let numbers = bits(7, 100, 3, COUNT);
        for lag in (1..=64).chain([127, 128, 255, 256, 512, 768, 1024, 3072, 4096, 1 << 15]) {
            let deviations = correlation(&numbers, &numbers[lag..]);
            assert!(deviations.abs() < 4.5, "numbers {lag} apart: {deviations}");
        }
        let near = (1..=32).flat_map(|i| [(7 + i, 100, 3), (7, 100 + i, 3), (7, 100, 3 + i as u32), (100, 7, 3)]);
        for (seed, step, draw) in near {
            let deviations = correlation(&numbers, &bits(seed, step, draw, COUNT));
            assert!(deviations.abs() < 4.5, "seed {seed}, step {step}, draw {draw}: {deviations}");
        }
        // The same element at successive steps.
        let over_steps: Vec<u32> = (0..1 << 14).flat_map(|step| bits(7, step, 3, 1)).collect();
        assert!(correlation(&over_steps, &over_steps[1..]).abs() < 4.5);
    }
}

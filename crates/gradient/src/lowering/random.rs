//! Random numbers from a seed and the number of the step, in standard operators.
//!
//! The generator is counter-based (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
//! 2011): number i of draw d of step t is a function of (seed, t, d, i), so it needs no state, every engine computes
//! the same numbers, and a training that is resumed goes on as if it had not stopped.
//!
//! An engine goes over the tensor once for every operator, so there are as few as can be. The elements lie in a grid
//! whose rows and columns have random words, and an element is its row's word times its column's, in a finite group.
//! Where the words are uniform and independent, so are all elements of a set without a closed path of steps along rows
//! and columns in turn: one after the other is the last of its row or column. The shortest such path is a rectangle,
//! whose fourth corner is v·w/u of the others. Of that the numbers show nothing: over rectangles, waves of frequency m
//! (e^2πi·m·x, with x as a fraction of its range) have a mean below m·2⁻²⁸.
//!
//! - [`Generator::bits_like`] has the group of what is 1 modulo 4, modulo 2³². All 32 bits are the number; its high
//!   ones are the good ones. Over the tensor: Mul, Cast.
//! - [`Generator::whole_like`] has that of what is not 0, modulo the prime 2³⁰ − 35, whose bits are all good. Over the
//!   tensor: Mul, Mod, Cast, Min.
//!
//! The words are a permutation of the numbers modulo that prime, with keys: x ← (x + key)³, three times, as in MiMC
//! (Albrecht, Grassi, Rechberger, Roy and Tiessen, ASIACRYPT 2016), of which these are few rounds: enough for
//! statistics, not for secrets. Cubing is a permutation since 3 does not divide 2³⁰ − 36; so no two rows, and no two
//! columns, have one word. The keys come from seed and step by such rounds; the draw's number is added to the second.
//!
//! All of it is arithmetic of int64 below 2⁶³, remainders by positive numbers, and casts: to fewer bits, of which the
//! standard says that the low ones stay, and to the nearest float32. So it is the same to the bit everywhere. ONNX
//! Runtime has kernels for all of it on the processor and on CUDA. For shifts and exclusive ors it has none on CUDA,
//! for products of uint32 it had none on the processor as late as 1.19, and on CUDA it rounds sums of int64 over axes
//! to float32.

use super::{Lowering, required};
use foldhash::HashMap;
use gnp_base::contract::{SEED, STEP};
use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{NodeProto, TensorProto};

/// The largest primes below 2³⁰.
const PRIMES: [i64; 3] = [PRIME, (1 << 30) - 41, (1 << 30) - 83];
const PRIME: i64 = (1 << 30) - 35;

/// What the three keys are before they take in the seed, and the step: digits of π.
const START: [[i64; 3]; 2] =
    [[0x243f_6a88 >> 2, 0x85a3_08d3 >> 2, 0x1319_8a2e >> 2], [0x0370_7344 >> 2, 0xa409_3822 >> 2, 0x299f_31d0 >> 2]];

/// Above all numbers of [`Generator::whole_like`]; 64 less is the largest float32 below it.
const RANGE: f64 = (1 << 30) as f64;

/// With this, four times a word is 1 modulo 4, and of 32 bits with a sign.
const OFFSET: i64 = 1 - (1 << 31);

/// How many columns a grid has whose last row is not full.
const COLUMNS: i64 = 64;

/// What draws of a graph have in common.
#[derive(Debug, Default)]
pub(super) struct Generator {
    draws: u32,
    keys: Option<[Value; 3]>,
    grids: HashMap<Vec<Dim>, Grid>,
}

impl Generator {
    /// Whether the seed and the step are read.
    pub(super) fn is_used(&self) -> bool {
        self.keys.is_some()
    }

    /// The number of the next draw.
    pub(super) fn site(&mut self) -> u32 {
        self.draws += 1;
        self.draws
    }

    /// Numbers from −2³¹ to 2³¹ (exclusive) in steps of 4, in int32 and the shape of `x`.
    pub fn bits_like(&mut self, x: &Value, b: &Builder<'_>) -> Value {
        let (grid, words) = self.words(x, b);
        let twice = b.add(&words, &words);
        let words = b.add(b.add(&twice, &twice), b.int64(OFFSET));
        let bits = b.cast(grid.products(&words, b), DataType::Int32);
        grid.shaped_like(&bits, x, b)
    }

    /// Numbers from 0 to 1 (both exclusive), in float32 and the shape of `x`.
    fn uniform_like(&mut self, x: &Value, b: &Builder<'_>) -> Value {
        b.scale(self.whole_like(x, b), 1.0 / RANGE)
    }

    /// Numbers of the standard normal distribution, in float32 and the shape of `x`: √(−2 log u) · cos 2πv of uniform u
    /// and v (Box and Muller, 1958).
    fn normal_like(&mut self, x: &Value, b: &Builder<'_>) -> Value {
        let u = self.uniform_like(x, b);
        let radius = b.unary("Sqrt", b.scale(b.unary("Log", &u), -2.0));
        let angle = self.whole_like(x, b);
        b.mul(&radius, b.unary("Cos", b.scale(&angle, std::f64::consts::TAU / RANGE)))
    }

    /// Whole numbers from 0 to 2³⁰ (both exclusive), rounded to float32, in the shape of `x`.
    fn whole_like(&mut self, x: &Value, b: &Builder<'_>) -> Value {
        let (grid, words) = self.words(x, b);
        let words = b.binary("Max", &words, b.int64(1));
        let all = b.cast(modulo(grid.products(&words, b), b), DataType::Float);
        grid.shaped_like(&b.binary("Min", &all, b.number(RANGE - 64.0, &all)), x, b)
    }

    /// The grid of `x`, and the words of the next draw.
    fn words(&mut self, x: &Value, b: &Builder<'_>) -> (Grid, Value) {
        let [first, second, third] = self.keys.get_or_insert_with(|| keys(b)).clone();
        let draw = b.int64(self.site().into());
        let grid = self.grid(x, &first, b);
        let words = cube(b.add(&grid.begun, b.add(&second, &draw)), b);
        let words = cube(b.add(&words, &third), b);
        (grid, words)
    }

    fn grid(&mut self, x: &Value, key: &Value, b: &Builder<'_>) -> Grid {
        let shape = b.fact(x).shape.clone().filter(|shape| !shape.contains(&Dim::Unknown));
        if let Some(grid) = shape.as_ref().and_then(|shape| self.grids.get(shape)) {
            return grid.clone();
        }
        let grid = Grid::of(x, key, b);
        if let Some(shape) = shape {
            self.grids.insert(shape, grid.clone());
        }
        grid
    }
}

/// The elements of tensors of one shape in rows and columns.
#[derive(Clone, Debug)]
struct Grid {
    /// The words of the columns, then those of the rows, after the first of three rounds.
    begun: Value,
    columns: i64,
    /// How many elements there are, a vector of one number, where the last row may have fewer than the others.
    end: Option<Value>,
}

impl Grid {
    fn of(x: &Value, key: &Value, b: &Builder<'_>) -> Self {
        let full = columns(&b.fact(x));
        let columns = full.unwrap_or(COLUMNS);
        let size: Option<i64> = b.fact(x).sizes().map(|sizes| sizes.iter().product());
        let (count, words) = match size {
            Some(size) => (b.int64(size), b.int64(columns + (size + columns - 1) / columns)),
            None => {
                let count = b.node("Size", &[x], vec![], Fact::with_sizes(DataType::Int64, &[]));
                let padded = if full.is_some() { count.clone() } else { b.add(&count, b.int64(columns - 1)) };
                let rows = b.div(&padded, b.int64(columns));
                (count, b.add(&rows, b.int64(columns)))
            }
        };
        let length = b.ints(&words).map_or(Dim::Unknown, |ints| Dim::Known(ints[0]));
        let vector = Fact { element: DataType::Int64, shape: Some(vec![length]) };
        let counters = b.node("Range", &[&b.int64(0), &words, &b.int64(1)], vec![], vector);
        let end = full.is_none().then(|| b.reshape(&count, &[1]));
        Self { begun: cube(b.add(&counters, key), b), columns, end }
    }

    /// Each row's word times each column's.
    fn products(&self, words: &Value, b: &Builder<'_>) -> Value {
        let columns = b.slice(words, &[0], &[self.columns], &[0], &[1]);
        let rows = b.slice(words, &[self.columns], &[i64::MAX], &[0], &[1]);
        b.mul(b.reshape(&rows, &[-1, 1]), &columns)
    }

    /// What is there for each place of the grid, in the shape of `x`.
    fn shaped_like(&self, places: &Value, x: &Value, b: &Builder<'_>) -> Value {
        let Some(end) = &self.end else { return b.reshape_like(places, x) };
        let places = b.reshape(places, &[-1]);
        let size = b.ints(end).map_or(Dim::Unknown, |ints| Dim::Known(ints[0]));
        let fact = Fact { element: b.fact(&places).element, shape: Some(vec![size]) };
        let places = b.node("Slice", &[&places, &b.int64s(&[0]), end], vec![], fact);
        b.reshape_like(&places, x)
    }
}

/// A number of columns that surely divides the number of elements, where there is a good one: nearly as many as rows,
/// if an unknown size is that of a batch of 64.
fn columns(x: &Fact) -> Option<i64> {
    let dims = x.shape.as_ref()?;
    let known = dims.iter().filter_map(Dim::known).try_fold(1i64, i64::checked_mul)?;
    let size = if dims.iter().all(|dim| dim.known().is_some()) { known } else { known.saturating_mul(64) };
    let most = ((size as f64).sqrt() as i64).clamp(COLUMNS, 1 << 14);
    (16..=most).rev().find(|columns| known > 0 && known % columns == 0)
}

/// Three keys made of seed and step, numbers modulo [`PRIME`]. Each takes in remainders by another prime, of which
/// three tell all numbers of 64 bits apart.
fn keys(b: &Builder<'_>) -> [Value; 3] {
    let six = |numbers: [[i64; 3]; 2], name: &str| {
        let payload: Vec<u8> = numbers.as_flattened().iter().flat_map(|number| number.to_le_bytes()).collect();
        b.constant(TensorProto::raw("", DataType::Int64, &[6], payload.into()), name)
    };
    let [seed, step] = [SEED, STEP].map(|number| b.reshape(Value::from(number), &[1]));
    let numbers = b.concat(&[&seed, &seed, &seed, &step, &step, &step], 0);
    // Both are of one shape, since tract exchanges the operands of a remainder when they broadcast.
    let numbers = b.binary("Mod", &numbers, six([PRIMES; 2], "constant/primes"));
    let begun = cube(b.add(&numbers, six(START, "constant/keys")), b);
    let [seed, step] = [0, 3].map(|start| b.slice(&begun, &[start], &[start + 3], &[0], &[1]));
    let keys = cube(b.add(&seed, &step), b);
    [0, 1, 2].map(|index| b.gather(&keys, b.int64(index), 0))
}

/// x³ modulo [`PRIME`], of numbers below 2³³. The square is a product of two tensors, since tract has an operator of its
/// own for x · x, and not for whole numbers.
fn cube(x: Value, b: &Builder<'_>) -> Value {
    let reduced = modulo(&x, b);
    let square = modulo(b.mul(&x, &reduced), b);
    modulo(b.mul(&square, &reduced), b)
}

/// The remainder of `x`, which is not negative, by [`PRIME`].
fn modulo(x: impl AsRef<Value>, b: &Builder<'_>) -> Value {
    b.binary("Mod", x, b.int64(PRIME))
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
    use tract_onnx::prelude::{Tensor, tensor0};

    fn cubed(x: i64) -> i64 {
        let x = x % PRIME;
        x * x % PRIME * x % PRIME
    }

    /// The words of a draw, with the integers of this language.
    fn words(seed: i64, step: i64, draw: i64, count: i64) -> Vec<i64> {
        let taken_in = |number: i64, start: &[i64; 3], i: usize| cubed(start[i] + number.rem_euclid(PRIMES[i]));
        let keys = [0, 1, 2].map(|i| cubed(taken_in(seed, &START[0], i) + taken_in(step, &START[1], i)));
        (0..count).map(|n| cubed(cubed(cubed(n + keys[0]) + keys[1] + draw) + keys[2])).collect()
    }

    /// What two words make.
    type Kind = fn(i64, i64) -> u32;
    /// 32 bits, from 0 on.
    const BITS: Kind = |u, v| ((4 * u + OFFSET) * (4 * v + OFFSET)) as u32 ^ 1 << 31;
    /// 30 bits, as the upper ones of 32.
    const WHOLE: Kind = |u, v| ((u.max(1) * v.max(1) % PRIME) as u32) << 2;

    /// The numbers of a draw, in rows.
    fn grid(kind: Kind, (seed, step, draw): (i64, i64, i64), rows: usize, columns: usize) -> Vec<u32> {
        let words = words(seed, step, draw, (rows + columns) as i64);
        let (of_columns, of_rows) = words.split_at(columns);
        of_rows.iter().flat_map(|u| of_columns.iter().map(move |v| kind(*u, *v))).collect()
    }

    #[test]
    fn the_moduli_are_primes_and_cubing_a_permutation() {
        assert!(PRIMES.iter().all(|prime| (2..1 << 15).all(|divisor| prime % divisor != 0)));
        assert_ne!((PRIME - 1) % 3, 0);
    }

    #[test]
    fn columns_divide_what_is_surely_divisible() {
        let of = |dims: &[Dim]| columns(&Fact { element: DataType::Float, shape: Some(dims.to_vec()) });
        let batch = || Dim::Symbol("batch".into());
        assert_eq!(of(&[64, 768].map(Dim::Known)), Some(192));
        assert_eq!(of(&[batch(), Dim::Known(768)]), Some(192));
        assert_eq!(of(&[batch(), Dim::Known(65), Dim::Unknown, Dim::Known(4)]), Some(65));
        for without in [vec![], vec![batch()], [2, 10_007].map(Dim::Known).to_vec(), [0, 64].map(Dim::Known).to_vec()] {
            assert_eq!(of(&without), None);
        }
    }

    #[test]
    fn an_engine_computes_the_generator() {
        let draw = |output: &str, operator: &str| NodeProto {
            op_type: Some(operator.into()),
            input: vec!["x".into()],
            output: vec![output.into()],
            ..Default::default()
        };
        // One row, some rows, a last one that is not full.
        for (sizes, columns) in [([5, 7], 35), ([6, 50], 60), ([3, 67], 64)] {
            let proto = GraphProto {
                input: vec![tensor_info("x", &sizes)],
                node: vec![draw("first", "RandomUniformLike"), draw("second", "Dropout")],
                output: vec![tensor_info("first", &sizes), tensor_info("second", &sizes)],
                ..Default::default()
            };
            let mut graph = Graph::new(proto).unwrap();
            assert!(lower(&mut graph, &Settings::default(), Gradients::Standard, &Default::default()).unwrap().draws);
            for (i, name) in [SEED, STEP].into_iter().enumerate() {
                graph.insert_input(i + 1, scalar_info(name, DataType::Int64)).unwrap();
            }
            let count = (sizes[0] * sizes[1]) as usize;
            let x = Tensor::from_shape(&sizes.map(|size| size as usize), &vec![1f32; count]).unwrap();
            for (seed, step) in [(0i64, 0i64), (-3, 1), (1 << 40, (1 << 33) + 5), (i64::MIN, i64::MAX)] {
                let found = infer(&graph, vec![x.clone(), tensor0(seed), tensor0(step)]);
                let drawn = |kind, draw| {
                    let all = grid(kind, (seed, step, draw), count.div_ceil(columns), columns);
                    all.into_iter().take(count)
                };
                let uniform = |bits: u32| ((bits >> 2) as f32 / 2f32.powi(30)).min(1f32.next_down());
                let uniform: Vec<f32> = drawn(WHOLE, 1).map(uniform).collect();
                let dropped: Vec<f32> = drawn(BITS, 2).map(|bits| if bits >> 31 == 1 { 2.0 } else { 0.0 }).collect();
                assert_eq!(found, [uniform, dropped], "{sizes:?}, seed {seed}, step {step}");
            }
        }
    }

    const DRAWS: [(i64, i64, i64); 4] = [(0, 0, 1), (0, 1, 1), (1, 0, 2), (-42, 1 << 40, 37)];
    /// Grids of 2¹⁶ elements: square, of few and of many columns, of a single row.
    const GRIDS: [(usize, usize); 4] = [(256, 256), (1024, 64), (32, 2048), (1, 1 << 16)];

    /// Calls `each` with the name of a draw, its numbers, how many columns they have, and the lowest good bit.
    fn all(times: usize, mut each: impl FnMut(&str, &[u32], usize, u32)) {
        for (kind, name, lowest) in [(BITS, "bits", 24), (WHOLE, "whole", 8)] {
            for (draw, (rows, columns)) in DRAWS.into_iter().flat_map(|draw| GRIDS.map(|grid| (draw, grid))) {
                let (rows, columns) = if rows == 1 { (1, times * columns) } else { (times * rows, columns) };
                let name = format!("{name} of {draw:?}, {rows} × {columns}");
                each(&name, &grid(kind, draw, rows, columns), columns, lowest);
            }
        }
    }

    /// Fails where a number that has mean 0 and deviation 1 by chance is too large for that.
    #[track_caller]
    fn assert_chance(deviations: f64, what: impl FnOnce() -> String) {
        assert!(deviations.abs() < 4.5, "{}: {deviations} deviations", what());
    }

    /// χ² of counts that are expected to be equal, in its deviations.
    fn chi_squared(counts: &[u32]) -> f64 {
        let expected = counts.iter().map(|&c| f64::from(c)).sum::<f64>() / counts.len() as f64;
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        let degrees = counts.len() as f64 - 1.0;
        (chi - degrees) / (2.0 * degrees).sqrt()
    }

    /// A number as a deviation from its mean, whose square has the mean 1.
    fn centred(x: u32) -> f64 {
        ((f64::from(x) + 0.5) / 4_294_967_296.0 - 0.5) * 12f64.sqrt()
    }

    /// 1 or −1.
    fn sign(x: u32, bit: u32) -> f64 {
        if x >> bit & 1 == 1 { 1.0 } else { -1.0 }
    }

    /// The sum of independent numbers of mean 0 and deviation 1, in its deviations.
    fn sum(numbers: impl Iterator<Item = f64>) -> f64 {
        let (sum, count) = numbers.fold((0.0, 0.0f64), |(sum, count), number| (sum + number, count + 1.0));
        sum / count.sqrt()
    }

    fn all_centred(numbers: &[u32]) -> Vec<f64> {
        numbers.iter().map(|&x| centred(x)).collect()
    }

    /// Correlation of two streams of centred numbers, in standard deviations of that of independent ones.
    fn correlation(a: &[f64], b: &[f64]) -> f64 {
        sum(a.iter().zip(b).map(|(a, b)| a * b))
    }

    #[test]
    fn numbers_are_uniform() {
        all(4, |name, numbers, _, _| {
            assert_chance(sum(numbers.iter().map(|&x| centred(x))), || format!("mean of {name}"));
            // Of the bytes that draws use, each value as often as any other.
            for shift in [24, 16, 8] {
                let mut counts = [0u32; 256];
                numbers.iter().for_each(|x| counts[(x >> shift & 255) as usize] += 1);
                assert_chance(chi_squared(&counts), || format!("χ² of byte {shift} of {name}"));
            }
        });
    }

    /// Each row and each column, and not only all together: Dropout keeps as many of every channel.
    #[test]
    fn rows_and_columns_keep_their_share() {
        all(4, |name, numbers, columns, _| {
            for ratio in [0.1, 0.5] {
                let kept = |x: &u32| f64::from(u8::from(f64::from(*x) >= ratio * 4_294_967_296.0));
                let share = |along: &mut dyn Iterator<Item = &u32>| {
                    let (sum, count) = along.fold((0.0, 0.0), |(sum, count), x| (sum + kept(x), count + 1.0));
                    (sum - (1.0 - ratio) * count) / (ratio * (1.0 - ratio) * count).sqrt()
                };
                let spread = |deviations: Vec<f64>| sum(deviations.into_iter().map(|d| (d * d - 1.0) / 2f64.sqrt()));
                let of_rows = numbers.chunks(columns).map(|row| share(&mut row.iter())).collect();
                assert_chance(spread(of_rows), || format!("rows of {name}"));
                if columns < numbers.len() {
                    let column = |i: usize| share(&mut numbers[i..].iter().step_by(columns));
                    assert_chance(spread((0..columns).map(column).collect()), || format!("columns of {name}"));
                }
            }
        });
    }

    #[test]
    fn numbers_are_independent_of_neighbours() {
        all(1, |name, numbers, columns, _| {
            let near = (1..=64).chain([127, 128, 255, 256, 512, 768, 1024, 3072, 4096, 1 << 15]);
            let rows = [columns - 1, columns, columns + 1, 2 * columns].into_iter().filter(|lag| *lag < numbers.len());
            let centred = all_centred(numbers);
            for lag in near.chain(rows) {
                assert_chance(correlation(&centred, &centred[lag..]), || format!("{lag} apart in {name}"));
            }
            // Pairs of their upper bits, and the upper bits of three in a row.
            for lag in [1, columns].into_iter().filter(|lag| *lag < numbers.len()) {
                let mut counts = [0u32; 256];
                numbers.iter().zip(&numbers[lag..]).for_each(|(a, b)| counts[(a >> 28 << 4 | b >> 28) as usize] += 1);
                assert_chance(chi_squared(&counts), || format!("pairs {lag} apart in {name}"));
            }
            let mut counts = [0u32; 512];
            numbers.windows(3).for_each(|x| counts[(x[0] >> 29 << 6 | x[1] >> 29 << 3 | x[2] >> 29) as usize] += 1);
            assert_chance(chi_squared(&counts), || format!("three in a row in {name}"));
        });
    }

    /// The fourth corner of a rectangle shows nothing of the other three.
    #[test]
    fn corners_of_rectangles_are_independent() {
        all(1, |name, numbers, columns, lowest| {
            let rows = numbers.len() / columns;
            if rows == 1 {
                return;
            }
            let bits = lowest..32;
            for (down, right) in [(1, 1), (1, 7), (13, 1), (rows / 2, columns / 2)] {
                let what = format!("rectangles {down} × {right} of {name}");
                let (mut count, mut product, mut ones) = (0.0f64, 0.0, [0.0; 32]);
                for place in (0..rows - down).flat_map(|i| (0..columns - right).map(move |j| i * columns + j)) {
                    let corners = [0, right, down * columns, down * columns + right].map(|step| numbers[place + step]);
                    count += 1.0;
                    product += corners.map(centred).iter().product::<f64>();
                    let odd = corners.iter().fold(0, |odd, corner| odd ^ corner);
                    bits.clone().for_each(|bit| ones[bit as usize] += f64::from(odd >> bit & 1));
                }
                assert_chance(product / count.sqrt(), || what.clone());
                for bit in bits.clone() {
                    assert_chance((2.0 * ones[bit as usize] - count) / count.sqrt(), || format!("bit {bit} in {what}"));
                }
            }
        });
    }

    /// The ranks of matrices of 32 × 32 bits, over the field of two elements, are those of random ones (as in G.
    /// Marsaglia's "Diehard"): 28.9 % have full rank, 57.8 % one less, 13.4 % less.
    #[test]
    fn masks_have_the_ranks_of_random_matrices() {
        all(4, |name, numbers, columns, _| {
            let rows = numbers.len() / columns;
            if rows == 1 {
                return;
            }
            for bit in [31, 30, 24] {
                let mut counts = [0.0; 3];
                for (top, left) in (0..rows / 32).flat_map(|i| (0..columns / 32).map(move |j| (32 * i, 32 * j))) {
                    let row = |i: usize| {
                        (0..32).fold(0, |all, j| all << 1 | numbers[(top + i) * columns + left + j] >> bit & 1)
                    };
                    counts[2.min(32 - rank((0..32).map(row).collect()))] += 1.0;
                }
                let expected = [0.288_788, 0.577_576, 0.133_636].map(|share| share * counts.iter().sum::<f64>());
                let chi: f64 = counts.iter().zip(expected).map(|(c, e)| (c - e).powi(2) / e).sum();
                // Of two degrees: e^−χ²/2 is how probable more is.
                assert!(chi < 28.0, "ranks of bit {bit} of {name}: {counts:?}");
            }
        });
    }

    fn rank(mut rows: Vec<u32>) -> usize {
        let mut rank = 0;
        for bit in 0..32 {
            let Some(found) = (rank..rows.len()).find(|&i| rows[i] >> bit & 1 == 1) else { continue };
            rows.swap(rank, found);
            let pivot = rows[rank];
            rows[rank + 1..].iter_mut().filter(|row| **row >> bit & 1 == 1).for_each(|row| *row ^= pivot);
            rank += 1;
        }
        rank
    }

    #[test]
    fn numbers_are_independent_of_steps_seeds_and_other_draws() {
        for kind in [BITS, WHOLE] {
            let drawn = |draw, rows, columns| all_centred(&grid(kind, draw, rows, columns));
            let numbers = drawn((7, 100, 3), 128, 512);
            let near = (1..=32).flat_map(|i| [(7 + i, 100, 3), (7, 100 + i, 3), (7, 100, 3 + i), (7 + i, 100 - i, 3)]);
            let far = [(100, 7, 3), (-7, 100, 3), (7 + PRIME, 100, 3), (7 << 16, 100, 3), (7, 100 << 32, 3)];
            for other in near.chain(far) {
                assert_chance(correlation(&numbers, &drawn(other, 128, 512)), || format!("{other:?}"));
            }
            // The same element at successive steps, and of successive draws.
            let over_steps: Vec<f64> = (0..1 << 14).flat_map(|step| drawn((7, step, 3), 1, 1)).collect();
            let over_draws: Vec<f64> = (0..1 << 14).flat_map(|draw| drawn((7, 0, draw), 1, 1)).collect();
            for numbers in [over_steps, over_draws] {
                for lag in 1..=16 {
                    assert_chance(correlation(&numbers, &numbers[lag..]), || format!("{lag} apart"));
                }
            }
        }
    }

    /// Whatever changes by one, each bit of the words changes in half of the cases.
    #[test]
    fn changes_of_one_change_half_of_the_bits() {
        const COUNT: i64 = 1 << 12;
        let change = |name: &str, of: &dyn Fn(i64) -> [i64; 2]| {
            for bit in 0..30 {
                let changed = (0..COUNT).map(of).map(|[a, b]| sign((a ^ b) as u32, bit));
                assert_chance(sum(changed), || format!("bit {bit} with another {name}"));
            }
        };
        let word = |seed, step, draw| words(seed, step, draw, 1)[0];
        change("seed", &|i| [word(i, 9, 1), word(i + 1, 9, 1)]);
        change("step", &|i| [word(9, i, 1), word(9, i + 1, 1)]);
        change("draw", &|i| [word(9, i, 1), word(9, i, 2)]);
        change("upper half of the seed", &|i| [word(i, 9, 1), word(i + (1 << 32), 9, 1)]);
        let many = words(1, 2, 3, COUNT + 1);
        change("counter", &|i| [many[i as usize], many[i as usize + 1]]);
    }
}

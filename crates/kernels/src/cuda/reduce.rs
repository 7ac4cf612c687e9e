//! The sum or the mean of a formula over axes of its operands.
//!
//! Threads that share an output add what they computed in the same order in each run, so a result is the same to the
//! bit on one card. Where outputs are few, each is the sum of several blocks' sums, which a second kernel adds.

use super::device;
use super::last::Last;
use super::program::{Arguments, NAME, Program};
use super::queue::{OfOperands, Queue, Tensor};
use super::source::{self, Reading, WIDTH};
use crate::layout::{self, Axis};
use crate::reduce::Reduction;
use cudarc::driver::sys::{self as driver, CUdeviceptr};
use gnp_base::formula::Formula;
use gnp_base::{Error, Result};
use std::fmt::Write as _;

/// The threads of a warp, which compute in step.
const WARP: usize = 32;
/// The warps of a block.
const WARPS: usize = 8;
/// Up to so many elements are summed by one warp.
const FEW: usize = 1024;
/// The blocks of one multiprocessor that hide each other's waits.
const BUSY: usize = 4;
/// Into how many parts a sum is divided at most.
const PARTS: usize = 512;

/// The kernel of one formula and its axes.
pub(crate) struct Reduce {
    formula: Formula,
    used: Vec<usize>,
    reduction: Reduction,
    last: Last<Launch>,
}

/// A launch for operands of certain shapes.
#[derive(Clone)]
struct Launch {
    program: Program,
    /// Adds the parts, where there are several.
    finish: Option<Program>,
    plan: Plan,
}

/// How the work is shared.
#[derive(Clone, Debug)]
struct Plan {
    /// Which threads add what.
    shares: Shares,
    /// The floats along the last axis that a thread reads at once.
    width: usize,
    outputs: usize,
    /// How often a thread's place moves to get through all that is summed.
    summed: usize,
    /// The sums that are added for an output by a second kernel, if more than one.
    parts: usize,
    blocks: usize,
    sizes: Vec<u64>,
}

/// Who adds what is summed to one output.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shares {
    /// The neighbours along the last axis go to the threads of a warp.
    Warp,
    /// To those of a block.
    Block,
    /// Neighbouring outputs go to the threads of a warp, and each warp of a block adds a share.
    Columns,
}

impl Reduce {
    pub(crate) fn new(formula: Formula, reduction: Reduction) -> Self {
        Self { used: source::used(&formula), formula, reduction, last: Last::default() }
    }
}

impl OfOperands for Reduce {
    fn shape(&self, shapes: &[&[usize]]) -> Result<Vec<usize>> {
        self.reduction.of(&source::broadcast(&self.formula, shapes)?)
    }

    unsafe fn enqueue(&self, operands: &[Tensor<'_>], output: Tensor<'_>, queue: &dyn Queue) -> Result<()> {
        let shapes: Vec<&[usize]> = operands.iter().map(|operand| operand.shape).collect();
        let sizes = layout::broadcast(&shapes)?;
        let outputs: usize = output.shape.iter().product();
        if outputs == 0 {
            return Ok(());
        }
        let count = sizes.iter().product::<usize>() / outputs;
        let scale = if self.reduction.is_mean { 1.0 / count as f32 } else { 1.0 };
        if count == 0 {
            let nothing = (0.0 * scale).to_bits();
            // SAFETY: the output has so many floats; the rest is the contract of this function.
            return device::check(unsafe {
                driver::cuMemsetD32Async(output.address, nothing, outputs, queue.stream()?)
            });
        }
        let launch = self.last.get(operands, output, |device, is_aligned| {
            let axes = layout::axes(&shapes, &sizes, &self.reduction.reduced(sizes.len())?);
            let plan = self.plan(&axes, is_aligned, device.multiprocessors as usize);
            let program = Program::new(&self.source(&axes, &plan), device)?;
            let finish = (plan.parts > 1).then(|| Program::new(FINISH, device)).transpose()?;
            Ok(Launch { program, finish, plan })
        })?;
        // SAFETY: by this function's contract; scratch memory has room for all sums.
        unsafe {
            let Some(finish) = launch.finish else {
                return self.sum(&launch, operands, output.address, scale, queue);
            };
            queue.scratch(launch.plan.parts * outputs * size_of::<f32>(), &mut |sums| {
                self.sum(&launch, operands, sums, 1.0, queue)?;
                add_parts(finish, &launch.plan, sums, output.address, scale, queue)
            })
        }
    }
}

impl Reduce {
    /// # Safety
    /// As [`Self::enqueue`]; `to` has room for all parts of all outputs.
    unsafe fn sum(
        &self,
        launch: &Launch,
        operands: &[Tensor<'_>],
        to: CUdeviceptr,
        scale: f32,
        queue: &dyn Queue,
    ) -> Result<()> {
        let plan = &launch.plan;
        let mut arguments = Arguments::default();
        arguments.push(to);
        arguments.push_float(scale);
        for number in [plan.outputs, plan.summed, plan.summed.div_ceil(plan.parts)] {
            arguments.push(number as u64);
        }
        self.used.iter().for_each(|&of| arguments.push(operands[of].address));
        plan.sizes.iter().for_each(|size| arguments.push(*size));
        // SAFETY: the arguments are those of the source text; the rest is the contract of this function.
        unsafe { launch.program.launch(queue.stream()?, grid(plan.blocks, plan.parts)?, BLOCK, &arguments) }
    }

    fn plan(&self, axes: &[Axis], is_aligned: bool, multiprocessors: usize) -> Plan {
        let product = |is_reduced: bool| -> usize {
            axes.iter().filter(|axis| axis.is_reduced == is_reduced).map(|axis| axis.size).product()
        };
        let (outputs, count) = (product(false), product(true));
        let is_last = axes.last().is_some_and(|axis| axis.is_reduced);
        let width = if is_last && is_aligned && source::is_wide(axes, &self.used) { WIDTH } else { 1 };
        let summed = count / width;
        let shares = match is_last {
            false => Shares::Columns,
            true if count <= FEW => Shares::Warp,
            true => Shares::Block,
        };
        // How many threads share an output in a block, and so how many outputs a block has.
        let (sharing, of_block) = match shares {
            Shares::Warp => (WARP, WARPS),
            Shares::Block => (WARP * WARPS, 1),
            Shares::Columns => (WARPS, WARP),
        };
        let blocks = outputs.div_ceil(of_block);
        let idle = (BUSY * multiprocessors).div_ceil(blocks);
        // A part is worth a few turns of each thread.
        let most = (summed / (4 * sharing)).clamp(1, PARTS);
        let parts = idle.min(most).max(1);
        // No part is without anything to add.
        let parts = summed.div_ceil(summed.div_ceil(parts));
        Plan { shares, width, outputs, summed, parts, blocks, sizes: source::sizes(axes, &self.used) }
    }

    /// The source text. A thread's place among what is summed, in steps of `width` elements, is `j`.
    fn source(&self, axes: &[Axis], plan: &Plan) -> String {
        let mut text = source::function(&self.formula);
        let (width, used) = (plan.width, &self.used);
        let elements: usize = axes.iter().map(|axis| axis.size).product();
        let _ = writeln!(text, "typedef {} I;", source::place_type(elements));
        let _ = write!(text, "extern \"C\" __global__ void __launch_bounds__({}) {NAME}(", WARP * WARPS);
        text += "float* y, float scale, I outputs, I summed, I share";
        for of in used {
            let _ = write!(text, ", const float* __restrict__ p{of}");
        }
        text += &source::declare(axes, used);
        text += ") {\n";
        let (output, first, step) = match plan.shares {
            Shares::Warp => ("(I)blockIdx.x * 8 + threadIdx.y", "threadIdx.x", "32"),
            Shares::Block => ("(I)blockIdx.x", "threadIdx.y * 32 + threadIdx.x", "256"),
            Shares::Columns => ("(I)blockIdx.x * 32 + threadIdx.x", "threadIdx.y", "8"),
        };
        let _ = writeln!(text, "  const I o = {output};");
        text += "  float sum = 0.0f;\n  if (o < outputs) {\n  I rest = o;\n";
        let along = |is_reduced: bool| -> Vec<usize> {
            (0..axes.len()).filter(|axis| axes[*axis].is_reduced == is_reduced).collect()
        };
        let (kept, reduced) = (along(false), along(true));
        text += &source::numbers("rest", &kept);
        for &of in used {
            let _ = writeln!(text, "  p{of} += {};", source::place(of, axes, &kept));
        }
        let _ = writeln!(text, "  const I from = (I)blockIdx.y * share;");
        text += "  const I to = from + share < summed ? from + share : summed;\n";
        let sums = if width > 1 { "  float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;\n" } else { "  float a = 0.0f;\n" };
        text += sums;
        text += "  #pragma unroll 4\n";
        let _ = writeln!(text, "  for (I j = from + {first}; j < to; j += {step}) {{\n  I e = j * {width};");
        text += &source::numbers("e", &reduced);
        let reading = Reading { axes, used, width };
        for &of in used {
            text += &reading.read(of, &source::place(of, axes, &reduced));
        }
        let lanes = if width > 1 { &[("a", "x"), ("b", "y"), ("c", "z"), ("d", "w")][..] } else { &[("a", "x")] };
        for (sum, lane) in lanes {
            let _ = writeln!(text, "  {sum} += {};", reading.value(lane));
        }
        text += "  }\n";
        text += if width > 1 { "  sum = (a + b) + (c + d);\n  }\n" } else { "  sum = a;\n  }\n" };
        text += match plan.shares {
            Shares::Warp => WITHIN_WARP,
            Shares::Block => WITHIN_BLOCK,
            Shares::Columns => ACROSS_WARPS,
        };
        text + "  if (is_first && o < outputs) y[(I)blockIdx.y * outputs + o] = sum * scale;\n}\n"
    }
}

/// A block of threads: warps of 32.
const BLOCK: [u32; 2] = [WARP as u32, WARPS as u32];

const WITHIN_WARP: &str = "  for (int lane = 16; lane; lane /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lane);
  const bool is_first = threadIdx.x == 0;
";

const WITHIN_BLOCK: &str = "  for (int lane = 16; lane; lane /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lane);
  __shared__ float sums[8];
  if (threadIdx.x == 0) sums[threadIdx.y] = sum;
  __syncthreads();
  sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  const bool is_first = threadIdx.x == 0 && threadIdx.y == 0;
";

const ACROSS_WARPS: &str = "  __shared__ float sums[8][32];
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  const int x = threadIdx.x;
  sum = ((sums[0][x] + sums[1][x]) + (sums[2][x] + sums[3][x])) + ((sums[4][x] + sums[5][x]) + (sums[6][x] + sums[7][x]));
  const bool is_first = threadIdx.y == 0;
";

/// Adds the parts of each output, a warp to an output, in double precision: there are few.
const FINISH: &str = "extern \"C\" __global__ void __launch_bounds__(256) gnp_kernel(
    const float* __restrict__ sums, float* y, float scale, unsigned long long outputs, unsigned int parts) {
  const unsigned long long o = (unsigned long long)blockIdx.x * 8 + threadIdx.y;
  double sum = 0.0;
  if (o < outputs) for (unsigned int part = threadIdx.x; part < parts; part += 32) sum += sums[part * outputs + o];
  for (int lane = 16; lane; lane /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lane);
  if (threadIdx.x == 0 && o < outputs) y[o] = (float)(sum * scale);
}
";

/// Adds the parts of each output.
///
/// # Safety
/// As [`Reduce::sum`].
unsafe fn add_parts(
    program: Program,
    &Plan { outputs, parts, .. }: &Plan,
    sums: CUdeviceptr,
    output: CUdeviceptr,
    scale: f32,
    queue: &dyn Queue,
) -> Result<()> {
    let mut arguments = Arguments::default();
    arguments.push(sums);
    arguments.push(output);
    arguments.push_float(scale);
    arguments.push(outputs as u64);
    arguments.push(parts as u64);
    // SAFETY: the arguments are those of the source text; the rest is the contract of this function.
    unsafe { program.launch(queue.stream()?, grid(outputs.div_ceil(WARPS), 1)?, BLOCK, &arguments) }
}

fn grid(columns: usize, rows: usize) -> Result<[u32; 2]> {
    let size = |size: usize| u32::try_from(size).map_err(|_| Error::input("there are more outputs than a card counts"));
    Ok([size(columns)?, size(rows)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::program::compiles;
    use crate::cuda::testing::{Card, values};
    use crate::testing::{at, shapes_to};
    use proptest::prelude::*;

    const FORMULAS: [&str; 5] = ["x0", "x1", "x0 * x1 + x2", "(x0 > 1) * x2", "x0 * x0"];

    fn kernel(text: &str, axes: &[i64], keep: bool, is_mean: bool) -> Reduce {
        Reduce::new(text.parse().unwrap(), Reduction { axes: axes.to_vec(), keep, is_mean })
    }

    #[test]
    #[ignore = "needs NVIDIA's compiler, NVRTC"]
    fn every_way_of_sharing_compiles() {
        compiles(FINISH).unwrap();
        for (axes, shares) in [(&[1i64][..], Shares::Warp), (&[0, 2], Shares::Block), (&[0, 1], Shares::Columns)] {
            let kernel = kernel("x0 * x1 + x2", axes, true, false);
            let (shapes, sizes) = ([&[64usize, 32, 64][..], &[32, 1], &[]], [64, 32, 64]);
            let shapes = if shares == Shares::Warp { [&[64, 32][..], &[32], &[]] } else { shapes };
            let sizes = if shares == Shares::Warp { &sizes[..2] } else { &sizes[..] };
            let walk = layout::axes(&shapes, sizes, &kernel.reduction.reduced(sizes.len()).unwrap());
            for is_aligned in [true, false] {
                let plan = kernel.plan(&walk, is_aligned, 132);
                assert_eq!(plan.shares, shares);
                compiles(&kernel.source(&walk, &plan)).unwrap();
            }
        }
    }

    #[test]
    fn no_part_of_a_sum_is_empty() {
        let kernel = kernel("x0", &[0], true, false);
        for count in [1, 2, 31, 1025, 4099, 100_000, 12_345_678] {
            let walk = layout::axes(&[&[count]], &[count], &[true]);
            let plan = kernel.plan(&walk, true, 132);
            assert!((plan.parts - 1) * plan.summed.div_ceil(plan.parts) < plan.summed, "{plan:?}");
        }
    }

    fn computed(kernel: &Reduce, data: &[Vec<f32>], shapes: &[Vec<usize>]) -> Vec<f32> {
        let card = Card::new();
        let shape = kernel.shape(&shapes.iter().map(|shape| &shape[..]).collect::<Vec<_>>()).unwrap();
        let inputs: Vec<_> = data.iter().map(|data| card.upload(data)).collect();
        let output = card.upload(&vec![f32::NAN; shape.iter().product()]);
        let operands: Vec<Tensor<'_>> =
            inputs.iter().zip(shapes).map(|(memory, shape)| Tensor { address: memory.address, shape }).collect();
        // SAFETY: the memory lives until it is read back.
        unsafe { kernel.enqueue(&operands, Tensor { address: output.address, shape: &shape }, &card) }.unwrap();
        card.download(&output)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        #[ignore = "needs an NVIDIA GPU"]
        fn sums_over_any_axes_are_those_of_the_values(
            text in prop::sample::select(&FORMULAS[..]),
            (sizes, shapes) in shapes_to(3),
            mask in any::<u8>(),
            (is_mean, keep) in any::<(bool, bool)>(),
        ) {
            let places: Vec<usize> = (0..sizes.len()).filter(|axis| mask >> axis & 1 == 1).collect();
            let places = if places.is_empty() { (0..sizes.len()).collect() } else { places };
            let axes: Vec<i64> = places.iter().map(|&axis| axis as i64).collect();
            let kernel = kernel(text, &axes, keep, is_mean);
            let data: Vec<Vec<f32>> = shapes.iter().enumerate().map(|(of, shape)| values(of, shape)).collect();
            let kept: Vec<usize> =
                sizes.iter().enumerate().map(|(axis, &size)| if places.contains(&axis) { 1 } else { size }).collect();
            let mut expected = vec![0.0; kept.iter().product()];
            let count = sizes.iter().product::<usize>() / expected.len();
            for number in 0..sizes.iter().product() {
                let given: Vec<f32> =
                    data.iter().zip(&shapes).map(|(data, shape)| data[at(number, &sizes, shape)]).collect();
                expected[at(number, &sizes, &kept)] += f64::from(kernel.formula.evaluate(&given));
            }
            let scale = if is_mean { 1.0 / count as f64 } else { 1.0 };
            let found = computed(&kernel, &data, &shapes);
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                let bound = 1e-6 * scale * (count as f64).sqrt() * 20.0;
                prop_assert!((f64::from(*found) - expected * scale).abs() <= bound, "{} {}", found, expected * scale);
            }
            prop_assert_eq!(found, computed(&kernel, &data, &shapes));
        }
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn sums_of_many_elements_are_exact_to_a_float() {
        let data = vec![(0..3_000_000).map(|n: u32| (n % 10) as f32 * 0.1).collect::<Vec<f32>>()];
        let exact: f64 = data[0].iter().map(|x| f64::from(*x)).sum();
        let all = computed(&kernel("x0", &[], false, false), &data, &[vec![3_000_000]]);
        assert!((f64::from(all[0]) - exact).abs() < 4e-7 * exact);
        for (shape, axes) in [([1_500_000, 2], [0]), ([1000, 3000], [0]), ([3000, 1000], [1])] {
            let sums = computed(&kernel("x0", &axes, false, false), &data, &[shape.to_vec()]);
            let total: f64 = sums.iter().map(|x| f64::from(*x)).sum();
            assert!((total - exact).abs() < 4e-7 * exact, "{shape:?}");
        }
    }
}

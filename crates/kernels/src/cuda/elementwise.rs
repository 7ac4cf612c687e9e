//! A formula for each element of its operands: a thread computes four neighbours where memory allows.

use super::last::Last;
use super::program::{Arguments, NAME, Program};
use super::queue::{OfOperands, Queue, Tensor};
use super::source::{self, Reading, WIDTH};
use crate::layout::{self, Axis};
use gnp_base::formula::Formula;
use gnp_base::{Error, Result};
use std::fmt::Write as _;

/// The threads of a block.
const THREADS: usize = 256;

/// The kernel of one formula.
pub(crate) struct Elementwise {
    formula: Formula,
    /// Those operands that the formula names.
    used: Vec<usize>,
    last: Last<Launch>,
}

/// A launch for operands of certain shapes.
#[derive(Clone)]
struct Launch {
    program: Program,
    /// How many threads there are to be.
    threads: usize,
    sizes: Vec<u64>,
}

impl Elementwise {
    pub(crate) fn new(formula: Formula) -> Self {
        Self { used: source::used(&formula), formula, last: Last::default() }
    }
}

impl OfOperands for Elementwise {
    fn shape(&self, shapes: &[&[usize]]) -> Result<Vec<usize>> {
        source::broadcast(&self.formula, shapes)
    }

    /// `output` may be the memory of an operand of its shape.
    unsafe fn enqueue(&self, operands: &[Tensor<'_>], output: Tensor<'_>, queue: &dyn Queue) -> Result<()> {
        if output.shape.contains(&0) {
            return Ok(());
        }
        let launch = self.last.get(operands, output, |device, is_aligned| {
            let shapes: Vec<&[usize]> = operands.iter().map(|operand| operand.shape).collect();
            let (text, threads, sizes) = self.plan(&shapes, output.shape, is_aligned);
            Ok(Launch { program: Program::new(&text, device)?, threads, sizes })
        })?;
        let mut arguments = Arguments::default();
        arguments.push(output.address);
        arguments.push(launch.threads as u64);
        self.used.iter().for_each(|&of| arguments.push(operands[of].address));
        launch.sizes.iter().for_each(|size| arguments.push(*size));
        let blocks = u32::try_from(launch.threads.div_ceil(THREADS));
        let blocks = blocks.map_err(|_| Error::input(format!("{:?} is too large for a card", output.shape)))?;
        // SAFETY: the arguments are those of the source text; the rest is the contract of this function.
        unsafe { launch.program.launch(queue.stream()?, [blocks, 1], [THREADS as u32, 1], &arguments) }
    }
}

impl Elementwise {
    /// The source text, how many threads it is for, and the arguments after the addresses.
    fn plan(&self, shapes: &[&[usize]], output: &[usize], is_aligned: bool) -> (String, usize, Vec<u64>) {
        let axes = layout::axes(shapes, output, &vec![false; output.len()]);
        let elements: usize = output.iter().product();
        let width = if is_aligned && source::is_wide(&axes, &self.used) { WIDTH } else { 1 };
        (self.source(&axes, width, elements), elements / width, source::sizes(&axes, &self.used))
    }

    /// The source text: a thread computes `width` neighbours.
    fn source(&self, axes: &[Axis], width: usize, elements: usize) -> String {
        let mut text = source::function(&self.formula);
        let _ = writeln!(text, "typedef {} I;", source::place_type(elements));
        let _ = write!(text, "extern \"C\" __global__ void __launch_bounds__({THREADS}) {NAME}(float* y, I threads");
        self.used.iter().for_each(|of| {
            let _ = write!(text, ", const float* p{of}");
        });
        text += &source::declare(axes, &self.used);
        text += ") {\n";
        let _ = writeln!(text, "  const I thread = (I)blockIdx.x * {THREADS} + threadIdx.x;");
        text += "  if (thread >= threads) return;\n";
        let _ = writeln!(text, "  I e = thread * {width};");
        let along: Vec<usize> = (0..axes.len()).collect();
        text += &source::numbers("e", &along);
        let output = axes[0].strides.len() - 1;
        let reading = Reading { axes, used: &self.used, width };
        for &of in &self.used {
            // An operand of the output's shape lies as it does.
            let is_same = axes.iter().all(|axis| axis.strides[of] == axis.strides[output]);
            let place = if is_same { format!("thread * {width}") } else { source::place(of, axes, &along) };
            text += &reading.read(of, &place);
        }
        let _ = if width > 1 {
            let values = ["x", "y", "z", "w"].map(|lane| reading.value(lane)).join(", ");
            writeln!(text, "  *(float4*)(y + thread * {width}) = make_float4({values});")
        } else {
            writeln!(text, "  y[thread] = {};", reading.value("x"))
        };
        text + "}\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::program::compiles;
    use crate::cuda::testing::{Card, values};
    use crate::testing::{at, shapes_to};
    use proptest::prelude::*;

    const FORMULAS: [&str; 5] = [
        "x0 * x1 + x2",
        "where(x0 > 1, x1, -x2) / (abs(x0) + 1)",
        "x1 * (1 + erf(x0 * 0.7071)) * 0.5 - exp(-x2 * x2)",
        "max(min(x0, x1), round(x2)) + sign(x0) * sigmoid(x1) - tanh(x2)",
        "(x0 > 0 and not (x1 <= x2)) + floor(x0) * sqrt(abs(x1)) + pow(abs(x2) + 1, x0)",
    ];

    #[test]
    #[ignore = "needs NVIDIA's compiler, NVRTC"]
    fn every_operation_compiles() {
        for formula in FORMULAS {
            let kernel = Elementwise::new(formula.parse().unwrap());
            for shapes in
                [[&[8, 4][..], &[8, 4], &[4]], [&[3, 5, 7], &[5, 1], &[]], [&[1 << 16, 1 << 15], &[1], &[1 << 15]]]
            {
                let output = kernel.shape(&shapes).unwrap();
                assert!(compiles(&kernel.plan(&shapes, &output, true).0).unwrap() > 0);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        #[ignore = "needs an NVIDIA GPU"]
        fn it_computes_the_formula_of_each_element(
            text in prop::sample::select(&FORMULAS[..]),
            (sizes, shapes) in shapes_to(3),
            scale in 1..5usize,
        ) {
            let formula: Formula = text.parse().unwrap();
            let kernel = Elementwise::new(formula.clone());
            // Sizes that are multiples of the width, too.
            let wider = |shape: &[usize]| match shape.split_last() {
                Some((&last, outer)) if last > 1 => [outer, &[last * scale]].concat(),
                _ => shape.to_vec(),
            };
            let (sizes, shapes) = (wider(&sizes), shapes.iter().map(|shape| wider(shape)).collect::<Vec<_>>());
            let data: Vec<Vec<f32>> = shapes.iter().enumerate().map(|(of, shape)| values(of, shape)).collect();
            let card = Card::new();
            let inputs: Vec<_> = data.iter().map(|data| card.upload(data)).collect();
            let output = card.upload(&vec![f32::NAN; sizes.iter().product()]);
            let operands: Vec<Tensor<'_>> =
                inputs.iter().zip(&shapes).map(|(memory, shape)| Tensor { address: memory.address, shape }).collect();
            // SAFETY: the memory lives until it is read back.
            unsafe { kernel.enqueue(&operands, Tensor { address: output.address, shape: &sizes }, &card) }.unwrap();
            for (number, found) in card.download(&output).into_iter().enumerate() {
                let given: Vec<f32> =
                    data.iter().zip(&shapes).map(|(data, shape)| data[at(number, &sizes, shape)]).collect();
                let expected = formula.evaluate(&given);
                prop_assert!((found - expected).abs() <= 2e-6 * expected.abs().max(1.0), "{} {}", found, expected);
            }
        }
    }
}

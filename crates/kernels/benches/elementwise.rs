//! The speed of formulas and of sums of them, as they occur in a step: one line each, ns an element and GB/s.
//!
//! Each call has operands of its own, which have long left the caches, as in a step.
//!
//! `cargo bench -p gnp-kernels --bench elementwise -- [PART OF A NAME]`

use gnp_kernels::elementwise::{Operand, Program, elementwise, shape};
use gnp_kernels::floats::Floats;
use gnp_kernels::reduce::{Reduction, reduce};
use gnp_kernels::threads::Caller;
use std::error::Error;
use std::time::{Duration, Instant};

/// Its name, formula, the shapes of its operands, and the axes that are summed over.
type Case = (&'static str, &'static str, &'static [&'static [usize]], Option<&'static [i64]>);

const TOKENS: &[usize] = &[32, 65, 192];
const ROWS: &[usize] = &[32, 65, 1];
const HIDDEN: &[usize] = &[32, 65, 768];
const IMAGE: &[usize] = &[32, 4, 16, 16, 16];
const CHANNELS: &[usize] = &[1, 4, 1, 1, 16];

const CASES: &[Case] = &[
    ("sum of two", "x0 + x1", &[HIDDEN, HIDDEN], None),
    ("a bias", "x0 + x1", &[HIDDEN, &[768]], None),
    ("erf of GELU", "erf(x0 / 1.4142135)", &[HIDDEN], None),
    ("GELU", "(x0 + x1) * (0.5 * x2)", &[HIDDEN, &[768], HIDDEN], None),
    ("GELU in one", "t0 = x0 + x1; t0 * (0.5 * (erf(t0 / 1.4142135) + 1))", &[HIDDEN, &[768]], None),
    (
        "its gradient in one",
        "t0 = x0 + x1; t1 = t0 / 1.4142135; \
         x2 * (0.5 * (erf(t1) + 1)) + x2 * t0 * 0.5 * (exp(-(t1 * t1)) * 1.1283792) / 1.4142135",
        &[HIDDEN, &[768], HIDDEN],
        None,
    ),
    (
        "gradient of GELU",
        "t0 = x0 + x1; t1 = t0 / 1.4142135; \
         x3 * (0.5 * x2) + x3 * t0 * 0.5 * (exp(-(t1 * t1)) * 1.1283792) / 1.4142135",
        &[HIDDEN, &[768], HIDDEN, HIDDEN],
        None,
    ),
    ("centred", "x0 - x1", &[TOKENS, ROWS], None),
    (
        "gradient of LayerNormalization",
        "x5 + (x2 - x3 - x0 * x1 * x4) * x1",
        &[TOKENS, ROWS, TOKENS, ROWS, ROWS, TOKENS],
        None,
    ),
    ("its sums, of rows", "(x2 - x3) * (x0 * x1)", &[TOKENS, ROWS, TOKENS, ROWS], Some(&[2])),
    ("its sums, of columns", "x2 * (x0 * x1)", &[TOKENS, ROWS, TOKENS], Some(&[0, 1])),
    ("gradient of a bias", "x0", &[HIDDEN], Some(&[0, 1])),
    ("BatchNormalization", "max(x0 * x1 + x2, 0)", &[IMAGE, CHANNELS, CHANNELS], None),
    ("its sums", "x0 * x1", &[IMAGE, IMAGE], Some(&[0, 2, 3])),
    ("momentum", "x0 * x1 + x2", &[&[768, 192], &[], &[768, 192]], None),
    ("squares", "x0 * x0", &[&[768, 192]], Some(&[])),
];

/// So many floats lie between two calls with one operand: more than caches hold.
const COLD: usize = 64 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    let mut memory: Vec<f32> = (0..COLD + (16 << 20)).map(|i| ((i % 31) as f32 - 15.0) / 16.0).collect();
    let start = memory.as_ptr().align_offset(64);
    // SAFETY: the memory outlives what is made of it, and only this thread uses it.
    let memory = |at: usize, count: usize| unsafe { Floats::new(memory[start + at..].as_mut_ptr(), count) };
    let mut memory = memory;
    println!("{:32} ns/element     GB/s", "");
    for (case, formula, shapes, axes) in CASES.iter().filter(|case| case.0.contains(&name)) {
        let program = Program::new(&formula.parse()?);
        let mut at = 0;
        let mut least = Duration::MAX;
        let (mut elements, mut bytes) = (0, 0);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(700) {
            let first = at;
            let mut take = |shape: &[usize]| {
                let count = shape.iter().product::<usize>();
                let floats = memory(at, count);
                at += count.next_multiple_of(16);
                floats
            };
            let operands: Vec<_> = shapes.iter().map(|shape| Operand { floats: take(shape), shape }).collect();
            let of_all = shape(&program, &operands)?;
            elements = of_all.iter().product();
            let reduction = axes.map(|axes| Reduction { axes: axes.to_vec(), keep: false, is_mean: false });
            let of_output = match &reduction {
                Some(reduction) => reduction.shape(&program, &operands)?,
                None => of_all,
            };
            let output = take(&of_output);
            let now = Instant::now();
            match &reduction {
                Some(reduction) => reduce(&program, reduction, &operands, output, &Caller)?,
                None => elementwise(&program, &operands, output, &Caller)?,
            }
            least = least.min(now.elapsed());
            bytes = (at - first) * 4;
            if at > COLD {
                at = 0;
            }
        }
        let seconds = least.as_secs_f64();
        println!("{case:32} {:10.3} {:8.1}", seconds * 1e9 / elements as f64, bytes as f64 / seconds / 1e9);
    }
    Ok(())
}

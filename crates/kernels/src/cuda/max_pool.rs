//! The gradient of a maximum over windows. A thread makes one element of dx: it looks into each window that the element
//! is in, and takes the gradients of those where the element is the greatest, in the order of the windows. So each run
//! gives the same bits, and they are those of the processor.

use super::device::Device;
use super::program::{Arguments, NAME, Program};
use super::queue::{Queue, Tensor};
use crate::max_pool::MaxPool;
use gnp_base::{Error, Result};

/// The threads of a block.
const THREADS: u64 = 256;

/// Puts the gradient `dx` of `x`, by `dy`, into the queue.
///
/// # Errors
/// What the compiler and the card refuse; more elements than a grid has threads.
///
/// # Safety
/// The tensors are those of `pool`, and are there until the queue has come so far. No input is the memory of `dx`.
pub(crate) unsafe fn enqueue(
    pool: &MaxPool,
    x: Tensor<'_>,
    dy: Tensor<'_>,
    dx: Tensor<'_>,
    queue: &dyn Queue,
) -> Result<()> {
    let count = pool.x().iter().try_fold(1u64, |count, &size| count.checked_mul(size as u64));
    let blocks = count.and_then(|count| u32::try_from(count.div_ceil(THREADS)).ok()).filter(|b| *b <= i32::MAX as u32);
    let (Some(count), Some(blocks)) = (count, blocks) else {
        return Err(Error::input(format!("{pool:?} has more elements than a card's grid has threads")));
    };
    if count == 0 {
        return Ok(());
    }
    let program = Program::new(&source(pool), Device::current()?)?;
    let mut arguments = Arguments::default();
    [dx.address, x.address, dy.address, count].into_iter().for_each(|argument| arguments.push(argument));
    // SAFETY: the arguments are those of the source text; the rest is the contract of this function.
    unsafe { program.launch(queue.stream()?, [blocks, 1], [THREADS as u32, 1], &arguments) }
}

/// For the spatial sizes of `pool`, and any number of planes.
fn source(pool: &MaxPool) -> String {
    let axes = pool.axes();
    let mut constants = String::new();
    for (name, axis) in ["z", "y", "x"].into_iter().zip(axes) {
        let values = [
            ("in", axis.input),
            ("out", axis.output),
            ("kernel", axis.kernel),
            ("stride", axis.stride),
            ("dilation", axis.dilation),
            ("begin", axis.begin),
        ];
        for (what, value) in values {
            constants += &format!("constexpr int {name}_{what} = {value};\n");
        }
    }
    format!(
        "{constants}
// The first output whose window reaches as far as `place`, and the last one.
__device__ inline int first_of(int place, int kernel, int stride, int dilation, int begin) {{
  const int after = place + begin - (kernel - 1) * dilation;
  return after > 0 ? (after + stride - 1) / stride : 0;
}}
__device__ inline int last_of(int place, int out, int stride, int begin) {{
  const int last = (place + begin) / stride;
  return last < out ? last : out - 1;
}}
// Whether `place` is one of those that output `o` reads.
__device__ inline bool reads(int o, int place, int stride, int dilation, int begin) {{
  return (place + begin - o * stride) % dilation == 0;
}}

extern \"C\" __global__ void __launch_bounds__({THREADS}) {NAME}(
  float* dx, const float* x, const float* dy, unsigned long long count) {{
  const unsigned long long e = blockIdx.x * {THREADS}ull + threadIdx.x;
  if (e >= count) return;
  constexpr unsigned long long inputs = (unsigned long long)z_in * y_in * x_in;
  constexpr unsigned long long outputs = (unsigned long long)z_out * y_out * x_out;
  const unsigned long long plane = e / inputs;
  const int at = (int)(e % inputs);
  const int px = at % x_in, py = at / x_in % y_in, pz = at / x_in / y_in;
  const float* const xs = x + plane * inputs;
  const float* const dys = dy + plane * outputs;
  float sum = 0.0f;
  for (int oz = first_of(pz, z_kernel, z_stride, z_dilation, z_begin); oz <= last_of(pz, z_out, z_stride, z_begin); ++oz) {{
    if (!reads(oz, pz, z_stride, z_dilation, z_begin)) continue;
    for (int oy = first_of(py, y_kernel, y_stride, y_dilation, y_begin); oy <= last_of(py, y_out, y_stride, y_begin); ++oy) {{
      if (!reads(oy, py, y_stride, y_dilation, y_begin)) continue;
      for (int ox = first_of(px, x_kernel, x_stride, x_dilation, x_begin); ox <= last_of(px, x_out, x_stride, x_begin); ++ox) {{
        if (!reads(ox, px, x_stride, x_dilation, x_begin)) continue;
        float greatest = -__int_as_float(0x7f800000);
        int where = -1;
        for (int kz = 0; kz < z_kernel; ++kz) {{
          const int z = oz * z_stride + kz * z_dilation - z_begin;
          if (z < 0 || z >= z_in) continue;
          for (int ky = 0; ky < y_kernel; ++ky) {{
            const int y = oy * y_stride + ky * y_dilation - y_begin;
            if (y < 0 || y >= y_in) continue;
            for (int kx = 0; kx < x_kernel; ++kx) {{
              const int column = ox * x_stride + kx * x_dilation - x_begin;
              if (column < 0 || column >= x_in) continue;
              const int place = (z * y_in + y) * x_in + column;
              const float value = xs[place];
              if (where < 0 || value > greatest) {{
                if (value > greatest) greatest = value;
                where = place;
              }}
            }}
          }}
        }}
        if (where == at) sum += dys[(oz * y_out + oy) * x_out + ox];
      }}
    }}
  }}
  dx[e] = sum;
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::{Layout, Window};
    use crate::cuda::program::compiles;
    use crate::cuda::testing::Card;
    use crate::max_pool::{grad, tests::numbers, tests::pools};
    use crate::threads::Caller;
    use proptest::prelude::*;

    #[test]
    #[ignore = "needs NVIDIA's compiler, NVRTC"]
    fn its_source_compiles() {
        let window = Window::new(&[3, 3], &[2, 2], &[], &[1, 1, 1, 1], 1).unwrap();
        compiles(&source(&MaxPool::new(&window, &[2, 3, 9, 9], &[2, 3, 5, 5]).unwrap())).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

        #[test]
        #[ignore = "needs an NVIDIA GPU"]
        fn the_gradient_is_that_of_the_processor(pool in pools()) {
            let (of_x, of_y) = (pool.x(), pool.y());
            let (x, dy) = (numbers(of_x.iter().product(), 3), numbers(of_y.iter().product(), 11));
            let mut expected = vec![0.0; x.len()];
            grad(&pool, Layout::Plain, &x, &dy, &mut expected, &Caller).unwrap();
            let card = Card::new();
            let (x, dy, dx) = (card.upload(&x), card.upload(&dy), card.upload(&vec![f32::NAN; expected.len()]));
            let tensor = |memory: u64, shape| Tensor { address: memory, shape };
            // SAFETY: the memory lives until it is read back.
            unsafe {
                let (x, dy, dx) =
                    (tensor(x.address, &of_x[..]), tensor(dy.address, &of_y[..]), tensor(dx.address, &of_x[..]));
                enqueue(&pool, x, dy, dx, &card).unwrap();
            }
            prop_assert_eq!(card.download(&dx), expected);
        }
    }
}

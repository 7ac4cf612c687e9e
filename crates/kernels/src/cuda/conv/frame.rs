//! Images in a frame of zeros, and out of it.

use crate::cuda::device::Device;
use crate::cuda::program::{Arguments, NAME, Program};
use crate::cuda::queue::Queue;
use cudarc::driver::sys::CUdeviceptr;
use gnp_base::Result;

/// Where images of up to three axes are in larger ones. Neither has more elements than an `i32` counts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    images: i32,
    inner: [i32; 3],
    outer: [i32; 3],
    /// How much of the frame is before the image.
    before: [i32; 3],
}

/// The threads of a block.
const THREADS: u32 = 256;

impl Frame {
    /// From sizes along the same two or three axes.
    pub(super) fn new(images: i32, inner: &[i32], outer: &[i32], before: &[i32]) -> Self {
        let three = |sizes: &[i32], missing| {
            let mut three = [missing; 3];
            three[3 - sizes.len()..].copy_from_slice(sizes);
            three
        };
        Self { images, inner: three(inner, 1), outer: three(outer, 1), before: three(before, 0) }
    }

    /// How many bytes the framed images have.
    pub(super) fn bytes(&self) -> usize {
        self.count(self.outer) as usize * size_of::<f32>()
    }

    fn count(&self, sizes: [i32; 3]) -> u32 {
        self.images as u32 * sizes.map(|size| size as u32).iter().product::<u32>()
    }

    /// Puts the images at `inner` into frames of zeros at `outer`.
    ///
    /// # Safety
    /// Both are there until the queue has come so far.
    pub(super) unsafe fn pad(&self, inner: CUdeviceptr, outer: CUdeviceptr, queue: &dyn Queue) -> Result<()> {
        // SAFETY: the contract of this function.
        unsafe { self.copy((inner, self.inner), (outer, self.outer), self.before, queue) }
    }

    /// Takes the images at `inner` out of the frames at `outer`.
    ///
    /// # Safety
    /// Both are there until the queue has come so far.
    pub(super) unsafe fn crop(&self, outer: CUdeviceptr, inner: CUdeviceptr, queue: &dyn Queue) -> Result<()> {
        // SAFETY: the contract of this function.
        unsafe { self.copy((outer, self.outer), (inner, self.inner), self.before.map(|size| -size), queue) }
    }

    /// # Safety
    /// Both are there until the queue has come so far.
    unsafe fn copy(
        &self,
        (from, from_sizes): (CUdeviceptr, [i32; 3]),
        (to, to_sizes): (CUdeviceptr, [i32; 3]),
        before: [i32; 3],
        queue: &dyn Queue,
    ) -> Result<()> {
        let program = Program::new(&source(), Device::current()?)?;
        let count = self.count(to_sizes);
        let mut arguments = Arguments::default();
        arguments.push(to);
        arguments.push(from);
        arguments.push(u64::from(count));
        for argument in [to_sizes, from_sizes, before].concat() {
            arguments.push(u64::from(argument as u32));
        }
        // SAFETY: the arguments are those of the source text; the rest is the contract of this function.
        unsafe { program.launch(queue.stream()?, [count.div_ceil(THREADS), 1], [THREADS, 1], &arguments) }
    }
}

/// Element (image, z, y, x) of `to` is that which is `before` it in `from`, or zero where there is none.
fn source() -> String {
    format!(
        "extern \"C\" __global__ void __launch_bounds__({THREADS}) {NAME}(
  float* to, const float* from, unsigned int count,
  int to_z, int to_y, int to_x, int from_z, int from_y, int from_x, int before_z, int before_y, int before_x) {{
  unsigned int e = blockIdx.x * {THREADS}u + threadIdx.x;
  if (e >= count) return;
  float* const place = to + e;
  const int x = (int)(e % to_x) - before_x; e /= to_x;
  const int y = (int)(e % to_y) - before_y; e /= to_y;
  const int z = (int)(e % to_z) - before_z; e /= to_z;
  const bool is_inside = x >= 0 && x < from_x && y >= 0 && y < from_y && z >= 0 && z < from_z;
  *place = is_inside ? from[((e * from_z + z) * from_y + y) * from_x + x] : 0.0f;
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::program::compiles;
    use crate::cuda::testing::{Card, values};

    #[test]
    #[ignore = "needs NVIDIA's compiler, NVRTC"]
    fn its_source_compiles() {
        compiles(&source()).unwrap();
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn images_go_into_their_frames_and_come_out_again() {
        let frame = Frame::new(2, &[3, 4], &[6, 5], &[2, 1]);
        let card = Card::new();
        let data = values(0, &[2, 3, 4]);
        let (from, back) = (card.upload(&data), card.upload(&[f32::NAN; 24]));
        let framed = card.upload(&[f32::NAN; 60]);
        // SAFETY: the memory lives until it is read back.
        unsafe {
            frame.pad(from.address, framed.address, &card).unwrap();
            frame.crop(framed.address, back.address, &card).unwrap();
        }
        let mut expected = vec![0.0; 60];
        for (row, values) in data.chunks(4).enumerate() {
            let start = (row / 3 * 6 + row % 3 + 2) * 5 + 1;
            expected[start..start + 4].copy_from_slice(values);
        }
        assert_eq!(card.download(&framed), expected);
        assert_eq!(card.download(&back), data);
    }
}

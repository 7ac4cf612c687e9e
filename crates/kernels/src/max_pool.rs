//! The gradient of a maximum over windows.

use crate::conv::{Layout, Window};
use crate::floats::Floats;
use crate::simd::{self, Level, Vectorised};
use crate::threads::Threads;
use gnp_base::{Error, Result};
use std::ops::Range;

/// A maximum over windows: x is \[N, C, spatial…\], y is \[N, C, spatial…\], each of its elements the greatest of a
/// window of x (ONNX, operator `MaxPool`). What a window has beyond the ends of x does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxPool {
    /// The images' count and channels.
    images: usize,
    channels: usize,
    axes: Vec<Axis>,
}

/// A spatial axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) begin: usize,
}

/// No image has more positions: they are counted in 32 bits, signed ones on a card.
const MOST_POSITIONS: usize = i32::MAX as usize;

impl MaxPool {
    /// The maximum over `window` that makes y of x, of these shapes. The padding at the ends may be any: the size of y
    /// says how far windows go.
    ///
    /// # Errors
    /// More than three spatial axes, shapes that do not fit each other or the window, a group, sizes beyond what can be
    /// counted.
    pub fn new(window: &Window, x: &[usize], y: &[usize]) -> Result<Self> {
        let refused = |why: &str| Error::input(format!("no maximum over windows makes {y:?} of {x:?}: {why}"));
        let ([images, channels, inputs @ ..], [y_images, y_channels, outputs @ ..]) = (x, y) else {
            return Err(refused("there are no channels"));
        };
        if images != y_images || channels != y_channels || window.group() != 1 {
            return Err(refused("it keeps images and channels"));
        }
        let rank = window.kernel().len();
        if rank > 3 || inputs.len() != rank || outputs.len() != rank {
            return Err(refused(&format!("the window has {rank} axes; up to three are known")));
        }
        let axis = |axis: usize| Axis {
            input: inputs[axis],
            output: outputs[axis],
            kernel: window.kernel()[axis],
            stride: window.strides()[axis],
            dilation: window.dilations()[axis],
            begin: window.begin()[axis],
        };
        let axes: Vec<Axis> = (0..rank).map(axis).collect();
        let few = |sizes: &[usize]| {
            let count = sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
            count.is_some_and(|count| count <= MOST_POSITIONS)
        };
        let reaches = axes.iter().all(|axis| {
            let last = axis.output.saturating_sub(1).checked_mul(axis.stride);
            let reach = axis.kernel.checked_mul(axis.dilation);
            let end = last.zip(reach).and_then(|(last, reach)| last.checked_add(reach));
            end.is_some_and(|end| end <= MOST_POSITIONS) && axis.begin <= MOST_POSITIONS
        });
        if !few(inputs) || !few(outputs) || !reaches {
            return Err(refused("it is too large"));
        }
        Ok(Self { images: *images, channels: *channels, axes })
    }

    /// The shape of x.
    pub fn x(&self) -> Vec<usize> {
        [self.images, self.channels].into_iter().chain(self.axes.iter().map(|axis| axis.input)).collect()
    }

    /// The shape of y.
    pub fn y(&self) -> Vec<usize> {
        [self.images, self.channels].into_iter().chain(self.axes.iter().map(|axis| axis.output)).collect()
    }

    /// The spatial axes, three of them: the first ones have one position where there are fewer.
    pub(crate) fn axes(&self) -> [Axis; 3] {
        let one = Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, begin: 0 };
        let mut axes = [one; 3];
        axes[3 - self.axes.len()..].copy_from_slice(&self.axes);
        axes
    }
}

/// Writes the gradient of x: each element of `dy` is added to the greatest element of its window, to the first where
/// several are equal. `x`, `dy` and `dx` are all in `layout`.
///
/// # Errors
/// A slice of another length than its shape, blocks of other than 8 or 16 channels.
pub fn grad(
    pool: &MaxPool,
    layout: Layout,
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    threads: &dyn Threads,
) -> Result<()> {
    let count = |shape: &[usize]| layout.shape(shape).iter().product::<usize>();
    let [of_x, of_y] = [count(&pool.x()), count(&pool.y())];
    if [x.len(), dx.len(), dy.len()] != [of_x, of_x, of_y] {
        return Err(Error::input(format!("{} and {} numbers are not those of {pool:?}", x.len(), dy.len())));
    }
    match layout {
        Layout::Plain => planes::<1>(pool, x, dy, dx, threads),
        Layout::Blocked(8) => planes::<8>(pool, x, dy, dx, threads),
        Layout::Blocked(16) => planes::<16>(pool, x, dy, dx, threads),
        Layout::Blocked(block) => {
            return Err(Error::input(format!("a pool's channels in blocks of {block}: 8 and 16 are known")));
        }
    }
    Ok(())
}

/// Planes of `L` channels each.
fn planes<const L: usize>(pool: &MaxPool, x: &[f32], dy: &[f32], dx: &mut [f32], threads: &dyn Threads) {
    let axes = pool.axes();
    let positions = |size: fn(&Axis) -> usize| axes.iter().map(size).product::<usize>() * L;
    let [inputs, outputs] = [positions(|axis| axis.input), positions(|axis| axis.output)];
    if inputs == 0 {
        return;
    }
    let blocks = pool.channels.div_ceil(L);
    let dx = Floats::from(dx);
    threads.run(pool.images * blocks, &|number| {
        // SAFETY: each task has a plane of its own.
        let dx = unsafe { dx.part(number * inputs..(number + 1) * inputs).write() };
        let channels = (pool.channels - number % blocks * L).min(L);
        let (x, dy) = (&x[number * inputs..][..inputs], &dy[number * outputs..][..outputs]);
        simd::run(Plane::<L> { axes: &axes, x, dy, dx, channels });
    });
}

/// One plane of each tensor.
struct Plane<'a, const L: usize> {
    axes: &'a [Axis; 3],
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    channels: usize,
}

impl Axis {
    /// The places of the kernel that are on the axis for output `output`, and the position of the first one.
    #[inline(always)]
    fn places(&self, output: usize) -> (Range<usize>, usize) {
        let start = output * self.stride;
        let first = self.begin.saturating_sub(start).div_ceil(self.dilation);
        let end = (self.input + self.begin).saturating_sub(start).div_ceil(self.dilation).min(self.kernel);
        (first..end, (start + first * self.dilation).saturating_sub(self.begin))
    }
}

impl<const L: usize> Vectorised for Plane<'_, L> {
    #[inline(always)]
    fn run<V: Level>(self) {
        let Self { axes: [deep, high, wide], x, dy, dx, channels } = self;
        dx.fill(0.0);
        let mut outputs = dy.as_chunks::<L>().0.iter();
        let (x, dx) = (x.as_chunks::<L>().0, dx.as_chunks_mut::<L>().0);
        for z in 0..deep.output {
            let (of_z, z) = deep.places(z);
            for y in 0..high.output {
                let (of_y, y) = high.places(y);
                for column in 0..wide.output {
                    let Some(gradient) = outputs.next() else { return };
                    let (of_x, column) = wide.places(column);
                    if of_z.is_empty() || of_y.is_empty() || of_x.is_empty() {
                        continue;
                    }
                    let first = (z * high.input + y) * wide.input + column;
                    let (mut greatest, mut at) = ([f32::NEG_INFINITY; L], [first as u32; L]);
                    for z in 0..of_z.len() {
                        for y in 0..of_y.len() {
                            let row = first + (z * deep.dilation * high.input + y * high.dilation) * wide.input;
                            for column in 0..of_x.len() {
                                let place = row + column * wide.dilation;
                                let elements = &x[place];
                                for lane in 0..L {
                                    let is_greater = elements[lane] > greatest[lane];
                                    greatest[lane] = if is_greater { elements[lane] } else { greatest[lane] };
                                    at[lane] = if is_greater { place as u32 } else { at[lane] };
                                }
                            }
                        }
                    }
                    for lane in 0..channels {
                        dx[at[lane] as usize][lane] += gradient[lane];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::Spawned;
    use proptest::prelude::*;

    /// Pools over up to three axes, with the attributes of their windows and the shape of y.
    pub(crate) fn pools() -> impl Strategy<Value = MaxPool> {
        let axis = (1..5usize, 1..4usize, 1..3usize, 0..3usize, 0..3usize, 0..8usize);
        let axes = prop::collection::vec(axis, 1..=3);
        (0..4usize, prop_oneof![1..4usize, 14..34usize], axes).prop_map(|(images, channels, axes)| {
            let (mut window, mut x, mut y) =
                ([const { Vec::new() }; 4], vec![images, channels], vec![images, channels]);
            for (kernel, stride, dilation, begin, end, more) in axes {
                let reach = (kernel - 1) * dilation + 1;
                let input = (reach + more).saturating_sub(begin + end).max(1);
                // One more than there are whole windows, as `ceil_mode` has it.
                let output = (input + begin + end).saturating_sub(reach) / stride + 1 + more % 2;
                for (list, value) in window.iter_mut().zip([kernel, stride, dilation, begin]) {
                    list.push(value as i64);
                }
                x.push(input);
                y.push(output);
            }
            let [kernel, strides, dilations, begin] = window;
            let pads = [&begin[..], &vec![0; begin.len()]].concat();
            MaxPool::new(&Window::new(&kernel, &strides, &dilations, &pads, 1).unwrap(), &x, &y).unwrap()
        })
    }

    /// Few different numbers, so that many are equal.
    pub(crate) fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed) % 13 % 5) as f32 - 2.0).collect()
    }

    /// All places along an axis that output `output` reads, by the definition.
    fn read(axis: &Axis, output: usize) -> Vec<usize> {
        let place = |k: usize| (output * axis.stride + k * axis.dilation).checked_sub(axis.begin);
        (0..axis.kernel).filter_map(place).filter(|place| *place < axis.input).collect()
    }

    fn by_definition(pool: &MaxPool, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let [deep, high, wide] = pool.axes();
        let mut dx = vec![0.0; x.len()];
        let (inputs, outputs) =
            (deep.input * high.input * wide.input, (deep.output * high.output * wide.output).max(1));
        for (number, gradient) in dy.iter().enumerate() {
            let (plane, at) = (number / outputs, number % outputs);
            let of_z = read(&deep, at / (high.output * wide.output));
            let (of_y, of_x) = (read(&high, at / wide.output % high.output), read(&wide, at % wide.output));
            let mut greatest: Option<usize> = None;
            for z in of_z {
                for y in &of_y {
                    for column in &of_x {
                        let place = plane * inputs + (z * high.input + y) * wide.input + column;
                        if greatest.is_none_or(|found| x[place] > x[found]) {
                            greatest = Some(place);
                        }
                    }
                }
            }
            if let Some(greatest) = greatest {
                dx[greatest] += gradient;
            }
        }
        dx
    }

    /// A tensor in blocks, with `beyond` in what a last block has too many.
    fn in_blocks(plain: &[f32], shape: &[usize], block: usize, beyond: f32) -> Vec<f32> {
        let layout = Layout::Blocked(block);
        let (channels, positions) = (shape[1], shape[2..].iter().product::<usize>());
        let mut blocked = vec![beyond; layout.shape(shape).iter().product()];
        for (number, value) in plain.iter().enumerate() {
            let (image, channel, position) =
                (number / positions / channels, number / positions % channels, number % positions);
            let first = (image * channels.div_ceil(block) + channel / block) * positions;
            blocked[(first + position) * block + channel % block] = *value;
        }
        blocked
    }

    proptest! {
        #[test]
        fn the_first_of_the_greatest_has_all(pool in pools()) {
            let (x, y) = (pool.x(), pool.y());
            let (values, gradients) = (numbers(x.iter().product(), 3), numbers(y.iter().product(), 11));
            let expected = by_definition(&pool, &values, &gradients);
            let mut dx = vec![f32::NAN; values.len()];
            grad(&pool, Layout::Plain, &values, &gradients, &mut dx, &Spawned(2)).unwrap();
            prop_assert_eq!(&dx, &expected);
            for block in [8, 16] {
                let (values, gradients) =
                    (in_blocks(&values, &x, block, f32::NAN), in_blocks(&gradients, &y, block, f32::NAN));
                let mut dx = vec![f32::NAN; values.len()];
                grad(&pool, Layout::Blocked(block), &values, &gradients, &mut dx, &Spawned(2)).unwrap();
                prop_assert_eq!(&dx, &in_blocks(&expected, &x, block, 0.0));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let window = Window::new(&[2, 2], &[2, 2], &[], &[], 1).unwrap();
        let refused = |x: &[usize], y: &[usize]| MaxPool::new(&window, x, y).unwrap_err().to_string();
        assert!(refused(&[1, 2, 4, 4], &[1, 3, 2, 2]).contains("it keeps images and channels"));
        assert!(refused(&[1, 2, 4], &[1, 2, 2]).contains("the window has 2 axes"));
        assert!(refused(&[1], &[1]).contains("there are no channels"));
        assert!(refused(&[1, 1, 1 << 20, 1 << 20], &[1, 1, 1, 1]).contains("too large"));
        let pool = MaxPool::new(&window, &[1, 2, 4, 4], &[1, 2, 2, 2]).unwrap();
        let (x, dy) = ([0.0; 32], [0.0; 8]);
        let plain = Layout::Plain;
        assert!(grad(&pool, plain, &x, &dy, &mut [0.0; 32], &Spawned(1)).is_ok());
        assert!(grad(&pool, plain, &x, &dy[1..], &mut [0.0; 32], &Spawned(1)).is_err());
        assert!(grad(&pool, Layout::Blocked(4), &[0.0; 64], &[0.0; 16], &mut [0.0; 64], &Spawned(1)).is_err());
    }
}

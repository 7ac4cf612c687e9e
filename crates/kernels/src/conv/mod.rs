//! Gradients of convolutions, in float32, for the processor.
//!
//! [`Conv`] says which convolution, from attributes and shapes, and is the only place where those can be wrong.
//! [`grad_weight`] and [`grad_input`] compute its gradients, for x, y or both in ONNX Runtime's blocked layout as well
//! as plain ([`Layout`]). Vectors run over channels: a block of the blocked layout is a vector, and of a plain tensor
//! a strip at a time is turned into such blocks.
//!
//! The numbers do not depend on how many threads there are.
//!
//! | File | What it holds |
//! |---|---|
//! | `sizes` | attributes and shapes, checked |
//! | `plane` | which positions of y read which of x |
//! | `tensor` | layouts, and what moves numbers between them |
//! | `room` | memory to work in |
//! | `vector` | the processor's vectors |
//! | `tiles` | the innermost loops |
//! | `dense` | the loops around them, where each channel of y reads all of x, or of its group |
//! | `depthwise` | the same, where each channel is by itself |
//! | `slabs` | convolutions over more axes than two, or out of proportion, as sums of those over fewer |
//! | `lay_out` | weights for ONNX Runtime's own convolutions on blocks |

mod dense;
mod depthwise;
mod lay_out;
mod plane;
mod room;
mod sizes;
mod slabs;
mod tensor;
#[cfg(test)]
pub(crate) mod testing;
mod tiles;

pub use lay_out::{WeightLayout, lay_out_weights};
#[cfg(feature = "cuda")]
pub(crate) use plane::Axis;
pub use sizes::{Conv, Window};
pub use tensor::Layout;

use crate::threads::Threads;
use crate::vector::{Width, with_width};
use gnp_base::error::{Error, Result};

/// Writes the gradient of the weights, from x and dy:
///
/// dw\[m, c, k\] = Σ over n, o of dy\[n, m, o\] · x\[n, c, o·stride − begin + k·dilation\].
///
/// `x` and `dy` have the shapes [`Conv::x`] and [`Conv::y`] in their layouts; `dw` has the shape [`Conv::w`], always
/// plain.
///
/// # Errors
///
/// A slice of another length than its shape, blocks of other than 8 or 16 channels.
pub fn grad_weight(
    conv: &Conv,
    (x, x_layout): (&[f32], Layout),
    (dy, dy_layout): (&[f32], Layout),
    dw: &mut [f32],
    threads: &dyn Threads,
) -> Result<()> {
    grad_weight_with(width(&[dy_layout, x_layout])?, conv, (x, x_layout), (dy, dy_layout), dw, threads)
}

/// Writes the gradient of the input, from dy and w:
///
/// dx\[n, c, i\] = Σ over m, k of w\[m, c, k\] · dy\[n, m, (i + begin − k·dilation) / stride\], where that divides and
/// is in dy.
///
/// `dy` and `dx` have the shapes [`Conv::y`] and [`Conv::x`] in their layouts; `w` has the shape [`Conv::w`], always
/// plain.
///
/// # Errors
///
/// A slice of another length than its shape, blocks of other than 8 or 16 channels.
pub fn grad_input(
    conv: &Conv,
    (dy, dy_layout): (&[f32], Layout),
    w: &[f32],
    (dx, dx_layout): (&mut [f32], Layout),
    threads: &dyn Threads,
) -> Result<()> {
    grad_input_with(width(&[dx_layout, dy_layout])?, conv, (dy, dy_layout), w, (dx, dx_layout), threads)
}

/// Vectors whose lanes are the first block that there is.
fn width(layouts: &[Layout]) -> Result<Width> {
    let blocks = || layouts.iter().filter_map(|layout| layout.block());
    match blocks().find(|block| ![8, 16].contains(block)) {
        Some(block) => Err(Error::input(format!("a convolution's channels in blocks of {block}: 8 and 16 are known"))),
        None => Ok(Width::of(blocks().next()).unwrap_or(Width::Eight)),
    }
}

fn has_length(what: &str, length: usize, layout: Layout, plain: &[usize]) -> Result<()> {
    let shape = layout.shape(plain);
    if length == shape.iter().product() {
        return Ok(());
    }
    Err(Error::input(format!("a convolution's {what} has {length} numbers, not those of the shape {shape:?}")))
}

fn grad_weight_with(
    width: Width,
    conv: &Conv,
    (x, x_layout): (&[f32], Layout),
    (dy, dy_layout): (&[f32], Layout),
    dw: &mut [f32],
    threads: &dyn Threads,
) -> Result<()> {
    has_length("x", x.len(), x_layout, &conv.x())?;
    has_length("dy", dy.len(), dy_layout, &conv.y())?;
    has_length("dw", dw.len(), Layout::Plain, &conv.w())?;
    let (x_place, dy_place) = (conv.x_place(x_layout), conv.y_place(dy_layout));
    if conv.is_empty() {
        dw.fill(0.0);
        return Ok(());
    }
    match conv.plane() {
        None => return slabs::grad_weight(width, conv, (x, x_layout), (dy, dy_layout), dw, threads),
        Some(plane) if plane.is_depthwise() => {
            let gradient = depthwise::GradWeight { plane: &plane, x, x_place, dy, dy_place };
            with_width!(width, V => gradient.run::<V>(dw, threads));
        }
        Some(plane) => {
            let gradient = dense::GradWeight { plane: &plane, x, x_place, dy, dy_place };
            with_width!(width, V => gradient.run::<V>(dw, threads));
        }
    }
    Ok(())
}

fn grad_input_with(
    width: Width,
    conv: &Conv,
    (dy, dy_layout): (&[f32], Layout),
    w: &[f32],
    (dx, dx_layout): (&mut [f32], Layout),
    threads: &dyn Threads,
) -> Result<()> {
    has_length("dy", dy.len(), dy_layout, &conv.y())?;
    has_length("w", w.len(), Layout::Plain, &conv.w())?;
    has_length("dx", dx.len(), dx_layout, &conv.x())?;
    let (dy_place, dx_place) = (conv.y_place(dy_layout), conv.x_place(dx_layout));
    if conv.is_empty() {
        return Ok(());
    }
    dx_place.clear_rest(dx);
    match conv.plane() {
        None => return slabs::grad_input(width, conv, (dy, dy_layout), w, (dx, dx_layout), threads),
        Some(plane) if plane.is_depthwise() => {
            let gradient = depthwise::GradInput { plane: &plane, dy, dy_place, w, dx_place };
            with_width!(width, V => gradient.run::<V>(dx, threads));
        }
        Some(plane) => {
            let gradient = dense::GradInput { plane: &plane, dy, dy_place, w, dx_place };
            with_width!(width, V => gradient.run::<V>(dx, threads));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::testing::{Attributes, convolutions, noise};
    use super::*;
    use crate::testing::Spawned;
    use crate::threads::Caller;
    use proptest::prelude::*;

    /// All positions of a shape.
    fn positions(shape: &[usize]) -> Vec<Vec<usize>> {
        let mut all = vec![vec![]];
        for &size in shape {
            all = all.iter().flat_map(|at| (0..size).map(move |i| [&at[..], &[i]].concat())).collect();
        }
        all
    }

    fn index(shape: &[usize], at: &[usize]) -> usize {
        shape.iter().zip(at).fold(0, |index, (size, at)| index * size + at)
    }

    /// Adds up dw and dx in double precision, from the definition alone.
    fn by_definition(conv: &Conv, window: &Attributes, x: &[f32], w: &[f32], dy: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let (x_shape, y_shape, w_shape) = (conv.x(), conv.y(), conv.w());
        let (mut dw, mut dx) = (vec![0.0; w.len()], vec![0.0; x.len()]);
        for y_at in positions(&y_shape) {
            let group = y_at[1] / (y_shape[1] / window.group as usize);
            for w_at in positions(&w_shape[1..]) {
                let mut x_at = vec![y_at[0], group * w_shape[1] + w_at[0]];
                for axis in 0..w_at.len() - 1 {
                    let at = y_at[2 + axis] as i64 * window.strides[axis] - window.pads[axis];
                    let at = at + w_at[1 + axis] as i64 * window.dilations[axis];
                    x_at.extend(usize::try_from(at).ok().filter(|&at| at < x_shape[2 + axis]));
                }
                if x_at.len() == x_shape.len() {
                    let w_index = index(&w_shape, &[&[y_at[1]], &w_at[..]].concat());
                    let (x_index, y_index) = (index(&x_shape, &x_at), index(&y_shape, &y_at));
                    dw[w_index] += f64::from(x[x_index]) * f64::from(dy[y_index]);
                    dx[x_index] += f64::from(w[w_index]) * f64::from(dy[y_index]);
                }
            }
        }
        (dw, dx)
    }

    /// A tensor in a layout, and back. What a block has too many is `beyond`.
    fn laid_out(plain: &[f32], shape: &[usize], layout: Layout, beyond: f32) -> Vec<f32> {
        let mut result = vec![beyond; layout.shape(shape).iter().product()];
        let place = place(shape, layout);
        for (at, value) in positions(shape).iter().zip(plain) {
            let position = index(&shape[2..], &at[2..]);
            result[at[0] * place.image() + place.channel(at[1]) + position * place.position()] = *value;
        }
        result
    }

    fn plain(laid_out: &[f32], shape: &[usize], layout: Layout) -> Vec<f32> {
        let place = place(shape, layout);
        let value = |at: &Vec<usize>| {
            let position = index(&shape[2..], &at[2..]);
            laid_out[at[0] * place.image() + place.channel(at[1]) + position * place.position()]
        };
        positions(shape).iter().map(value).collect()
    }

    fn place(shape: &[usize], layout: Layout) -> tensor::Place {
        tensor::Place { channels: shape[1], positions: shape[2..].iter().product(), block: layout.block() }
    }

    fn agree(what: &str, ours: &[f32], exact: &[f64], terms: usize) {
        assert_eq!(ours.len(), exact.len());
        let tolerance = 1e-6 * (terms as f64).sqrt() + 1e-6;
        for (i, (ours, exact)) in ours.iter().zip(exact).enumerate() {
            assert!((f64::from(*ours) - exact).abs() <= tolerance, "{what}[{i}] is {ours}, not {exact}");
        }
    }

    /// Compares both gradients with their definition, for all widths and some layouts, and with other threads.
    fn check(attributes: &Attributes, x_shape: &[usize], outputs: usize) {
        let Ok(conv) = Conv::new(attributes.window(), x_shape, outputs) else { return };
        let sizes = [conv.x(), conv.y(), conv.w()].map(|shape| shape.iter().product::<usize>());
        let (x, dy, w) = (noise(sizes[0], 1), noise(sizes[1], 2), noise(sizes[2], 3));
        let (dw, dx) = by_definition(&conv, attributes, &x, &w, &dy);
        let terms = [sizes[1] / outputs.max(1), outputs * sizes[2] / conv.w()[0] / conv.w()[1]];
        for width in Width::all() {
            let blocked = Layout::Blocked(width.lanes());
            let other = Layout::Blocked(24 - width.lanes());
            let plainly = Layout::Plain;
            for (x_layout, y_layout) in
                [(plainly, plainly), (blocked, blocked), (plainly, blocked), (blocked, plainly), (other, blocked)]
            {
                let nan = f32::NAN;
                let (x, dy) = (laid_out(&x, &conv.x(), x_layout, nan), laid_out(&dy, &conv.y(), y_layout, nan));
                let mut made = [vec![nan; w.len()], vec![nan; w.len()]];
                let (first, second) = made.split_at_mut(1);
                grad_weight_with(width, &conv, (&x, x_layout), (&dy, y_layout), &mut first[0], &Caller).unwrap();
                grad_weight_with(width, &conv, (&x, x_layout), (&dy, y_layout), &mut second[0], &Spawned(2)).unwrap();
                assert!(made[0] == made[1], "dw with two threads");
                agree(&format!("{width:?}, x {x_layout:?}, dy {y_layout:?}: dw"), &made[0], &dw, terms[0]);

                let mut made = [vec![nan; x.len()], vec![nan; x.len()]];
                let (first, second) = made.split_at_mut(1);
                grad_input_with(width, &conv, (&dy, y_layout), &w, (&mut first[0], x_layout), &Caller).unwrap();
                grad_input_with(width, &conv, (&dy, y_layout), &w, (&mut second[0], x_layout), &Spawned(2)).unwrap();
                assert!(made[0] == made[1], "dx with two threads");
                let plain_dx = plain(&made[0], &conv.x(), x_layout);
                agree(&format!("{width:?}, dy {y_layout:?}, dx {x_layout:?}: dx"), &plain_dx, &dx, terms[1]);
                assert!(laid_out(&plain_dx, &conv.x(), x_layout, 0.0) == made[0], "zeros beyond the channels");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        #[test]
        fn gradients_over_planes_are_those_of_the_definition((attributes, x, outputs) in convolutions(2)) {
            check(&attributes, &x, outputs);
        }

        #[test]
        fn gradients_over_lines_are_those_of_the_definition((attributes, x, outputs) in convolutions(1)) {
            check(&attributes, &x, outputs);
        }

        #[test]
        fn gradients_over_volumes_are_those_of_the_definition((attributes, x, outputs) in convolutions(3)) {
            check(&attributes, &x, outputs);
        }
    }

    fn square(kernel: i64, stride: i64, pad: i64, group: i64) -> Attributes {
        let attributes = |value| vec![value; 2];
        Attributes {
            kernel: attributes(kernel),
            strides: attributes(stride),
            dilations: attributes(1),
            pads: vec![pad; 4],
            group,
        }
    }

    #[test]
    fn gradients_of_the_layers_of_known_networks() {
        check(&square(3, 1, 1, 1), &[9, 16, 8, 8], 48);
        check(&square(3, 2, 1, 1), &[2, 32, 17, 17], 32);
        check(&square(7, 2, 3, 1), &[2, 3, 30, 30], 33);
        check(&square(4, 4, 0, 1), &[2, 3, 32, 32], 48);
        check(&square(1, 2, 0, 1), &[2, 24, 9, 9], 80);
        check(&square(1, 1, 0, 1), &[3, 20, 20, 20], 100);
        check(&square(5, 2, 2, 40), &[5, 40, 19, 19], 40);
        check(&square(7, 1, 3, 24), &[2, 24, 14, 14], 24);
        // Longer than a strip, and padding out of proportion.
        let line = |pads: [i64; 2], strides| Attributes {
            kernel: vec![5],
            strides: vec![strides],
            dilations: vec![2],
            pads: pads.to_vec(),
            group: 1,
        };
        check(&line([2, 0], 1), &[1, 2, 1000], 17);
        check(&line([2, 0], 1), &[1, 17, 1000], 2);
        check(&line([2000, 1], 500), &[2, 17, 10], 3);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let window = |kernel: &[i64], strides: &[i64]| Window::new(kernel, strides, &[], &[], 1);
        assert_eq!(window(&[], &[]).unwrap_err().to_string(), "a window's `kernel_shape` has no axis");
        assert!(window(&[3, 0], &[]).unwrap_err().to_string().contains("`kernel_shape` is 0"));
        assert!(window(&[3, 3], &[1]).unwrap_err().to_string().contains("`strides` has 1 numbers, not 2"));
        assert!(window(&[3], &[-1]).unwrap_err().to_string().contains("`strides` is -1"));
        assert!(window(&[i64::MAX], &[]).is_err());
        assert!(Window::new(&[3], &[], &[], &[-1, 0], 1).is_err());
        assert!(Window::new(&[3], &[], &[], &[], 0).is_err());

        let three = window(&[3], &[2]).unwrap();
        let conv = |x: &[usize], outputs| Conv::new(three.clone(), x, outputs);
        assert!(conv(&[1], 1).is_err());
        assert!(conv(&[1, 1, 5, 5], 1).is_err());
        assert!(conv(&[1, 0, 5], 1).is_err());
        assert!(conv(&[1, 1, 5], 0).is_err());
        assert!(conv(&[1, 1, 2], 1).is_err());
        assert!(conv(&[1 << 40, 1 << 20, 1 << 10], 1).is_err());
        assert!(Conv::between(three.clone(), &[1, 1, 7], &[1, 1, 4]).is_err());
        assert_eq!(Conv::between(three.clone(), &[1, 1, 7], &[1, 1, 3]).unwrap(), conv(&[1, 1, 7], 1).unwrap());
        let making = |left_over: &[i64]| Conv::making(three.clone(), &[1, 4, 3], &[4, 2, 3], left_over);
        assert_eq!(making(&[]).unwrap().x(), [1, 2, 7]);
        assert_eq!(making(&[1]).unwrap().x(), [1, 2, 8]);
        assert!(making(&[2]).is_err());
        assert!(Conv::making(three.clone(), &[1, 4, 3], &[5, 2, 3], &[]).is_err());

        let conv = conv(&[1, 1, 5], 1).unwrap();
        let mut dw = [0.0; 3];
        let x = ([0.0; 5], [0.0; 4]);
        let plain = Layout::Plain;
        assert!(grad_weight(&conv, (&x.0, plain), (&[0.0; 2], plain), &mut dw, &Caller).is_ok());
        assert!(grad_weight(&conv, (&x.1, plain), (&[0.0; 2], plain), &mut dw, &Caller).is_err());
        assert!(grad_weight(&conv, (&x.0, Layout::Blocked(4)), (&[0.0; 2], plain), &mut dw, &Caller).is_err());
    }
}

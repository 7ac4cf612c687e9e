//! Gradients of any convolution, position by position: for kernels of three axes and more, and for what is out of all
//! proportion.

use super::plane::Axis;
use super::tensor::{Place, Shared};
use crate::threads::Threads;

pub(super) struct General<'a> {
    pub batch: usize,
    pub groups: usize,
    /// Channels of x in a group.
    pub inputs: usize,
    /// Channels of y in a group.
    pub outputs: usize,
    pub axes: &'a [Axis],
}

impl General<'_> {
    fn places(&self) -> usize {
        self.axes.iter().map(|axis| axis.kernel).product()
    }

    /// Calls `each` with all pairs of positions, of x and of y, that a place of the kernel joins.
    fn pairs(&self, mut place: usize, each: &mut dyn FnMut(usize, usize)) {
        let mut ks = vec![0; self.axes.len()];
        for (k, axis) in ks.iter_mut().zip(self.axes).rev() {
            *k = place % axis.kernel;
            place /= axis.kernel;
        }
        walk(self.axes, &ks, 0, 0, each);
    }

    /// Writes dw.
    pub fn grad_weight(&self, x: (&[f32], Place), dy: (&[f32], Place), dw: &mut [f32], threads: &dyn Threads) {
        let (places, dw) = (self.places(), &Shared::new(dw));
        threads.run(self.groups * self.outputs * self.inputs, &|task| {
            let (output, input) = (task / self.inputs, task % self.inputs);
            let input = output / self.outputs * self.inputs + input;
            // SAFETY: a task's own part.
            let dw = unsafe { dw.part(task * places..(task + 1) * places) };
            for (place, dw) in dw.iter_mut().enumerate() {
                let mut sum = 0.0;
                for image in 0..self.batch {
                    let x_at = image * x.1.image() + x.1.channel(input);
                    let y_at = image * dy.1.image() + dy.1.channel(output);
                    let mut of_image = 0.0;
                    self.pairs(place, &mut |i, o| {
                        of_image += x.0[x_at + i * x.1.position()] * dy.0[y_at + o * dy.1.position()];
                    });
                    sum += of_image;
                }
                *dw = sum;
            }
        });
    }

    /// Writes dx.
    pub fn grad_input(&self, dy: (&[f32], Place), w: &[f32], dx: (&mut [f32], Place), threads: &dyn Threads) {
        let (places, place_of) = (self.places(), dx.1);
        dx.0.fill(0.0);
        let dx = &Shared::new(dx.0);
        let inputs = self.groups * self.inputs;
        threads.run(self.batch * inputs, &|task| {
            let (image, input) = (task / inputs, task % inputs);
            let (group, nth) = (input / self.inputs, input % self.inputs);
            let x_at = image * place_of.image() + place_of.channel(input);
            for output in group * self.outputs..(group + 1) * self.outputs {
                let y_at = image * dy.1.image() + dy.1.channel(output);
                for place in 0..places {
                    let w = w[(output * self.inputs + nth) * places + place];
                    self.pairs(place, &mut |i, o| {
                        let at = x_at + i * place_of.position();
                        assert!(at < dx.len);
                        // SAFETY: the assertion; each task has a channel of an image of its own.
                        unsafe { *dx.at(at) += w * dy.0[y_at + o * dy.1.position()] };
                    });
                }
            }
        });
    }
}

fn walk(axes: &[Axis], ks: &[usize], x: usize, y: usize, each: &mut dyn FnMut(usize, usize)) {
    let ([axis, axes @ ..], [k, ks @ ..]) = (axes, ks) else { return each(x, y) };
    for o in axis.outputs(*k) {
        let i = o * axis.stride + k * axis.dilation - axis.begin;
        walk(axes, ks, x * axis.input + i, y * axis.output + o, each);
    }
}

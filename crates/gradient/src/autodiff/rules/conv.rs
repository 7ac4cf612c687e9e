//! Convolutions. The two operators are each other's adjoint, so one pair of gradients serves both.
//!
//! The shape of the weights must be known; the batch and the spatial sizes need not be. Where they are known, a strided
//! convolution's input gradient is one ConvTranspose without a slice behind it, and windows that lie side by side need
//! no slices at all.

use super::window::{Padding, Window, spatial_sizes};
use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_base::contract::functions::{CONV_GRAD_INPUT, CONV_GRAD_WEIGHT};
use gnp_model::graph::{Builder, Dim, Fact, Signature, Value};
use gnp_model::onnx::proto::AttributeProto;

pub(super) const RULES: &[Entry] = &[("", "Conv", Rule::Vjp(conv)), ("", "ConvTranspose", Rule::Vjp(conv_transpose))];

/// More shifted copies than this are one convolution instead.
const MOST_COPIES: i64 = 256;
/// Of more spatial axes not all divisions are compared.
const MOST_DIVIDED: usize = 8;

/// y = w ∗ x + b  ⇒  x̄ = wᵀ ∗ ȳ,  w̄ = Σ ȳ x over all places of the window,  b̄ = Σ ȳ
fn conv(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, w) = (op.input(0)?, op.input(1)?);
    let (conv, padding) = Convolution::of(op, g)?;
    let padded = padding.apply(x, g);
    let dx = conv.input_gradient(dy, w, &padding, x, g);
    let dw = conv.weight_gradient(&padded, dy, w, g);
    Ok(Cotangents::of([Some(dx), Some(dw), bias(op, dy, &conv.window, g)]))
}

/// x̄ = wᵀ ∗ ȳ of a Conv
pub(super) fn conv_data(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Value> {
    let (conv, padding) = Convolution::of(op, g)?;
    Ok(conv.input_gradient(dy, op.input(1)?, &padding, op.input(0)?, g))
}

/// y = wᵀ ∗ x + b  ⇒  x̄ = w ∗ ȳ,  w̄ = Σ x ȳ over all places of the window,  b̄ = Σ ȳ
fn conv_transpose(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, w) = (op.input(0)?, op.input(1)?);
    let (channels, kernel) = Channels::of(op, w, g)?;
    let (window, padding) = transposed_window(op, kernel, x, g)?;
    let conv = Convolution { window, channels };
    let padded = padding.apply(dy, g);
    let dx = conv.forward(&padded, w, x, g);
    Ok(Cotangents::of([Some(dx), Some(conv.weight_gradient(&padded, x, w, g)), bias(op, dy, &conv.window, g)]))
}

fn bias(op: &Op, dy: &Value, window: &Window, g: &Builder<'_>) -> Option<Value> {
    let axes: Vec<i64> = [0].into_iter().chain(2..2 + window.rank() as i64).collect();
    op.optional(2).map(|_| g.reduce("ReduceSum", dy, &axes, false))
}

/// The window with which the output of a ConvTranspose is read to give exactly its input, and the padding that is only
/// known when the graph runs. Where more was asked for than any input reaches, the padding at the end is negative: it
/// cuts that off.
fn transposed_window(op: &Op, kernel: Vec<i64>, x: &Value, g: &Builder<'_>) -> Result<(Window, Padding)> {
    let rank = kernel.len();
    let mut window = Window::with_pads(op, kernel)?;
    let list = |name: &str| match op.ints(name) {
        Some(list) if list.len() == rank => Ok(Some(list)),
        None | Some([]) => Ok(None),
        Some(_) => Err(op.error(format!("its attribute `{name}` does not fit {rank} spatial axes"))),
    };
    let zeros = vec![0; rank];
    let extra = list("output_padding")?.unwrap_or(&zeros);
    let mode = op.string("auto_pad", "NOTSET");
    let odd_to_begin = mode != "SAME_UPPER";
    // How far the first place of the window is from its last, less the output beyond it.
    let cut = if let Some(sizes) = list("output_shape")? {
        let rest: Vec<i64> = (0..rank).map(|i| window.reach(i) + 1 - window.strides[i] - sizes[i]).collect();
        let known = (0..rank).map(|i| {
            let places = g.fact(x).dim(i as i64 + 2).and_then(Dim::known)?;
            Some(places * window.strides[i] + rest[i])
        });
        let Some(cut) = known.collect::<Option<Vec<i64>>>() else {
            window.set_pads(&zeros, false);
            return Ok((window.clone(), cut_at_run_time(&window, &rest, extra, odd_to_begin, x, g)));
        };
        Some(cut)
    } else if mode.starts_with("SAME") {
        let cut: Vec<i64> = (0..rank).map(|i| window.reach(i) + 1 - window.strides[i]).collect();
        if cut.iter().any(|cut| *cut < 0) {
            return Err(op.error("its stride is greater than its kernel, and engines disagree on what SAME then means"));
        }
        Some(cut)
    } else {
        None
    };
    if let Some(cut) = cut {
        let pads: Vec<i64> = cut.iter().zip(extra).map(|(cut, extra)| (cut + extra).max(0)).collect();
        window.set_pads(&pads, odd_to_begin);
        window.end = cut.iter().zip(&window.begin).map(|(cut, begin)| cut - begin).collect();
        return Ok((window, Padding::default()));
    }
    if mode == "VALID" {
        window.set_pads(&zeros, false);
    }
    window.end = window.end.iter().zip(extra).map(|(end, extra)| end - extra).collect();
    Ok((window, Padding::default()))
}

/// The padding where the size of the input is not known: size · stride + `rest` in all.
fn cut_at_run_time(
    window: &Window,
    rest: &[i64],
    extra: &[i64],
    odd_to_begin: bool,
    x: &Value,
    g: &Builder<'_>,
) -> Padding {
    let sizes = spatial_sizes(x, window.rank(), g);
    let (strides, rest, extra, zero) = (g.int64s(&window.strides), g.int64s(rest), g.int64s(extra), g.int64s(&[0]));
    let cut = g.add(g.mul(&sizes, &strides), &rest);
    let pads = g.add(&cut, &extra);
    Padding::divided(&g.binary("Max", &pads, &zero), odd_to_begin, g).with_total(&cut, g)
}

/// How the weights [groups · outer, inner, kernel…] connect channels: each of the groups has `outer` on the side of a
/// Conv's output and `inner` on that of its input.
#[derive(Clone, Copy, Debug)]
struct Channels {
    groups: i64,
    outer: i64,
    inner: i64,
}

impl Channels {
    /// From the shape of the weights, with the sizes of the kernel.
    fn of(op: &Op, w: &Value, g: &Builder<'_>) -> Result<(Self, Vec<i64>)> {
        let sizes = g.fact(w).sizes().ok_or_else(|| op.error("the shape of its weights is not known"))?;
        let groups = op.int("group", 1);
        match sizes.as_slice() {
            [first, inner, kernel @ ..] if groups > 0 && first % groups == 0 && !kernel.is_empty() => {
                Ok((Self { groups, outer: first / groups, inner: *inner }, kernel.to_vec()))
            }
            _ => Err(op.error(format!("weights of the shape {sizes:?} do not fit {groups} groups"))),
        }
    }
}

/// A convolution.
#[derive(Debug)]
struct Convolution {
    window: Window,
    channels: Channels,
}

impl Convolution {
    /// That of a Conv, and the padding that is only known when the graph runs.
    fn of(op: &Op, g: &Builder<'_>) -> Result<(Self, Padding)> {
        let (channels, kernel) = Channels::of(op, op.input(1)?, g)?;
        let (window, padding) = Window::over(op, kernel, op.input(0)?, g)?;
        Ok((Self { window, channels }, padding))
    }

    /// The convolution of `x`, which is as large as `like`.
    fn forward(&self, x: &Value, w: &Value, like: &Value, g: &Builder<'_>) -> Value {
        let (x, window) = self.window.cut(x, g);
        g.node("Conv", &[&x, w], self.attributes(&window), g.fact(like))
    }

    /// The adjoint of the convolution of `x`, applied to `dy`.
    fn input_gradient(&self, dy: &Value, w: &Value, padding: &Padding, x: &Value, g: &Builder<'_>) -> Value {
        let fact = g.fact(x);
        let Some(left) = self.left(&fact) else {
            let window = &self.window;
            let zeros = vec![0; window.rank()];
            let padded = window.with(window.strides.clone(), zeros.clone(), zeros);
            let full = g.node("ConvTranspose", &[dy, w], self.attributes(&padded), Fact::of(fact.element));
            return window.unpad(&full, padding, x, g);
        };
        let mut attributes = self.all_attributes();
        attributes.push(AttributeProto::ints("output_padding", &left));
        let signature = Signature { kind: CONV_GRAD_INPUT, inputs: &["dy", "w"], outputs: &["dx"], attributes };
        g.call(signature, &[dy, w], fact.clone(), |g, values| self.transposed(&values[0], &values[1], &left, &fact, g))
    }

    /// What the strides leave over at the end of the input, along each axis, where that is known.
    fn left(&self, x: &Fact) -> Option<Vec<i64>> {
        let window = &self.window;
        let left = |axis: usize| {
            if window.strides[axis] == 1 {
                return Some(0);
            }
            let size = x.dim(axis as i64 + 2).and_then(Dim::known)?;
            let rest = size + window.begin[axis] + window.end[axis] - window.reach(axis) - 1;
            Some(rest.rem_euclid(window.strides[axis]))
        };
        (0..window.rank()).map(left).collect()
    }

    /// The adjoint, where `left` over is known: as a convolution with the weights turned around where all strides are
    /// one, since that is what engines have made fastest.
    fn transposed(&self, dy: &Value, w: &Value, left: &[i64], x: &Fact, g: &Builder<'_>) -> Value {
        if self.window.is_dense() {
            let w = self.turned(w, g);
            let (dy, window) = self.window.mirrored().cut(dy, g);
            return g.node("Conv", &[&dy, &w], self.attributes(&window), x.clone());
        }
        let mut attributes = self.attributes(&self.window);
        if left.iter().any(|l| *l != 0) {
            attributes.push(AttributeProto::ints("output_padding", left));
        }
        g.node("ConvTranspose", &[dy, w], attributes, x.clone())
    }

    /// The weights of the adjoint: input and output exchanged in each group, the kernel back to front.
    fn turned(&self, w: &Value, g: &Builder<'_>) -> Value {
        let Channels { groups, outer, inner } = self.channels;
        let kernel = &self.window.kernel;
        let spatial: Vec<i64> = (0..kernel.len() as i64).collect();
        let swapped = if groups == 1 {
            let perm: Vec<i64> = [1, 0].into_iter().chain(spatial.iter().map(|axis| axis + 2)).collect();
            g.transpose(w, &perm)
        } else if outer == 1 && inner == 1 {
            w.clone()
        } else {
            let w = g.reshape(w, &[&[groups, outer, inner], kernel.as_slice()].concat());
            let perm: Vec<i64> = [0, 2, 1].into_iter().chain(spatial.iter().map(|axis| axis + 3)).collect();
            let w = g.transpose(&w, &perm);
            g.reshape(&w, &[&[groups * inner, outer], kernel.as_slice()].concat())
        };
        let axes: Vec<i64> = spatial.iter().filter(|&&axis| kernel[axis as usize] > 1).map(|axis| axis + 2).collect();
        if axes.is_empty() {
            return swapped;
        }
        let n = axes.len();
        g.slice(&swapped, &vec![-1; n], &vec![i64::MIN; n], &axes, &vec![-1; n])
    }

    /// The gradient of the weights `w`.
    fn weight_gradient(&self, x: &Value, dy: &Value, w: &Value, g: &Builder<'_>) -> Value {
        let attributes = self.all_attributes();
        let signature = Signature { kind: CONV_GRAD_WEIGHT, inputs: &["x", "dy"], outputs: &["dw"], attributes };
        g.call(signature, &[x, dy], g.fact(w), |g, values| self.weights(&values[0], &values[1], g))
    }

    /// The gradient of the weights, as products of matrices that have the whole batch in them.
    ///
    /// Element j of the kernel meets x shifted by j against dy; whether x is shifted, or dy the other way, is the same
    /// where the stride is one. With x shifted along some axes and dy along the others, the products of all shifted x
    /// and all shifted dy have every element of the kernel in them, and 3 + 3 shifted copies do for a kernel of 3 × 3,
    /// where shifting x alone takes 9. The copies of the side that has more become one matrix; each of the other is
    /// multiplied by it as it is, if it is not split into groups.
    fn weights(&self, x: &Value, dy: &Value, g: &Builder<'_>) -> Value {
        let Channels { groups, outer, inner } = self.channels;
        let moves_dy = self.division();
        if self.copies(&moves_dy, true).max(self.copies(&moves_dy, false)) > MOST_COPIES {
            return self.weights_of_large(x, dy, g);
        }
        let first_channels: Vec<i64> = [1, 0].into_iter().chain(2..2 + self.window.rank() as i64).collect();
        let dy = self.shifted(&g.transpose(dy, &first_channels), &moves_dy, true, g);
        let x = if let Some(patches) = self.patches(x, g) {
            vec![patches]
        } else {
            self.shifted(&g.transpose(x, &first_channels), &moves_dy, false, g)
        };

        let dy_first = dy.len() > x.len() || (dy.len() == x.len() && outer >= inner);
        let (high, low) = if dy_first { (dy, x) } else { (x, dy) };
        let rows = g.concat(&high.iter().collect::<Vec<_>>(), i64::from(groups != 1));
        let product = if groups == 1 {
            let products: Vec<Value> = low.iter().map(|low| g.gemm(&rows, low, false, true, 1.0)).collect();
            g.concat(&products.iter().collect::<Vec<_>>(), 1)
        } else {
            g.matmul(&rows, g.transpose_last(g.concat(&low.iter().collect::<Vec<_>>(), 1)))
        };
        self.sorted(&product, &moves_dy, dy_first, g)
    }

    /// The gradient of the weights in as many nodes whatever the size of the kernel: a convolution of x with dy, batch
    /// and channels exchanged, that steps where the window is dilated and is dilated where that steps. It is some three
    /// times slower than products of matrices.
    fn weights_of_large(&self, x: &Value, dy: &Value, g: &Builder<'_>) -> Value {
        let Channels { groups, outer, inner } = self.channels;
        let (x, window) = self.window.cut(x, g);
        let (x, dy) = (self.batch_behind(&x, inner, false, g), self.batch_behind(dy, outer, true, g));
        let across = Window { strides: window.dilations.clone(), dilations: window.strides.clone(), ..window };
        let mut attributes = across.attributes();
        // The kernel is as large as dy turns out to be.
        attributes.retain(|attribute| attribute.name() != "kernel_shape");
        if groups != 1 {
            attributes.push(AttributeProto::int("group", groups));
        }
        let dims = [inner, groups * outer].map(Dim::Known).into_iter().chain(vec![Dim::Unknown; across.rank()]);
        let fact = Fact { element: g.fact(&x).element, shape: Some(dims.collect()) };
        let product = g.node("Conv", &[&x, &dy], attributes, fact);
        // What the strides leave over at the end of x makes more places than the kernel has.
        let (zeros, axes) = (vec![0; across.rank()], (2..2 + across.rank() as i64).collect::<Vec<_>>());
        let whole = g.slice(&product, &zeros, &across.kernel, &axes, &vec![1; axes.len()]);
        let order: Vec<i64> = [1, 0].into_iter().chain(axes).collect();
        let sorted = g.transpose(&whole, &order);
        g.reshape(&sorted, &[&[groups * outer, inner], across.kernel.as_slice()].concat())
    }

    /// `value`, [batch, groups · channels, …], as [channels, groups · batch, …], or [groups · channels, batch, …].
    fn batch_behind(&self, value: &Value, channels: i64, groups_first: bool, g: &Builder<'_>) -> Value {
        let (groups, rank) = (self.channels.groups, self.window.rank());
        let spatial = 2..2 + rank as i64;
        if groups == 1 {
            let order: Vec<i64> = [1, 0].into_iter().chain(spatial).collect();
            return g.transpose(value, &order);
        }
        let dim = |axis: i64| g.fact(value).dim(axis).cloned().unwrap_or(Dim::Unknown);
        let element = g.fact(value).element;
        let (batch, sizes) = (g.size_of(value, 0), spatial_sizes(value, rank, g));
        let dims: Vec<Dim> = spatial.map(dim).collect();
        let shape = g.concat_ints(&[&batch, &g.int64s(&[groups, channels]), &sizes]);
        let apart = [&[dim(0), Dim::Known(groups), Dim::Known(channels)], dims.as_slice()].concat();
        let apart = g.reshape_to(value, &shape, Fact { element, shape: Some(apart) });
        let order = if groups_first { [1, 2, 0] } else { [2, 1, 0] };
        let order: Vec<i64> = order.into_iter().chain(3..3 + rank as i64).collect();
        let turned = g.transpose(&apart, &order);
        let (first, rest) = if groups_first { (groups * channels, 1) } else { (channels, groups) };
        let behind = match dim(0) {
            Dim::Known(batch) => Dim::Known(rest * batch),
            other if rest == 1 => other,
            _ => Dim::Unknown,
        };
        let shape = g.concat_ints(&[&g.int64s(&[first]), &g.int64s(&[-1]), &sizes]);
        let together = [&[Dim::Known(first), behind], dims.as_slice()].concat();
        g.reshape_to(&turned, &shape, Fact { element, shape: Some(together) })
    }

    /// Along which axes dy is shifted: so that the least is copied.
    fn division(&self) -> Vec<bool> {
        let Channels { outer, inner, .. } = self.channels;
        let Window { strides, .. } = &self.window;
        let rank = self.window.rank();
        let choice = |bits: usize| (0..rank).map(|axis| bits >> (rank - 1 - axis) & 1 == 1).collect::<Vec<_>>();
        let can = |moves: &Vec<bool>| moves.iter().zip(strides).all(|(moves, stride)| !moves || *stride == 1);
        let copied = |moves: &Vec<bool>| outer * self.copies(moves, true) + inner * self.copies(moves, false);
        if rank > MOST_DIVIDED {
            return vec![false; rank];
        }
        (0..1 << rank).map(choice).filter(can).min_by_key(copied).unwrap_or_else(|| vec![false; rank])
    }

    /// How many shifted copies there are of dy, or of x, where dy is shifted along the axes that `moves_dy` says.
    fn copies(&self, moves_dy: &[bool], of_dy: bool) -> i64 {
        let axes = self.window.kernel.iter().zip(moves_dy);
        axes.filter(|(_, moves)| **moves == of_dy).map(|(size, _)| size).product()
    }

    /// The shifted copies of `x`, or of dy, channels first: each a matrix [channels, places], for each group where
    /// there are several.
    fn shifted(&self, x: &Value, moves_dy: &[bool], is_dy: bool, g: &Builder<'_>) -> Vec<Value> {
        let Channels { groups, outer, inner } = self.channels;
        let window = if is_dy { self.window.mirrored() } else { self.window.clone() };
        let axes: Vec<usize> = (0..window.rank()).filter(|&axis| moves_dy[axis] == is_dy).collect();
        let around = |pads: &[i64]| -> Vec<i64> {
            let pads = pads.iter().enumerate().map(|(axis, pad)| if axes.contains(&axis) { *pad } else { 0 });
            [0, 0].into_iter().chain(pads).collect()
        };
        let padded = g.pad(x, &around(&window.begin), &around(&window.end));
        let spatial: Vec<i64> = axes.iter().map(|&axis| axis as i64 + 2).collect();
        let steps: Vec<i64> = axes.iter().map(|&axis| window.strides[axis]).collect();
        let matrix = [groups, if is_dy { outer } else { inner }, -1];
        let matrix = if groups == 1 { &matrix[1..] } else { &matrix };
        let copy = |place: Vec<i64>| {
            let moved = axes.iter().zip(place).map(|(&axis, j)| {
                let (before, behind) = (j * window.dilations[axis], window.reach(axis) - j * window.dilations[axis]);
                if is_dy { (behind, before) } else { (before, behind) }
            });
            let (before, behind): (Vec<i64>, Vec<i64>) = moved.unzip();
            let is_whole = |(i, &axis): (usize, &usize)| {
                before[i] == window.begin[axis] && behind[i] == window.end[axis] && steps[i] == 1
            };
            if axes.iter().enumerate().all(is_whole) {
                return g.reshape(x, matrix);
            }
            let ends: Vec<i64> = behind.iter().map(|&cut| if cut == 0 { i64::MAX } else { -cut }).collect();
            g.reshape(g.slice(&padded, &before, &ends, &spatial, &steps), matrix)
        };
        places(axes.iter().map(|&axis| window.kernel[axis])).into_iter().map(copy).collect()
    }

    /// What [`Self::shifted`] makes of x, in one matrix, where the windows lie side by side: then it is `x` in another
    /// order.
    fn patches(&self, x: &Value, g: &Builder<'_>) -> Option<Value> {
        let Channels { groups, inner, .. } = self.channels;
        let Window { kernel, strides, dilations, begin, end } = &self.window;
        let rank = kernel.len();
        let side_by_side = kernel == strides && dilations.iter().all(|d| *d == 1);
        let sizes: Vec<i64> =
            (0..rank).map(|axis| g.fact(x).dim(axis as i64 + 2).and_then(Dim::known)).collect::<Option<_>>()?;
        let whole = sizes.iter().zip(kernel).all(|(size, kernel)| size % kernel == 0);
        if self.window.size() == 1 || !side_by_side || !whole || begin.iter().chain(end).any(|pad| *pad != 0) {
            return None;
        }
        let counts = sizes.iter().zip(kernel).flat_map(|(size, kernel)| [size / kernel, *kernel]);
        let split: Vec<i64> = [-1, groups, inner].into_iter().chain(counts).collect();
        let spatial = |within: i64| (0..rank as i64).map(move |axis| 3 + 2 * axis + within);
        let order: Vec<i64> = [1].into_iter().chain(spatial(1)).chain([2, 0]).chain(spatial(0)).collect();
        let patches = g.transpose(g.reshape(x, &split), &order);
        let matrix = [groups, inner * self.window.size(), -1];
        Some(g.reshape(&patches, if groups == 1 { &matrix[1..] } else { &matrix }))
    }

    /// The elements of the product in the order of the weights: from [groups, kernel along the axes that move the high
    /// side, its channels, kernel along the others, channels of the low side], where dy is high or low.
    fn sorted(&self, product: &Value, moves_dy: &[bool], dy_first: bool, g: &Builder<'_>) -> Value {
        let Channels { groups, outer, inner } = self.channels;
        let kernel = &self.window.kernel;
        let moves = |high: bool| (0..kernel.len()).filter(move |&axis| (moves_dy[axis] == dy_first) == high);
        let (high, low) = if dy_first { (outer, inner) } else { (inner, outer) };
        let mut sizes = vec![groups];
        let mut order = vec![0; kernel.len()];
        let mut channels = Vec::new();
        for (is_high, channel_count) in [(true, high), (false, low)] {
            for axis in moves(is_high) {
                order[axis] = sizes.len() as i64;
                sizes.push(kernel[axis]);
            }
            channels.push(sizes.len() as i64);
            sizes.push(channel_count);
        }
        if !dy_first {
            channels.reverse();
        }
        let order = [&[0], channels.as_slice(), &order].concat();
        let sorted = g.transpose(g.reshape(product, &sizes), &order);
        g.reshape(&sorted, &[&[groups * outer, inner], kernel.as_slice()].concat())
    }

    /// All that there is to say of the convolution, defaults too.
    fn all_attributes(&self) -> Vec<AttributeProto> {
        let mut attributes = self.window.all_attributes();
        attributes.push(AttributeProto::int("group", self.channels.groups));
        attributes
    }

    fn attributes(&self, window: &Window) -> Vec<AttributeProto> {
        let mut attributes = window.attributes();
        if self.channels.groups != 1 {
            attributes.push(AttributeProto::int("group", self.channels.groups));
        }
        attributes
    }
}

/// All places in a box of the given sizes, the last axis fastest.
fn places(sizes: impl Iterator<Item = i64>) -> Vec<Vec<i64>> {
    sizes.fold(vec![vec![]], |places, size| {
        places.iter().flat_map(|place| (0..size).map(move |j| [place.as_slice(), &[j]].concat())).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::graph::Graph;
    use gnp_model::onnx::DataType;

    fn convolution(kernel: &[i64], strides: &[i64], outer: i64, inner: i64) -> Convolution {
        let zeros = vec![0; kernel.len()];
        let (kernel, strides, dilations) = (kernel.to_vec(), strides.to_vec(), vec![1; kernel.len()]);
        let window = Window { kernel, strides, dilations, begin: zeros.clone(), end: zeros };
        Convolution { window, channels: Channels { groups: 1, outer, inner } }
    }

    #[test]
    fn the_least_is_copied() {
        assert_eq!(convolution(&[3, 3], &[1, 1], 64, 64).division(), [false, true]);
        assert_eq!(convolution(&[3, 3], &[2, 2], 64, 64).division(), [false, false]);
        assert_eq!(convolution(&[3, 3], &[1, 1], 64, 3).division(), [false, false]);
        assert_eq!(convolution(&[1, 1], &[1, 1], 64, 64).division(), [false, false]);
        assert_eq!(convolution(&[3, 5], &[1, 2], 8, 8).division(), [true, false]);
    }

    #[test]
    fn weights_of_three_by_three_take_two_slices_a_side_and_three_products() {
        let mut graph = Graph::new(Default::default()).unwrap();
        let (x, dy) = (Value::from("x"), Value::from("dy"));
        for value in [&x, &dy] {
            graph.declare(value, Fact::with_sizes(DataType::Float, &[2, 8, 5, 5]));
        }
        let mut conv = convolution(&[3, 3], &[1, 1], 8, 8);
        conv.window.set_pads(&[2, 2], false);
        let g = Builder::new(&mut graph, "test");
        let dw = conv.weights(&x, &dy, &g);
        assert_eq!(g.fact(&dw).sizes(), Some(vec![8, 8, 3, 3]));
        let count = |operator: &str| graph.nodes().iter().filter(|node| node.op_type() == operator).count();
        assert_eq!((count("Slice"), count("Gemm"), count("Pad")), (4, 3, 2));
    }
}

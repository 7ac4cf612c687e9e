//! Which numbers an operator may have, by the standard's prose: what its attributes and constant operands say must fit
//! the number of axes of its operands and each other.

use crate::onnx::proto::{AttributeProto, NodeProto, standard_domain};
use gnp_base::{Error, Result};

/// More axes are no tensor's: ONNX Runtime's own bound is lower for most operators.
const MOST_AXES: usize = 64;
/// A larger number says how much of something there is in no model: strides, pads, kernels, groups.
const LARGEST: i64 = 1 << 31;

/// In the order of the alphabet: inputs that are lists with a number for each axis, or some of them.
pub(super) const LISTS: [(&str, &[usize]); 12] = [
    ("CenterCropPad", &[1]),
    ("ConstantOfShape", &[0]),
    ("Expand", &[1]),
    ("Pad", &[1, 3]),
    ("ReduceMean", &[1]),
    ("ReduceSum", &[1]),
    ("Reshape", &[1]),
    ("Resize", &[1, 2, 3]),
    ("Slice", &[1, 2, 3, 4]),
    ("Squeeze", &[1]),
    ("Tile", &[1]),
    ("Unsqueeze", &[1]),
];

/// In the order of the alphabet: attributes that are on or off.
pub(super) const SWITCHES: [&str; 14] = [
    "allowzero",
    "ceil_mode",
    "count_include_pad",
    "exclusive",
    "inverse",
    "keepdims",
    "largest",
    "noop_with_empty_axes",
    "onesided",
    "reverse",
    "select_last_index",
    "sorted",
    "transA",
    "transB",
];

/// What is known of a node's inputs.
pub(crate) trait Known {
    /// The sizes of an input, each as far as it is known; none where not even their number is.
    fn sizes(&self, input: usize) -> Option<Vec<Option<i64>>>;
    /// The elements of an input that is a small constant of whole numbers.
    fn ints(&self, input: usize) -> Option<Vec<i64>>;

    /// How many axes an input has.
    fn rank(&self, input: usize) -> Option<usize> {
        Some(self.sizes(input)?.len())
    }
}

/// Checks the numbers of a node of operator set 13 or newer, whose form is right ([`super::check`]).
///
/// # Errors
/// Where a number cannot be meant: an axis that is not there, a permutation that is none, a size below 0.
pub(crate) fn check(node: &NodeProto, known: &impl Known) -> Result<()> {
    if !standard_domain(node.domain()).is_empty() {
        return Ok(());
    }
    let error = |what: String| {
        Error::input(what)
            .at_node(node.label(), &node.operator())
            .help("the model is damaged; ONNX Runtime refuses it too. Export it again")
    };
    Numbers { node, known }.check().map_err(error)
}

/// What is wrong, in words that follow the node's name.
type Fits = std::result::Result<(), String>;

struct Numbers<'n, K> {
    node: &'n NodeProto,
    known: &'n K,
}

impl<K: Known> Numbers<'_, K> {
    fn check(&self) -> Fits {
        for input in 0..self.node.input.len() {
            match self.rank(input) {
                Some(rank) if rank > MOST_AXES => {
                    return Err(format!("its input {input} has {rank} axes; expected {MOST_AXES} at most"));
                }
                _ => {}
            }
        }
        self.switches()?;
        if let Ok(at) = LISTS.binary_search_by_key(&self.node.op_type(), |(operator, _)| operator) {
            LISTS[at].1.iter().try_for_each(|&input| self.is_list(input))?;
        }
        // No operator has an axis that no tensor has.
        self.axis_attribute(None)?;
        self.of_operator(self.node.op_type(), self.rank(0))
    }

    /// What the standard says of the numbers of this operator; `rank` is that of its first input.
    fn of_operator(&self, operator: &str, rank: Option<usize>) -> Fits {
        match operator {
            "Transpose" => self.permutation(),
            "Concat" | "Softmax" | "LogSoftmax" | "Hardmax" | "GatherElements" | "ScatterElements" | "ArgMax"
            | "ArgMin" | "LpNormalization" | "SplitToSequence" => self.axis_attribute(rank),
            "LayerNormalization" | "RMSNormalization" => self.axis_attribute(rank).and_then(|()| self.has_axes(0, 1)),
            "Gather" => self.axis_attribute(rank).and_then(|()| self.places()),
            "Split" => self.axis_attribute(rank).and_then(|()| self.split()),
            "TopK" => {
                self.axis_attribute(rank)?;
                self.is_one(1)?;
                self.sizes("its number of elements", self.ints(1).as_deref(), 0)
            }
            "Compress" => match self.node.attribute("axis") {
                Some(_) => self.axis_attribute(rank),
                None => Ok(()),
            },
            "Flatten" => self.axis_attribute(rank.map(|rank| rank + 1)),
            "OneHot" => {
                self.axis_attribute(rank.map(|rank| rank + 1))?;
                self.is_one(1)?;
                self.sizes("its depth", self.ints(1).as_deref(), 1)
            }
            "CumSum" | "CumProd" => {
                self.is_one(1)?;
                self.axes("its axis", self.ints(1).as_deref(), rank)
            }
            "Range" => (0..3).try_for_each(|input| self.is_one(input)),
            "Clip" | "Dropout" => (1..3).try_for_each(|input| self.is_one(input)),
            "DFT" => self.dft(rank),
            "STFT" => self.is_one(1).and_then(|()| self.is_one(3)),
            "HannWindow" | "HammingWindow" | "BlackmanWindow" => {
                self.is_one(0)?;
                self.sizes("its size", self.ints(0).as_deref(), 0)
            }
            "Squeeze" | "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1"
            | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceSumSquare" => {
                self.axes("its axes", self.ints(1).as_deref(), rank)?;
                self.axes("its axes", self.node.ints("axes"), rank)
            }
            "MeanVarianceNormalization" => self.axes("its axes", self.node.ints("axes"), rank),
            "Unsqueeze" => self.unsqueeze(rank),
            "Slice" => self.slice(rank),
            "Pad" => self.pad(rank),
            "Conv" | "ConvTranspose" | "ConvInteger" | "QLinearConv" | "DeformConv" => self.convolution(),
            "MaxPool" | "AveragePool" | "LpPool" | "MaxUnpool" => self.pool(rank),
            "BatchNormalization" => self.has_axes(0, 2),
            "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" | "InstanceNormalization" | "LRN" => {
                self.has_axes(0, 2)?;
                self.positive("size")
            }
            "GroupNormalization" => {
                self.has_axes(0, 2)?;
                self.positive("num_groups")
            }
            "MatMul" => (0..2).try_for_each(|input| self.has_axes(input, 1)),
            "Gemm" => (0..2).try_for_each(|input| self.has_exactly(input, 2)),
            "Reshape" => self.reshape(),
            "Expand" => self.sizes("its shape", self.ints(1).as_deref(), 0),
            "ConstantOfShape" => self.sizes("its shape", self.ints(0).as_deref(), 0),
            "Tile" => self.tile(rank),
            "GatherND" | "ScatterND" => self.gather_nd(rank),
            "Resize" => self.resize(rank),
            "DepthToSpace" | "SpaceToDepth" => {
                self.has_exactly(0, 4)?;
                self.positive("blocksize")
            }
            "Trilu" => self.has_axes(0, 2).and_then(|()| self.is_one(1)),
            "EyeLike" => self.has_axes(0, 1),
            "Det" => self.has_axes(0, 2),
            "LSTM" | "GRU" | "RNN" => {
                self.has_exactly(0, 3)?;
                self.positive("hidden_size")
            }
            "RandomNormal" | "RandomUniform" => self.sizes("its shape", self.node.ints("shape"), 0),
            "Multinomial" => self.positive("sample_size"),
            "RoiAlign" | "MaxRoiPool" => self.has_exactly(0, 4),
            _ => Ok(()),
        }
    }

    fn dft(&self, rank: Option<usize>) -> Fits {
        self.has_axes(0, 2)?;
        (1..3).try_for_each(|input| self.is_one(input))?;
        self.sizes("its length", self.ints(1).as_deref(), 1)?;
        self.axes("its axis", self.ints(2).as_deref(), rank)
    }

    fn unsqueeze(&self, rank: Option<usize>) -> Fits {
        let axes = self.ints(1);
        match rank.zip(axes.as_ref()).map(|(rank, axes)| rank + axes.len()) {
            Some(rank) if rank > MOST_AXES => Err(format!("its output has {rank} axes")),
            rank => self.axes("its axes", axes.as_deref(), rank),
        }
    }

    fn tile(&self, rank: Option<usize>) -> Fits {
        let repeats = self.ints(1);
        self.sizes("its repeats", repeats.as_deref(), 0)?;
        match rank.zip(repeats) {
            Some((rank, repeats)) if repeats.len() != rank => {
                Err(format!("it has {} repeats for {rank} axes", repeats.len()))
            }
            _ => Ok(()),
        }
    }

    fn rank(&self, input: usize) -> Option<usize> {
        self.node.input(input).and_then(|_| self.known.rank(input))
    }

    fn ints(&self, input: usize) -> Option<Vec<i64>> {
        self.node.input(input).and_then(|_| self.known.ints(input))
    }

    /// What is on or off is 0 or 1.
    fn switches(&self) -> Fits {
        let is_neither = |a: &&AttributeProto| !(0..=1).contains(&a.i()) && SWITCHES.binary_search(&a.name()).is_ok();
        match self.node.attribute.iter().find(is_neither) {
            Some(a) => Err(format!("its attribute `{}` is {}; expected 0 or 1", a.name(), a.i())),
            None => Ok(()),
        }
    }

    /// An input that has a number for each of some axes, where it is given, or two.
    fn is_list(&self, input: usize) -> Fits {
        let sizes = self.node.input(input).and_then(|_| self.known.sizes(input));
        match sizes.as_deref() {
            Some([_, _, ..]) => Err(format!("its input {input} has more than one axis; expected a list")),
            Some([Some(size)]) if *size > 2 * MOST_AXES as i64 => {
                Err(format!("its input {input} has {size} elements; expected one for each axis"))
            }
            _ => Ok(()),
        }
    }

    /// An input that is a single number, where it is given.
    fn is_one(&self, input: usize) -> Fits {
        let sizes = self.node.input(input).and_then(|_| self.known.sizes(input));
        match sizes.and_then(|sizes| sizes.into_iter().collect::<Option<Vec<i64>>>()) {
            Some(sizes) if sizes.iter().any(|size| *size != 1) => {
                Err(format!("its input {input} is {sizes:?}; expected a single number"))
            }
            _ => Ok(()),
        }
    }

    /// An axis from −rank to rank − 1.
    fn axis_attribute(&self, rank: Option<usize>) -> Fits {
        match self.node.attribute("axis") {
            Some(axis) => self.axes("its attribute `axis`", Some(&[axis.i()]), rank),
            None => Ok(()),
        }
    }

    /// Axes from −rank to rank − 1, none twice.
    fn axes(&self, what: &str, axes: Option<&[i64]>, rank: Option<usize>) -> Fits {
        let Some(axes) = axes else { return Ok(()) };
        let beyond = |axis: &&i64| axis.unsigned_abs() > MOST_AXES as u64;
        if let Some(axis) = axes.iter().find(beyond) {
            return Err(format!("{what} is {axis}, which no tensor has"));
        }
        let rank = match rank {
            // Of a number without axes, engines take the first for itself.
            Some(rank) => rank.max(1) as i64,
            None => return Ok(()),
        };
        let mut seen = [false; MOST_AXES + 1];
        for axis in axes {
            if !(-rank..rank).contains(axis) {
                return Err(format!("{what} is {axis}, and there are {rank} axes"));
            }
            let place = if *axis < 0 { axis + rank } else { *axis };
            if std::mem::replace(&mut seen[place as usize], true) {
                return Err(format!("{what} names axis {axis} twice"));
            }
        }
        Ok(())
    }

    /// Constant indices are places along the axis, from the front or, negative, from the end.
    fn places(&self) -> Fits {
        let axis = self.node.int("axis", 0);
        let size = self.known.sizes(0).and_then(|sizes| {
            let place = if axis < 0 { axis + sizes.len() as i64 } else { axis };
            *sizes.get(usize::try_from(place).ok()?)?
        });
        let (Some(size), Some(indices)) = (size, self.ints(1)) else { return Ok(()) };
        match indices.iter().find(|index| !(-size..size).contains(*index)) {
            Some(index) => Err(format!("it takes index {index}, and axis {axis} of its input has {size}")),
            None => Ok(()),
        }
    }

    fn permutation(&self) -> Fits {
        let Some(perm) = self.node.ints("perm") else { return Ok(()) };
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..perm.len() as i64) {
            return Err(format!("its attribute `perm` is {}, which is no permutation", short(perm)));
        }
        match self.rank(0) {
            Some(rank) if rank != perm.len() => {
                Err(format!("its attribute `perm` has {} axes, and its input {rank}", perm.len()))
            }
            _ => Ok(()),
        }
    }

    /// Sizes of axes, or numbers of elements, from `least` on.
    fn sizes(&self, what: &str, sizes: Option<&[i64]>, least: i64) -> Fits {
        match sizes.and_then(|sizes| sizes.iter().find(|size| !(least..=LARGEST).contains(*size))) {
            Some(size) => Err(format!("it has {size} in {what}; expected {least} to 2³¹")),
            None => Ok(()),
        }
    }

    /// An attribute that counts something, where it is given.
    fn positive(&self, name: &str) -> Fits {
        match self.node.attribute(name).map(|attribute| attribute.i()) {
            Some(number) if !(1..=LARGEST).contains(&number) => {
                Err(format!("its attribute `{name}` is {number}; expected a number above 0"))
            }
            _ => Ok(()),
        }
    }

    /// A list of numbers from `least` on, of one length, where it is given.
    fn list(&self, name: &str, length: Option<usize>, least: i64) -> Fits {
        let Some(list) = self.node.ints(name) else { return Ok(()) };
        if let Some(number) = list.iter().find(|number| !(least..=LARGEST).contains(number)) {
            return Err(format!("its attribute `{name}` has {number}; expected {least} to 2³¹"));
        }
        match length {
            Some(length) if list.len() != length => {
                Err(format!("its attribute `{name}` has {} numbers; expected {length}", list.len()))
            }
            _ => Ok(()),
        }
    }

    fn has_axes(&self, input: usize, least: usize) -> Fits {
        match self.rank(input) {
            Some(rank) if rank < least => Err(format!("its input {input} has {rank} axes; expected {least} or more")),
            _ => Ok(()),
        }
    }

    fn has_exactly(&self, input: usize, axes: usize) -> Fits {
        match self.rank(input) {
            Some(rank) if rank != axes => Err(format!("its input {input} has {rank} axes; expected {axes}")),
            _ => Ok(()),
        }
    }

    /// The attributes of a window over `spatial` axes.
    fn window(&self, spatial: Option<usize>) -> Fits {
        let kernel = self.node.ints("kernel_shape").map(<[i64]>::len);
        let spatial = spatial.or(kernel);
        self.list("kernel_shape", spatial, 1)?;
        let elements =
            self.node.ints("kernel_shape").unwrap_or_default().iter().try_fold(1i64, |n, k| n.checked_mul(*k));
        if elements.is_none_or(|elements| elements > LARGEST) {
            return Err("its window has more than 2³¹ elements".to_owned());
        }
        self.list("strides", spatial, 1)?;
        self.list("dilations", spatial, 1)?;
        // Negative pads cut off; what is left over is the rules' to judge.
        self.list("pads", spatial.map(|spatial| 2 * spatial), -LARGEST)?;
        self.list("output_padding", spatial, 0)?;
        let mode = self.node.string("auto_pad", "NOTSET");
        match mode {
            "" | "NOTSET" | "SAME_UPPER" | "SAME_LOWER" | "VALID" => Ok(()),
            _ => Err(format!("its attribute `auto_pad` is `{mode}`, which is no such mode")),
        }
    }

    fn convolution(&self) -> Fits {
        self.has_axes(0, 3)?;
        let weights = if self.node.op_type() == "QLinearConv" { 3 } else { 1 };
        self.has_axes(weights, 3)?;
        self.positive("group")?;
        let ranks = [self.rank(0), self.rank(weights)];
        if let [Some(x), Some(w)] = ranks
            && x != w
        {
            return Err(format!("its input has {x} axes, and its weights {w}"));
        }
        let kernel: Option<Vec<i64>> = self.known.sizes(weights).and_then(|sizes| sizes[2..].iter().copied().collect());
        match (self.node.ints("kernel_shape"), kernel) {
            (Some(given), Some(kernel)) if given != kernel => {
                return Err(format!(
                    "its attribute `kernel_shape` is {}, and its weights have {kernel:?}",
                    short(given)
                ));
            }
            _ => {}
        }
        self.window(ranks[0].or(ranks[1]).map(|rank| rank - 2))
    }

    fn pool(&self, rank: Option<usize>) -> Fits {
        self.has_axes(0, 3)?;
        self.positive("p")?;
        self.window(rank.map(|rank| rank - 2))
    }

    fn split(&self) -> Fits {
        let sizes = self.ints(1);
        self.sizes("its sizes", sizes.as_deref(), 0)?;
        match &sizes {
            Some(sizes) if sizes.len() != self.node.output.len() => {
                Err(format!("it has {} sizes for {} outputs", sizes.len(), self.node.output.len()))
            }
            _ => self.positive("num_outputs"),
        }
    }

    fn slice(&self, rank: Option<usize>) -> Fits {
        let [starts, ends, axes, steps] = [1, 2, 3, 4].map(|input| self.ints(input));
        let lengths = [&starts, &ends, &axes, &steps].map(|list| list.as_ref().map(Vec::len));
        let mut given = lengths.into_iter().flatten();
        let length = given.next();
        if given.any(|other| Some(other) != length) {
            return Err("its starts, ends, axes and steps differ in length".to_owned());
        }
        match (length, rank) {
            (Some(length), Some(rank)) if length > rank => {
                return Err(format!("it slices {length} axes, and its input has {rank}"));
            }
            _ => {}
        }
        let is_none = |step: &&i64| **step == 0 || step.unsigned_abs() > LARGEST as u64;
        if let Some(step) = steps.as_ref().and_then(|steps| steps.iter().find(is_none)) {
            return Err(format!("it has {step} in its steps"));
        }
        self.axes("its axes", axes.as_deref(), rank)
    }

    fn pad(&self, rank: Option<usize>) -> Fits {
        let (pads, axes) = (self.ints(1), self.ints(3));
        self.axes("its axes", axes.as_deref(), rank)?;
        let Some(pads) = pads else { return Ok(()) };
        if let Some(pad) = pads.iter().find(|pad| pad.unsigned_abs() > LARGEST as u64) {
            return Err(format!("it has {pad} in its pads; expected numbers up to 2³¹"));
        }
        let count = if self.node.input(3).is_some() { axes.map(|axes| axes.len()) } else { rank };
        match count {
            Some(count) if pads.len() != 2 * count => {
                Err(format!("it has {} pads for {count} axes; expected {}", pads.len(), 2 * count))
            }
            _ => Ok(()),
        }
    }

    fn reshape(&self) -> Fits {
        let Some(sizes) = self.ints(1) else { return Ok(()) };
        if sizes.len() > MOST_AXES {
            return Err(format!("its shape has {} axes", sizes.len()));
        }
        self.sizes("its shape", Some(&sizes), -1)?;
        match sizes.iter().filter(|size| **size == -1).count() {
            0 | 1 => Ok(()),
            _ => Err(format!("its shape is {}, with more than one -1", short(&sizes))),
        }
    }

    fn gather_nd(&self, rank: Option<usize>) -> Fits {
        self.has_axes(0, 1)?;
        self.has_axes(1, 1)?;
        let indices = self.known.sizes(1);
        let batch = self.node.int("batch_dims", 0);
        let most = rank.zip(indices.as_ref()).map_or(MOST_AXES, |(rank, indices)| rank.min(indices.len()));
        if !(0..most.max(1) as i64).contains(&batch) {
            return Err(format!("its attribute `batch_dims` is {batch}"));
        }
        let depth = indices.and_then(|indices| indices.last().copied().flatten());
        match (rank, depth) {
            (Some(rank), Some(depth)) if depth < 0 || depth > rank as i64 - batch => {
                Err(format!("its indices are of {depth} numbers each, and its input has {rank} axes"))
            }
            _ => Ok(()),
        }
    }

    fn resize(&self, rank: Option<usize>) -> Fits {
        self.has_axes(0, 1)?;
        self.axes("its axes", self.node.ints("axes"), rank)?;
        let sizes = self.ints(3);
        self.sizes("its sizes", sizes.as_deref(), 0)?;
        let axes = self.node.ints("axes").map(<[i64]>::len).or(rank);
        match (sizes, axes) {
            (Some(sizes), Some(axes)) if !sizes.is_empty() && sizes.len() != axes => {
                Err(format!("it has {} sizes for {axes} axes", sizes.len()))
            }
            _ => Ok(()),
        }
    }
}

/// A list of which no more is shown than a reader can take in.
fn short(list: &[i64]) -> String {
    match list {
        [.., _] if list.len() > 8 => format!("{:?}…", &list[..8]),
        _ => format!("{list:?}"),
    }
}

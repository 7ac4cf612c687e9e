//! Lists of different lengths as one tensor a batch: all as long as its longest.

use crate::array::Values;
use crate::layout::Channels;
use crate::{Lists, Normalization, Preparation};
use gnp_base::{Error, Result};
use gnp_tensor::{ElementType, Port, Tensor};
use ndarray::{ArrayD, IxDyn};

/// Lists beside the input that takes them, `[batch, length, …]`.
#[derive(Debug)]
pub(super) struct Padded<'a> {
    pub(super) lists: &'a Lists,
    pub(super) element: ElementType,
    /// The length that the input takes, where it is fixed.
    fixed: Option<usize>,
    /// The length that lists are cut to.
    cut: Option<usize>,
    /// The length of a batch is a multiple of this.
    multiple: usize,
    /// What a list is filled up with.
    pad: f64,
    pub(super) normalization: Normalization,
}

impl<'a> Padded<'a> {
    /// Joins `lists` to `port`; `pad` fills them up where `preparation` names nothing else for it, and they are
    /// normalised as `like` says where there is one.
    ///
    /// # Errors
    /// Where the port takes no lists of such items, or none of such lengths.
    pub(super) fn new(
        lists: &'a Lists,
        port: &Port,
        preparation: &Preparation,
        pad: f64,
        like: Option<&Normalization>,
    ) -> Result<Self> {
        let misfit = |what: String| Error::input(format!("input `{}` takes {port}, {what}", port.name));
        let Some((&length, inner)) = port.dims.get(1..).and_then(<[_]>::split_first) else {
            return Err(misfit("which is no list of items a sample, as the data are".to_owned()));
        };
        let same = inner.len() == lists.inner().len()
            && inner.iter().zip(lists.inner()).all(|(dim, size)| dim.is_none_or(|dim| dim == *size));
        if !same {
            return Err(misfit(format!("and the data are lists of items of shape {:?}", lists.inner())));
        }
        let are_floats = matches!(lists.values(), Values::F32(_));
        if are_floats && port.element != ElementType::F32 {
            return Err(misfit("but the data are floats".to_owned()));
        }
        let limit = [preparation.lengths.cut, length].into_iter().flatten().min();
        let longest = lists.longest();
        if let (Some(length), None) = (length.filter(|length| *length < longest), preparation.lengths.cut) {
            let row = (0..lists.len()).find(|&row| lists.length(row) > length).unwrap_or_default();
            return Err(misfit(format!("and sample {row} has {} items", lists.length(row)))
                .help(format!("cut the samples with --max-length {length}, or export the model for longer ones")));
        }
        let pad = preparation.lengths.pads.get(&port.name).copied().unwrap_or(pad);
        if port.element != ElementType::F32 && pad.fract() != 0.0 {
            return Err(misfit(format!("and {pad} is no whole number to pad it with")));
        }
        let channels = Channels { count: lists.inner().iter().product(), inner: 1 };
        let of_data = |divisor| Ok(Normalization::of_values(divisor, lists.values(), channels));
        let are_bytes = matches!(lists.values(), Values::U8(_));
        let normalization = preparation.normalization(are_bytes, channels.count, like, of_data)?;
        Ok(Self {
            lists,
            element: port.element,
            fixed: length,
            cut: limit,
            multiple: preparation.lengths.multiple.get(),
            pad,
            normalization,
        })
    }

    /// How many items of the sample `row` are fed.
    pub(super) fn length(&self, row: usize) -> usize {
        self.lists.length(row).min(self.cut.unwrap_or(usize::MAX))
    }

    /// The length of a batch of these samples.
    pub(super) fn width(&self, rows: &[usize]) -> usize {
        let longest = rows.iter().map(|&row| self.length(row)).max().unwrap_or(0);
        // Few lengths: an engine may prepare itself for each.
        let rounded = longest.next_multiple_of(self.multiple).min(self.cut.map_or(usize::MAX, |cut| cut.max(longest)));
        self.fixed.unwrap_or(rounded)
    }

    /// The most elements that a sample takes.
    pub(super) fn size(&self) -> usize {
        let longest = self.lists.longest().min(self.cut.unwrap_or(usize::MAX));
        let inner: usize = self.lists.inner().iter().product();
        self.fixed.unwrap_or(longest.saturating_add(self.multiple)).saturating_mul(inner)
    }

    /// What items are, and how many a sample has at most.
    pub(super) fn describe(&self) -> String {
        let shape: Vec<String> = self.lists.inner().iter().map(usize::to_string).collect();
        let longest = self.lists.longest().min(self.cut.unwrap_or(usize::MAX));
        format!("[{}]", [vec![format!("up to {longest}")], shape].concat().join(", "))
    }

    /// The samples `rows`, filled up behind their ends.
    ///
    /// # Errors
    /// Where an element is NaN or infinite once it is normalised.
    pub(super) fn tensor(&self, rows: &[usize]) -> Result<Tensor> {
        let width = self.width(rows);
        let inner = self.lists.inner();
        let shape: Vec<usize> = [rows.len(), width].into_iter().chain(inner.iter().copied()).collect();
        let item: usize = inner.iter().product();
        macro_rules! fill {
            ($to:ty, $convert:expr) => {{
                let convert = $convert;
                let mut out = vec![self.pad as $to; rows.len() * width * item];
                for (&row, out) in rows.iter().zip(out.chunks_exact_mut((width * item).max(1))) {
                    let place = self.lists.place(row);
                    let place = place.start..place.start + self.length(row) * item;
                    convert(place, out);
                }
                ArrayD::from_shape_vec(IxDyn(&shape), out)
                    .map_err(|error| Error::internal(format!("padded lists have another shape: {error}")))?
            }};
        }
        macro_rules! whole {
            ($to:ty) => {
                fill!($to, |place: std::ops::Range<usize>, out: &mut [$to]| match self.lists.values() {
                    Values::U8(v) => out.iter_mut().zip(&v[place]).for_each(|(out, &value)| *out = <$to>::from(value)),
                    Values::I64(v) => out.iter_mut().zip(&v[place]).for_each(|(out, &value)| *out = value as $to),
                    Values::F32(v) => out.iter_mut().zip(&v[place]).for_each(|(out, &value)| *out = value as $to),
                })
            };
        }
        Ok(match self.element {
            ElementType::I64 => Tensor::I64(whole!(i64)),
            ElementType::I32 => Tensor::I32(whole!(i32)),
            ElementType::F32 => {
                let channels = Channels { count: item.max(1), inner: 1 };
                Tensor::F32(fill!(f32, |place: std::ops::Range<usize>, out: &mut [f32]| {
                    let out = &mut out[..place.len()];
                    match self.lists.values() {
                        Values::U8(v) => self.normalization.apply(&v[place], out, channels, f32::from),
                        Values::I64(v) => self.normalization.apply(&v[place], out, channels, |value| value as f32),
                        Values::F32(v) => self.normalization.apply(&v[place], out, channels, |value| value),
                    }
                }))
            }
        })
    }
}

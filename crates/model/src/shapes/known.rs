//! What the rules are told of a value, and what they say of one.

use super::size::Size;
use crate::graph::{Dim, Fact, SMALL};
use crate::onnx::DataType;
use crate::onnx::proto::TensorProto;

/// The sizes of all axes; none for those that are not known.
pub(super) type Sizes = Vec<Option<Size>>;

/// What is known of a value. Where its elements are, so are its sizes, which are numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known {
    pub element: Option<DataType>,
    /// None where not even the number of axes is known.
    pub sizes: Option<Sizes>,
    pub(super) elements: Option<Elements>,
}

/// The elements of a small tensor, in the order of memory.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Elements {
    /// Whole numbers, some of which may be computed from sizes; 0 and 1 for truth.
    Whole(Vec<Size>),
    Real(Vec<f64>),
}

impl Elements {
    pub fn len(&self) -> usize {
        match self {
            Self::Whole(elements) => elements.len(),
            Self::Real(elements) => elements.len(),
        }
    }

    /// The elements at these places.
    pub fn at(&self, places: &[usize]) -> Option<Self> {
        Some(match self {
            Self::Whole(all) => Self::Whole(places.iter().map(|&at| all.get(at).cloned()).collect::<Option<_>>()?),
            Self::Real(all) => Self::Real(places.iter().map(|&at| all.get(at).copied()).collect::<Option<_>>()?),
        })
    }
}

/// Sizes that are numbers, as such.
pub(super) fn numbers(sizes: &[Option<Size>]) -> Option<Vec<usize>> {
    sizes.iter().map(|size| usize::try_from(size.as_ref()?.known()?).ok()).collect()
}

/// How many elements a small tensor of these sizes has; none where it is not small.
pub(super) fn small(sizes: &[usize]) -> Option<usize> {
    if sizes.contains(&0) {
        return Some(0);
    }
    let count = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size))?;
    (count <= SMALL).then_some(count)
}

/// Numbers as sizes.
pub(super) fn fixed(numbers: &[usize]) -> Sizes {
    numbers.iter().map(|&number| i64::try_from(number).ok().map(Size::number)).collect()
}

impl Known {
    pub fn of(element: impl Into<Option<DataType>>) -> Self {
        Self { element: element.into(), ..Self::default() }
    }

    /// With these sizes, and without elements.
    pub fn with(self, sizes: impl Into<Option<Sizes>>) -> Self {
        Self { sizes: sizes.into(), elements: None, ..self }
    }

    /// With elements of these sizes, where they are so many and few enough.
    pub fn with_elements(self, sizes: &[usize], elements: Option<Elements>) -> Self {
        let elements = elements.filter(|elements| small(sizes) == Some(elements.len()));
        Self { sizes: Some(fixed(sizes)), elements, ..self }
    }

    /// A vector of whole numbers.
    pub fn vector(element: DataType, elements: Vec<Size>) -> Self {
        Self::of(element).with_elements(&[elements.len()], Some(Elements::Whole(elements)))
    }

    /// A single whole number.
    pub fn scalar(element: DataType, number: Option<Size>) -> Self {
        Self::of(element).with_elements(&[], number.map(|number| Elements::Whole(vec![number])))
    }

    /// The type and the sizes alone.
    pub fn without_elements(&self) -> Self {
        Self { element: self.element, sizes: self.sizes.clone(), elements: None }
    }

    pub fn rank(&self) -> Option<usize> {
        self.sizes.as_ref().map(Vec::len)
    }

    /// The sizes, where all are numbers.
    pub fn numbers(&self) -> Option<Vec<usize>> {
        numbers(self.sizes.as_ref()?)
    }

    pub fn elements(&self) -> Option<&Elements> {
        self.elements.as_ref()
    }

    /// The elements, where they are whole numbers or truths.
    pub fn whole(&self) -> Option<&[Size]> {
        match &self.elements {
            Some(Elements::Whole(elements)) => Some(elements),
            _ => None,
        }
    }

    /// The same, where none is computed from sizes that are not known.
    pub fn ints(&self) -> Option<Vec<i64>> {
        self.whole()?.iter().map(Size::known).collect()
    }

    /// The elements, where they are floating-point numbers.
    pub fn floats(&self) -> Option<&[f64]> {
        match &self.elements {
            Some(Elements::Real(elements)) => Some(elements),
            _ => None,
        }
    }

    /// The one element.
    pub fn number(&self) -> Option<&Size> {
        match self.whole()? {
            [number] => Some(number),
            _ => None,
        }
    }

    /// A constant, with its elements where it is small and they are in the file.
    pub fn constant(tensor: &TensorProto) -> Option<Self> {
        let fact = Fact::with_sizes(tensor.element()?, &tensor.dims);
        if tensor.element_count() > SMALL {
            return Some(Self::declared(&fact));
        }
        let Some(sizes) = tensor.dims.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<Vec<_>>>() else {
            return Some(Self::declared(&fact));
        };
        let elements = match tensor.ints() {
            Some(ints) => Some(Elements::Whole(ints.into_iter().map(Size::number).collect())),
            None => tensor.floats().map(Elements::Real),
        };
        Some(Self::of(fact.element).with_elements(&sizes, elements))
    }

    /// What a declaration says.
    pub fn declared(fact: &Fact) -> Self {
        let size = |dim: &Dim| match dim {
            Dim::Known(size) => Some(Size::number(*size)),
            Dim::Symbol(symbol) => Some(Size::symbol(symbol.clone())),
            Dim::Unknown => None,
        };
        Self::of(fact.element).with(fact.shape.as_ref().map(|dims| dims.iter().map(size).collect::<Sizes>()))
    }
}

/// The size of an axis as we write it.
pub(super) fn dim(size: &Option<Size>) -> Dim {
    let Some(size) = size else { return Dim::Unknown };
    match (size.known(), size.as_symbol()) {
        (Some(number), _) if number < 0 => Dim::Unknown,
        (Some(number), _) => Dim::Known(number),
        (_, Some(symbol)) => Dim::Symbol(symbol.clone()),
        _ => Dim::Symbol(size.to_string().into()),
    }
}

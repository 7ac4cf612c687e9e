//! Facts in tract's terms, and back.

use crate::graph::{Dim, Fact, SMALL};
use crate::onnx::DataType;
use crate::onnx::proto::TensorProto;
use tract_onnx::tract_hir::internal::{
    DatumType, DimFact, Factoid as _, GenericFactoid, InferenceFact, ShapeFactoid, SymbolScope, TDim, TVec, Tensor,
};

/// A type and shape in tract's terms. Equal symbols become one symbol of `scope`; what is not known stays open.
pub(super) fn to_tract(fact: &Fact, scope: &SymbolScope) -> InferenceFact {
    let shape = match &fact.shape {
        Some(dims) => ShapeFactoid::closed(dims.iter().map(|dim| to_tract_dim(dim, scope)).collect()),
        None => ShapeFactoid::open(TVec::new()),
    };
    let converted = InferenceFact::shape(shape);
    match to_datum_type(fact.element) {
        Some(datum_type) => converted.with_datum_type(datum_type),
        None => converted,
    }
}

fn to_tract_dim(dim: &Dim, scope: &SymbolScope) -> DimFact {
    match dim {
        Dim::Known(size) => GenericFactoid::Only(TDim::Val(*size)),
        Dim::Symbol(symbol) => GenericFactoid::Only(TDim::Sym(scope.sym(symbol))),
        Dim::Unknown => GenericFactoid::Any,
    }
}

/// The dims of a shape of known rank.
pub(super) fn closed(shape: &ShapeFactoid) -> Option<TVec<DimFact>> {
    (!shape.is_open()).then(|| shape.dims().cloned().collect())
}

/// The size of an axis as we write it.
pub(super) fn from_tract_dim(dim: &DimFact) -> Dim {
    match dim {
        GenericFactoid::Any => Dim::Unknown,
        GenericFactoid::Only(TDim::Val(size)) if *size < 0 => Dim::Unknown,
        GenericFactoid::Only(TDim::Val(size)) => Dim::Known(*size),
        GenericFactoid::Only(TDim::Sym(symbol)) => Dim::Symbol(symbol.to_string().into()),
        GenericFactoid::Only(expression) => Dim::Symbol(text(expression).into()),
    }
}

/// An expression as text, so that equal texts are equal expressions; tract's own leaves parentheses out that matter.
fn text(dim: &TDim) -> String {
    let list = |dims: &[TDim], between: &str| dims.iter().map(text).collect::<Vec<_>>().join(between);
    match dim {
        TDim::Val(value) => value.to_string(),
        TDim::Sym(symbol) => {
            let name = symbol.to_string();
            let plain = name.chars().all(|c| c.is_alphanumeric() || c == '_');
            if plain { name } else { format!("`{name}`") }
        }
        TDim::Add(terms) => format!("({})", list(terms, " + ")),
        TDim::Mul(factors) => format!("({})", list(factors, " * ")),
        TDim::MulInt(factor, of) => format!("({factor} * {})", text(of)),
        TDim::Div(of, divisor) => format!("({} / {divisor})", text(of)),
        TDim::Broadcast(dims) => format!("broadcast({})", list(dims, ", ")),
        TDim::Min(dims) => format!("min({})", list(dims, ", ")),
        TDim::Max(dims) => format!("max({})", list(dims, ", ")),
        TDim::Ge(a, b) => format!("({} >= {})", text(a), text(b)),
        TDim::Eq(a, b) => format!("({} == {})", text(a), text(b)),
    }
}

/// An expression of more terms is no size that a reader or a rule makes something of, and would grow with every node.
const LONGEST: usize = 32;

/// Whether an expression is not so long that a symbol should take its place.
pub(super) fn is_short(dim: &TDim) -> bool {
    fn count(dim: &TDim, left: &mut usize) -> bool {
        let Some(fewer) = left.checked_sub(1) else { return false };
        *left = fewer;
        match dim {
            TDim::Val(_) | TDim::Sym(_) => true,
            TDim::Add(of) | TDim::Mul(of) | TDim::Broadcast(of) | TDim::Min(of) | TDim::Max(of) => {
                of.iter().all(|dim| count(dim, left))
            }
            TDim::MulInt(_, of) | TDim::Div(of, _) => count(of, left),
            TDim::Ge(a, b) | TDim::Eq(a, b) => count(a, left) && count(b, left),
        }
    }
    count(dim, &mut LONGEST.clone())
}

/// The symbols of an expression satisfy `holds`, every one of them.
pub(super) fn all_symbols(dim: &TDim, holds: &impl Fn(&tract_onnx::prelude::Symbol) -> bool) -> bool {
    dim.symbols().iter().all(holds)
}

/// tract's name for an element type, where it has one.
pub(super) fn to_datum_type(element: DataType) -> Option<DatumType> {
    Some(match element {
        DataType::Bool => DatumType::Bool,
        DataType::Uint8 => DatumType::U8,
        DataType::Uint16 => DatumType::U16,
        DataType::Uint32 => DatumType::U32,
        DataType::Uint64 => DatumType::U64,
        DataType::Int8 => DatumType::I8,
        DataType::Int16 => DatumType::I16,
        DataType::Int32 => DatumType::I32,
        DataType::Int64 => DatumType::I64,
        DataType::Float16 => DatumType::F16,
        DataType::Float => DatumType::F32,
        DataType::Double => DatumType::F64,
        DataType::String => DatumType::String,
        _ => return None,
    })
}

/// The element type that tract means. Shapes and what is computed from them it keeps in a type of its own: int64 in
/// ONNX.
pub(super) fn from_datum_type(datum_type: DatumType) -> Option<DataType> {
    Some(match datum_type.unquantized() {
        DatumType::Bool => DataType::Bool,
        DatumType::U8 => DataType::Uint8,
        DatumType::U16 => DataType::Uint16,
        DatumType::U32 => DataType::Uint32,
        DatumType::U64 => DataType::Uint64,
        DatumType::I8 => DataType::Int8,
        DatumType::I16 => DataType::Int16,
        DatumType::I32 => DataType::Int32,
        DatumType::I64 | DatumType::TDim => DataType::Int64,
        DatumType::F16 => DataType::Float16,
        DatumType::F32 => DataType::Float,
        DatumType::F64 => DataType::Double,
        DatumType::String => DataType::String,
        _ => return None,
    })
}

/// The numbers of a small constant; none of a larger one, or one in a file of its own.
pub(super) fn small_tensor(tensor: &TensorProto) -> Option<Tensor> {
    if tensor.element_count() > SMALL {
        return None;
    }
    let sizes: Vec<usize> = tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<_>>()?;
    let wide = match tensor.ints() {
        Some(ints) => Tensor::from_shape(&sizes, &ints),
        None => Tensor::from_shape(&sizes, &tensor.floats()?),
    };
    wide.ok()?.cast_to_dt(to_datum_type(tensor.element()?)?).ok().map(|t| t.into_owned())
}

/// The elements of a constant of whole numbers, where every one is known.
pub(super) fn ints(fact: &InferenceFact) -> Option<Vec<i64>> {
    let tensor = fact.value.concretize()?;
    let datum_type = tensor.datum_type();
    let whole = datum_type.is_integer() || datum_type == DatumType::Bool || datum_type == DatumType::TDim;
    if !whole || tensor.len() > SMALL {
        return None;
    }
    let ints = tensor.cast_to::<i64>().ok()?;
    Some(ints.to_plain_array_view::<i64>().ok()?.iter().copied().collect())
}

/// The elements of a small vector of whole numbers, or of expressions: a shape.
pub(super) fn dims(fact: &InferenceFact) -> Option<Vec<TDim>> {
    let tensor = fact.value.concretize()?;
    if tensor.datum_type() == DatumType::TDim && tensor.rank() == 1 && tensor.len() <= SMALL {
        return Some(tensor.to_plain_array_view::<TDim>().ok()?.iter().cloned().collect());
    }
    Some(ints(fact)?.into_iter().map(TDim::Val).collect())
}

/// These as we write them; −1, which is what is left, stays a number.
pub(super) fn entries(fact: &InferenceFact) -> Option<Vec<Dim>> {
    let entry = |dim: TDim| dim.to_i64().map_or_else(|_| from_tract_dim(&dim.into()), Dim::Known);
    Some(dims(fact)?.into_iter().map(entry).collect())
}

/// The elements of a constant of floating-point numbers.
pub(super) fn floats(fact: &InferenceFact) -> Option<Vec<f64>> {
    let tensor = fact.value.concretize()?;
    if !tensor.datum_type().is_float() || tensor.len() > SMALL {
        return None;
    }
    let floats = tensor.cast_to::<f64>().ok()?;
    Some(floats.to_plain_array_view::<f64>().ok()?.iter().copied().collect())
}

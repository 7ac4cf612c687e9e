//! Matrix products.
//!
//! A product with a matrix that a whole batch shares, which is what a linear layer is, has its gradients as one product
//! each over the rows of the batch laid one below the other; a batch of products and a sum over it take several times
//! as long.

use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::DataType;

pub(super) const RULES: &[Entry] = &[("", "MatMul", Rule::Vjp(matmul)), ("", "Gemm", Rule::Vjp(gemm))];

/// y = a b ⇒ ā = ȳ bᵀ, b̄ = aᵀ ȳ, each summed over the axes along which its operand was broadcast. A vector is a row on
/// the left and a column on the right.
fn matmul(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (a, b) = (op.input(0)?, op.input(1)?);
    match (g.fact(a).rank(), g.fact(b).rank()) {
        (_, Some(1)) => shared(a, &g.unsqueeze(b, &[-1]), &g.unsqueeze(dy, &[-1]), b, g),
        (_, Some(2)) => shared(a, b, dy, b, g),
        (Some(1), Some(_)) => batched(&g.unsqueeze(a, &[0]), b, &g.unsqueeze(dy, &[-2]), [a, b], g),
        (Some(_), Some(_)) => batched(a, b, dy, [a, b], g),
        _ => {
            let [rows, columns, dy] = as_matrices(a, b, dy, g);
            batched(&rows, &columns, &dy, [a, b], g)
        }
    }
}

/// The gradients of a b where b is a matrix, with the rows of the whole batch in one; b̄ in the shape of `like`.
fn shared(a: &Value, b: &Value, dy: &Value, like: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (a_rows, dy_rows) = (g.flatten_rows(a), g.flatten_rows(dy));
    let da = g.gemm(&dy_rows, b, false, true, 1.0);
    let db = g.gemm(&a_rows, &dy_rows, true, false, 1.0);
    Ok([g.reshape_like(&da, a), g.reshape_like(&db, like)].into())
}

/// The gradients of a b for batches of matrices, in the shapes of `like`.
fn batched(a: &Value, b: &Value, dy: &Value, like: [&Value; 2], g: &Builder<'_>) -> Result<Cotangents> {
    let (a_t, b_t) = (g.transpose_last(a), g.transpose_last(b));
    let (da, db) = (g.matmul(dy, &b_t), g.matmul(&a_t, dy));
    let (da, db) = (g.sum_to(&da, a), g.sum_to(&db, b));
    Ok([g.reshape_like(&da, like[0]), g.reshape_like(&db, like[1])].into())
}

/// `a`, `b` and the cotangent of their product as batches of matrices, where it is not known whether they are vectors.
fn as_matrices(a: &Value, b: &Value, dy: &Value, g: &Builder<'_>) -> [Value; 3] {
    let (one, two) = (g.int64s(&[1]), g.int64s(&[2]));
    let vector = || Fact { element: DataType::Int64, shape: Some(vec![Dim::Unknown]) };
    // What is missing to two axes, as ones.
    let missing = |x: &Value| {
        let shape = g.shape_of(x);
        let axes = g.binary("Max", g.sub(&two, g.shape_of(&shape)), g.int64s(&[0]));
        (g.node("Expand", &[&one, &axes], vec![], vector()), axes, shape)
    };
    let (ones_a, missing_a, shape_a) = missing(a);
    let (ones_b, missing_b, shape_b) = missing(b);
    let (shape_a, shape_b) = (g.concat(&[&ones_a, &shape_a], 0), g.concat(&[&shape_b, &ones_b], 0));
    let reshape = |x: &Value, shape: &Value| {
        let fact = Fact::of(g.fact(x).element);
        g.reshape_to(x, shape, fact)
    };
    let (rows, columns) = (reshape(a, &shape_a), reshape(b, &shape_b));
    // The batch is what y has before its matrix, of which vectors lack an axis each.
    let shape = g.shape_of(dy);
    let end = g.add(g.sub(g.add(&missing_a, &missing_b), &two), g.shape_of(&shape));
    let batch = g.node("Slice", &[&shape, &g.int64s(&[0]), &end], vec![], vector());
    let (m, n) = (g.size_of(&rows, -2), g.size_of(&columns, -1));
    [rows, columns, reshape(dy, &g.concat(&[&batch, &m, &n], 0))]
}

/// y = α a b + β c ⇒ ā = α ȳ bᵀ, b̄ = α aᵀ ȳ, c̄ = β ȳ summed to c; where `transA` or `transB` is set, that gradient is
/// transposed.
fn gemm(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (a, b) = (op.input(0)?, op.input(1)?);
    let (trans_a, trans_b) = (op.int("transA", 0) != 0, op.int("transB", 0) != 0);
    let (alpha, beta) = (op.float("alpha", 1.0), op.float("beta", 1.0));
    let da = match trans_a {
        false => g.gemm(dy, b, false, !trans_b, alpha),
        true => g.gemm(b, dy, trans_b, true, alpha),
    };
    let db = match trans_b {
        false => g.gemm(a, dy, !trans_a, false, alpha),
        true => g.gemm(dy, a, true, trans_a, alpha),
    };
    let dc = op.optional(2).map(|c| g.scale(g.sum_to(dy, c), beta.into()));
    Ok(Cotangents::of([Some(da), Some(db), dc]))
}

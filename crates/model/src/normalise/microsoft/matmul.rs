//! FusedMatMul: a product of matrices, with transposes before and a factor behind it.

use super::super::context::Context;
use super::last;
use crate::onnx::proto::{AttributeProto, NodeProto};

/// α·op(A)·op(B), where op exchanges the last two axes (`transA`), and before that moves the first axis, which is one
/// of a matrix then, behind the axes of the batch (`transBatchA`).
pub(super) fn fused(g: &mut Context<'_>, node: &NodeProto) -> Option<NodeProto> {
    let flag = |name: String| node.int(&name, 0) != 0;
    let factor = |g: &Context<'_>, index, side| {
        Factor::of(g, node.input(index)?, flag(format!("trans{side}")), flag(format!("transBatch{side}")))
    };
    let (a, b) = (factor(g, 0, "A")?, factor(g, 1, "B")?);
    let (a, b) = (a.arranged(g, "a"), b.arranged(g, "b"));
    let alpha = node.float("alpha", 1.0);
    if alpha == 1.0 {
        return Some(last(node, "MatMul", &[&a, &b]));
    }
    let product = g.op("MatMul", &[&a, &b], vec![], "product");
    let alpha = g.scalar(alpha.into(), node.input(0)?, "alpha");
    Some(last(node, "Mul", &[&product, &alpha]))
}

/// One factor of the product, and what becomes of its axes.
struct Factor {
    input: String,
    order: Order,
}

enum Order {
    AsIs,
    Permuted(Vec<i64>),
    /// The last two are exchanged, however many there are.
    LastTwoExchanged,
}

impl Factor {
    /// None where the order depends on a rank that is not known.
    fn of(g: &Context<'_>, input: &str, exchanged: bool, batch: bool) -> Option<Self> {
        let order = match g.rank(input) {
            _ if !exchanged && !batch => Order::AsIs,
            // A vector is its own transpose.
            Some(0 | 1) => Order::AsIs,
            Some(rank) => {
                let mut axes: Vec<i64> = (0..rank as i64).collect();
                if batch {
                    axes[..rank - 1].rotate_left(1);
                }
                if exchanged {
                    axes.swap(rank - 2, rank - 1);
                }
                Order::Permuted(axes)
            }
            None if batch => return None,
            None => Order::LastTwoExchanged,
        };
        Some(Self { input: input.to_owned(), order })
    }

    fn arranged(self, g: &mut Context<'_>, name: &str) -> String {
        match self.order {
            Order::AsIs => self.input,
            Order::Permuted(axes) => {
                let perm = vec![AttributeProto::ints("perm", &axes)];
                g.op("Transpose", &[&self.input], perm, &format!("{name}.transposed"))
            }
            Order::LastTwoExchanged => transposed(g, &self.input, name),
        }
    }
}

/// Exchanges the last two axes of a value of unknown rank: as a list of matrices, with its own shape before and after.
fn transposed(g: &mut Context<'_>, x: &str, name: &str) -> String {
    let part = |g: &mut Context<'_>, start: i64, end: Option<i64>, what: &str| {
        let mut attributes = vec![AttributeProto::int("start", start)];
        attributes.extend(end.map(|end| AttributeProto::int("end", end)));
        g.op("Shape", &[x], attributes, &format!("{name}.{what}"))
    };
    let batch = part(g, 0, Some(-2), "batch");
    let rows = part(g, -2, Some(-1), "rows");
    let columns = part(g, -1, None, "columns");
    let any = g.int64s(&[-1], "any");
    let axis = || vec![AttributeProto::int("axis", 0)];
    let list = g.op("Concat", &[&any, &rows, &columns], axis(), &format!("{name}.list"));
    let shape = g.op("Concat", &[&batch, &columns, &rows], axis(), &format!("{name}.shape"));
    let matrices = g.op("Reshape", &[x, &list], vec![], &format!("{name}.matrices"));
    let perm = vec![AttributeProto::ints("perm", &[0, 2, 1])];
    let exchanged = g.op("Transpose", &[&matrices], perm, &format!("{name}.exchanged"));
    g.op("Reshape", &[&exchanged, &shape], vec![], &format!("{name}.transposed"))
}

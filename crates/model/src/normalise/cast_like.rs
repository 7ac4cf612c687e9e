//! CastLike where the type is known: it reads a whole tensor for a type, and keeps it alive for that.

use crate::graph::Facts;
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto};

/// Makes a Cast of each, or an Identity where the type is the same.
pub(super) fn simplify(graph: &mut GraphProto, facts: &Facts) {
    for node in &mut graph.node {
        node.subgraphs_mut().for_each(|body| simplify(body, facts));
        if node.is("", "CastLike") {
            rewrite(node, facts);
        }
    }
}

fn rewrite(node: &mut NodeProto, facts: &Facts) -> Option<()> {
    let element = |position: usize| Some(facts.get(node.input(position)?)?.element);
    let (from, to) = (element(0), element(1)?);
    node.input.truncate(1);
    node.attribute.clear();
    if from == Some(to) {
        node.op_type = Some("Identity".into());
    } else {
        node.op_type = Some("Cast".into());
        node.attribute.push(AttributeProto::int("to", to as i64));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Fact;
    use crate::onnx::DataType;
    use crate::testing::{body, node};

    #[test]
    fn the_type_is_told_where_it_is_known() {
        let casts = ["double", "float", "unknown"].map(|like| node("CastLike", &["x", like], &[&format!("as {like}")]));
        let mut graph = body(&["x"], &casts, &[]);
        let mut facts = Facts::default();
        facts.insert("x".into(), Fact::of(DataType::Float));
        facts.insert("float".into(), Fact::of(DataType::Float));
        facts.insert("double".into(), Fact::of(DataType::Double));
        simplify(&mut graph, &facts);
        let operators: Vec<_> = graph.node.iter().map(|node| (node.op_type(), node.input.len())).collect();
        assert_eq!(operators, [("Cast", 1), ("Identity", 1), ("CastLike", 2)]);
        assert_eq!(graph.node[0].int("to", 0), DataType::Double as i64);
    }
}

//! Casts where the types are known. A CastLike reads a whole tensor for a type, and keeps it alive for that; a Cast to
//! the type that is there makes a copy.

use crate::graph::Facts;
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto};

/// Makes an Identity of each that leaves the type as it is, and a Cast of any other CastLike.
pub(super) fn simplify(graph: &mut GraphProto, facts: &Facts) {
    for node in &mut graph.node {
        node.subgraphs_mut().for_each(|body| simplify(body, facts));
        if node.is("", "CastLike") || node.is("", "Cast") {
            rewrite(node, facts);
        }
    }
}

fn rewrite(node: &mut NodeProto, facts: &Facts) -> Option<()> {
    let element = |position: usize| Some(facts.get(node.input(position)?)?.element);
    let to = match node.op_type() {
        "Cast" => DataType::try_from(i32::try_from(node.int("to", 0)).ok()?).ok()?,
        _ => element(1)?,
    };
    if element(0) == Some(to) {
        node.op_type = Some("Identity".into());
        node.attribute.clear();
    } else if node.is("", "CastLike") {
        node.op_type = Some("Cast".into());
        node.attribute = vec![AttributeProto::int("to", to as i64)];
    }
    node.input.truncate(1);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Fact;
    use crate::testing::{TestNode, body, node};

    #[test]
    fn the_type_is_told_where_it_is_known() {
        let likes = ["double", "float", "unknown"].map(|like| node("CastLike", &["x", like], &[&format!("as {like}")]));
        let casts = ["x", "double"].map(|from| {
            let attribute = vec![AttributeProto::int("to", DataType::Float as i64)];
            TestNode::from(NodeProto { attribute, ..node("Cast", &[from], &["y"]).into() })
        });
        let mut graph = body(&["x"], &[&likes[..], &casts[..]].concat(), &[]);
        let mut facts = Facts::default();
        facts.insert("x".into(), Fact::of(DataType::Float));
        facts.insert("float".into(), Fact::of(DataType::Float));
        facts.insert("double".into(), Fact::of(DataType::Double));
        simplify(&mut graph, &facts);
        let operators: Vec<_> = graph.node.iter().map(|node| (node.op_type(), node.input.len())).collect();
        assert_eq!(operators, [("Cast", 1), ("Identity", 1), ("CastLike", 2), ("Identity", 1), ("Cast", 1)]);
        assert_eq!(graph.node[0].int("to", 0), DataType::Double as i64);
    }
}

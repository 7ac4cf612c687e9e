//! `Scan`, whose iterations return values that they also read.
//!
//! tract gives what an iteration returns the axis of the iterations inside the body, and everything there that reads
//! the value then sees that axis, too.

use foldhash::HashSet;
use gnp_model::graph::{Names, for_each_use};
use gnp_model::onnx::proto::{GraphProto, NodeProto};

/// The pass, as the names of what is added say it.
const PASS: &str = "tract";

/// Has every Scan in `graph`, and in bodies, return values that nothing in its body reads.
pub(super) fn set_apart(graph: &mut GraphProto) {
    let mut names = Names::of(graph);
    graph.node.iter_mut().for_each(|node| set_apart_in(node, &mut names));
}

fn set_apart_in(node: &mut NodeProto, names: &mut Names) {
    let is_scan = node.is("", "Scan");
    for body in node.subgraphs_mut() {
        body.node.iter_mut().for_each(|node| set_apart_in(node, names));
        if is_scan {
            copy_what_is_read(body, names);
        }
    }
}

fn copy_what_is_read(body: &mut GraphProto, names: &mut Names) {
    let mut read: HashSet<String> = HashSet::default();
    body.node.iter().for_each(|node| for_each_use(node, &mut |name| _ = read.insert(name.to_owned())));
    read.extend(body.input.iter().map(|input| input.name().to_owned()));
    for output in &mut body.output {
        // What was returned once is read from then on.
        if read.insert(output.name().to_owned()) {
            continue;
        }
        let copy = names.value(PASS, output.name());
        body.node.push(NodeProto {
            name: Some(names.node(PASS, output.name())),
            op_type: Some("Identity".into()),
            input: vec![output.name().to_owned()],
            output: vec![copy.clone()],
            ..Default::default()
        });
        output.name = Some(copy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::testing::{body, node};

    #[test]
    fn what_an_iteration_returns_nothing_reads() {
        let inner =
            body(&["s", "x"], &[node("Add", &["s", "x"], &["a"]), node("Neg", &["a"], &["b"])], &["b", "a", "b"]);
        let mut graph = body(&["s0", "xs"], &[node("Scan", &["s0", "xs"], &["s1", "as", "bs"]).with(inner)], &["as"]);
        set_apart(&mut graph);
        let inner = graph.node[0].subgraphs().next().unwrap();
        let returned: Vec<_> = inner.output.iter().map(|output| output.name()).collect();
        assert_eq!(returned, ["b", "gnp/tract/a", "gnp/tract/b"]);
        let copied: Vec<_> = inner.node[2..].iter().map(|node| node.input[0].as_str()).collect();
        assert_eq!(copied, ["a", "b"]);
    }
}

//! Small parameters of one shape as one tensor, stacked along their first axis. Norms, the perturbation, the mix and
//! the update then take a few nodes for all of them: of biases and scales there are many, and what they cost is their
//! number.
//!
//! Only equal shapes are stacked, and no more than one operator takes: ONNX Runtime's kernels for CUDA then find the
//! parts by their number. For parts of different sizes they copy tables to the device in every run, which a graph of
//! CUDA cannot hold.

use crate::pass;
use gnp_model::graph::{Builder, CONCAT_INPUTS, Dim, Fact, Graph, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::AttributeProto;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most elements of a parameter that is stacked: the time of joining and parting grows with them.
const MOST_ELEMENTS: i64 = 1024;

/// The fewest parameters that are stacked: joining and parting are nodes too.
const FEWEST: usize = 4;

/// The parameters of an objective, each in a stack.
#[derive(Clone, Debug)]
pub struct Stacks {
    parameters: Vec<Value>,
    facts: Vec<Arc<Fact>>,
    members: Vec<Vec<usize>>,
    joined: Vec<Value>,
}

impl Stacks {
    /// Each of `parameters` by itself.
    pub fn single(graph: &Graph, parameters: &[Value]) -> Self {
        let fact =
            |parameter: &Value| graph.facts().get(parameter).cloned().unwrap_or_else(|| Fact::of(DataType::Float));
        let facts = parameters.iter().map(|parameter| Arc::new(fact(parameter))).collect();
        let members = (0..parameters.len()).map(|i| vec![i]).collect();
        Self { parameters: parameters.to_vec(), facts, members, joined: parameters.to_vec() }
    }

    /// Stacks of `parameters` that are small, of one shape and of one of the `kinds`, which has one for each.
    pub fn of<K: Ord>(graph: &mut Graph, parameters: &[Value], kinds: &[K]) -> Self {
        let mut stacks = Self::single(graph, parameters);
        let mut alike: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (i, (fact, kind)) in stacks.facts.iter().zip(kinds).enumerate() {
            if let Some(sizes) = fact.sizes().filter(|sizes| is_small(sizes)) {
                alike.entry((sizes, kind)).or_default().push(i);
            }
        }
        let of_alike = alike.values().flat_map(|places| places.chunks(CONCAT_INPUTS));
        let worthwhile: Vec<_> = of_alike.filter(|stack| stack.len() >= FEWEST).collect();
        let mut is_stacked = vec![false; parameters.len()];
        worthwhile.iter().copied().flatten().for_each(|&i| is_stacked[i] = true);
        stacks.members.retain(|single| !is_stacked[single[0]]);
        stacks.members.extend(worthwhile.into_iter().map(<[_]>::to_vec));
        stacks.members.sort_unstable();
        stacks.joined = stacks.join(&Builder::new(graph, pass::STACK), parameters);
        stacks
    }

    /// The parameters, those of a stack as one.
    pub fn joined(&self) -> &[Value] {
        &self.joined
    }

    /// The places, among the parameters, of those in each stack.
    pub fn members(&self) -> &[Vec<usize>] {
        &self.members
    }

    /// One of what `each` parameter has for each stack, where its members have the same.
    pub fn one_each<T: Clone>(&self, each: &[T]) -> Vec<T> {
        self.members.iter().filter_map(|stack| each.get(*stack.first()?).cloned()).collect()
    }

    /// Values of the parameters' shapes, one for each parameter, as one for each stack.
    pub fn join(&self, b: &Builder<'_>, values: &[Value]) -> Vec<Value> {
        let parts = |stack: &Vec<usize>| stack.iter().map(|&i| values[i].clone()).collect::<Vec<_>>();
        self.members.iter().map(|stack| self.join_one(b, stack, &parts(stack))).collect()
    }

    /// The values of one stack's members as one.
    pub fn join_one(&self, b: &Builder<'_>, stack: &[usize], values: &[Value]) -> Value {
        let ([first, _, ..], [_, _, ..]) = (stack, values) else { return values[0].clone() };
        let name = format!("{}+{}", self.parameters[*first], stack.len() - 1);
        let mut fact = Fact::clone(&self.facts[*first]);
        if let Some(Dim::Known(rows)) = fact.shape.as_mut().and_then(|shape| shape.first_mut()) {
            *rows *= stack.len() as i64;
        }
        let parts: Vec<_> = values.iter().collect();
        b.named_in(&name, ("", "Concat"), &parts, vec![AttributeProto::int("axis", 0)], fact)
    }

    /// The reverse: `joined`, one for each stack, as one for each parameter.
    pub fn part(&self, b: &Builder<'_>, joined: &[Value]) -> Vec<Value> {
        let parts = self.members.iter().zip(joined).flat_map(|(stack, value)| {
            let values = self.part_of(b, stack, value);
            stack.iter().copied().zip(values)
        });
        let mut parts: Vec<_> = parts.collect();
        parts.sort_unstable_by_key(|(place, _)| *place);
        parts.into_iter().map(|(_, value)| value).collect()
    }

    /// The parts of one stack's value, in the order of its members.
    pub fn part_of(&self, b: &Builder<'_>, stack: &[usize], value: &Value) -> Vec<Value> {
        let facts: Vec<_> = stack.iter().map(|&i| self.facts[i].clone()).collect();
        let rows = facts.first().and_then(|fact| fact.dim(0)).and_then(Dim::known);
        match (stack.len(), rows) {
            (2.., Some(rows)) => {
                let sizes = b.int64s(&vec![rows; stack.len()]);
                b.nodes("Split", &[value, &sizes], vec![AttributeProto::int("axis", 0)], facts)
            }
            _ => vec![value.clone()],
        }
    }
}

fn is_small(sizes: &[i64]) -> bool {
    !sizes.is_empty() && (1..=MOST_ELEMENTS).contains(&sizes.iter().product())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::testing::body;

    /// A graph with parameters of the shapes.
    fn graph(shapes: &[&[i64]]) -> (Graph, Vec<Value>) {
        let names: Vec<String> = (0..shapes.len()).map(|i| format!("p{i}")).collect();
        let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut graph = Graph::new(body(&inputs, &[], &[])).unwrap();
        for (name, shape) in names.iter().zip(shapes) {
            graph.declare(name, Fact::with_sizes(DataType::Float, shape));
        }
        (graph, inputs.into_iter().map(Value::from).collect())
    }

    #[test]
    fn small_parameters_of_one_shape_and_kind_are_stacked() {
        let shapes: [&[i64]; 12] = [&[8], &[3, 8], &[8], &[], &[8], &[8], &[9], &[8], &[8], &[8], &[8], &[2000]];
        let (mut graph, parameters) = graph(&shapes);
        let kinds = [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0];
        let stacks = Stacks::of(&mut graph, &parameters, &kinds);
        // Three of the other kind are too few.
        let members: Vec<_> = stacks.members().iter().filter(|stack| stack.len() > 1).collect();
        assert_eq!(members, [&[0, 2, 4, 5, 10]]);
        assert_eq!(stacks.joined().len(), 8);
        assert_eq!(graph.facts().get(&stacks.joined()[0]).unwrap().sizes(), Some(vec![40]));
        assert_eq!(stacks.one_each(&kinds), [0, 0, 0, 0, 1, 1, 1, 0]);
    }

    #[test]
    fn what_is_joined_is_parted_again_in_its_order() {
        let shapes: Vec<&[i64]> = (0..80).map(|i| if i % 2 == 0 { &[8][..] } else { &[2, 4] }).collect();
        let (mut graph, parameters) = graph(&shapes);
        let stacks = Stacks::of(&mut graph, &parameters, &[(); 80]);
        assert_eq!(stacks.joined().len(), 4);
        let parts = stacks.part(&Builder::new(&mut graph, "test"), stacks.joined());
        let place = |value: &Value| {
            let node = graph.nodes().iter().find(|node| node.output.contains(&value.to_string())).unwrap();
            let at = node.output.iter().position(|output| *output == **value).unwrap();
            let joined = graph.nodes().iter().find(|other| other.output[0] == node.input[0]).unwrap();
            joined.input[at].clone()
        };
        assert_eq!(
            parts.iter().map(place).collect::<Vec<_>>(),
            parameters.iter().map(|p| p.to_string()).collect::<Vec<_>>()
        );
        let facts = parts.iter().map(|part| graph.facts().get(part).unwrap().sizes().unwrap());
        assert_eq!(facts.collect::<Vec<_>>(), shapes);
        let most = graph.nodes().iter().map(|node| node.input.len().max(node.output.len())).max();
        assert_eq!(most, Some(CONCAT_INPUTS));
    }
}

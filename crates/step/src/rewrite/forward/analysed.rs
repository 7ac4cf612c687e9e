//! A normalised model as a graph whose sizes are known.

use foldhash::HashSet;
use gnp_base::Result;
use gnp_model::composite::{self, Caches};
use gnp_model::graph::{Dim, Fact, Graph};
use gnp_model::normalise;
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::{GraphProto, ValueInfoProto};
use gnp_model::opening::{self, Dims, Opened, Size};
use gnp_model::shapes;
use std::collections::{BTreeMap, BTreeSet};

/// A graph of operators that train, with what is known of its values once its axes are as they are wanted.
pub(in crate::rewrite) struct Analysed {
    pub graph: Graph,
    /// Tables of cosines and sines, which are no parameters.
    pub angles: HashSet<String>,
    pub opened: Vec<Opened>,
    /// Sizes that are 0, as nothing is past where a sample begins.
    pub empty: BTreeSet<String>,
}

impl Analysed {
    /// Takes the graph out of a normalised `model`, brings its axes to what `dims` say, and works out the shapes. `end`
    /// is the value that the loss is taken of, where it is known. What attention would hand on to a next step is no
    /// output any more.
    ///
    /// # Errors
    /// Where an axis cannot be opened, or the shapes contradict each other.
    pub fn of(model: &mut Model, dims: &Dims, end: Option<&str>) -> Result<Self> {
        let empty = empty_pasts(&model.graph, dims);
        composite::hand_nothing_on(&mut model.graph);
        let mut dims = dims.clone();
        dims.extend(empty.iter().map(|size| (size.clone(), Size::Number(0))));
        let opened = opening::apply(model, &dims, end)?;
        let facts = shapes::analyse(model, &BTreeMap::new())?;
        normalise::simplify(&mut model.graph, &facts);
        let mut graph = Graph::knowing(std::mem::take(&mut model.graph), facts)?.within(model.limits);
        let angles = composite::angles(&graph);
        composite::write_out(&mut graph)?;
        graph.drop_empty_inputs();
        Ok(Self { graph, angles, opened, empty })
    }
}

/// The sizes of inputs that count the steps that are past, but for those that `dims` give.
fn empty_pasts(graph: &GraphProto, dims: &Dims) -> BTreeSet<String> {
    let caches = Caches::of(graph);
    let size = |input: &ValueInfoProto| {
        let axis = caches.past.get(input.name())?;
        let by_place = format!("{}[{axis}]", input.name());
        let size = match Fact::declared(input)?.dim(*axis)? {
            Dim::Symbol(symbol) => symbol.to_string(),
            Dim::Unknown => by_place.clone(),
            Dim::Known(_) => return None,
        };
        (!dims.contains_key(&size) && !dims.contains_key(&by_place)).then_some(size)
    };
    graph.input.iter().filter_map(size).collect()
}

//! What is done to a graph when it is loaded: what depends on this machine, and so has no place in a file.

mod blocked;
pub(super) mod branches;
mod norms;
mod pieces;
mod products;
pub(super) mod recordable;
mod reductions;
mod rounded;

use super::api::Api;
use super::session_options::SessionOptions;
use crate::half::half_of;
use crate::{Device, EngineOptions, HalfPrecision, Layout};
use foldhash::HashSet;
use gnp_base::Result;
use gnp_kernels::matmul;
use gnp_kernels::ort::{self as kernels, Target};
use gnp_model::graph::{for_each_use, inline_functions_but};
use gnp_model::onnx::proto::{GraphProto, NodeProto};
use gnp_model::onnx::{DataType, Model};
use reductions::Sums;

/// The passes that a graph goes through.
pub(super) struct Passes {
    /// The number of channels in a block, where images are to be in blocks.
    block: Option<i64>,
    /// Where our kernels compute.
    target: Option<Target>,
    /// Whether the graph is arranged for our kernels on the processor.
    kernels: bool,
    /// Whether our kernels multiply matrices.
    products: bool,
    /// The sums that our kernels compute.
    sums: Option<Sums>,
    /// Whether float16 is emulated.
    rounds: bool,
}

impl Passes {
    /// Those for this runtime on this machine.
    pub(super) fn of(api: &'static Api, session: &SessionOptions, options: &EngineOptions) -> Self {
        let on_processor = options.device == Device::Cpu && options.layout == Layout::Auto;
        let block = on_processor.then(|| blocked::probe::block(api, session)).flatten();
        let rounds = options.device == Device::Cpu && options.half == HalfPrecision::Emulated;
        let target = session.kernels();
        let kernels = on_processor && target == Some(Target::Cpu);
        let sums = match target {
            Some(Target::Cpu) => kernels.then_some(Sums::OfColumns),
            on_card => on_card.map(|_| Sums::All),
        };
        Self { block, target, kernels, products: kernels && matmul::is_fast(), sums, rounds }
    }

    /// `model` after all of them.
    ///
    /// # Errors
    /// Where the graph is not well-formed.
    pub(super) fn apply(&self, model: &Model) -> Result<Model> {
        let mut model = model.clone();
        if self.rounds && half_of(&model) == Some(DataType::Float16) {
            rounded::apply(&mut model);
        }
        // Where a function has no kernel, those that its body calls may have one.
        if let Some(target) = self.target {
            inline_functions_but(&mut model, |name| kernels::has(target, name));
        }
        if self.kernels {
            norms::apply(&mut model)?;
        }
        if let Some(sums) = self.sums {
            reductions::apply(&mut model, sums);
        }
        // Before there are operators whose outputs nothing is known of.
        if self.products {
            pieces::apply(&mut model)?;
            products::apply(&mut model);
        }
        if let Some(block) = self.block {
            blocked::apply(&mut model, block, self.kernels)?;
        }
        Ok(model)
    }

    /// How images lie in memory in `model`, after all passes; none where there are no convolutions.
    pub(super) fn layout(&self, model: &Model) -> Option<String> {
        let of_domain = |domain| convolutions(&model.graph, domain);
        match (of_domain(blocked::NCHWC), of_domain(""), self.block) {
            (0, 0, _) => None,
            (1.., _, Some(block)) => Some(format!("images in blocks of {block} channels")),
            _ => Some("images as the model has them".to_owned()),
        }
    }
}

/// How many convolutions of `domain` there are, those in bodies of nodes among them.
fn convolutions(graph: &GraphProto, domain: &str) -> usize {
    let of_node = |node: &NodeProto| {
        usize::from(node.is(domain, "Conv")) + node.subgraphs().map(|body| convolutions(body, domain)).sum::<usize>()
    };
    graph.node.iter().map(of_node).sum()
}

/// Removes what `is_removed` says of nodes, and of those that `may_go` what nothing reads any more.
fn retain_read(graph: &mut GraphProto, mut is_removed: Vec<bool>, may_go: impl Fn(&NodeProto) -> bool) {
    let mut read: HashSet<&str> = graph.output.iter().map(|output| output.name()).collect();
    for (node, is_removed) in graph.node.iter().zip(&mut is_removed).rev() {
        *is_removed |= may_go(node) && !node.output.iter().any(|output| read.contains(&**output));
        if !*is_removed {
            for_each_use(node, &mut |name| _ = read.insert(name));
        }
    }
    let mut is_removed = is_removed.into_iter();
    graph.node.retain(|_| !is_removed.next().unwrap_or(false));
}

/// Removes, of a graph and its bodies, those nodes that `may_go` which nothing reads any more.
fn remove_unread(graph: &mut GraphProto, may_go: &impl Fn(&NodeProto) -> bool) {
    graph.node.iter_mut().flat_map(NodeProto::subgraphs_mut).for_each(|body| remove_unread(body, may_go));
    retain_read(graph, vec![false; graph.node.len()], may_go);
}

/// The values that are read more than once, or that the graph returns.
fn read_twice(graph: &GraphProto) -> HashSet<String> {
    let mut once = HashSet::default();
    let mut twice: HashSet<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
    for node in &graph.node {
        for_each_use(node, &mut |name| {
            if !once.insert(name) {
                twice.insert(name.to_owned());
            }
        });
    }
    twice
}

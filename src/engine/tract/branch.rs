//! `If`, with both branches optimised.
//!
//! tract's own operator prepares the branch that is taken anew at every evaluation, and does not optimise it: a second pass
//! inside an `If` would be the slowest part of a step. Here each branch is a plan that is made once.

use tract_onnx::prelude::multithread::Executor;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::logic::IfThenElse;

/// The plan that computes `model`, every `If` in it with optimised branches.
pub(super) fn plan(model: TypedModel, executor: &Executor) -> TractResult<Arc<TypedSimplePlan>> {
    let mut model = model.into_decluttered()?;
    for node in 0..model.nodes().len() {
        let Some(branching) = model.node(node).op_as::<IfThenElse>() else { continue };
        let branch = |body: &TypedModel, inputs: &[usize]| {
            Ok::<_, TractError>(Branch { plan: plan(body.clone(), executor)?, inputs: inputs.into() })
        };
        let op = If {
            facts: model.node_output_facts(node)?.into_iter().cloned().collect(),
            yes: branch(&branching.then_body, &branching.then_input_mapping)?,
            no: branch(&branching.else_body, &branching.else_input_mapping)?,
        };
        model.node_mut(node).op = Box::new(op);
    }
    let options = RunOptions { executor: Some(executor.clone()), ..RunOptions::default() };
    TypedSimplePlan::new_with_options(model.into_optimized()?, &options)
}

#[derive(Clone, Debug)]
struct If {
    facts: TVec<TypedFact>,
    yes: Branch,
    no: Branch,
}

/// A body, and which inputs of the `If` it takes; the condition is input 0.
#[derive(Clone, Debug)]
struct Branch {
    plan: Arc<TypedSimplePlan>,
    inputs: TVec<usize>,
}

// No two are known to be equal, so that none is merged with another.
impl PartialEq for If {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for If {}

impl Op for If {
    fn name(&self) -> StaticName {
        "If".into()
    }

    op_as_typed_op!();
}

impl EvalOp for If {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let branch = if inputs[0].cast_to_scalar::<bool>()? { &self.yes } else { &self.no };
        branch.plan.run(branch.inputs.iter().map(|&index| inputs[index].clone()).collect())
    }
}

impl TypedOp for If {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.facts.clone())
    }

    as_op!();
}

//! `If`, with both branches optimised.
//!
//! tract's own operator prepares the branch that is taken anew at every evaluation, and does not optimise it: a second
//! pass inside an `If` would be the slowest part of a step. Here each branch is a plan that is made once.
//!
//! Two more things are put right as tract translates an `If`: all would have one name, so that a graph could have one
//! only; and where the first branch returns a constant, tract takes the result for that constant, whichever branch is
//! taken.

use tract_onnx::ops::logic::If as Untyped;
use tract_onnx::prelude::multithread::Executor;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::logic::IfThenElse;
use tract_onnx::tract_hir::internal::*;

/// Has every `If` of a model that was read be translated rightly.
pub(super) fn prepare(model: &mut InferenceModel) {
    for node in &mut model.nodes {
        if let Some(choice) = node.op.as_op_mut().downcast_mut::<Untyped>() {
            prepare(&mut choice.then_body);
            prepare(&mut choice.else_body);
            node.op = Box::new(Read(choice.clone()));
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Read(Untyped);

impl Op for Read {
    fn name(&self) -> StaticName {
        self.0.name()
    }

    not_a_typed_op!();
}

impl EvalOp for Read {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.0.eval(context, inputs)
    }
}

impl InferenceOp for Read {
    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(TVec<InferenceFact>, TVec<InferenceFact>, TVec<InferenceFact>)> {
        self.0.infer_facts(inputs, outputs, observed)
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.0.nboutputs()
    }

    fn to_typed(
        &self,
        source: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        let made = self.0.to_typed(source, node, target, mapping)?;
        let Some(&OutletId { node: id, .. }) = made.first() else { return Ok(made) };
        target.rename_node(id, &node.name)?;
        if let Some(choice) = target.node(id).op_as::<IfThenElse>().cloned() {
            let made = target.node_mut(id);
            made.op = Box::new(Choice(choice));
            made.outputs.iter_mut().for_each(|output| output.fact = output.fact.without_value());
        }
        Ok(made)
    }

    as_op!();
}

/// An `If` whose results are no constants.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Choice(IfThenElse);

impl Op for Choice {
    fn name(&self) -> StaticName {
        self.0.name()
    }

    op_as_typed_op!();
}

impl EvalOp for Choice {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.0.eval(context, inputs)
    }
}

impl TypedOp for Choice {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.0.output_facts(inputs)?.iter().map(TypedFact::without_value).collect())
    }

    fn declutter(&self, model: &TypedModel, node: &TypedNode) -> TractResult<Option<TypedModelPatch>> {
        self.0.declutter(model, node)
    }

    as_op!();
}

/// The plan that computes `model`, every `If` in it with optimised branches.
pub(super) fn plan(model: TypedModel, executor: &Executor) -> TractResult<Arc<TypedSimplePlan>> {
    let mut model = model.into_decluttered()?;
    for node in 0..model.nodes().len() {
        let Some(Choice(branching)) = model.node(node).op_as() else { continue };
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

//! A model that computes in float16, bfloat16 or float64, in float32; and a float32 model whose file holds weights in
//! such a type, behind a Cast.
//!
//! What trains in half precision keeps its weights in single precision, since updates are smaller than what half
//! precision resolves ("master weights": Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.1). Here
//! the computation is in float32 as well.
//!
//! Nodes and names stay as they are: types change, and elements with them. So what is found out of the converted model
//! by names is true of the file. A Cast that becomes one of float32 to float32 stays, until types are known
//! ([`crate::normalise::simplify`]).

mod evidence;
mod type_attributes;

use crate::onnx::proto::type_proto::Value as Type;
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto, ValueInfoProto};
use crate::onnx::{DataType, Model, Payloads};
use evidence::Evidence;
use gnp_base::{Error, Result};
use type_attributes::TypeAttributes;

/// Brings a model to float32. Where floating-point weights of another type are computed with, that is a type which the
/// model computes in, and everything of it becomes float32: constants, inputs, outputs, what nodes cast to. Weights of
/// which a Cast alone makes another type become float32 themselves, where `converts` holds for their names, and what
/// else the model rounds it rounds as before. Returns what the user should know.
///
/// # Errors
/// Where external data cannot be read, or a tensor has other elements than its dims say.
pub fn convert(model: &mut Model, converts: &dyn Fn(&str) -> bool) -> Result<Option<String>> {
    let evidence = Evidence::of(model, converts);
    if evidence.is_empty() {
        return Ok(None);
    }
    let attributes = TypeAttributes::of(&model.header.functions);
    let payloads = Payloads::new(model.folder());
    let mut conversion = Conversion { evidence: &evidence, attributes, payloads, tensors: 0, casts: 0 };
    conversion.graph(&mut model.graph)?;
    for function in &mut model.header.functions {
        function.value_info.iter_mut().for_each(|info| conversion.value(info));
        function.attribute_proto.iter_mut().try_for_each(|default| conversion.attribute(default, false))?;
        function.node.iter_mut().try_for_each(|node| conversion.node(node))?;
    }
    let Conversion { tensors, casts, .. } = conversion;
    Ok(Some(evidence.told(tensors, casts)))
}

/// Fewer elements are no weight, but a scale or a shape.
pub(crate) const FEWEST: usize = 2;

/// Whether a tensor is a weight of another floating-point type.
fn is_weight(tensor: &TensorProto) -> bool {
    other(tensor).is_some() && tensor.element_count() >= FEWEST
}

/// The type of a floating-point tensor that is not of float32.
fn other(tensor: &TensorProto) -> Option<DataType> {
    tensor.element().filter(|&element| element.is_floating() && element != DataType::Float)
}

/// The way through a model.
struct Conversion<'e> {
    evidence: &'e Evidence,
    attributes: TypeAttributes,
    payloads: Payloads,
    /// How many tensors of more than one element became float32.
    tensors: usize,
    /// How many Casts were to a type that the model computes in.
    casts: usize,
}

impl Conversion<'_> {
    fn graph(&mut self, graph: &mut GraphProto) -> Result<()> {
        let declared = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
        declared.for_each(|info| self.value(info));
        for tensor in &mut graph.initializer {
            let is_held = self.evidence.holds(tensor.name());
            self.tensor(tensor, is_held)?;
        }
        for tensor in graph.sparse_initializer.iter_mut().filter_map(|sparse| sparse.values.as_mut()) {
            self.tensor(tensor, false)?;
        }
        graph.node.iter_mut().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &mut NodeProto) -> Result<()> {
        let is_cast = node.is("", "Cast");
        let is_held = node.output.first().is_some_and(|output| self.evidence.holds(output));
        for at in 0..node.attribute.len() {
            let names_a_type = self.attributes.names_a_type(node, node.attribute[at].name());
            let attribute = &mut node.attribute[at];
            if names_a_type && attribute.i.is_some_and(|code| self.evidence.computes_in(code)) {
                attribute.i = Some(DataType::Float as i64);
                self.casts += usize::from(is_cast);
            }
            self.attribute(attribute, is_held)?;
        }
        Ok(())
    }

    fn attribute(&mut self, attribute: &mut AttributeProto, is_held: bool) -> Result<()> {
        let sparse = attribute.sparse_tensor.as_deref_mut().into_iter().chain(&mut attribute.sparse_tensors);
        let values = sparse.filter_map(|sparse| sparse.values.as_mut());
        let tensors = attribute.t.as_deref_mut().into_iter().chain(&mut attribute.tensors).chain(values);
        tensors.into_iter().try_for_each(|tensor| self.tensor(tensor, is_held))?;
        let types = attribute.tp.as_deref_mut().into_iter().chain(&mut attribute.type_protos);
        types.for_each(|declared| self.declared(declared, false));
        attribute.subgraphs_mut().try_for_each(|body| self.graph(body))
    }

    fn value(&self, info: &mut ValueInfoProto) {
        let is_held = self.evidence.holds(info.name());
        if let Some(declared) = &mut info.r#type {
            self.declared(declared, is_held);
        }
    }

    fn declared(&self, declared: &mut TypeProto, is_held: bool) {
        let becomes = |code: i32| is_held || self.evidence.computes_in(code.into());
        let set =
            |code: &mut Option<i32>| *code = code.map(|code| if becomes(code) { DataType::Float as i32 } else { code });
        match &mut declared.value {
            Some(Type::TensorType(tensor)) => set(&mut tensor.elem_type),
            Some(Type::SparseTensorType(tensor)) => set(&mut tensor.elem_type),
            Some(Type::SequenceType(sequence)) => self.inner(sequence.elem_type.as_deref_mut()),
            Some(Type::OptionalType(optional)) => self.inner(optional.elem_type.as_deref_mut()),
            Some(Type::MapType(map)) => self.inner(map.value_type.as_deref_mut()),
            Some(Type::OpaqueType(_)) | None => {}
        }
    }

    fn inner(&self, declared: Option<&mut TypeProto>) {
        if let Some(declared) = declared {
            self.declared(declared, false);
        }
    }

    fn tensor(&mut self, tensor: &mut TensorProto, is_held: bool) -> Result<()> {
        let Some(element) = other(tensor).filter(|&element| is_held || self.evidence.computes_in(element as i64))
        else {
            return Ok(());
        };
        self.tensors += usize::from(is_weight(tensor));
        let elements = self.payloads.float32(tensor)?.ok_or_else(|| {
            let (name, element) = (tensor.name(), element.name());
            Error::format(format!("the elements of `{name}` are no {element} numbers"))
                .help("the model is damaged; export or download it again")
        })?;
        tensor.data_type = Some(DataType::Float as i32);
        tensor.set_float32(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{FunctionProto, OperatorSetIdProto};
    use crate::testing::{TestNode, body, node};

    const HALF: DataType = DataType::Float16;

    fn half(name: &str) -> TensorProto {
        TensorProto::raw(name, HALF, &[2], vec![0x00, 0x3c, 0x00, 0xc0].into())
    }

    fn cast(from: &str, to: DataType, into: &str) -> TestNode {
        let attribute = vec![AttributeProto::int("to", to as i64)];
        NodeProto { attribute, ..node("Cast", &[from], &[into]).into() }.into()
    }

    fn model(nodes: &[TestNode], initializer: Vec<TensorProto>) -> Model {
        let mut model = crate::onnx::read("../../models/mlp/model.onnx").unwrap();
        model.graph = GraphProto { initializer, ..body(&["x"], nodes, &["y"]) };
        model
    }

    fn converted(mut model: Model) -> (Model, String) {
        let told = convert(&mut model, &|_| true).unwrap().unwrap_or_default();
        (model, told)
    }

    fn types(model: &Model) -> Vec<String> {
        let initializers = model.graph.initializer.iter().filter_map(TensorProto::element).map(DataType::name);
        let casts =
            model.graph.node.iter().filter(|node| node.is("", "Cast")).map(|node| node.int("to", 0).to_string());
        initializers.chain(casts).collect()
    }

    #[test]
    fn what_computes_in_half_precision_computes_in_single() {
        let nodes = [cast("x", HALF, "h"), node("Mul", &["h", "w"], &["m"]), cast("m", DataType::Float, "y")];
        let mut half_model = model(&nodes, vec![half("w")]);
        half_model.graph.value_info.push(crate::graph::Fact::with_sizes(HALF, &[2]).info("h"));
        let (model, told) = converted(half_model);
        assert_eq!(types(&model), ["float32", "1", "1"]);
        assert_eq!(model.graph.initializer[0].floats().unwrap(), [1.0, -2.0]);
        let declared = crate::graph::Fact::declared(&model.graph.value_info[0]).unwrap();
        assert_eq!(declared.element, DataType::Float);
        assert_eq!(
            told,
            "the model computes in float16: it trains in float32, and 1 Cast to float16 rounds nothing; back in the model's \
             file, 1 tensor is float16 again"
        );
    }

    #[test]
    fn a_cast_of_data_rounds_where_no_weight_is_in_half_precision() {
        let nodes = [
            cast("x", HALF, "h"),
            cast("h", DataType::Float, "a"),
            cast("w", DataType::Float, "b"),
            node("Mul", &["a", "b"], &["y"]),
        ];
        let (model, told) = converted(model(&nodes, vec![half("w")]));
        assert_eq!(types(&model), ["float32", "10", "1", "1"]);
        assert!(told.starts_with("1 weight that the file holds as float16 trains as float32"), "{told}");
    }

    #[test]
    fn what_does_not_convert_stays() {
        let nodes = [cast("w", DataType::Float, "b"), node("Mul", &["x", "b"], &["y"])];
        let mut model = model(&nodes, vec![half("w")]);
        let before = model.graph.clone();
        assert_eq!(convert(&mut model, &|name| name != "w").unwrap(), None);
        assert_eq!(model.graph, before);
    }

    #[test]
    fn double_is_what_a_model_computes_in_that_has_no_weight_of_single() {
        let double = |name: &str| TensorProto::raw(name, DataType::Double, &[2], vec![0; 16].into());
        let single = TensorProto::raw("s", DataType::Float, &[2], vec![0; 8].into());
        let nodes = [node("Mul", &["x", "w"], &["y"])];
        assert_eq!(types(&converted(model(&nodes, vec![double("w")])).0), ["float32"]);
        assert_eq!(types(&converted(model(&nodes, vec![double("w"), single])).0), ["float64", "float32"]);
    }

    #[test]
    fn bodies_and_functions_have_the_type_too() {
        let mut constant = NodeProto::from(node("Constant", &[], &["c"]));
        constant.attribute = vec![AttributeProto::tensor("value", half(""))];
        let branch = body(&[], &[constant.into(), node("Mul", &["w", "c"], &["z"])], &["z"]);
        let mut call = NodeProto::from(node("to", &["x"], &["h"]));
        (call.domain, call.attribute) = (Some("own".into()), vec![AttributeProto::int("kind", HALF as i64)]);
        let nodes = [call.into(), node("If", &["p"], &["y"]).with(branch)];
        let mut model = model(&nodes, vec![half("w")]);
        let by = AttributeProto {
            name: Some("to".into()),
            ref_attr_name: Some("kind".into()),
            ..AttributeProto::int("", 0)
        };
        let inner = NodeProto { attribute: vec![by], ..node("Cast", &["a"], &["b"]).into() };
        model.header.functions = vec![FunctionProto {
            domain: Some("own".into()),
            name: Some("to".into()),
            input: vec!["a".into()],
            output: vec!["b".into()],
            attribute: vec!["kind".into()],
            node: vec![inner],
            opset_import: vec![OperatorSetIdProto { domain: None, version: Some(18) }],
            ..Default::default()
        }];
        let (model, _) = converted(model);
        assert_eq!(model.graph.node[0].int("kind", 0), DataType::Float as i64);
        let held = model.graph.node[1].subgraphs().next().unwrap().node[0].attribute[0].t.clone().unwrap();
        assert_eq!(held.element(), Some(DataType::Float));
    }
}

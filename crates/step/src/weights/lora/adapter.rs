//! One pair of adapters: as nodes of a graph, and as a part of its weight.

use super::super::edit::{Types, floating, missing};
use crate::emit::trained::Trained;
use foldhash::HashMap;
use gnp_base::Result;
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use rand::SeedableRng as _;
use rand::distr::{Distribution as _, Uniform};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The names of what adapters add begin with this.
const PREFIX: &str = "gnp/lora";
/// Those of their factors.
pub(crate) const FACTORS: &str = "gnp/lora/factor/";

/// A pair of adapters beside a weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adapter {
    /// The weight, by the name of the constant, or of what dequantises one.
    pub weight: String,
    /// The layer that it belongs to, as far as names tell.
    pub module: String,
    /// r.
    pub rank: i64,
    /// α/r.
    pub scale: f32,
    /// How many numbers the layer takes.
    pub inputs: i64,
    /// How many numbers the layer returns.
    pub outputs: i64,
    /// Whether the weight lies as [outputs, inputs].
    pub rows_are_outputs: bool,
    /// Whether the file holds the weight quantised.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_quantised: bool,
    /// The nodes that multiply by it, each by its output.
    pub readers: Vec<String>,
}

impl Adapter {
    /// The name of A, [r, inputs].
    pub fn a(&self) -> String {
        format!("{}.lora_A.weight", self.module)
    }

    /// The name of B, [outputs, r].
    pub fn b(&self) -> String {
        format!("{}.lora_B.weight", self.module)
    }

    /// A as PEFT draws it: uniform between ±1/√inputs, which is Kaiming's for a = √5 (He et al., ICCV 2015); and B,
    /// zero. Both are of type `element`.
    fn initial(&self, stream: u64, element: DataType) -> Result<[TensorProto; 2]> {
        let mut generator = ChaCha8Rng::seed_from_u64(0);
        generator.set_stream(stream);
        let bound = 1.0 / (self.inputs as f32).sqrt();
        let count = (self.rank * self.inputs) as usize;
        let drawn: Vec<u8> = match Uniform::new_inclusive(-bound, bound) {
            Ok(uniform) => uniform.sample_iter(generator).take(count).flat_map(f32::to_le_bytes).collect(),
            Err(_) => vec![0; 4 * count],
        };
        let zeros = vec![0; 4 * (self.outputs * self.rank) as usize];
        Ok([
            floating(&self.a(), element, &[self.rank, self.inputs], drawn.into())?,
            floating(&self.b(), element, &[self.outputs, self.rank], zeros.into())?,
        ])
    }

    /// `node`, a MatMul or Gemm, and what is computed beside it: together they make what the node made.
    /// They are of type `element`.
    fn beside(&self, mut node: NodeProto, element: DataType, scales: &mut Scales) -> Vec<NodeProto> {
        let y = std::mem::take(&mut node.output[0]);
        let name = |part: &str| format!("{PREFIX}/{y}/{part}");
        let made = |operator: &str, inputs: [&str; 2], part: &str| NodeProto {
            name: Some(name(part)),
            op_type: Some(operator.into()),
            input: inputs.iter().filter(|input| !input.is_empty()).map(|&input| input.to_owned()).collect(),
            output: vec![name(part)],
            ..Default::default()
        };
        let transposed = |value: &str, part: &str| NodeProto {
            attribute: vec![AttributeProto::ints("perm", &[1, 0])],
            ..made("Transpose", [value, ""], part)
        };
        node.output[0] = name("frozen");
        let is_gemm = node.is("", "Gemm");
        let factor = if is_gemm { node.float("alpha", 1.0) } else { 1.0 };
        let mut x = node.input[0].clone();
        let mut beside = Vec::with_capacity(8);
        if is_gemm && node.int("transA", 0) != 0 {
            beside.push(transposed(&x, "x"));
            x = name("x");
        }
        beside.push(transposed(&self.a(), "a"));
        beside.push(made("MatMul", [&x, &name("a")], "low"));
        let mut low = name("low");
        if let Some(scale) = scales.of(self.scale * factor, element) {
            beside.push(made("Mul", [&low, &scale], "scaled"));
            low = name("scaled");
        }
        beside.push(transposed(&self.b(), "b"));
        beside.push(made("MatMul", [&low, &name("b")], "delta"));
        let sum = made("Add", [&node.output[0], &name("delta")], "sum");
        beside.insert(0, node);
        beside.push(NodeProto { output: vec![y], ..sum });
        beside
    }

    /// The weight W with the adapters in it: W + (α/r)·B·A, in the layout of W. `base` has the elements of W.
    pub fn merged(&self, base: &[u8], a: &Trained, b: &Trained) -> Trained {
        let floats = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|&e| f32::from_le_bytes(e)).collect::<Vec<f32>>();
        let [rank, inputs, outputs] = [self.rank, self.inputs, self.outputs].map(|size| size.max(0) as usize);
        let (mut weight, a, b) = (floats(base), floats(&a.payload), floats(&b.payload));
        // Row i of W gets Σⱼ left(i, j)·right(j, ·).
        let b_turned =
            || (0..rank).flat_map(|j| (0..outputs).map(move |o| (o, j))).map(|(o, j)| b[o * rank + j]).collect();
        let (columns, right): (usize, Vec<f32>) =
            if self.rows_are_outputs { (inputs, a.clone()) } else { (outputs, b_turned()) };
        let left = |i: usize, j: usize| if self.rows_are_outputs { b[i * rank + j] } else { a[j * inputs + i] };
        for (i, row) in weight.chunks_exact_mut(columns.max(1)).enumerate() {
            for j in 0..rank {
                let factor = self.scale * left(i, j);
                row.iter_mut().zip(&right[j * columns..]).for_each(|(w, r)| *w += factor * r);
            }
        }
        let dims = if self.rows_are_outputs { [self.outputs, self.inputs] } else { [self.inputs, self.outputs] };
        let payload = weight.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>().into();
        Trained { name: self.weight.clone(), dims: dims.to_vec(), payload }
    }
}

/// The factors of adapters, a constant for each number but 1, in each type.
#[derive(Default)]
struct Scales(Vec<(f32, DataType, String)>);

impl Scales {
    fn of(&mut self, scale: f32, element: DataType) -> Option<String> {
        if scale == 1.0 {
            return None;
        }
        let kind = if element == DataType::Float { String::new() } else { format!("/{}", element.name()) };
        let name = format!("{FACTORS}{scale}{kind}");
        if !self.0.iter().any(|(_, _, known)| *known == name) {
            self.0.push((scale, element, name.clone()));
        }
        Some(name)
    }

    fn tensors(self) -> impl Iterator<Item = Result<TensorProto>> {
        let tensor = |(scale, element, name): (f32, DataType, String)| {
            floating(&name, element, &[], scale.to_le_bytes().to_vec().into())
        };
        self.0.into_iter().map(tensor)
    }
}

/// Puts adapters into a graph, as they are at first, in the type that it computes with their weights in.
///
/// # Errors
/// Where the graph lacks a node that they go beside, or its type lacks a number that they have.
pub(crate) fn put<'a>(graph: &mut GraphProto, adapters: impl Iterator<Item = &'a Adapter>) -> Result<()> {
    let adapters: Vec<&Adapter> = adapters.collect();
    if adapters.is_empty() {
        return Ok(());
    }
    let reads =
        |(index, adapter): (usize, &&'a Adapter)| adapter.readers.iter().map(move |reader| (reader.as_str(), index));
    let mut at: HashMap<&str, usize> = adapters.iter().enumerate().flat_map(reads).collect();
    let mut elements = vec![DataType::Float; adapters.len()];
    let types = Types::of(graph);
    for node in &graph.node {
        if let (Some(&index), Some(weight)) = (node.output.first().and_then(|o| at.get(o.as_str())), node.input(1)) {
            elements[index] = types.of_weight(weight);
        }
    }
    for (stream, (adapter, &element)) in adapters.iter().zip(&elements).enumerate() {
        graph.initializer.extend(adapter.initial(stream as u64, element)?);
    }
    let mut scales = Scales::default();
    for node in std::mem::take(&mut graph.node) {
        match node.output.first().and_then(|output| at.remove(output.as_str())) {
            Some(index) => graph.node.extend(adapters[index].beside(node, elements[index], &mut scales)),
            None => graph.node.push(node),
        }
    }
    for scale in scales.tensors() {
        graph.initializer.push(scale?);
    }
    at.into_keys().next().map_or(Ok(()), |node| Err(missing(node)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(rows_are_outputs: bool) -> Adapter {
        Adapter {
            weight: "w".into(),
            module: "w".into(),
            rank: 1,
            scale: 2.0,
            inputs: 2,
            outputs: 3,
            rows_are_outputs,
            is_quantised: false,
            readers: vec!["y".into()],
        }
    }

    #[test]
    fn a_weight_takes_its_adapters_up_in_its_own_layout() {
        let trained = |values: &[f32]| Trained {
            name: String::new(),
            dims: vec![],
            payload: values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>().into(),
        };
        let (a, b) = (trained(&[1.0, 10.0]), trained(&[1.0, 2.0, 3.0]));
        let merged = |rows_are_outputs| {
            let merged = adapter(rows_are_outputs).merged(&[0; 24], &a, &b);
            let values = merged.payload.as_chunks().0.iter().map(|&e| f32::from_le_bytes(e));
            (merged.dims.clone(), values.collect::<Vec<f32>>())
        };
        assert_eq!(merged(true), (vec![3, 2], vec![2.0, 20.0, 4.0, 40.0, 6.0, 60.0]));
        assert_eq!(merged(false), (vec![2, 3], vec![2.0, 4.0, 6.0, 20.0, 40.0, 60.0]));
    }

    #[test]
    fn adapters_are_drawn_alike_each_time_and_begin_without_effect() {
        let [a, b] = adapter(true).initial(3, DataType::Float).unwrap();
        assert_eq!(
            (a.name(), &a.dims, b.name(), &b.dims),
            ("w.lora_A.weight", &vec![1, 2], "w.lora_B.weight", &vec![3, 1])
        );
        let values = a.floats().unwrap();
        assert!(values.iter().all(|v| v.abs() <= 0.5f64.sqrt()) && values[0] != values[1], "{values:?}");
        assert_eq!(b.floats().unwrap(), [0.0; 3]);
        assert_eq!(adapter(true).initial(3, DataType::Float).unwrap()[0], a);
        assert_ne!(adapter(true).initial(4, DataType::Float).unwrap()[0], a);
    }
}

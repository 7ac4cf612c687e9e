//! Products of matrices on the processor, by our kernel.
//!
//! The gradient of a weight is a product whose first factor is transposed. ONNX Runtime's products are written for
//! constant weights, and take half as long again where it is; and longer where many small matrices are multiplied, as
//! in attention. Our kernel takes its factors in any order of their axes, and writes the product in any. So products of
//! float32 become its calls, together with what exchanges axes before them and behind them, and with what multiplies
//! them by a number.
//!
//! The condition: our kernels are there, on a processor where they were measured. Products with constants stay: what is
//! constant the runtime lays out once. Sizes do not count: how many samples a batch has is known in some sessions alone,
//! and both are to have the same numbers.

use super::{read_twice, retain_read};
use foldhash::{HashMap, HashSet};
use gnp_base::contract::functions;
use gnp_model::graph::{Dim, Facts};
use gnp_model::onnx::proto::{AttributeProto, GraphProto, NodeProto};
use gnp_model::onnx::{DataType, Model};
use gnp_model::shapes;
use std::collections::BTreeMap;

/// Rewrites `model`. Where its shapes contradict each other it stays as it is: the runtime says so better.
pub(super) fn apply(model: &mut Model) {
    let Ok(facts) = shapes::analyse(model, &BTreeMap::new()) else { return };
    let fed: HashSet<&str> = model.graph.input.iter().map(|input| input.name()).collect();
    let weights = model.graph.initializer.iter().map(|tensor| tensor.name());
    let constants = weights.filter(|name| !fed.contains(name)).map(str::to_owned).collect();
    let (views, reshaped) = (HashMap::default(), HashMap::default());
    let mut products = Products { facts: &facts, constants, views, reshaped, has: false };
    products.replace(&mut model.graph);
    if products.has {
        model.import(functions::DOMAIN, 1);
    }
}

/// A value as another one with its axes in an order, times a number.
struct View {
    of: String,
    /// Those of a `Transpose`.
    axes: Vec<i64>,
    factor: f64,
}

/// The walk through a graph and its bodies.
struct Products<'f> {
    facts: &'f Facts,
    constants: HashSet<String>,
    views: HashMap<String, View>,
    /// What the outputs of reshapes were before.
    reshaped: HashMap<String, String>,
    /// Whether there was one.
    has: bool,
}

/// A product of two values, as it will be called.
struct Product {
    a: View,
    b: View,
    bias: Option<String>,
    alpha: f64,
}

impl Products<'_> {
    fn replace(&mut self, graph: &mut GraphProto) {
        let read_twice = read_twice(graph);
        let mut made: HashMap<String, usize> = HashMap::default();
        let mut is_merged = vec![false; graph.node.len()];
        // Names may have been others in another body.
        graph.input.iter().for_each(|input| self.forget(input.name()));
        for place in 0..graph.node.len() {
            let node = &mut graph.node[place];
            for body in node.subgraphs_mut() {
                self.replace(body);
            }
            node.output.iter().for_each(|output| self.forget(output));
            let Some(output) = node.output.first().cloned() else { continue };
            let mut is_made = false;
            let node = &graph.node[place];
            if let Some(product) = self.product(node) {
                product.write(&mut graph.node[place]);
                is_made = true;
            } else if let Some((product, with_bias)) = self.biased(node, &made, &graph.node) {
                graph.node[place] = with_bias;
                is_merged[product] = true;
                is_made = true;
            } else if let Some(view) = self.view(node) {
                let product = made.get(&view.of).copied();
                let merged = product.and_then(|at| Some((at, behind(&graph.node[at], &output, &view)?)));
                match merged {
                    Some((product, with_view)) => {
                        graph.node[place] = with_view;
                        is_merged[product] = true;
                        is_made = true;
                    }
                    None => _ = self.views.insert(output.clone(), view),
                }
            }
            let node = &graph.node[place];
            if let Some(before) = node.input(0).filter(|_| node.is("", "Reshape")) {
                self.reshaped.insert(output.clone(), before.to_owned());
            }
            self.has |= is_made;
            if is_made && !read_twice.contains(&output) {
                made.insert(output, place);
            }
        }
        let is_view = |name: &String| self.views.contains_key(name) || self.reshaped.contains_key(name);
        retain_read(graph, is_merged, |node| node.output.iter().all(is_view));
    }

    fn forget(&mut self, name: &str) {
        self.views.remove(name);
        self.reshaped.remove(name);
    }

    /// What a node makes, where it is its input in another order of the axes, or times a number.
    fn view(&self, node: &NodeProto) -> Option<View> {
        let (x, other) = (node.input(0)?, node.input(1));
        match (node.domain(), node.op_type()) {
            ("", "Transpose") => {
                let rank = self.rank(x)?;
                let axes = node.ints("perm").map_or_else(|| (0..rank).rev().collect(), <[i64]>::to_vec);
                Some(View { of: x.to_owned(), axes, factor: 1.0 })
            }
            ("", "Reshape") => self.matrices(x, node.output.first()?),
            ("", "Mul") => self.times(x, other?).or_else(|| self.times(other?, x)),
            ("", "Div") => self.times(x, other?).map(|view| View { factor: 1.0 / view.factor, ..view }),
            _ => None,
        }
    }

    /// What exporters write for the transposes of a batch of matrices: the batch as one axis, `x`, which is that
    /// transposed, and `output`, the batch again as it was.
    fn matrices(&self, x: &str, output: &str) -> Option<View> {
        let transposed = self.views.get(x).filter(|view| view.axes == [0, 2, 1])?;
        let before = self.reshaped.get(&transposed.of)?;
        let [all, matrices, made] = [before, &transposed.of, output].map(|name| self.facts.get(name)?.shape.as_deref());
        let ([batch @ .., rows, columns], [_, m, n], [again @ .., p, q]) = (all?, matrices?, made?) else {
            return None;
        };
        let same = |one: &[Dim], other: &[Dim]| {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is(other))
        };
        let is_batch = rows.is(m) && columns.is(n) && rows.is(q) && columns.is(p) && same(batch, again);
        let mut axes: Vec<i64> = (0..batch.len() as i64 + 2).collect();
        axes.swap(batch.len(), batch.len() + 1);
        is_batch.then(|| View { of: before.clone(), axes, factor: transposed.factor })
    }

    /// x times a number, a constant that does not give it more axes.
    fn times(&self, x: &str, number: &str) -> Option<View> {
        let (rank, fact) = (self.rank(x)?, self.facts.get(number)?);
        let factor = self.facts.number(number).filter(|_| fact.is_single() && fact.rank() <= Some(rank as usize))?;
        Some(View { of: x.to_owned(), axes: (0..rank).collect(), factor })
    }

    /// A value as it is. Many matrices with one other are one large product, which another order would take apart.
    fn itself(&self, name: &str) -> Option<View> {
        Some(View { of: name.to_owned(), axes: (0..self.rank(name)?).collect(), factor: 1.0 })
    }

    /// What stands behind a value that is a factor of a product.
    fn resolved(&self, name: &str) -> Option<View> {
        let mut view = self.itself(name)?;
        while let Some(next) = self.views.get(&view.of) {
            let axes = ordered(&next.axes, &view.axes)?;
            if !is_close(&axes) {
                break;
            }
            view = View { of: next.of.clone(), axes, factor: view.factor * next.factor };
        }
        Some(view)
    }

    /// The call that computes what `node` does, where our kernel is faster.
    fn product(&self, node: &NodeProto) -> Option<Product> {
        let (a, b) = (node.input(0)?, node.input(1)?);
        if !node.domain().is_empty() || !["MatMul", "Gemm"].contains(&node.op_type()) {
            return None;
        }
        let float = |name: &str| self.facts.get(name).filter(|fact| fact.element == DataType::Float);
        let is_list = float(a)?.rank() > Some(2) && float(b)?.rank() == Some(2);
        let mut a = if is_list { self.itself(a)? } else { self.resolved(a)? };
        let mut b = self.resolved(b)?;
        let bias = node.input(2).filter(|name| !name.is_empty());
        for (factor, flag) in [(&mut a, "transA"), (&mut b, "transB")] {
            if node.int(flag, 0) != 0 {
                factor.axes.reverse();
            }
        }
        let b_sizes = self.sizes(&b)?;
        let (2.., [.., _, columns]) = (a.axes.len(), &b_sizes[..]) else { return None };
        let fits = |bias: &str| {
            let shape = float(bias).and_then(|fact| fact.sizes());
            node.float("beta", 1.0) == 1.0 && shape.is_some_and(|sizes| sizes.iter().copied().eq(columns.known()))
        };
        let is_constant = |view: &View| self.constants.contains(&view.of);
        if is_constant(&a) || is_constant(&b) || !bias.is_none_or(fits) {
            return None;
        }
        let alpha = f64::from(node.float("alpha", 1.0)) * a.factor * b.factor;
        Some(Product { a, b, bias: bias.map(str::to_owned), alpha })
    }

    /// A product that was `made` with the bias that `node` adds, and where it was.
    fn biased(
        &self,
        node: &NodeProto,
        made: &HashMap<String, usize>,
        nodes: &[NodeProto],
    ) -> Option<(usize, NodeProto)> {
        let (x, y) = (node.input(0).filter(|_| node.is("", "Add"))?, node.input(1)?);
        let (product, bias) = match (made.get(x), made.get(y)) {
            (Some(&product), _) => (product, y),
            (None, Some(&product)) => (product, x),
            (None, None) => return None,
        };
        let mut biased = nodes[product].clone();
        let columns = self.facts.get(&biased.output[0])?.dim(-1)?.clone();
        let fact = self.facts.get(bias).filter(|fact| fact.element == DataType::Float)?;
        let is_row = fact.shape.as_deref().is_some_and(|dims| matches!(dims, [size] if size.is(&columns)));
        if biased.input.len() > 2 || biased.ints("y_axes").is_some() || !is_row {
            return None;
        }
        biased.input.push(bias.to_owned());
        biased.output = vec![node.output.first()?.clone()];
        Some((product, biased))
    }

    fn rank(&self, name: &str) -> Option<i64> {
        Some(self.facts.get(name)?.rank()? as i64)
    }

    /// The sizes of a view.
    fn sizes(&self, view: &View) -> Option<Vec<Dim>> {
        let shape = self.facts.get(&view.of)?.shape.as_deref()?;
        ordered(shape, &view.axes)
    }
}

impl Product {
    /// Lets `node` be the call.
    fn write(self, node: &mut NodeProto) {
        let Self { a, b, bias, alpha } = self;
        node.op_type = Some(functions::MATMUL.into());
        node.domain = Some(functions::DOMAIN.into());
        node.attribute = vec![AttributeProto::float("alpha", alpha as f32)];
        for (name, view) in [("a_axes", &a), ("b_axes", &b)] {
            if !is_in_order(&view.axes) {
                node.attribute.push(AttributeProto::ints(name, &view.axes));
            }
        }
        node.input = [a.of, b.of].into_iter().chain(bias).collect();
    }
}

/// The product that `product` is, and then `view` of it, which is called `name`; none where it is none.
fn behind(product: &NodeProto, name: &str, view: &View) -> Option<NodeProto> {
    let before = product.ints("y_axes").map_or_else(|| (0..view.axes.len() as i64).collect(), <[i64]>::to_vec);
    let axes = ordered(&before, &view.axes).filter(|axes| is_close(axes))?;
    // The bias is not multiplied.
    if product.input.len() > 2 && view.factor != 1.0 {
        return None;
    }
    let alpha = f64::from(product.float("alpha", 1.0)) * view.factor;
    let mut node = product.clone();
    node.output = vec![name.to_owned()];
    node.attribute.retain(|attribute| !["alpha", "y_axes"].contains(&attribute.name()));
    node.attribute.push(AttributeProto::float("alpha", alpha as f32));
    if !is_in_order(&axes) {
        node.attribute.push(AttributeProto::ints("y_axes", &axes));
    }
    Some(node)
}

/// What there is of each axis, with the axes in this order.
fn ordered<T: Clone>(of_axes: &[T], order: &[i64]) -> Option<Vec<T>> {
    order.iter().map(|&axis| of_axes.get(usize::try_from(axis).ok()?).cloned()).collect()
}

fn is_in_order(axes: &[i64]) -> bool {
    axes.iter().copied().eq(0..axes.len() as i64)
}

/// Whether neighbours in memory are neighbours in a matrix, as kernels for products want it.
fn is_close(axes: &[i64]) -> bool {
    let last = axes.len() as i64 - 1;
    axes.iter().rev().take(2).any(|&axis| axis == last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::graph::{Fact, Graph};
    use gnp_model::onnx::proto::TensorProto;
    use gnp_model::testing::{TestNode, body, model, node};

    /// The nodes behind the pass, as text: x and z are [4, 65, 3, 64], w is [192, 768], v [768, 192], b a bias, row a
    /// vector.
    fn nodes(nodes: &[TestNode], outputs: &[&str]) -> Vec<String> {
        let float = |name: &str, sizes: &[i64]| Fact::with_sizes(DataType::Float, sizes).info(name);
        let mut graph = body(&[], nodes, outputs);
        graph.input = vec![
            float("x", &[4, 65, 3, 64]),
            float("z", &[4, 65, 3, 64]),
            float("rows", &[260, 192]),
            float("w", &[192, 768]),
            float("v", &[768, 192]),
            float("b", &[768]),
            float("row", &[192]),
        ];
        let eighth = 0.125f32.to_le_bytes().to_vec();
        let constant = vec![0; 192 * 768 * 4];
        graph.initializer = vec![
            TensorProto::raw("eighth", DataType::Float, &[], eighth.into()),
            TensorProto::raw("frozen", DataType::Float, &[192, 768], constant.into()),
        ];
        for (name, sizes) in [("one", &[12, 65, 64][..]), ("again", &[4, 3, 64, 65]), ("other", &[6, 2, 64, 65])] {
            graph.initializer.push(TensorProto::int64s(name, sizes));
        }
        let mut model = model(graph);
        apply(&mut model);
        Graph::new(model.graph.clone()).expect("the graph is well-formed");
        let told = |node: &NodeProto| {
            let axes = |name: &str| node.ints(name).map_or(String::new(), |axes| format!(" {name}{axes:?}"));
            let axes = ["perm", "a_axes", "b_axes", "y_axes"].map(axes).concat();
            let alpha = Some(node.float("alpha", 1.0)).filter(|alpha| *alpha != 1.0);
            let alpha = alpha.map_or(String::new(), |alpha| format!(" {alpha}"));
            format!("{} {}{axes}{alpha}", node.op_type(), node.input.join(" "))
        };
        model.graph.node.iter().map(told).collect()
    }

    fn perm(input: &str, output: &str, perm: &[i64]) -> TestNode {
        let mut node: NodeProto = node("Transpose", &[input], &[output]).into();
        node.attribute = vec![AttributeProto::ints("perm", perm)];
        node.into()
    }

    fn gemm(inputs: &[&str], output: &str, flags: &[&str]) -> TestNode {
        let mut node: NodeProto = node("Gemm", inputs, &[output]).into();
        node.attribute = flags.iter().map(|flag| AttributeProto::int(flag, 1)).collect();
        node.into()
    }

    #[test]
    fn attention_is_products_alone() {
        let all = [
            perm("x", "q", &[0, 2, 1, 3]),
            perm("z", "k", &[0, 2, 3, 1]),
            node("Mul", &["q", "eighth"], &["scaled"]),
            node("MatMul", &["scaled", "k"], &["scores"]),
            node("Softmax", &["scores"], &["p"]),
            perm("z", "values", &[0, 2, 1, 3]),
            node("MatMul", &["p", "values"], &["heads"]),
            perm("heads", "y", &[0, 2, 1, 3]),
        ];
        let expected = [
            "MatMul x z a_axes[0, 2, 1, 3] b_axes[0, 2, 3, 1] 0.125",
            "Softmax scores",
            "MatMul p z b_axes[0, 2, 1, 3] y_axes[0, 2, 1, 3]",
        ];
        assert_eq!(nodes(&all, &["y"]), expected);
        // What is read elsewhere is there as before.
        let read = [&all[..], &[node("Relu", &["q"], &["r"]), node("Relu", &["heads"], &["s"])]].concat();
        let found = nodes(&read, &["y", "r", "s"]);
        assert!(found.contains(&"Transpose x perm[0, 2, 1, 3]".to_owned()), "{found:?}");
        assert!(found.contains(&"Transpose heads perm[0, 2, 1, 3]".to_owned()), "{found:?}");
        assert!(found.contains(&expected[0].to_owned()), "{found:?}");
    }

    #[test]
    fn a_transposed_batch_is_seen_through_its_reshapes() {
        let all = [
            perm("x", "q", &[0, 2, 1, 3]),
            perm("z", "k", &[0, 2, 1, 3]),
            node("Reshape", &["k", "one"], &["list"]),
            perm("list", "turned", &[0, 2, 1]),
            node("Reshape", &["turned", "again"], &["kt"]),
            node("MatMul", &["q", "kt"], &["y"]),
        ];
        assert_eq!(nodes(&all, &["y"]), ["MatMul x z a_axes[0, 2, 1, 3] b_axes[0, 2, 3, 1]"]);
        // These are other matrices.
        let torn = [&all[..4], &[node("Reshape", &["turned", "other"], &["kt"]), all[5].clone()]].concat();
        assert_eq!(nodes(&torn, &["y"])[0], "Transpose z perm[0, 2, 1, 3]");
    }

    #[test]
    fn gradients_of_weights_are_products_with_a_transposed_factor() {
        let all = [
            gemm(&["rows", "w", "b"], "y", &[]),
            gemm(&["rows", "v"], "z1", &["transB"]),
            gemm(&["y", "rows"], "dw", &["transA"]),
        ];
        let expected = ["MatMul rows w b", "MatMul rows v b_axes[1, 0]", "MatMul y rows a_axes[1, 0]"];
        assert_eq!(nodes(&all, &["z1", "dw"]), expected);
        // A bias is not multiplied by what the product is.
        let scaled = [gemm(&["rows", "w", "b"], "y", &[]), node("Mul", &["y", "eighth"], &["s"])];
        assert_eq!(nodes(&scaled, &["s"]), ["MatMul rows w b", "Mul y eighth"]);
        let scaled = [gemm(&["rows", "w"], "y", &[]), node("Div", &["y", "eighth"], &["s"])];
        assert_eq!(nodes(&scaled, &["s"]), ["MatMul rows w 8"]);
    }

    #[test]
    fn a_bias_is_added_by_the_product() {
        let all = [node("MatMul", &["rows", "w"], &["y"]), node("Add", &["b", "y"], &["z1"])];
        assert_eq!(nodes(&all, &["z1"]), ["MatMul rows w b"]);
        // What is read elsewhere is there without it.
        assert_eq!(nodes(&all, &["y", "z1"]), ["MatMul rows w", "Add b y"]);
        // A row has other columns.
        let all = [node("MatMul", &["rows", "w"], &["y"]), node("Add", &["y", "row"], &["z1"])];
        assert_eq!(nodes(&all, &["z1"])[1], "Add y row");
    }

    #[test]
    fn products_with_constants_and_of_vectors_stay() {
        let all = [node("MatMul", &["rows", "frozen"], &["y"]), node("MatMul", &["v", "row"], &["sums"])];
        assert_eq!(nodes(&all, &["y", "sums"]), ["MatMul rows frozen", "MatMul v row"]);
    }

    #[test]
    fn an_order_that_tears_neighbours_apart_is_left_to_a_transpose() {
        let all = [perm("x", "t", &[3, 0, 2, 1]), perm("z", "u", &[3, 0, 1, 2]), node("MatMul", &["t", "u"], &["y"])];
        let expected = ["Transpose x perm[3, 0, 2, 1]", "Transpose z perm[3, 0, 1, 2]", "MatMul t u"];
        assert_eq!(nodes(&all, &["y"]), expected);
        assert!(is_close(&[0, 2, 3, 1]) && is_close(&[0, 2, 1, 3]) && !is_close(&[3, 0, 1, 2]));
    }
}

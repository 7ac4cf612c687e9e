//! What each operator makes of its inputs, by the standard's sentences: a file for each family of operators.
//!
//! A rule tells the outputs of an operation from what is known of its inputs, as far as that goes. It may rely on what
//! [`crate::schema`] checks, which is that of operator set 13 on, but not on that alone: whatever the numbers are, it
//! does not fail, and computes no tensor with more than a few elements.

mod attention;
mod convolution;
mod elementwise;
mod index;
mod layout;
mod loss;
mod matmul;
mod microsoft;
mod moved;
mod normalization;
mod ours;
mod quantize;
mod random;
mod recurrent;
mod reduce;
mod region;
mod resize;
mod shape;
mod signal;
mod window;

use super::known::{Known, Sizes};
use super::size::Size;
use crate::onnx::DataType;
use crate::onnx::proto::{MICROSOFT, NodeProto, standard_domain};
use crate::schema;
use gnp_base::contract::functions;

/// One operation: a node, what is known of its inputs, and the version of the standard's operators that it is in.
pub(super) struct Operation<'n> {
    node: &'n NodeProto,
    inputs: Vec<&'n Known>,
    opset: i64,
}

/// What is known of the outputs from the first on; none where that is nothing.
type Rule = fn(&Operation<'_>) -> Option<Vec<Known>>;

/// The rule of a standard operator, or none where the family does not have it.
type Family = fn(&str) -> Option<Rule>;

const STANDARD: [Family; 17] = [
    elementwise::rule,
    layout::rule,
    convolution::rule,
    matmul::rule,
    index::rule,
    reduce::rule,
    normalization::rule,
    shape::rule,
    window::rule,
    resize::rule,
    quantize::rule,
    recurrent::rule,
    attention::rule,
    random::rule,
    loss::rule,
    region::rule,
    signal::rule,
];

/// What `operation` makes of its inputs: what is known of its outputs from the first on.
pub(super) fn infer(operation: &Operation<'_>) -> Vec<Known> {
    let operator = operation.node.op_type();
    let rule = match standard_domain(operation.node.domain()) {
        "" => standard(operator),
        MICROSOFT => microsoft::rule(operator),
        functions::DOMAIN => ours::rule(operator),
        _ => None,
    };
    let mut outputs = rule.and_then(|rule| rule(operation)).unwrap_or_default();
    for size in outputs.iter_mut().flat_map(|output| output.sizes.iter_mut().flatten()) {
        // Less than nothing: the numbers do not fit each other.
        if size.as_ref().and_then(Size::known).is_some_and(|number| number < 0) {
            *size = None;
        }
    }
    outputs
}

fn standard(operator: &str) -> Option<Rule> {
    STANDARD.iter().find_map(|family| family(operator))
}

static UNKNOWN: Known = Known { element: None, sizes: None, elements: None };

impl<'n> Operation<'n> {
    /// Of inputs of which something is known, or nothing.
    pub(super) fn new(node: &'n NodeProto, inputs: impl Iterator<Item = Option<&'n Known>>, opset: i64) -> Self {
        Self { node, inputs: inputs.map(|known| known.unwrap_or(&UNKNOWN)).collect(), opset }
    }

    /// What is known of an input: nothing of one that is left out.
    fn input(&self, index: usize) -> &'n Known {
        self.inputs.get(index).copied().unwrap_or(&UNKNOWN)
    }

    /// Whether there is such an input.
    fn has(&self, index: usize) -> bool {
        self.node.input(index).is_some()
    }

    /// The type of the elements of an input.
    fn element(&self, index: usize) -> Option<DataType> {
        self.input(index).element
    }

    /// The sizes of an input, where their number is known.
    fn sizes(&self, index: usize) -> Option<&'n Sizes> {
        self.input(index).sizes.as_ref()
    }

    fn rank(&self, index: usize) -> Option<usize> {
        self.input(index).rank()
    }

    /// The size of an axis of an input.
    fn size(&self, index: usize, axis: usize) -> Option<Size> {
        self.sizes(index)?.get(axis)?.clone()
    }

    /// The size of an axis of an input, counted from the last, which is 1.
    fn size_from_end(&self, index: usize, axis: usize) -> Option<Size> {
        let sizes = self.sizes(index)?;
        sizes.get(sizes.len().checked_sub(axis)?)?.clone()
    }

    /// A tensor of the type and the sizes of an input.
    fn like(&self, index: usize) -> Known {
        self.input(index).without_elements()
    }

    /// A list that is an attribute in old operators and an input in new ones.
    fn list(&self, name: &str, index: usize) -> Option<Vec<i64>> {
        match self.node.ints(name) {
            Some(list) => Some(list.to_vec()),
            None => self.input(index).ints(),
        }
    }

    /// Whether that list is there.
    fn has_list(&self, name: &str, index: usize) -> bool {
        self.node.attribute(name).is_some() || self.has(index)
    }

    /// An axis, counted from the first: the attribute `axis`.
    fn axis(&self, default: i64, rank: usize) -> Option<usize> {
        place(self.node.int("axis", default), rank)
    }

    /// The type that an attribute names.
    fn named_type(&self, attribute: &str) -> Option<DataType> {
        let number = i32::try_from(self.node.attribute(attribute)?.i()).ok()?;
        DataType::try_from(number).ok().filter(|element| *element != DataType::Undefined)
    }
}

impl schema::Known for Operation<'_> {
    fn rank(&self, input: usize) -> Option<usize> {
        self.input(input).rank()
    }

    fn sizes(&self, input: usize) -> Option<Vec<Option<i64>>> {
        let sizes = self.input(input).sizes.as_ref()?;
        Some(sizes.iter().map(|size| size.as_ref()?.known()).collect())
    }

    fn ints(&self, input: usize) -> Option<Vec<i64>> {
        self.input(input).ints()
    }
}

/// An axis or an index, which may be counted from the end; none beyond `count`.
fn place(at: i64, count: usize) -> Option<usize> {
    let at = if at < 0 { at.checked_add(i64::try_from(count).ok()?)? } else { at };
    usize::try_from(at).ok().filter(|&at| at < count)
}

/// These as places, none beyond `count`.
fn places(list: &[i64], count: usize) -> Option<Vec<usize>> {
    list.iter().map(|&at| place(at, count)).collect()
}

/// The sizes with another in place of that of one axis.
fn replaced(sizes: &Sizes, axis: usize, size: Option<Size>) -> Option<Sizes> {
    let mut sizes = sizes.clone();
    *sizes.get_mut(axis)? = size;
    Some(sizes)
}

/// So many axes of which nothing is known.
fn open(rank: usize) -> Option<Sizes> {
    // More are no tensor's.
    (rank <= 64).then(|| vec![None; rank])
}

fn number(number: i64) -> Option<Size> {
    Some(Size::number(number))
}

/// Whether a list of names, between spaces, has this one.
fn named(list: &str, name: &str) -> bool {
    list.split_ascii_whitespace().any(|other| other == name)
}

#[cfg(test)]
mod tests {
    use super::super::known::{Elements, fixed, small};
    use super::*;
    use crate::onnx::proto::AttributeProto;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    const TABLE: &str = include_str!("../../schema/operators.txt");

    /// Graphs of their own, and what is no tensor.
    const WITHOUT: &str = "ConcatFromSequence If Loop Optional OptionalGetElement Scan SequenceAt SequenceConstruct \
        SequenceEmpty SequenceErase SequenceInsert SequenceMap SplitToSequence";

    #[test]
    fn every_operator_of_the_standard_has_a_rule() {
        let operators = TABLE.lines().filter_map(|line| line.split(' ').next());
        let mut without: Vec<&str> = operators.filter(|operator| standard(operator).is_none()).collect();
        without.dedup();
        assert_eq!(without.join(" "), WITHOUT);
    }

    /// Numbers that a file may have anywhere.
    fn numbers() -> impl Strategy<Value = i64> {
        select(vec![-2, -1, 0, 1, 1, 2, 2, 3, 4, 8, 65, 1 << 31, 1 << 40, i64::MAX, i64::MIN, i64::MIN + 1])
    }

    fn size() -> impl Strategy<Value = Option<Size>> {
        let symbol = || Size::symbol("N");
        prop_oneof![
            numbers().prop_map(|number| Some(Size::number(number))),
            Just(None),
            Just(Some(symbol())),
            numbers().prop_map(move |number| symbol().times_number(number)?.plus_number(-1)?.over(3)),
        ]
    }

    fn known() -> impl Strategy<Value = Known> {
        let element =
            || select(vec![DataType::Float, DataType::Int64, DataType::Int32, DataType::Bool, DataType::Uint8]);
        let whole = proptest::collection::vec(
            prop_oneof![4 => numbers().prop_map(Size::number), 1 => Just(Size::symbol("N"))],
            0..6,
        );
        let real = select(vec![0.0, 1.0, 0.3, -2.0, 1e30, f64::INFINITY, f64::NAN]);
        prop_oneof![
            Just(Known::default()),
            (element(), proptest::collection::vec(size(), 0..6))
                .prop_map(|(element, sizes)| Known::of(element).with(sizes)),
            (element(), whole).prop_map(|(element, all)| Known::vector(element, all)),
            (element(), numbers()).prop_map(|(element, number)| Known::scalar(element, Some(Size::number(number)))),
            (proptest::collection::vec(real, 0..6), 1..4usize).prop_map(|(mut all, rows)| {
                all.truncate(all.len() / rows * rows);
                Known::of(DataType::Float).with_elements(&[rows, all.len() / rows], Some(Elements::Real(all)))
            }),
            Just(Known::of(DataType::Int64).with(fixed(&[0, usize::MAX]))),
        ]
    }

    fn attribute(name: &str, kind: &str, numbers: &[i64], text: &Index) -> AttributeProto {
        const TEXTS: [&str; 10] = [
            "SAME_UPPER",
            "VALID",
            "none",
            "bidirectional",
            "not_larger",
            "ij,jk->ik",
            "...i,...i->...",
            "->",
            "i,",
            "",
        ];
        match kind.trim_end_matches('!') {
            "i" => AttributeProto::int(name, numbers.first().copied().unwrap_or(1)),
            "is" => AttributeProto::ints(name, numbers),
            "s" => AttributeProto::string(name, TEXTS[text.index(TEXTS.len())]),
            "fs" => AttributeProto {
                floats: numbers.iter().map(|&n| n as f32).collect(),
                ..AttributeProto::float(name, 0.0)
            },
            _ => AttributeProto::float(name, numbers.first().map_or(0.5, |&n| n as f32)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// Whatever a file says, a rule comes to an end, and what it knows of elements fits what it knows of sizes.
        #[test]
        fn a_rule_fails_on_nothing(
            line in select(TABLE.lines().collect::<Vec<_>>()),
            inputs in proptest::collection::vec(known(), 0..6),
            outputs in 0..4usize,
            attributes in proptest::collection::vec((any::<bool>(), proptest::collection::vec(numbers(), 0..5), any::<Index>()), 12),
        ) {
            let mut words = line.split(' ');
            let operator = words.next().unwrap_or_default();
            let kinds = words.skip(5).filter_map(|word| word.split_once(':'));
            let given = kinds.zip(&attributes).filter(|(_, (is_given, ..))| *is_given);
            let node = NodeProto {
                op_type: Some(operator.to_owned()),
                attribute: given.map(|((name, kind), (_, numbers, text))| attribute(name, kind, numbers, text)).collect(),
                input: (0..inputs.len()).map(|i| format!("x{i}")).collect(),
                output: (0..outputs).map(|i| format!("y{i}")).collect(),
                ..Default::default()
            };
            for known in infer(&Operation::new(&node, inputs.iter().map(Some), 18)) {
                if let Some(elements) = known.elements() {
                    let count = known.numbers().and_then(|sizes| small(&sizes));
                    prop_assert_eq!(count, Some(elements.len()), "{:?}", node);
                }
            }
        }
    }
}

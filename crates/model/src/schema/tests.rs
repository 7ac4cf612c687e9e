use super::*;
use crate::onnx::proto::TensorProto;
use crate::testing::node as test_node;

fn node(operator: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto { attribute: attributes, ..test_node(operator, inputs, outputs).into() }
}

#[track_caller]
fn refused(node: &NodeProto, version: i64, says: &str) {
    let error = check(node, version).unwrap_err();
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn the_table_is_read_whole() {
    let lines: usize = OPERATORS.values().map(Vec::len).sum();
    assert_eq!(lines, TABLE.lines().count());
    assert!(OPERATORS.values().all(|versions| versions.is_sorted_by_key(|operator| operator.since)));
}

#[test]
fn the_form_of_a_node_is_that_of_its_version() {
    let perm = || AttributeProto::ints("perm", &[1, 0]);
    assert!(check(&node("Transpose", &["x"], &["y"], vec![perm()]), 13).is_ok());
    refused(&node("Transpose", &["x", "z"], &["y"], vec![perm()]), 13, "it has 2 inputs; expected 1");
    refused(&node("Transpose", &["x"], &["y", "z"], vec![perm()]), 13, "it has 2 outputs; expected 1");
    refused(&node("Transpose", &["x"], &["y"], vec![AttributeProto::int("perm", 1)]), 13, "`perm` is not of type INTS");
    refused(&node("Transpose", &["x"], &["y"], vec![perm(), perm()]), 13, "two attributes `perm`");
    refused(&node("Cast", &["x"], &["y"], vec![]), 13, "it has no attribute `to`");
    // The axes of a sum became an input.
    let axes = || AttributeProto::ints("axes", &[1]);
    assert!(check(&node("ReduceSum", &["x"], &["y"], vec![axes()]), 11).is_ok());
    refused(&node("ReduceSum", &["x", "axes"], &["y"], vec![]), 11, "2 inputs; expected 1");
    assert!(check(&node("ReduceSum", &["x", "axes"], &["y"], vec![]), 13).is_ok());
    // What is left out at the end counts for nothing.
    assert!(check(&node("Dropout", &["x", "", ""], &["y", ""], vec![]), 13).is_ok());
    assert!(check(&node("Concat", &["a", "b", "c"], &["y"], vec![AttributeProto::int("axis", 0)]), 13).is_ok());
    assert!(check(&node("Unheard", &["a"], &["y"], vec![]), 13).is_ok());
}

/// An input by its sizes, −1 for an unknown one, and its elements.
type Input<'i> = (&'i [i64], Option<&'i [i64]>);

struct Inputs<'i>(&'i [Input<'i>]);

impl Known for Inputs<'_> {
    fn sizes(&self, input: usize) -> Option<Vec<Option<i64>>> {
        Some(self.0.get(input)?.0.iter().map(|&size| (size >= 0).then_some(size)).collect())
    }

    fn ints(&self, input: usize) -> Option<Vec<i64>> {
        self.0.get(input)?.1.map(<[i64]>::to_vec)
    }
}

#[track_caller]
fn numbers(operator: &str, attributes: Vec<AttributeProto>, inputs: &[Input<'_>], outputs: usize) -> String {
    let names: Vec<String> = (0..inputs.len().max(outputs)).map(|i| format!("v{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let node = node(operator, &names[..inputs.len()], &names[..outputs], attributes);
    check_numbers(&node, &Inputs(inputs)).map_or_else(|error| error.to_string(), |()| "fits".to_owned())
}

#[test]
fn what_is_searched_is_sorted() {
    assert!(numbers::SWITCHES.is_sorted() && numbers::LISTS.is_sorted());
}

#[test]
fn numbers_fit_the_operands() {
    let ints = AttributeProto::ints;
    let int = AttributeProto::int;
    let x: &[i64] = &[2, 3, -1, 5];
    let table: [(&str, Vec<AttributeProto>, &[Input<'_>], &str); 27] = [
        ("Transpose", vec![ints("perm", &[0, 3, 1, 2])], &[(x, None)], "fits"),
        ("Transpose", vec![ints("perm", &[0, 0, 1, 2])], &[(x, None)], "no permutation"),
        ("Transpose", vec![ints("perm", &[1, 0])], &[(x, None)], "2 axes, and its input 4"),
        ("Softmax", vec![int("axis", -4)], &[(x, None)], "fits"),
        ("Softmax", vec![int("axis", 4)], &[(x, None)], "`axis` is 4, and there are 4 axes"),
        ("ReduceSum", vec![], &[(x, None), (&[2], Some(&[1, -3]))], "names axis -3 twice"),
        ("ReduceSum", vec![], &[(&[], None), (&[1], Some(&[0]))], "fits"),
        ("Unsqueeze", vec![], &[(x, None), (&[1], Some(&[4]))], "fits"),
        ("Slice", vec![], &[(x, None), (&[1], Some(&[0])), (&[1], Some(&[i64::MAX]))], "fits"),
        ("Slice", vec![], &[(x, None), (&[2], Some(&[0, 0])), (&[1], Some(&[1]))], "differ in length"),
        ("Slice", vec![], &[(&[2], None), (&[2], Some(&[0, 0])), (&[2], Some(&[1, 1]))], "slices 2 axes"),
        ("Pad", vec![], &[(x, None), (&[4], Some(&[0, 1, 0, 1]))], "4 pads for 4 axes; expected 8"),
        ("Pad", vec![], &[(&[3], None), (&[2], Some(&[1 << 40, 0]))], "1099511627776 in its pads"),
        ("Conv", vec![ints("pads", &[0, 1, 0, 1])], &[(x, None), (&[4, 3, 3, 3], None)], "fits"),
        ("Conv", vec![ints("pads", &[1 << 62; 4])], &[(x, None), (&[4, 3, 3, 3], None)], "`pads` has"),
        ("Conv", vec![ints("strides", &[0, 1])], &[(x, None), (&[4, 3, 3, 3], None)], "`strides` has 0"),
        ("Conv", vec![ints("kernel_shape", &[5, 3])], &[(x, None), (&[4, 3, 3, 3], None)], "its weights have [3, 3]"),
        ("Conv", vec![], &[(&[2, 3, 4], None), (&[4, 3, 3, 3], None)], "has 3 axes, and its weights 4"),
        ("MaxPool", vec![ints("kernel_shape", &[1 << 20; 2])], &[(x, None)], "more than 2³¹ elements"),
        ("BatchNormalization", vec![], &[(&[3], None), (&[3], None)], "has 1 axes; expected 2 or more"),
        ("GatherND", vec![], &[(x, None), (&[], None)], "its input 1 has 0 axes; expected 1 or more"),
        ("GatherND", vec![], &[(x, None), (&[7, 5], None)], "5 numbers each, and its input has 4 axes"),
        ("Gather", vec![], &[(x, None), (&[1], Some(&[2]))], "index 2, and axis 0 of its input has 2"),
        ("Reshape", vec![], &[(x, None), (&[2], Some(&[-1, -1]))], "more than one -1"),
        ("LayerNormalization", vec![], &[(&[], None), (&[], None)], "has 0 axes; expected 1 or more"),
        ("Resize", vec![], &[(x, None), (&[], None), (&[], None), (&[2], Some(&[8, 8]))], "2 sizes for 4 axes"),
        ("Tile", vec![], &[(x, None), (&[1], Some(&[2]))], "1 repeats for 4 axes"),
    ];
    for (operator, attributes, inputs, says) in table {
        let said = numbers(operator, attributes, inputs, 1);
        assert!(said.contains(says), "{operator}: {said}");
    }
    assert!(numbers("Split", vec![], &[(x, None), (&[2], Some(&[1, 2]))], 3).contains("2 sizes for 3 outputs"));
}

#[test]
fn attributes_of_old_files_have_no_type() {
    let untyped = AttributeProto { r#type: None, ..AttributeProto::int("axis", 1) };
    assert!(check(&node("Concat", &["x"], &["y"], vec![untyped]), 13).is_ok());
    let empty = AttributeProto { t: None, ..AttributeProto::tensor("value", TensorProto::default()) };
    refused(&node("Constant", &[], &["y"], vec![empty]), 13, "`value` is not of type TENSOR");
}

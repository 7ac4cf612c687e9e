//! Which of a graph's inputs is fed what of a data set: by name, and where there is one of each, without.

use super::derived::{Kind, source};
use crate::{Dataset, Input, Target};
use gnp_base::choice::listed;
use gnp_base::contract::{are_labels, output_of};
use gnp_base::{Error, Result};
use gnp_tensor::Port;

/// What an input of a graph is fed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Joined {
    /// The data set's input of this number.
    Input(usize),
    /// What follows from the input of this number.
    Derived(usize, Kind),
    /// The data set's target of this number.
    Target(usize),
}

/// How many of the last of `ports` take labels: those whose name says so, else one.
fn label_ports(ports: &[Port]) -> usize {
    ports.iter().rev().take_while(|port| are_labels(&port.name)).count().max(1)
}

/// What each of `ports` is fed of `data`.
///
/// # Errors
/// Where there is nothing for one of them.
pub(super) fn join(data: &Dataset, ports: &[Port]) -> Result<Vec<Joined>> {
    let labels = label_ports(ports);
    let Some(inputs) = ports.len().checked_sub(labels).filter(|inputs| *inputs > 0) else {
        let names: Vec<_> = ports.iter().map(|port| format!("`{}`", port.name)).collect();
        return Err(Error::input(format!(
            "the graph takes {} batch inputs ({}); expected at least two, the samples and their labels",
            ports.len(),
            names.join(", ")
        )));
    };
    let (inputs, labels) = ports.split_at(inputs);
    let mut joined: Vec<Option<Joined>> = inputs.iter().map(|port| by_name(data, port).map(Joined::Input)).collect();
    // What is left over on both sides goes together where there is one of each.
    let unnamed = |number: &usize| !joined.contains(&Some(Joined::Input(*number)));
    let left: Vec<usize> = (0..data.inputs().len()).filter(unnamed).collect();
    let open = |kinds: bool| {
        let open = inputs.iter().zip(&joined).enumerate().filter(|(_, (_, joined))| joined.is_none());
        open.filter(|(_, (port, _))| kinds || Kind::of(port).is_none()).map(|(at, _)| at).collect::<Vec<_>>()
    };
    let alone = match (&open(false)[..], &open(true)[..]) {
        (&[port], _) | (&[], &[port]) => Some(port),
        _ => None,
    };
    // A name that is another's says that it is meant for another model; that of token ids is a convention.
    let may_go = |number: usize| {
        let name = data.inputs()[number].name.as_deref();
        data.inputs().len() == 1 || matches!(name, None | Some("input_ids"))
    };
    if let (&[number], Some(port)) = (&left[..], alone)
        && may_go(number)
    {
        joined[port] = Some(Joined::Input(number));
    }
    let source = source(data);
    let has_source = joined.contains(&Some(Joined::Input(source)));
    let joined = inputs.iter().zip(joined).map(|(port, joined)| match (joined, Kind::of(port)) {
        (Some(joined), _) => Ok(joined),
        (None, Some(kind)) if has_source => Ok(Joined::Derived(source, kind)),
        _ => Err(nothing_for(data, port)),
    });
    let mut joined = joined.collect::<Result<Vec<_>>>()?;
    for port in labels {
        let of_output = |target: &Target| target.name.as_deref() == output_of(&port.name);
        let target = match data.targets() {
            [_] if labels.len() == 1 => Some(0),
            targets => targets.iter().position(of_output),
        };
        joined.push(Joined::Target(target.ok_or_else(|| no_labels(data, port))?));
    }
    Ok(joined)
}

/// That there are no labels for `port`, one of several.
fn no_labels(data: &Dataset, port: &Port) -> Error {
    let output = output_of(&port.name).unwrap_or(&port.name);
    let names: Vec<String> = data.targets().iter().filter_map(|target| target.name.clone()).collect();
    let there = if names.is_empty() { "no output".to_owned() } else { listed(&names) };
    Error::input(format!("there are no labels for output `{output}`, which has a loss: the data name {there}"))
        .help(format!("name columns of a table, or an array, with --target {output}=COLUMN,…"))
}

fn by_name(data: &Dataset, port: &Port) -> Option<usize> {
    data.inputs().iter().position(|input| input.name.as_ref() == Some(&port.name))
}

/// That there are no data for `port`.
fn nothing_for(data: &Dataset, port: &Port) -> Error {
    let names: Vec<String> = data.inputs().iter().filter_map(|input: &Input| input.name.clone()).collect();
    let there = match names[..] {
        [] => "the data are one unnamed array of samples".to_owned(),
        _ => format!("there are data for {}", listed(&names)),
    };
    Error::input(format!("there are no data for input `{}`, which takes {port}: {there}", port.name)).help(format!(
        "name an array of the data `{0}` (with a test set: `{0}_train`, `{0}_test`), or columns of a table with \
         --feature {0}=COLUMN,…",
        port.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Labels, Lists, Samples, Values};
    use gnp_tensor::ElementType;

    fn data(names: &[Option<&str>]) -> Dataset {
        let input = |name: &Option<&str>| {
            let samples = Samples::Lists(Lists::new(Values::I64(vec![1, 2, 3]), &[2, 1], vec![]).unwrap());
            Input { name: name.map(str::to_owned), samples, pad: 0.0 }
        };
        Dataset::of(names.iter().map(input).collect(), vec![Labels::Classes(vec![0, 1]).into()]).unwrap()
    }

    fn joined(names: &[Option<&str>], ports: &[&str]) -> Result<Vec<Joined>> {
        let labels = Port::new("labels", ElementType::I64, [None]);
        let port = |name: &&str| Port::new(*name, ElementType::I64, [None, None]);
        let ports: Vec<Port> = ports.iter().map(port).chain([labels]).collect();
        join(&data(names), &ports)
    }

    #[test]
    fn names_decide_and_what_is_left_over_goes_together() {
        use Joined::{Derived, Input, Target};
        let two = [Some("b"), Some("a")];
        assert_eq!(joined(&two, &["a", "b"]).unwrap(), [Input(1), Input(0), Target(0)]);
        assert!(joined(&two, &["a", "c"]).is_err());
        assert_eq!(joined(&[None, Some("a")], &["a", "c"]).unwrap(), [Input(1), Input(0), Target(0)]);
        assert_eq!(joined(&[Some("input_ids"), Some("a")], &["a", "c"]).unwrap(), [Input(1), Input(0), Target(0)]);
        assert_eq!(joined(&[None], &["x"]).unwrap(), [Input(0), Target(0)]);
        assert_eq!(joined(&[None], &["attention_mask"]).unwrap(), [Input(0), Target(0)]);
        let with_mask = joined(&[Some("ids")], &["input_ids", "attention_mask", "token_type_ids"]).unwrap();
        assert_eq!(with_mask, [Input(0), Derived(0, Kind::Mask), Derived(0, Kind::Zeros), Target(0)]);
        // More data than the graph takes.
        assert_eq!(joined(&[Some("a"), Some("mask")], &["a"]).unwrap(), [Input(0), Target(0)]);
    }

    #[test]
    fn labels_of_several_outputs_go_by_name() {
        let samples = Samples::Lists(Lists::new(Values::I64(vec![1, 2, 3]), &[2, 1], vec![]).unwrap());
        let target =
            |name: &str, class| Target { name: Some(name.to_owned()), ..Target::from(Labels::Classes(vec![class, 0])) };
        let data = Dataset::of(vec![samples.into()], vec![target("kind", 1), target("box", 2)]).unwrap();
        let port = |name: &str| Port::new(name, ElementType::I64, [None]);
        let joined = |outputs: &[&str]| {
            let ports: Vec<Port> = [&["x"], outputs].concat().into_iter().map(port).collect();
            join(&data, &ports)
        };
        let both = joined(&["labels.box", "labels.kind"]).unwrap();
        assert_eq!(both, [Joined::Input(0), Joined::Target(1), Joined::Target(0)]);
        let error = joined(&["labels.kind", "labels.boxes"]).unwrap_err();
        assert!(error.to_string().ends_with("the data name kind, box"), "{error}");
        assert!(error.help_text().unwrap().contains("--target boxes="));
    }

    #[test]
    fn what_there_is_nothing_for_is_named() {
        let error = joined(&[Some("a"), Some("b")], &["a", "c", "d"]).unwrap_err();
        assert!(
            error.to_string().starts_with("there are no data for input `c`, which takes int64 [?, ?]: "),
            "{error}"
        );
        assert!(error.help_text().unwrap().contains("--feature c="));
        let error = joined(&[None], &["a", "b"]).unwrap_err().to_string();
        assert!(error.ends_with("the data are one unnamed array of samples"), "{error}");
    }
}

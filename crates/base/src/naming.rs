//! What the names that we add to a graph mean to the user.
//!
//! `gnp/<pass>/<name>` was added by a pass, for what is called `name`: `gnp/gradient/conv1/Pad.2` belongs to the
//! gradient of `conv1`. `gnp-model` gives such names; messages tell what they mean.

use std::borrow::Cow;

/// What every name of ours begins with.
pub const PREFIX: &str = "gnp/";
/// The pass whose nodes are copies of others.
const PERTURBED: &str = "perturbed";

/// Whether a name is one of ours.
pub fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// What a node with this name is in the user's model: the node that it comes from, and what it is there, from its
/// operator on.
///
/// `gnp/perturbed/gnp/gradient/conv/Pad.1`, a Pad, is `conv`: `Pad of its gradient, in the second pass`.
pub fn in_words(name: &str, operator: &str) -> (String, String) {
    let (rest, passes) = without_passes(name);
    // What is added for a node is named after it, its operator last; a copy as it is.
    let is_for_another = passes.last().is_some_and(|pass| *pass != PERTURBED);
    let of_node = match rest.rsplit_once('/') {
        Some((node, own)) if is_for_another && is_numbered(own, operator) => node,
        _ => rest,
    };
    (of_node.to_owned(), format!("{operator}{}", role(&passes)))
}

/// `text` with what the names of ours in it mean.
pub fn text_in_words(text: &str) -> Cow<'_, str> {
    if !text.contains(PREFIX) {
        return text.into();
    }
    let (mut words, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(begin) = rest.find(PREFIX) {
        let (before, name) = rest.split_at(begin);
        let length = name.find(|c: char| c.is_whitespace() || "'\"`,;:(){}[]".contains(c)).unwrap_or(name.len());
        let (name, after) = name.split_at(length);
        words += before;
        // In the middle of a path it is none of ours.
        if before.ends_with(|c: char| c.is_alphanumeric() || "/._-".contains(c)) {
            words += name;
        } else {
            let (of, passes) = without_passes(name);
            words.extend([of, &role(&passes)]);
        }
        rest = after;
    }
    words += rest;
    words.into()
}

/// A name without the passes that it was made in, and those, the last first.
fn without_passes(mut name: &str) -> (&str, Vec<&str>) {
    let mut passes = Vec::new();
    while let Some((pass, rest)) = name.strip_prefix(PREFIX).and_then(|name| name.split_once('/')) {
        passes.push(pass);
        name = rest;
    }
    (name, passes)
}

/// Whether a part of a name is `operator`, or `operator.1` where that was taken.
fn is_numbered(part: &str, operator: &str) -> bool {
    let number = part.strip_prefix(operator).map(|rest| rest.strip_prefix('.').unwrap_or(rest));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What was made in these passes is of its node.
fn role(passes: &[&str]) -> String {
    let of = passes.iter().filter_map(|pass| match *pass {
        // What a node was put as before all else is the node.
        PERTURBED | "normalise" | "model" | "opening" | "lowering" | "define" | "output" | "tract" => None,
        "gradient" => Some(" of its gradient".to_owned()),
        other => Some(format!(" of the {other}")),
    });
    let second = if passes.contains(&PERTURBED) { ", in the second pass" } else { "" };
    of.collect::<String>() + second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_are_told_in_words() {
        let words = |name, operator| {
            let (node, what) = in_words(name, operator);
            format!("{node}: {what}")
        };
        assert_eq!(words("/net/Pad", "Pad"), "/net/Pad: Pad");
        assert_eq!(words("gnp/perturbed//net/Pad", "Pad"), "/net/Pad: Pad, in the second pass");
        assert_eq!(words("gnp/gradient//net/Pad/Slice", "Slice"), "/net/Pad: Slice of its gradient");
        let both = "gnp/perturbed/gnp/gradient/gnp/lowering/conv/Pad/Slice.12";
        assert_eq!(words(both, "Slice"), "conv/Pad: Slice of its gradient, in the second pass");
        assert_eq!(words("gnp/loss/loss/Mul", "Mul"), "loss: Mul of the loss");
        assert_eq!(words("gnp/mix/If", "If"), "If: If of the mix");
        assert_eq!(
            text_in_words("Node (gnp/perturbed/a) reads 'gnp/update/w/Mul', \"gnp/gradient/b/Add\" and c"),
            "Node (a, in the second pass) reads 'w/Mul of the update', \"b/Add of its gradient\" and c"
        );
        assert_eq!(text_in_words("the value `gnp/model/loss` is 3"), "the value `loss` is 3");
        assert_eq!(text_in_words("in /home/gnp/model/x.onnx"), "in /home/gnp/model/x.onnx");
    }
}

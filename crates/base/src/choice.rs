//! What was inferred where nothing was said.

use serde::Serialize;
use std::borrow::Cow;

/// One thing that was inferred, and the flag that says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// What was chosen and why, a sentence without a full stop.
    pub what: String,
    /// The flag of `gnp-rewrite` that changes it.
    pub flag: Cow<'static, str>,
}

impl Choice {
    /// What was chosen, and the flag that changes it.
    pub fn new(what: impl Into<String>, flag: &'static str) -> Self {
        Self { what: what.into(), flag: flag.into() }
    }

    /// The same with a flag that names something.
    pub fn with(what: impl Into<String>, flag: String) -> Self {
        Self { what: what.into(), flag: flag.into() }
    }
}

/// The names, as many of them as fit into a message.
pub fn listed(names: &[String]) -> String {
    const MOST: usize = 50;
    let more = if names.len() > MOST { format!(" and {} more", names.len() - MOST) } else { String::new() };
    format!("{}{more}", names[..names.len().min(MOST)].join(", "))
}

/// ` (did you mean …?)` with the nearest of `names` where one is near, else the first few of them.
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    /// What is longer is no slip of the pen, and takes time that grows with the product of both lengths.
    const LONGEST: usize = 200;
    let score =
        |name: &str| if name.len().max(wanted.len()) > LONGEST { 0.0 } else { strsim::jaro_winkler(wanted, name) };
    let best = names.clone().max_by(|a, b| score(a).total_cmp(&score(b)));
    match best {
        Some(best) if score(best) > 0.7 => format!("did you mean `{best}`?"),
        Some(_) => {
            let some: Vec<_> = names.clone().take(8).map(|name| format!("`{name}`")).collect();
            let more = if names.count() > some.len() { ", …" } else { "" };
            format!("there are {}{more}", some.join(", "))
        }
        None => "there are none".to_owned(),
    }
}

//! What the metadata of an added node says: which pass it is for, and which node it stands for.

use crate::onnx::proto::{NodeProto, StringStringEntryProto};

/// The key of a node's metadata under which an added node says what it is for.
pub const PASS_KEY: &str = "gnp.pass";

/// The key of a node's metadata under which a node that stands for one of the first pass names it.
pub const SOURCE_KEY: &str = "gnp.source";

/// Whether a node was added, which its metadata tells.
pub fn is_added(node: &NodeProto) -> bool {
    node.metadata_props.iter().any(|entry| entry.key() == PASS_KEY)
}

/// Writes entries into the metadata of a node.
pub(super) fn tag(node: &mut NodeProto, entries: &[(&str, &str)]) {
    node.metadata_props.reserve_exact(entries.len());
    node.metadata_props.extend(
        entries.iter().map(|&(key, value)| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) }),
    );
}

/// Lets a node that was added count as one of the model's own.
pub(super) fn untag(node: &mut NodeProto) {
    node.metadata_props.retain(|entry| ![PASS_KEY, SOURCE_KEY].contains(&entry.key()));
}

//! The messages of the ONNX wire format, generated from `proto/onnx.proto`.
//!
//! Optional fields keep their presence and unpacked lists stay unpacked, so a message that is not touched is encoded to
//! the bytes that it was decoded from.
#![allow(missing_docs, reason = "the schema documents the messages; their fields are those of the ONNX standard")]
#![allow(clippy::large_enum_variant, unused_qualifications, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/onnx.rs"));

/// The domain of ONNX Runtime's own operators.
pub const MICROSOFT: &str = "com.microsoft";

/// A domain of operators, the standard one always under its empty name; `ai.onnx` is the other.
pub fn standard_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// An operator as messages name it: `domain.op_type`, or the bare `op_type` for a standard one.
pub fn operator_name(domain: &str, op_type: &str) -> String {
    match standard_domain(domain) {
        "" => op_type.to_owned(),
        domain => format!("{domain}.{op_type}"),
    }
}

impl NodeProto {
    /// The operator as messages name it: `domain.op_type`, or the bare `op_type` for a standard one.
    ///
    /// ```
    /// use gnp_model::onnx::proto::NodeProto;
    /// let node = NodeProto { op_type: Some("Gelu".into()), domain: Some("com.microsoft".into()), ..Default::default() };
    /// assert_eq!(node.operator(), "com.microsoft.Gelu");
    /// ```
    pub fn operator(&self) -> String {
        operator_name(self.domain(), self.op_type())
    }

    /// What the node is known by: its name, else its first output.
    pub fn label(&self) -> &str {
        match self.name() {
            "" => self.output.iter().find(|o| !o.is_empty()).map_or("", String::as_str),
            name => name,
        }
    }

    /// Whether the node applies `operator` of `domain` (empty for the standard operators).
    pub fn is(&self, domain: &str, operator: &str) -> bool {
        self.op_type() == operator && standard_domain(self.domain()) == domain
    }

    /// The attribute called `name`.
    pub fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|a| a.name() == name)
    }

    /// The name of input `index`, unless it is left out.
    pub fn input(&self, index: usize) -> Option<&str> {
        self.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }
}

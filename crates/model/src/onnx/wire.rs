//! A walk over the wire format that finds what decoding would lose.
//!
//! The protobuf library drops fields that its schema does not name. Here every tag of a file is compared with the
//! schema first, without looking at payloads, so that such a file is refused and nothing is lost silently.

use super::model::NO_MODEL;
use gnp_base::{Error, Result};
use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::{Label, Type};
use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

/// Deeper nesting than this is refused; it is the limit of the protobuf library too.
const MAX_DEPTH: usize = 100;

/// A message type of the schema; fields by number.
struct Message {
    name: String,
    fields: HashMap<u32, Field>,
}

struct Field {
    name: String,
    wire: WireType,
    /// A list of numbers may also come packed into one length-delimited field.
    packable: bool,
    message: Option<usize>,
}

struct Schema {
    messages: Vec<Message>,
    model: usize,
}

/// Checks that `bytes` are one well-formed `ModelProto` in which the schema knows every field.
///
/// # Errors
/// Where the bytes are cut short or no protobuf message, or hold unknown fields; the message names the place.
pub(super) fn check_model(bytes: &[u8]) -> Result<()> {
    let schema = schema()?;
    let mut walk = Walk { schema, path: Vec::new(), unknown: BTreeMap::new() };
    walk.message(bytes, schema.model)?;
    if walk.unknown.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = walk
        .unknown
        .iter()
        .take(5)
        .map(|((message, number), (place, count))| {
            let more = if *count > 1 { format!(" and {} more like it", count - 1) } else { String::new() };
            format!("field {number} of {message} at {place}{more}")
        })
        .collect();
    let rest = walk.unknown.len().saturating_sub(list.len());
    let rest = if rest > 0 { format!("; and {rest} other fields") } else { String::new() };
    Err(Error::unsupported(format!(
        "the file has fields that this version of gnp does not know: {}{rest}",
        list.join("; ")
    ))
    .help("they would be lost, so the file is refused; use a newer gnp, or export the model for an older ONNX version"))
}

/// The schema that the build compiled into the library.
fn schema() -> Result<&'static Schema> {
    static SCHEMA: OnceLock<Option<Schema>> = OnceLock::new();
    SCHEMA
        .get_or_init(|| {
            let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/onnx.descriptors"));
            Schema::new(&FileDescriptorSet::decode(bytes).ok()?)
        })
        .as_ref()
        .ok_or_else(|| Error::internal("the compiled ONNX schema is damaged"))
}

impl Schema {
    fn new(files: &FileDescriptorSet) -> Option<Self> {
        let mut types = Vec::new();
        for file in &files.file {
            let package = format!(".{}", file.package());
            let mut open: Vec<_> = file.message_type.iter().map(|m| (format!("{package}.{}", m.name()), m)).collect();
            while let Some((path, message)) = open.pop() {
                open.extend(message.nested_type.iter().map(|m| (format!("{path}.{}", m.name()), m)));
                types.push((path, message));
            }
        }
        let index: HashMap<&str, usize> = types.iter().enumerate().map(|(i, (path, _))| (path.as_str(), i)).collect();
        let messages = types
            .iter()
            .map(|(_, message)| {
                let fields = message.field.iter().map(|f| {
                    let wire = match f.r#type() {
                        Type::Float | Type::Fixed32 | Type::Sfixed32 => WireType::ThirtyTwoBit,
                        Type::Double | Type::Fixed64 | Type::Sfixed64 => WireType::SixtyFourBit,
                        Type::String | Type::Bytes | Type::Message | Type::Group => WireType::LengthDelimited,
                        _ => WireType::Varint,
                    };
                    let packable = f.label() == Label::Repeated && wire != WireType::LengthDelimited;
                    let message = index.get(f.type_name()).copied();
                    (f.number().cast_unsigned(), Field { name: f.name().to_owned(), wire, packable, message })
                });
                Message { name: message.name().to_owned(), fields: fields.collect() }
            })
            .collect();
        Some(Self { messages, model: *index.get(".onnx.ModelProto")? })
    }
}

struct Walk<'s> {
    schema: &'s Schema,
    /// Field names and, for each, how many of them the message held before it.
    path: Vec<(&'s str, usize)>,
    /// (message, field number) → the first place and how many there are.
    unknown: BTreeMap<(&'s str, u32), (String, usize)>,
}

impl<'s> Walk<'s> {
    fn message(&mut self, mut bytes: &[u8], kind: usize) -> Result<()> {
        if self.path.len() > MAX_DEPTH {
            return Err(Error::format(format!("messages are nested more than {MAX_DEPTH} deep at {}", self.place())));
        }
        let message = &self.schema.messages[kind];
        // Fields of one number stand together, as a rule.
        let (mut last, mut index) = (0, 0);
        while !bytes.is_empty() {
            let (number, wire) = decode_key(&mut bytes).map_err(|_| self.malformed(message))?;
            let Some(field) = message.fields.get(&number) else {
                skip_field(wire, number, &mut bytes, DecodeContext::default()).map_err(|_| self.malformed(message))?;
                let place = self.place();
                self.unknown.entry((&message.name, number)).or_insert((place, 0)).1 += 1;
                continue;
            };
            if wire != field.wire && !(field.packable && wire == WireType::LengthDelimited) {
                return Err(self.malformed(message));
            }
            if wire != WireType::LengthDelimited {
                skip_field(wire, number, &mut bytes, DecodeContext::default()).map_err(|_| self.malformed(message))?;
                continue;
            }
            let length = decode_varint(&mut bytes).map_err(|_| self.malformed(message))?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some((payload, rest)) = bytes.split_at_checked(length) else {
                return Err(Error::format(format!(
                    "the file is cut short: `{}` of {} at {} is {length} bytes long, and {} are left",
                    field.name,
                    message.name,
                    self.place(),
                    bytes.len()
                ))
                .help("export or download the model again"));
            };
            bytes = rest;
            if let Some(kind) = field.message {
                index = if number == last { index + 1 } else { 0 };
                last = number;
                self.path.push((&field.name, index));
                self.message(payload, kind)?;
                self.path.pop();
            }
        }
        Ok(())
    }

    fn place(&self) -> String {
        let mut place = "the model".to_owned();
        for (name, index) in &self.path {
            place += &if *index > 0 { format!(".{name}[{index}]") } else { format!(".{name}") };
        }
        place
    }

    fn malformed(&self, message: &Message) -> Error {
        let what = if self.path.is_empty() {
            "it is no protobuf message of the ONNX format".to_owned()
        } else {
            format!("the bytes at {} are no {} message", self.place(), message.name)
        };
        Error::format(format!("not an ONNX model: {what}")).help(NO_MODEL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{GraphProto, ModelProto, NodeProto};
    use prost::bytes::BufMut;

    fn model() -> ModelProto {
        let node = NodeProto { op_type: Some("Relu".into()), ..Default::default() };
        let graph = GraphProto { node: vec![node.clone(), node], ..Default::default() };
        ModelProto { ir_version: Some(8), graph: Some(graph), ..Default::default() }
    }

    #[test]
    fn a_known_model_passes() {
        check_model(&model().encode_to_vec()).unwrap();
    }

    #[test]
    fn unknown_fields_are_named_with_their_place() {
        let mut node = model().graph.unwrap().node.remove(0).encode_to_vec();
        prost::encoding::uint64::encode(4242, &7, &mut node);
        let mut graph = Vec::new();
        prost::encoding::bytes::encode(1, &NodeProto::default().encode_to_vec(), &mut graph);
        prost::encoding::bytes::encode(1, &node, &mut graph);
        let mut bytes = Vec::new();
        prost::encoding::bytes::encode(7, &graph, &mut bytes);
        let error = check_model(&bytes).unwrap_err();
        assert!(error.to_string().contains("field 4242 of NodeProto at the model.graph.node[1]"), "{error}");
    }

    #[test]
    fn every_cut_is_an_error_or_a_shorter_model() {
        let bytes = model().encode_to_vec();
        for end in 0..bytes.len() {
            if check_model(&bytes[..end]).is_ok() {
                ModelProto::decode(&bytes[..end]).unwrap();
            }
        }
        assert!(check_model(&bytes[..bytes.len() - 1]).unwrap_err().to_string().contains("cut short"));
    }

    #[test]
    fn a_wrong_wire_type_is_malformed() {
        let mut bytes = Vec::new();
        bytes.put_slice(b"this is a text, not a model");
        assert!(check_model(&bytes).unwrap_err().to_string().contains("not an ONNX model"));
    }
}

//! The messages of the ONNX wire format, generated from `proto/onnx.proto`.
//!
//! Optional fields keep their presence and unpacked lists stay unpacked, so a message that is not touched is encoded to
//! the bytes that it was decoded from.
#![allow(missing_docs, reason = "the schema documents the messages; their fields are those of the ONNX standard")]
#![allow(clippy::large_enum_variant, unused_qualifications, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/onnx.rs"));

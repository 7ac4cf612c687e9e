//! Where the fields of the format's tables stand.
//!
//! A flatbuffer does not name its fields: the first of a table is number 0, and so on. The numbers are those of ONNX
//! Runtime's schemas of checkpoints and of tensors (`ort_training_checkpoint.fbs`, `ort.fbs`, version 1.19.2).

/// What stands at byte 4 of the file.
pub const IDENTIFIER: &str = "ODTC";

/// The version of the format that is written. Older ones have fewer fields.
pub const VERSION: i32 = 2;

pub mod checkpoint {
    pub const VERSION: u16 = 0;
    pub const MODULE: u16 = 1;
    pub const GROUPS: u16 = 2;
    pub const PROPERTIES: u16 = 3;
}

pub mod module {
    pub const TRAINABLE: u16 = 0;
    pub const FROZEN: u16 = 1;
    pub const NOMINAL: u16 = 2;
    pub const EXTERNAL: u16 = 3;
}

pub mod group {
    pub const NAME: u16 = 0;
    pub const STEP: u16 = 1;
    pub const INITIAL_LEARNING_RATE: u16 = 2;
    pub const PARAMETERS: u16 = 3;
}

pub mod optimized {
    pub const PARAMETER: u16 = 0;
    pub const SLOTS: u16 = 1;
}

pub mod properties {
    pub const INTS: u16 = 0;
    pub const FLOATS: u16 = 1;
    pub const STRINGS: u16 = 2;
}

/// A property of any kind.
pub mod property {
    pub const NAME: u16 = 0;
    pub const VALUE: u16 = 1;
}

pub mod tensor {
    pub const NAME: u16 = 0;
    pub const DIMS: u16 = 2;
    pub const ELEMENT: u16 = 3;
    pub const DATA: u16 = 4;
    pub const EXTERNAL_OFFSET: u16 = 6;
}

//! The contract's versions. Nothing outside this folder sees a generated type; conversion only, every check lies below.

pub mod v0_1;
pub mod wasi;

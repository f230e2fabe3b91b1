//! Records of pushed keys: `src/keys`.

#[path = "../common/mod.rs"]
mod common;
mod records;

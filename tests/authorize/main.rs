//! The procedure: `src/authorize.rs`.

mod clock;
#[path = "../common/mod.rs"]
mod common;
mod order;
mod same_reason;
mod system_faults;

//! The procedure: `src/authorize.rs`.

#[path = "../common/mod.rs"]
mod common;
mod order;
mod same_reason;
mod system_faults;
mod wall_clock;

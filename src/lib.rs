//! The library behind `eic-keys`.

pub mod sshd;

//! The library behind `eic-keys`.

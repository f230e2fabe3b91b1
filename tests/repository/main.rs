//! The repository: documents, completions and dependencies agree with the code.

mod dependencies;
mod fleet;
mod manual;
mod modules;
mod threat_model;

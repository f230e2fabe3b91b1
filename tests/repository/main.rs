//! The repository: documents, completions and dependencies agree with the code.

mod checks;
mod dependencies;
mod fleet;
mod lists;
mod manual;
mod modules;
mod threat_model;

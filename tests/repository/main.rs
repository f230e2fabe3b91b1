//! The repository: documents, completions and dependencies agree with the code.

mod dependencies;
mod manual;
mod modules;
mod threat_model;

//! The repository: documents, completions and dependencies agree with the code.

mod dependencies;
mod manual;
mod threat_model;

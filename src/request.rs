//! One client request: its credentials, the judgement of them, and the answer.

pub mod access;
mod attempt;
mod challenge;
pub mod context;
mod headers;
mod jwt;
mod outcome;
mod presented;
mod recheck;
mod requirements;
mod resolver;
pub mod variables;
pub mod waiting;

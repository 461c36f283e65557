//! One client request: its credentials, the judgement of them, and the answer.

pub mod access;
mod attempt;
mod backend;
mod challenge;
mod closing;
pub mod context;
mod counting;
mod decide;
mod early;
mod headers;
mod jwt;
mod outcome;
mod presented;
mod question;
mod recheck;
mod requirements;
mod resolver;
mod revoked;
mod step;
mod suspend;
pub mod variables;
pub mod waiting;

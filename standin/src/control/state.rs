//! Faults, counters, and being away.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::Json;
use bytes::Bytes;
use serde::Deserialize;

use super::{read, ProjectQuery, Refusal, Target};
use crate::project::Counts;
use crate::standin::Standin;

/// The host of the project named; `None` when none is, which means all of them.
fn host(standin: &Standin, query: &ProjectQuery) -> Result<Option<String>, Refusal> {
    let Some(name) = query.project.as_deref() else {
        return Ok(None);
    };
    let met = standin
        .by_name(Some(name))
        .ok_or_else(|| Refusal::missing("project"))?;
    Ok(Some(met.origin.host))
}

pub(super) async fn set_fault(
    State(standin): State<Arc<Standin>>,
    Path(endpoint): Path<String>,
    Query(query): Query<ProjectQuery>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let endpoint = endpoint
        .parse()
        .map_err(|()| Refusal::missing("endpoint"))?;
    let fault = read(&body)?;
    let project = host(&standin, &query)?;
    standin.faults().set(project, endpoint, fault);
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn clear_faults(
    State(standin): State<Arc<Standin>>,
    Query(query): Query<ProjectQuery>,
) -> Result<StatusCode, Refusal> {
    let project = host(&standin, &query)?;
    standin.faults().clear(project.as_deref());
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    amr: Option<bool>,
    foreign_tokens: Option<bool>,
}

pub(super) async fn set_resolver(
    State(standin): State<Arc<Standin>>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let Change {
        amr,
        foreign_tokens,
    } = read(&body)?;
    let mut resolver = standin.resolver();
    resolver.amr = amr.unwrap_or(resolver.amr);
    resolver.foreign_tokens = foreign_tokens.unwrap_or(resolver.foreign_tokens);
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn reset_resolver(State(standin): State<Arc<Standin>>) -> StatusCode {
    *standin.resolver() = standin.settings.resolver;
    StatusCode::NO_CONTENT
}

pub(super) async fn set_login(Target(met): Target, body: Bytes) -> Result<StatusCode, Refusal> {
    met.lock().client = Some(read(&body)?);
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn counts(Target(met): Target) -> Json<Counts> {
    Json(met.lock().counts.clone())
}

pub(super) async fn reset_counts(Target(met): Target) -> StatusCode {
    met.lock().counts = Counts::default();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gone {
    ms: Option<u64>,
}

pub(super) async fn gone(
    State(standin): State<Arc<Standin>>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let Gone { ms } = read(&body)?;
    standin.gate.gone(ms.map(Duration::from_millis)).await;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn back(State(standin): State<Arc<Standin>>) -> StatusCode {
    standin.gate.back().await;
    StatusCode::NO_CONTENT
}

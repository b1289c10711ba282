//! Whether the service lives, whether it can do its work, and its figures.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use metrics::gauge;
use redlock::{Cause, NodeState};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::problem::{Always, Code, Open, Problem};
use super::recorder;
use crate::assembly::Instance;

/// How long an answer of the database is waited for.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// For how long an answer is good: whoever asks more often gets the last one.
const FRESH: Duration = Duration::from_millis(250);

/// Locked by nobody: every node is asked whether somebody does.
const PROBE: &str = "lock:product_stock:readiness";

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(is_alive)).routes(routes!(is_ready)).routes(routes!(figures))
}

/// The last answer, and when it was found.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Result<Ready, Unready>)>>);

/// It lives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alive {
    /// Always `ok`.
    status: &'static str,
}

/// It can do its work. Everybody may read this: parts and how they are, and nothing of where or what they are.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Ready {
    /// Always `ready`.
    status: &'static str,
    /// Always `up`.
    database: &'static str,
    /// Lock nodes that vote; null where it works without them.
    voting: Option<usize>,
    /// Lock nodes that have to; null where it works without them.
    quorum: Option<usize>,
}

/// It cannot.
#[derive(Debug, Clone)]
struct Unready {
    /// Which part, and how it is, for everybody.
    why: String,
    /// The whole of it, for whoever reads the log.
    cause: String,
    retry_after: Duration,
}

impl Readiness {
    /// Whether the instance can do its work now. One looks at a time.
    async fn of(&self, instance: &Instance) -> Result<Ready, Unready> {
        let mut last = self.0.lock().await;
        if let Some((found, answer)) = &*last
            && found.elapsed() < FRESH
        {
            return answer.clone();
        }
        let answer = look(instance).await;
        let before = last.as_ref().and_then(|(_, answer)| answer.as_ref().err());
        if let Err(unready) = &answer
            && before.is_none_or(|before| before.why != unready.why)
        {
            tracing::warn!(cause = unready.cause, "not ready");
        }
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

/// Whether the process lives
#[utoipa::path(get, path = "/healthz", tag = "service", security(()),
    responses((status = 200, description = "It does", body = Alive), Open))]
async fn is_alive() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Whether it can do its work
///
/// Asks the database, and the lock nodes where it needs them; takes two seconds at most.
#[utoipa::path(get, path = "/readyz", tag = "service", security(()),
    responses(
        (status = 200, description = "It can", body = Ready),
        (status = 503, description = "`not_ready`: it cannot, and why", body = super::problem::ProblemBody,
            content_type = "application/problem+json", headers(("retry-after" = u64, description = "After how many seconds it may be"))),
        Open,
    ))]
async fn is_ready(State(app): State<App>) -> Result<Json<Ready>, Problem> {
    if app.closing().is_cancelled() {
        return Err(Problem::unavailable(Code::NotReady, "it is shutting down", Duration::from_secs(5)));
    }
    let ready = app.readiness().of(app.instance()).await;
    ready.map(Json).map_err(|unready| Problem::unavailable(Code::NotReady, unready.why, unready.retry_after))
}

/// Figures for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "service",
    responses((status = 200, description = "In Prometheus' text format", body = String, content_type = "text/plain"), Always))]
async fn figures(State(app): State<App>) -> Response {
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for (name, count) in [("stock_tasks", tasks), ("stock_requests_under_way", app.under_way())] {
        gauge!(name).set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], recorder::rendered()).into_response()
}

async fn look(instance: &Instance) -> Result<Ready, Unready> {
    let (database, locks, levels) = tokio::join!(database(instance), locks(instance), levels(instance));
    let (voting, quorum) = match locks {
        Ok(counts) => counts.map_or((None, None), |(voting, quorum)| (Some(voting), Some(quorum))),
        Err(ref unready) => return Err(database.err().map_or_else(|| unready.clone(), |other| other.and(unready))),
    };
    database?;
    levels?;
    Ok(Ready { status: "ready", database: "up", voting, quorum })
}

impl Unready {
    fn new(why: String, cause: String) -> Self {
        Self { why, cause, retry_after: Duration::from_secs(1) }
    }

    fn and(self, other: &Self) -> Self {
        let both = |one: String, other: &str| format!("{one}; {other}");
        Self {
            why: both(self.why, &other.why),
            cause: both(self.cause, &other.cause),
            retry_after: self.retry_after.max(other.retry_after),
        }
    }
}

async fn database(instance: &Instance) -> Result<(), Unready> {
    match tokio::time::timeout(PATIENCE, instance.store().check_schema()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let why = format!("database: {}", error.code());
            Err(Unready::new(why, format!("{}: {:#}", instance.database(), anyhow::Error::from(error))))
        }
        Err(_) => Err(Unready::new("database: no answer".into(), format!("{}: no answer", instance.database()))),
    }
}

/// The Redis of resident levels, where there is one.
async fn levels(instance: &Instance) -> Result<(), Unready> {
    let Some(resident) = instance.resident() else { return Ok(()) };
    match tokio::time::timeout(PATIENCE, resident.ping()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let why = format!("levels: {}", error.code());
            Err(Unready::new(why, format!("levels: {:#}", anyhow::Error::from(error))))
        }
        Err(_) => Err(Unready::new("levels: no answer".into(), "levels: no answer of their Redis".into())),
    }
}

/// How many nodes vote, and how many have to; `None` where no lock is needed.
async fn locks(instance: &Instance) -> Result<Option<(usize, usize)>, Unready> {
    if !instance.needs_locks() {
        return Ok(None);
    }
    let redlock = &instance.locks().redlock;
    let (standing, inspection) = (redlock.standing(), redlock.inspect(PROBE).await);
    let quorum = standing.len() / 2 + 1;
    let mut waits: Vec<Duration> = Vec::new();
    let mut silent = 0;
    for ((_, barred), node) in standing.iter().zip(&inspection.nodes) {
        match (&node.state, barred) {
            (NodeState::Error(_), _) => silent += 1,
            (_, None) => waits.push(Duration::ZERO),
            (_, Some(Cause::Quarantined { remaining })) => waits.push(*remaining),
            _ => {}
        }
    }
    waits.sort_unstable();
    let voting = waits.iter().filter(|wait| wait.is_zero()).count();
    match waits.get(quorum - 1).copied() {
        Some(Duration::ZERO) => Ok(Some((voting, quorum))),
        wait => {
            let nodes = standing.len();
            let waiting =
                wait.map_or_else(String::new, |wait| format!("; in {:.0} s enough will", wait.as_secs_f64().ceil()));
            let why = format!("{voting} of {nodes} lock nodes vote, {quorum} have to; {silent} do not answer{waiting}");
            Err(Unready { cause: why.clone(), why, retry_after: wait.unwrap_or(Duration::from_secs(1)) })
        }
    }
}

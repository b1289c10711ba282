//! The control room over HTTP: a look, a look every second, and in the demo what visitors do to lock nodes.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Room;
use super::snapshot::Snapshot;
use crate::service::App;
use crate::service::problem::{Always, Code, Named, Problem};

pub(in crate::service) fn router(is_open: bool) -> OpenApiRouter<App> {
    let router = OpenApiRouter::new().routes(routes!(look)).routes(routes!(watch));
    if is_open { router.routes(routes!(hurt)) } else { router }
}

/// How the instance is, as of the last second
#[utoipa::path(get, path = "/v1/room", tag = "room",
    responses((status = 200, description = "What was seen", body = Snapshot), Always))]
async fn look(State(app): State<App>) -> Json<Arc<Snapshot>> {
    Json(app.room().now())
}

/// How the instance is, once a second
///
/// Server-sent events of the name `room`, each with the answer of `/v1/room` as its data.
#[utoipa::path(get, path = "/v1/room/stream", tag = "room",
    responses((status = 200, description = "Events without an end", body = String, content_type = "text/event-stream"), Always))]
async fn watch(State(app): State<App>) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let seat = app.watch()?;
    let (seen, closing) = (app.room().seen.clone(), app.closing().clone());
    let events = stream::unfold((seen, true), move |(mut seen, is_first)| {
        let closing = closing.clone();
        let _ = &seat;
        async move {
            if !is_first {
                tokio::select! {
                    changed = seen.changed() => changed.ok()?,
                    () = closing.cancelled() => return None,
                }
            }
            let snapshot = seen.borrow_and_update().clone();
            // Numbers and texts, all of which can be written.
            let event = Event::default().event("room").json_data(&*snapshot).ok()?;
            Some((Ok(event), (seen, false)))
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// Hurt a lock node, or let it come back
///
/// In the demo only. `stop`: it hangs; `resume`: it goes on; `kill`: it ends; `restart`: it begins again, with
/// nothing of what it knew.
#[utoipa::path(post, path = "/v1/room/nodes/{number}/{action}", tag = "room",
    params(("number" = usize, Path, minimum = 1), ("action" = String, Path, pattern = "^(stop|kill|restart|resume)$")),
    responses((status = 204, description = "Done"), Named))]
async fn hurt(State(app): State<App>, Path((number, action)): Path<(String, String)>) -> Result<StatusCode, Problem> {
    let local = &app.instance().locks().local;
    let index = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let node = index.and_then(|index| local.get(index));
    let node = node.ok_or_else(|| Problem::new(Code::NotFound, "there is no such node here"))?;
    match action.as_str() {
        "stop" => node.hang(),
        "resume" => node.resume(),
        "kill" => node.kill(),
        "restart" => node.restart(false),
        _ => return Err(Problem::invalid("that is no action; allowed are stop, kill, restart and resume")),
    }
    Ok(StatusCode::NO_CONTENT)
}

impl Room {
    /// Whether visitors may hurt lock nodes.
    pub(in crate::service) fn is_open(&self) -> bool {
        self.is_open
    }
}

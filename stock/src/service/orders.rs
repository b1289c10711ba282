//! What orders hold.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer::{HoldItem, List};
use super::input::{Order, Parameters};
use super::problem::{Asking, Problem};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_holds))
}

/// What an order holds, newest first
///
/// Also holds of which nothing is left. An order that has never held anything has none.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/holds", tag = "orders",
    params(
        ("order_id" = String, Path, min_length = 1, max_length = 64, pattern = "^[!-~]+$"),
        ("cursor" = Option<u64>, Query, maximum = 9_007_199_254_740_991_u64, description = "The `next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "100 unless given"),
    ),
    responses((status = 200, description = "A page of holds", body = List<HoldItem>), Asking)
)]
async fn list_holds(State(app): State<App>, Order(order_id): Order, uri: Uri) -> Result<Json<List<HoldItem>>, Problem> {
    let parameters = Parameters::read(&uri, &["cursor", "limit"])?;
    let (cursor, limit) = (parameters.cursor()?, parameters.limit()?);
    let page = app.within(app.repository().holds(&order_id, cursor, limit)).await?;
    Ok(Json(page.into()))
}

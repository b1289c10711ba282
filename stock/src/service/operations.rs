//! Changes: one, or several that are made all or none.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer::{Record, Records};
use super::input::{Body, KeyAndWord};
use super::number::Number;
use super::problem::{Changing, Problem};
use crate::operation::{Operation, StockKey};
use crate::request::{Change, ExpiresIn, OrderId, Request, RequestId};
use crate::workbench::Answer;

/// The id under which a request can be found in the log, given or made.
const REQUEST: HeaderName = HeaderName::from_static("stock-request-id");

/// Says that a request had been carried out before.
const REPLAYED: HeaderName = HeaderName::from_static("stock-replayed");

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(change_record)).routes(routes!(change_records))
}

/// What is to be done.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(as = Operation, rename_all = "lowercase")]
#[allow(dead_code, reason = "only its schema is used: names are read in one place")]
pub(super) enum OperationName {
    Lock,
    Unlock,
    Reserve,
    Release,
    Deduct,
    Add,
    Reset,
}

/// An operation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOperation {
    /// How many units; 0 for `reset` only, which makes it the stock on hand.
    #[schema(value_type = u64, maximum = 9_007_199_254_740_991_u64)]
    quantity: Number,
    /// Asked again under the same id, it is carried out once.
    #[schema(min_length = 1, max_length = 64, pattern = "^[!-~]+$")]
    request_id: Option<String>,
    /// The order it is done for.
    #[schema(min_length = 1, max_length = 64, pattern = "^[!-~]+$")]
    order_id: Option<String>,
    /// After how many seconds what is locked for the order may be unlocked; only for `lock`, with an order.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 315_360_000)]
    expires_in: Option<Number>,
}

/// One of several operations.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    #[schema(value_type = u64, maximum = 9_007_199_254_740_991_u64)]
    variant_id: Number,
    #[schema(value_type = u64, maximum = 9_007_199_254_740_991_u64)]
    warehouse_id: Number,
    #[schema(value_type = OperationName)]
    operation: String,
    /// How many units; 0 for `reset` only, which makes it the stock on hand.
    #[schema(value_type = u64, maximum = 9_007_199_254_740_991_u64)]
    quantity: Number,
    /// The order it is done for.
    #[schema(min_length = 1, max_length = 64, pattern = "^[!-~]+$")]
    order_id: Option<String>,
    /// After how many seconds what is locked for the order may be unlocked; only for `lock`, with an order.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 315_360_000)]
    expires_in: Option<Number>,
}

/// Several operations, all or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    /// Asked again under the same id, they are carried out once.
    #[schema(min_length = 1, max_length = 64, pattern = "^[!-~]+$")]
    request_id: Option<String>,
    /// Carried out one after another.
    #[schema(min_items = 1, max_items = 1000)]
    operations: Vec<Part>,
}

/// Change a record
///
/// Answers once it is durable. It goes on when nobody waits for the answer any more: ask again under the same
/// request id to learn what became of it.
#[utoipa::path(
    post, path = "/v1/stocks/{variant_id}/{warehouse_id}/{operation}", tag = "operations",
    params(
        ("variant_id" = u64, Path, maximum = 9_007_199_254_740_991_u64),
        ("warehouse_id" = u64, Path, maximum = 9_007_199_254_740_991_u64, description = "0 is the default one"),
        ("operation" = OperationName, Path),
    ),
    request_body = NewOperation,
    responses(
        (status = 200, description = "The record after it", body = Record, headers(
            ("stock-request-id" = String, description = "The id under which it is in the log"),
            ("stock-replayed" = bool, description = "Whether it had been carried out before, and this is the first answer again"),
        )),
        Changing
    )
)]
async fn change_record(
    State(app): State<App>,
    KeyAndWord(key, word): KeyAndWord,
    Body(new, seat): Body<NewOperation>,
) -> Result<(HeaderMap, Json<Record>), Problem> {
    let change = change(key, &word, new.quantity, new.order_id.as_deref(), new.expires_in)?;
    let answer = app.carry_out(seat, identified(Request::one(change), new.request_id.as_deref())?).await?;
    let record = answer.records.first().copied().ok_or_else(Problem::internal)?;
    Ok((headers(&answer), Json(record.into())))
}

/// Change several records, all or none
///
/// As with a single operation; the operations are carried out one after another, in one transaction.
#[utoipa::path(
    post, path = "/v1/operations", tag = "operations",
    request_body = Batch,
    responses(
        (status = 200, description = "The records after it", body = Records, headers(
            ("stock-request-id" = String, description = "The id under which it is in the log"),
            ("stock-replayed" = bool, description = "Whether it had been carried out before, and this is the first answer again"),
        )),
        Changing
    )
)]
async fn change_records(
    State(app): State<App>,
    Body(batch, seat): Body<Batch>,
) -> Result<(HeaderMap, Json<Records>), Problem> {
    let changes = batch.operations.into_iter().map(|part| {
        let (variant_id, warehouse_id) = (part.variant_id.id("variant_id")?, part.warehouse_id.id("warehouse_id")?);
        let key = StockKey { variant_id, warehouse_id };
        change(key, &part.operation, part.quantity, part.order_id.as_deref(), part.expires_in)
    });
    let request = Request::batch(changes.collect::<Result<_, _>>()?);
    let answer = app.carry_out(seat, identified(request, batch.request_id.as_deref())?).await?;
    let records = answer.records.iter().copied().map(Record::from).collect();
    Ok((headers(&answer), Json(Records { records })))
}

fn change(
    key: StockKey,
    operation: &str,
    quantity: Number,
    order_id: Option<&str>,
    expires_in: Option<Number>,
) -> Result<Change, Problem> {
    let operation: Operation = operation.parse()?;
    let mut change = Change::new(key, operation, quantity.quantity()?);
    if let Some(order_id) = order_id {
        change = change.order(OrderId::new(order_id)?);
    }
    if let Some(seconds) = expires_in {
        change = change.expires_in(ExpiresIn::seconds(seconds.get("expires_in")?)?);
    }
    Ok(change)
}

fn identified(request: Request, request_id: Option<&str>) -> Result<Request, Problem> {
    Ok(match request_id {
        Some(id) => request.id(RequestId::new(id)?),
        None => request,
    })
}

fn headers(answer: &Answer) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // Ids are visible ASCII.
    if let Ok(id) = HeaderValue::from_str(answer.request_id.as_str()) {
        headers.insert(REQUEST, id);
    }
    headers.insert(REPLAYED, HeaderValue::from_static(if answer.replayed { "true" } else { "false" }));
    headers
}

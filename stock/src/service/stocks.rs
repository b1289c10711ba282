//! Records: made, read, listed, and what was done with them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer::{List, LogItem, Record};
use super::input::{Body, Key, Parameters};
use super::number::Number;
use super::problem::{Asking, Named, Problem, Sending};
use crate::store::{Creation, Filter};

/// Says which level of the cache had a record.
const CACHE: HeaderName = HeaderName::from_static("x-cache");

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(read_record, put_record))
        .routes(routes!(list_records))
        .routes(routes!(list_logs))
}

/// A new record.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRecord {
    /// The product that the variant belongs to.
    #[schema(value_type = u64, maximum = 9_007_199_254_740_991_u64)]
    product_id: Number,
    /// Units on hand; all of them are available.
    #[schema(value_type = u64, maximum = 9_007_199_254_740_991_u64)]
    stock: Number,
}

/// Make a record, unless it is there
///
/// A record that exists is left as it is and given back.
#[utoipa::path(
    put, path = "/v1/stocks/{variant_id}/{warehouse_id}", tag = "stocks",
    params(
        ("variant_id" = u64, Path, maximum = 9_007_199_254_740_991_u64),
        ("warehouse_id" = u64, Path, maximum = 9_007_199_254_740_991_u64, description = "0 is the default one"),
    ),
    request_body = NewRecord,
    responses(
        (status = 201, description = "It is new", body = Record),
        (status = 200, description = "It was there, and is unchanged", body = Record),
        Sending
    )
)]
async fn put_record(
    State(app): State<App>,
    Key(key): Key,
    Body(new, seat): Body<NewRecord>,
) -> Result<Response, Problem> {
    let (product_id, stock) = (new.product_id.id("product_id")?, new.stock.quantity()?);
    let repository = app.repository().clone();
    let creation = app.finish(seat, async move { repository.create(product_id, key, stock).await }).await?;
    let status = match creation {
        Creation::Created(_) => StatusCode::CREATED,
        Creation::Existing(_) => StatusCode::OK,
    };
    Ok((status, Json(Record::from(creation.record()))).into_response())
}

/// A record as it was last committed
#[utoipa::path(
    get, path = "/v1/stocks/{variant_id}/{warehouse_id}", tag = "stocks",
    params(
        ("variant_id" = u64, Path, maximum = 9_007_199_254_740_991_u64),
        ("warehouse_id" = u64, Path, maximum = 9_007_199_254_740_991_u64, description = "0 is the default one"),
    ),
    responses(
        (status = 200, description = "The record", body = Record, headers(
            ("x-cache" = String, description = "Where it was found: local, redis or database")
        )),
        Named
    )
)]
async fn read_record(State(app): State<App>, Key(key): Key) -> Result<Response, Problem> {
    let read = app.within(app.repository().read(key)).await?;
    let level = HeaderValue::from_static(read.level.name());
    Ok(([(CACHE, level)], Json(Record::from(read.record))).into_response())
}

/// Records, by number
///
/// Of a variant, of a product, or of several variants in one warehouse: one of the three.
#[utoipa::path(
    get, path = "/v1/stocks", tag = "stocks",
    params(
        ("variant_id" = Option<u64>, Query, maximum = 9_007_199_254_740_991_u64, description = "Of this variant, in all warehouses"),
        ("product_id" = Option<u64>, Query, maximum = 9_007_199_254_740_991_u64, description = "Of this product, all its variants in all warehouses"),
        ("variant_ids" = Option<Vec<u64>>, Query, style = Form, explode = false, min_items = 1, max_items = 1000,
            description = "Of these variants, separated by commas, in the warehouse `warehouse_id`"),
        ("warehouse_id" = Option<u64>, Query, maximum = 9_007_199_254_740_991_u64, description = "Only with `variant_ids`; 0 unless given"),
        ("cursor" = Option<u64>, Query, maximum = 9_007_199_254_740_991_u64, description = "The `next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "100 unless given"),
    ),
    responses((status = 200, description = "A page of them", body = List<Record>), Asking)
)]
async fn list_records(State(app): State<App>, uri: Uri) -> Result<Json<List<Record>>, Problem> {
    let known = ["variant_id", "product_id", "variant_ids", "warehouse_id", "cursor", "limit"];
    let parameters = Parameters::read(&uri, &known)?;
    let filter = filter(&parameters)?;
    let (cursor, limit) = (parameters.cursor()?, parameters.limit()?);
    let page = app.within(app.repository().list(&filter, cursor, limit)).await?;
    Ok(Json(page.into()))
}

fn filter(parameters: &Parameters) -> Result<Filter, Problem> {
    let warehouse_id = parameters.id("warehouse_id")?;
    match (parameters.id("variant_id")?, parameters.id("product_id")?, parameters.ids("variant_ids")?) {
        (Some(variant), None, None) if warehouse_id.is_none() => Ok(Filter::Variant(variant)),
        (None, Some(product), None) if warehouse_id.is_none() => Ok(Filter::Product(product)),
        (None, None, Some(variant_ids)) => {
            let default = crate::operation::Id::new(0).map_err(|error| Problem::invalid(error.to_string()))?;
            Ok(Filter::Variants { variant_ids, warehouse_id: warehouse_id.unwrap_or(default) })
        }
        _ => Err(Problem::invalid("one of variant_id, product_id, and variant_ids with warehouse_id is needed")),
    }
}

/// What was done with a record, newest first
#[utoipa::path(
    get, path = "/v1/stocks/{variant_id}/{warehouse_id}/logs", tag = "stocks",
    params(
        ("variant_id" = u64, Path, maximum = 9_007_199_254_740_991_u64),
        ("warehouse_id" = u64, Path, maximum = 9_007_199_254_740_991_u64, description = "0 is the default one"),
        ("cursor" = Option<u64>, Query, maximum = 9_007_199_254_740_991_u64, description = "The `next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "100 unless given"),
    ),
    responses((status = 200, description = "A page of changes", body = List<LogItem>), Named)
)]
async fn list_logs(State(app): State<App>, Key(key): Key, uri: Uri) -> Result<Json<List<LogItem>>, Problem> {
    let parameters = Parameters::read(&uri, &["cursor", "limit"])?;
    let (cursor, limit) = (parameters.cursor()?, parameters.limit()?);
    let page = app
        .within(async {
            let page = app.repository().logs(key, cursor, limit).await?;
            if page.items.is_empty() {
                // Nothing was done, or there is nothing to do anything with.
                app.repository().get(key).await?;
            }
            Ok(page)
        })
        .await?;
    Ok(Json(page.into()))
}

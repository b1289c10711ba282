//! What clients send, read with care: bodies, paths and parameters.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use serde::de::DeserializeOwned;

use super::App;
use super::app::Seat;
use super::problem::{Code, Problem};
use crate::operation::{Id, MAX_INTEGER, StockKey};
use crate::request::OrderId;
use crate::store::{MAX_PAGE, PageSize};

/// A body that is JSON and comes in time, and the place of its request, which it has had from its first byte: bodies
/// that come slowly are as bounded as work.
pub(super) struct Body<T>(pub(super) T, pub(super) Seat);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let seat = app.enter()?;
        let read = Json::<T>::from_request(request, app);
        let Ok(read) = tokio::time::timeout(app.limits().request_timeout, read).await else {
            let detail = "the body did not come in time";
            return Err(Problem::new(Code::RequestTimeout, detail));
        };
        match read {
            Ok(Json(body)) => Ok(Self(body, seat)),
            Err(JsonRejection::JsonDataError(error)) => Err(Problem::invalid(error.body_text())),
            Err(JsonRejection::MissingJsonContentType(error)) => {
                Err(Problem::new(Code::UnsupportedMediaType, error.body_text()))
            }
            Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                let detail = format!("the body has more than {} bytes", app.limits().body_limit);
                Err(Problem::new(Code::PayloadTooLarge, detail))
            }
            Err(error) => Err(Problem::new(Code::InvalidJson, error.body_text())),
        }
    }
}

/// The texts between the slashes of a path.
async fn texts<T: DeserializeOwned + Send>(parts: &mut Parts, app: &App) -> Result<T, Problem> {
    let texts = Path::<T>::from_request_parts(parts, app).await;
    texts.map(|Path(texts)| texts).map_err(|error| Problem::invalid(error.body_text()))
}

/// A record named by the path.
pub(super) struct Key(pub(super) StockKey);

impl FromRequestParts<App> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let (variant, warehouse) = texts::<(String, String)>(parts, app).await?;
        Ok(Self(key(&variant, &warehouse)?))
    }
}

/// A record, and what is to be done with it, named by the path.
pub(super) struct KeyAndWord(pub(super) StockKey, pub(super) String);

impl FromRequestParts<App> for KeyAndWord {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let (variant, warehouse, word) = texts::<(String, String, String)>(parts, app).await?;
        Ok(Self(key(&variant, &warehouse)?, word))
    }
}

/// An order named by the path.
pub(super) struct Order(pub(super) OrderId);

impl FromRequestParts<App> for Order {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Ok(Self(OrderId::new(&texts::<String>(parts, app).await?)?))
    }
}

fn key(variant: &str, warehouse: &str) -> Result<StockKey, Problem> {
    let variant_id = id("variant_id", variant)?;
    Ok(StockKey { variant_id, warehouse_id: id("warehouse_id", warehouse)? })
}

fn id(name: &str, text: &str) -> Result<Id, Problem> {
    let refused = || Problem::invalid(format!("{name} is no whole number from 0 to {MAX_INTEGER}"));
    Id::new(whole(text).ok_or_else(refused)?).map_err(|_| refused())
}

/// Digits and nothing else; the standard library would take a sign too.
fn whole(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// The parameters of a request, each of which is known and there once.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Those of this address, of which only `known` ones are allowed.
    pub(super) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                return Err(Problem::invalid(format!("an unknown parameter; allowed are {}", known.join(", "))));
            }
            if found.iter().any(|(other, _)| *other == name) {
                return Err(Problem::invalid(format!("the parameter {name} is there twice")));
            }
            found.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(found))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The number of something.
    pub(super) fn id(&self, name: &str) -> Result<Option<Id>, Problem> {
        self.text(name).map(|text| id(name, text)).transpose()
    }

    /// Numbers between commas, 1 to 1000 of them.
    pub(super) fn ids(&self, name: &str) -> Result<Option<Vec<Id>>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let ids: Vec<_> = text.split(',').map(|text| id(name, text)).collect::<Result<_, _>>()?;
        if ids.len() > MAX_PAGE as usize {
            return Err(Problem::invalid(format!("{name} are more than {MAX_PAGE}")));
        }
        Ok(Some(ids))
    }

    /// Where the page begins.
    pub(super) fn cursor(&self) -> Result<Option<u64>, Problem> {
        Ok(self.id("cursor")?.map(Id::get))
    }

    /// How long it is.
    pub(super) fn limit(&self) -> Result<PageSize, Problem> {
        let Some(text) = self.text("limit") else { return Ok(PageSize::default()) };
        let limit =
            whole(text).and_then(|limit| u32::try_from(limit).ok()).filter(|limit| (1..=MAX_PAGE).contains(limit));
        let limit = limit.ok_or_else(|| Problem::invalid(format!("limit is no whole number from 1 to {MAX_PAGE}")))?;
        Ok(PageSize::clamped(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Result<Parameters, Problem> {
        Parameters::read(&format!("/?{query}").parse().unwrap(), &["a", "limit", "ids"])
    }

    #[test]
    fn parameters_are_known_and_there_once() {
        assert!(parameters("b=1").is_err() && parameters("a=1&a=1").is_err());
        assert_eq!(parameters("a=7").unwrap().id("a").unwrap().map(Id::get), Some(7));
        for wrong in ["a=", "a=%2B1", "a=-1", "a=1.0", "a=9007199254740992", "a=%20"] {
            assert!(parameters(wrong).unwrap().id("a").is_err(), "{wrong}");
        }
        for wrong in ["limit=0", "limit=1001", "limit=x"] {
            assert!(parameters(wrong).unwrap().limit().is_err(), "{wrong}");
        }
        assert_eq!(parameters("ids=1,2").unwrap().ids("ids").unwrap().unwrap().len(), 2);
        assert!(parameters("ids=1,,2").unwrap().ids("ids").is_err());
    }
}

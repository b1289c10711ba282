//! A repository as clients of the service have it: over HTTP, on the loopback, in this process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::body::{Body, to_bytes};
use axum::http::{Request as HttpRequest, StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::json;

use super::orders::Orders;
use crate::assembly::{Instance, Purpose};
use crate::config::{
    Config, DATABASE_URL, Flags, REDLOCK_NODES, REDLOCK_RESTART_GUARD, RepositoryKind, STOCK_BIND, STOCK_REPOSITORY,
};
use crate::error::RepositoryError;
use crate::levels::StockLevels;
use crate::operation::Id;
use crate::record::StockRecord;
use crate::repository::StockRepository;
use crate::request::{Change, Request, RequestId};
use crate::service::{Place, Service};
use crate::store::{BoxFuture, Store, StoreError};
use crate::workbench::Answer;

/// Longest answer that is read.
const MOST_BYTES: usize = 64 * 1024;

/// A service, and a client of it. Clones share both.
#[derive(Debug, Clone)]
pub(super) struct OverHttp {
    store: Arc<dyn Store>,
    client: Client<HttpConnector, Body>,
    url: String,
    service: Arc<Mutex<Option<Service>>>,
    instance: Arc<Instance>,
}

/// A record as the service says it, as far as it is looked at.
#[derive(Deserialize)]
struct Said {
    id: u64,
    product_id: u64,
    available_stock: u64,
    locked_stock: u64,
    reserved_stock: u64,
    version: u64,
}

impl OverHttp {
    /// A service with this repository.
    pub(super) async fn open(kind: RepositoryKind, orders: &Orders, store: Arc<dyn Store>) -> anyhow::Result<Self> {
        let guard = if orders.quarantine { "max-ttl" } else { "off" };
        let settings = [
            (DATABASE_URL, orders.database.clone()),
            (REDLOCK_NODES, orders.nodes.join(",")),
            (REDLOCK_RESTART_GUARD, guard.to_owned()),
            (STOCK_REPOSITORY, kind.to_string()),
            (STOCK_BIND, "127.0.0.1:0".to_owned()),
        ];
        ensure!(kind != RepositoryKind::Resident, "resident levels are not measured over HTTP");
        let config = Config::load(&Flags::from_iter(settings))?;
        let place = Place::take(&config.service).await?;
        // Not as a service: the database of a bench has agreed on no lock nodes.
        let instance = Arc::new(Instance::open(&config, Purpose::Demo).await?);
        let service = place.open(instance.clone(), Purpose::Demo);
        let client = Client::builder(TokioExecutor::new()).build_http();
        let url = service.url().to_owned();
        Ok(Self { store, client, url, service: Arc::new(Mutex::new(Some(service))), instance })
    }

    /// Ends the service and what is behind it.
    pub(super) async fn close(&self, within: Duration) {
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(service) = service {
            service.close().await;
        }
        self.instance.close(within).await;
    }

    async fn post(&self, change: &Change, id: RequestId) -> anyhow::Result<Answer> {
        let (variant, warehouse) = (change.key.variant_id.get(), change.key.warehouse_id.get());
        let url = format!("{}/v1/stocks/{variant}/{warehouse}/{}", self.url, change.operation);
        let body = json!({"quantity": change.quantity.get(), "request_id": id.as_str()}).to_string();
        let request = HttpRequest::post(url).header(header::CONTENT_TYPE, "application/json").body(Body::from(body))?;
        let response = self.client.request(request).await.context("the service does not answer")?;
        let status = response.status();
        let body = to_bytes(Body::new(response.into_body()), MOST_BYTES).await?;
        ensure!(status == StatusCode::OK, "{status}: {}", String::from_utf8_lossy(&body));
        let said: Said = serde_json::from_slice(&body)?;
        let record = StockRecord {
            id: said.id,
            product_id: Id::new(said.product_id)?,
            key: change.key,
            levels: StockLevels::new(said.available_stock, said.locked_stock, said.reserved_stock)?,
            version: said.version,
        };
        Ok(Answer { request_id: id, records: vec![record], replayed: false })
    }
}

impl StockRepository for OverHttp {
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn apply(&self, request: Request) -> BoxFuture<'_, Result<Answer, RepositoryError>> {
        Box::pin(async move {
            let request = request.identify()?;
            // Clients of the bench ask for one change at a time.
            let request_id = request.id().clone();
            let answer = self.post(&request.changes()[0], request_id.clone()).await;
            answer.map_err(|error| {
                let source = StoreError::Unavailable(sqlx::Error::Io(std::io::Error::other(format!("{error:#}"))));
                RepositoryError::OutcomeUnknown { request_id, source }
            })
        })
    }
}

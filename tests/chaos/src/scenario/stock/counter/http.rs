//! `stock serve` as a process of its own, asked over HTTP as anybody asks it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::child::Child;
use crate::faults::client::Member;
use crate::instance::{Levels, Outcome, Part, Question};
use crate::record::Record;

/// How long a service may take until it can do its work: restarted lock nodes stay out for a lease.
const READY_WITHIN: Duration = Duration::from_secs(40);

/// How long figures are waited for.
const FIGURES_WITHIN: Duration = Duration::from_secs(2);

/// Answers after which nobody knows whether it was done.
const UNKNOWN: [&str; 3] = ["outcome_unknown", "timeout", "internal"];

/// How `stock serve` is started.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// The command `stock`, built with bugs that can be planted.
    pub(crate) program: PathBuf,
    /// Its settings, as variables.
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// The way to one service, over all its lives.
#[derive(Debug, Default)]
pub(crate) struct Http {
    client: Client,
    /// Where its present life listens, or its last one did.
    url: Mutex<String>,
}

/// A record as the service says it.
#[derive(Deserialize)]
struct Said {
    variant_id: u64,
    available_stock: u64,
    locked_stock: u64,
    reserved_stock: u64,
    version: u64,
}

/// The records after a batch.
#[derive(Deserialize)]
struct AllSaid {
    records: Vec<Said>,
}

/// Why there are none.
#[derive(Deserialize)]
struct Problem {
    code: String,
}

impl From<Said> for Levels {
    fn from(said: Said) -> Self {
        let Said { variant_id: variant, version, .. } = said;
        let (available, locked, reserved) = (said.available_stock, said.locked_stock, said.reserved_stock);
        Self { variant, version, available, locked, reserved }
    }
}

impl Http {
    /// A way that goes past proxies, for the service is on this machine.
    pub(crate) fn new() -> anyhow::Result<Self> {
        // Where several ways to encrypt are compiled in one has to be chosen, also for what is not encrypted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self { client: Client::builder().no_proxy().build()?, url: Mutex::default() })
    }

    /// Another client of the same service, with connections of its own; it knows its present life only.
    pub(crate) fn like(&self) -> anyhow::Result<Self> {
        let url = self.url.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Self { url: Mutex::new(url), ..Self::new()? })
    }

    /// The service that answers here, over all its lives.
    pub(crate) async fn member(self: Arc<Self>, service: Service, record: Arc<Record>) -> anyhow::Result<Arc<Member>> {
        let name = service.name.clone();
        let start = move |_| {
            let (way, service, record) = (self.clone(), service.clone(), record.clone());
            Box::pin(async move { way.one_life(&service, record).await }) as _
        };
        Member::start(name, Box::new(start)).await
    }

    async fn one_life(&self, service: &Service, record: Arc<Record>) -> anyhow::Result<Arc<Child>> {
        let mut command = Command::new(&service.program);
        // Nothing but what it is told: whoever runs this may have settings of their own.
        command.arg("serve").env_clear().envs(service.settings.clone()).stderr(Stdio::inherit());
        let child = Child::serve(command, &service.name, record).await?;
        *self.url.lock().unwrap_or_else(PoisonError::into_inner) = child.place().to_owned();
        Ok(child)
    }

    /// Waits until it can do its work.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        let until = Instant::now() + READY_WITHIN;
        loop {
            let asked = self.get("/readyz").timeout(FIGURES_WITHIN).send().await;
            let why = match asked {
                Ok(response) if response.status() == StatusCode::OK => return Ok(()),
                Ok(response) => response.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            ensure!(Instant::now() < until, "it is not ready after {READY_WITHIN:?}: {why}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Figures of its own, each the sum over all labels; 0 where it has counted nothing yet.
    pub(crate) async fn figures<const N: usize>(&self, names: [&str; N]) -> anyhow::Result<[f64; N]> {
        let response = self.get("/metrics").timeout(FIGURES_WITHIN).send().await?;
        let page = response.error_for_status()?.text().await?;
        Ok(names.map(|name| sum(&page, name)))
    }

    /// Whether everything that was answered is in the database; the log is read after that only.
    pub(crate) async fn is_written_back(&self) -> bool {
        let asked = self.get("/v1/stocks/1/0/logs?limit=1").timeout(FIGURES_WITHIN).send().await;
        asked.is_ok_and(|response| response.status() == StatusCode::OK)
    }

    pub(crate) async fn ask(&self, question: Question, within: Duration) -> anyhow::Result<Outcome> {
        let (request, is_batch) = match question {
            Question::Change { id, parts } => self.change(&id, &parts)?,
            Question::Read { variant } => (self.get(&format!("/v1/stocks/{variant}/0")), false),
            other => bail!("a service is not asked {other:?}"),
        };
        let response = request.timeout(within).send().await.context("no answer")?;
        if response.status() != StatusCode::OK {
            let Problem { code } = response.json().await.context("an answer that cannot be read")?;
            let is_unknown = UNKNOWN.contains(&code.as_str());
            return Ok(if is_unknown { Outcome::Unknown { why: code } } else { Outcome::Refused { code } });
        }
        let said = match is_batch {
            true => response.json::<AllSaid>().await.map(|said| said.records),
            false => response.json::<Said>().await.map(|said| vec![said]),
        };
        let said = said.context("an answer that cannot be read")?;
        Ok(Outcome::Done { records: said.into_iter().map(Levels::from).collect() })
    }

    /// A single change has a way of its own; the other value is whether it is the way of several.
    fn change(&self, id: &str, parts: &[Part]) -> anyhow::Result<(RequestBuilder, bool)> {
        if let [part] = parts {
            let place = format!("/v1/stocks/{}/0/{}", part.variant, part.operation);
            let mut body = json!({"request_id": id, "quantity": part.quantity});
            add_order(&mut body, part);
            return Ok((self.post(&place, &body), false));
        }
        let operation = |part: &Part| {
            let Part { variant, operation, quantity, .. } = part;
            let mut operation =
                json!({"variant_id": variant, "warehouse_id": 0, "operation": operation, "quantity": quantity});
            add_order(&mut operation, part);
            operation
        };
        let body = json!({"request_id": id, "operations": parts.iter().map(operation).collect::<Vec<_>>()});
        Ok((self.post("/v1/operations", &body), true))
    }

    fn get(&self, place: &str) -> RequestBuilder {
        self.client.get(self.at(place))
    }

    fn post(&self, place: &str, body: &Value) -> RequestBuilder {
        self.client.post(self.at(place)).json(body)
    }

    fn at(&self, place: &str) -> String {
        format!("{}{place}", self.url.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn add_order(body: &mut Value, part: &Part) {
    if let Some(order) = &part.order {
        body["order_id"] = json!(order);
    }
    if let Some(seconds) = part.expires_in {
        body["expires_in"] = json!(seconds);
    }
}

/// The sum of a figure over all labels, in Prometheus' text format.
fn sum(page: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let is_it = rest.starts_with(' ') || rest.starts_with('{');
        is_it.then(|| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).flatten()
    };
    page.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_summed_over_its_labels_and_is_no_other() {
        let page = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 9\na 1\n";
        assert_eq!((sum(page, "a"), sum(page, "c")), (6.0, 0.0));
    }
}

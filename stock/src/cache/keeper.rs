//! The task beside a cache: it keeps the connections to Redis, listens to other instances, and brings
//! there what was committed.
//!
//! It counts on nothing that it does not see: in each beat it sends itself a message through Redis, and
//! when that does not come back in time, hints of others would not come either.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use metrics::{counter, gauge};
use redis::aio::{MultiplexedConnection, PubSub, PubSubStream};
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::remote::{Remote, Written, is_refusal};
use super::shared::Shared;
use super::{RedisPlace, Settings};
use crate::hint::{CHANNEL, Hint};

/// How long connecting may take, and an answer that no reader waits for.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait before connecting again.
const PAUSE: std::ops::Range<u64> = 50..250;

/// How many records travel in one pipeline.
const BATCH: usize = 256;

/// Keeps a cache's Redis, for ever.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    place: RedisPlace,
    beat: Duration,
    /// The channel on which this instance hears itself.
    own: String,
    /// How many of its own messages it has heard.
    heard: AtomicU64,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, place: RedisPlace, settings: &Settings) -> Self {
        let own = format!("product_stock:beat:{:032x}", rand::random::<u128>());
        Self { shared, place, beat: settings.beat, own, heard: AtomicU64::new(0) }
    }

    pub(super) async fn run(self) -> Infallible {
        let Some(remote) = &self.shared.remote else { return std::future::pending().await };
        let connected = gauge!("stock_cache_connected");
        loop {
            let Err(error) = self.session(remote, &connected).await;
            remote.set_link(None);
            self.shared.local.set_hears(false);
            connected.set(0.0);
            tracing::debug!(%error, place = %self.place, "no cache in Redis");
            sleep(Duration::from_millis(rand::random_range(PAUSE))).await;
        }
    }

    /// As long as everything works.
    async fn session(&self, remote: &Remote, connected: &metrics::Gauge) -> RedisResult<Infallible> {
        let (mut link, mut subscription) = self.connect().await?;
        within(PATIENCE, subscription.subscribe(&[CHANNEL, &self.own])).await?;
        self.adopt(within(PATIENCE, remote.beat(&mut link, &self.own)).await?);
        remote.set_link(Some(link.clone()));
        self.shared.local.set_hears(true);
        connected.set(1.0);
        tracing::debug!(place = %self.place, "the cache in Redis is there");
        // The sink ends the subscription when it is dropped.
        let (_sink, messages) = subscription.split();
        tokio::select! {
            end = self.hear(messages) => end,
            end = self.beat(remote, link.clone()) => end,
            end = self.write(remote, link.clone()) => end,
        }
    }

    async fn connect(&self) -> RedisResult<(MultiplexedConnection, PubSub)> {
        let client = Client::open(self.place.connection_info()?)?;
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(None);
        let link = within(PATIENCE, client.get_multiplexed_async_connection_with_config(&config)).await?;
        let subscription = within(PATIENCE, client.get_async_pubsub()).await?;
        Ok((link, subscription))
    }

    /// Listens to the others, and to itself.
    async fn hear(&self, mut messages: PubSubStream) -> RedisResult<Infallible> {
        let heard = counter!("stock_cache_invalidations_total");
        while let Some(message) = messages.next().await {
            if message.get_channel_name() == self.own {
                self.heard.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            let text: String = message.get_payload()?;
            heard.increment(1);
            match Hint::parse(&text) {
                Some(Hint::Changed(key, version)) => self.shared.local.raise(key, version),
                Some(Hint::Doubtful(key)) => self.shared.local.forget(key),
                // Which generation it is, the next beat says.
                Some(Hint::Cleared) => self.shared.start_over(),
                None => tracing::debug!(text, "a message that nobody understands"),
            }
        }
        Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
    }

    /// Sends itself a message again and again, and expects each to have come by the next.
    async fn beat(&self, remote: &Remote, mut link: MultiplexedConnection) -> RedisResult<Infallible> {
        let mut ticks = interval(self.beat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let before = self.heard.load(Ordering::SeqCst);
            self.adopt(within(PATIENCE.min(self.beat), remote.beat(&mut link, &self.own)).await?);
            sleep(self.beat).await;
            if self.heard.load(Ordering::SeqCst) == before {
                return Err(silence());
            }
        }
    }

    /// Brings there what was committed.
    async fn write(&self, remote: &Remote, mut link: MultiplexedConnection) -> RedisResult<Infallible> {
        let outcomes = |outcome: &'static str| counter!("stock_cache_writes_total", "outcome" => outcome);
        let (written, older) = (outcomes("written"), outcomes("older"));
        loop {
            let errands = self.shared.pending.some(BATCH).await;
            match within(PATIENCE, remote.write(&mut link, &errands)).await {
                Ok(answers) if answers.contains(&Written::NewGeneration) => {
                    let generation = within(PATIENCE, remote.beat(&mut link, &self.own)).await?;
                    self.adopt(generation);
                }
                Ok(answers) => {
                    let count = |what| answers.iter().filter(|&&answer| answer == what).count() as u64;
                    written.increment(count(Written::Done));
                    older.increment(count(Written::Older));
                    self.shared.pending.done(&errands);
                }
                Err(error) if is_refusal(&error) => {
                    tracing::warn!(%error, place = %self.place, "the cache in Redis refuses to be written");
                    sleep(PATIENCE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn adopt(&self, generation: u64) {
        if self.shared.remote.as_ref().is_some_and(|remote| remote.adopt(generation)) {
            self.shared.start_over();
        }
    }
}

async fn within<T>(limit: Duration, answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    timeout(limit, answer).await.unwrap_or_else(|_| Err(silence()))
}

fn silence() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

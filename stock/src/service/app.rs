//! What every handler shares, and the two ways in which it has something done.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::health::Readiness;
use super::problem::{Code, Problem};
use super::room::Room;
use crate::assembly::Instance;
use crate::config::ServiceConfig;
use crate::error::RepositoryError;
use crate::failpoint;
use crate::repository::StockRepository;
use crate::request::Request;
use crate::workbench::Answer;

/// Most who watch the control room at a time.
const WATCHERS: usize = 64;

/// A place among the requests under way, kept from the first byte of a body until the work is done.
#[derive(Debug)]
pub(super) struct Seat {
    _place: OwnedSemaphorePermit,
}

/// Handed to every handler; clones share everything.
#[derive(Debug, Clone)]
pub(super) struct App(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    instance: Arc<Instance>,
    limits: ServiceConfig,
    queue: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
    /// What goes on although its client may be gone.
    tasks: TaskTracker,
    /// Cancelled when the end begins.
    closing: CancellationToken,
    readiness: Readiness,
    room: Room,
}

impl App {
    pub(super) fn new(instance: Arc<Instance>, limits: ServiceConfig, room: Room, closing: CancellationToken) -> Self {
        let queue = Arc::new(Semaphore::new(limits.queue));
        let watchers = Arc::new(Semaphore::new(WATCHERS));
        let (tasks, readiness) = (TaskTracker::new(), Readiness::default());
        Self(Arc::new(Shared { instance, limits, queue, watchers, tasks, closing, readiness, room }))
    }

    pub(super) fn instance(&self) -> &Instance {
        &self.0.instance
    }

    pub(super) fn repository(&self) -> &Arc<dyn StockRepository> {
        self.0.instance.repository()
    }

    pub(super) fn limits(&self) -> &ServiceConfig {
        &self.0.limits
    }

    pub(super) fn readiness(&self) -> &Readiness {
        &self.0.readiness
    }

    pub(super) fn room(&self) -> &Room {
        &self.0.room
    }

    pub(super) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    /// How much is under way that changes something.
    pub(super) fn under_way(&self) -> usize {
        self.0.tasks.len()
    }

    /// Waits until everything that was begun is done.
    pub(super) async fn all_done(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Room for one more who watches; kept for as long as it does.
    pub(super) fn watch(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.0.watchers.clone().try_acquire_owned().map_err(|_| Problem::overloaded())
    }

    /// Room for one more request.
    pub(super) fn enter(&self) -> Result<Seat, Problem> {
        if failpoint::planted("service-queue-unbounded") {
            self.0.queue.add_permits(1);
        }
        self.0.queue.clone().try_acquire_owned().map(|place| Seat { _place: place }).map_err(|_| Problem::overloaded())
    }

    /// What a look comes to, if it comes in time. It ends with its client.
    pub(super) async fn within<T>(&self, look: impl Future<Output = Result<T, RepositoryError>>) -> Result<T, Problem> {
        let _seat = self.enter()?;
        match tokio::time::timeout(self.limits().request_timeout, look).await {
            Ok(found) => Ok(found?),
            Err(_) => Err(too_slow()),
        }
    }

    /// What work comes to, if it comes in time. It goes on when its client is gone.
    pub(super) async fn finish<T: Send + 'static>(
        &self,
        seat: Seat,
        work: impl Future<Output = Result<T, RepositoryError>> + Send + 'static,
    ) -> Result<T, Problem> {
        match self.begin(seat, work).await? {
            Some(done) => Ok(done?),
            None => Err(too_slow()),
        }
    }

    /// What a request comes to. It goes on when its client is gone; where it takes too long, nobody knows yet.
    pub(super) async fn carry_out(&self, seat: Seat, mut request: Request) -> Result<Answer, Problem> {
        failpoint::leak();
        let id = request.named().clone();
        let repository = self.repository().clone();
        // A panic may come after the commit.
        let work = AssertUnwindSafe(async move { repository.apply(request).await }).catch_unwind();
        match self.begin(seat, work).await? {
            Some(Ok(answer)) => Ok(answer?),
            Some(Err(_)) => Err(Problem::unknown(id, "it ended in the middle; ask again under its id")),
            None => Err(Problem::unknown(id, "it takes too long, and goes on; ask again under its id")),
        }
    }

    /// `None` where it takes too long.
    async fn begin<T: Send + 'static>(
        &self,
        seat: Seat,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<Option<T>, Problem> {
        let work = self.0.tasks.spawn(async move {
            let done = work.await;
            drop(seat);
            done
        });
        match tokio::time::timeout(self.limits().request_timeout, work).await {
            Ok(Ok(done)) => Ok(Some(done)),
            Ok(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going down.
                Err(_) => Err(Problem::overloaded()),
            },
            Err(_) => Ok(None),
        }
    }
}

fn too_slow() -> Problem {
    Problem::unavailable(Code::Timeout, "it takes too long", std::time::Duration::from_secs(1))
}

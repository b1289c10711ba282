//! Faults of clients and instances: stopped for longer than a lease, killed, or told to drop what they wait for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use super::Fault;
use crate::child::Child;
use crate::instance::{Ask, NOBODY, Question};

/// Starts a member's next life, of the given number.
type Start = Box<dyn Fn(u32) -> BoxFuture<'static, anyhow::Result<Arc<Child>>> + Send + Sync>;

/// A client or an instance, over all its lives.
pub(crate) struct Member {
    pub(crate) name: String,
    start: Start,
    child: Mutex<(u32, Option<Arc<Child>>)>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Member {
    /// Starts its first life.
    pub(crate) async fn start(name: String, start: Start) -> anyhow::Result<Arc<Self>> {
        let child = start(0).await.with_context(|| format!("{name} does not start"))?;
        Ok(Arc::new(Self { name, start, child: Mutex::new((0, Some(child))) }))
    }

    /// The process, unless it is dead.
    pub(crate) async fn child(&self) -> Option<Arc<Child>> {
        self.child.lock().await.1.clone()
    }

    /// Ends it.
    pub(crate) async fn kill(&self) {
        if let Some(child) = self.child.lock().await.1.take() {
            child.kill().await;
        }
    }

    /// Starts its next life.
    async fn revive(&self) -> anyhow::Result<()> {
        let life = self.child.lock().await.0 + 1;
        let child = (self.start)(life).await?;
        *self.child.lock().await = (life, Some(child));
        Ok(())
    }
}

/// How long an instance may take to hear what it is told, and how often it is looked after meanwhile.
const HEARD: Duration = Duration::from_millis(600);
const LOOKS: u32 = 12;

/// What happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    /// It is stopped where it stands (SIGSTOP).
    Pause,
    /// It stops itself when it next comes to this moment.
    PauseAt(&'static str),
    /// It dies, and is started again.
    Kill,
    /// Every future that waits for a lock is dropped.
    DropFutures,
}

/// A fault of one member.
#[derive(Debug)]
pub(crate) struct MemberFault {
    pub(crate) member: Arc<Member>,
    pub(crate) how: How,
}

impl MemberFault {
    async fn living(&self) -> anyhow::Result<Arc<Child>> {
        self.member.child().await.with_context(|| format!("{} is dead", self.member.name))
    }
}

impl Fault for MemberFault {
    fn name(&self) -> String {
        let what = match self.how {
            How::Pause => "paused".to_owned(),
            How::PauseAt(moment) => format!("paused at {moment}"),
            How::Kill => "killed".to_owned(),
            How::DropFutures => "drops what it waits for".to_owned(),
        };
        format!("{} {what}", self.member.name)
    }

    fn inject(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async {
            match &self.how {
                How::Pause => self.living().await?.pause().await,
                How::PauseAt(moment) => {
                    tell(&*self.living().await?, Question::StopAt { moment: (*moment).to_owned() }).await
                }
                How::Kill => {
                    self.member.kill().await;
                    Ok(())
                }
                How::DropFutures => self.living().await?.say("drop").await,
            }
        })
    }

    fn bites(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            match &self.how {
                // It may never come to that moment.
                How::PauseAt(_) => self.member.child().await.is_some_and(|child| child.is_stopped()),
                How::Pause | How::Kill | How::DropFutures => true,
            }
        })
    }

    fn undo(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async {
            match &self.how {
                How::Pause => self.living().await?.resume().await,
                How::PauseAt(moment) => {
                    let child = self.living().await?;
                    child.resume().await?;
                    tell(&child, Question::GoOn { moment: (*moment).to_owned() }).await?;
                    // It may come to the moment once more before it hears that.
                    for _ in 0..LOOKS {
                        tokio::time::sleep(HEARD / LOOKS).await;
                        child.resume().await?;
                    }
                    Ok(())
                }
                How::Kill => self.member.revive().await,
                How::DropFutures => Ok(()),
            }
        })
    }
}

/// Tells an instance something to which no answer is awaited.
async fn tell(child: &Child, question: Question) -> anyhow::Result<()> {
    child.say(&serde_json::to_string(&Ask { number: NOBODY, question })?).await
}

//! Where buyers hand in what they ask of an instance, and get its answer; none, if the instance dies first.

mod http;
mod lines;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::http::{Http, Service};
pub(crate) use self::lines::Lines;
use crate::instance::{Outcome, Question};

/// The way to one instance, over all its lives.
#[derive(Clone)]
pub(crate) enum Counter {
    /// A repository in a process of this suite, asked line by line.
    Lines(Arc<Lines>),
    /// `stock serve`, asked over HTTP.
    Http(Arc<Http>),
}

impl Counter {
    /// Asks, and waits that long; an error where nobody answers.
    pub(crate) async fn ask(&self, question: Question, within: Duration) -> anyhow::Result<Outcome> {
        match self {
            Self::Lines(lines) => lines.ask(question, within).await,
            Self::Http(http) => http.ask(question, within).await,
        }
    }
}

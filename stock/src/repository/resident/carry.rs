//! One request from its first try to its answer: everything that may be in the way is waited for, looked up
//! or taken back, and it is tried again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::queue::{Item, Place, Reply};
use super::residence::unavailable;
use super::{Resident, known};
use crate::error::RepositoryError;
use crate::hold::{Hold, HoldState, Refusal};
use crate::operation::StockKey;
use crate::request::{Change, Identified};
use crate::workbench::Answer;

/// The pause before another try.
const PAUSE: Duration = Duration::from_millis(20);

impl Resident {
    /// Carries a request out, all of it or nothing.
    pub(super) async fn carry_out(&self, request: Identified) -> Result<Answer, RepositoryError> {
        let request = Arc::new(request);
        let mut doubt = None;
        // Nobody can have used an id that was made just now.
        let mut looked = request.is_new().then(|| self.queue.generation());
        let until = Instant::now() + self.patience;
        loop {
            let tried = self.attempt(&request, &mut looked).await;
            let error = match tried {
                Ok(Attempt::Answered(answer)) => {
                    return Ok(Answer { replayed: answer.replayed && doubt.is_none(), ..answer });
                }
                Ok(Attempt::Again) if Instant::now() < until => continue,
                Ok(Attempt::Again) => RepositoryError::Overloaded,
                Ok(Attempt::Lost(error)) => {
                    looked = None;
                    doubt = Some(error.clone());
                    RepositoryError::ResidentUnavailable { source: error.into() }
                }
                Err(error) => error,
            };
            if is_decided(&error) {
                return Err(error);
            }
            let passes = match &error {
                RepositoryError::ResidentUnavailable { .. } => true,
                RepositoryError::Store(error) => error.is_conflict(),
                _ => false,
            };
            match &doubt {
                None if !passes || Instant::now() >= until => return Err(error),
                // Whatever else is in the way, only a decision settles what has become of it.
                Some(doubt) if Instant::now() >= until => {
                    let request_id = request.id().clone();
                    return Err(RepositoryError::ResidentUnknown { request_id, source: doubt.clone().into() });
                }
                _ => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn attempt(&self, request: &Arc<Identified>, looked: &mut Option<u64>) -> Result<Attempt, RepositoryError> {
        let mut places = Vec::with_capacity(1);
        for key in request.keys() {
            places.push(self.residences.ensure(key).await?);
        }
        let Some(ended) = self.ended(request, &places).await? else { return Ok(Attempt::Again) };
        let item = Item { request: request.clone(), places: places.clone(), looked: *looked, ended };
        Ok(match self.queue.ask(item).await {
            Reply::Done(records) => {
                Attempt::Answered(Answer { request_id: request.id().clone(), records, replayed: false })
            }
            Reply::Refused(number, refusal) => {
                return Err(self.explained(request, number, refusal, &places).await?.into());
            }
            Reply::Logged(entries) => Attempt::Answered(known::in_log(&entries, request, &places)?),
            Reply::Unlooked(error) => return Err(error.into()),
            Reply::Seen(entry) => match known::in_journal(&self.link, &entry, request, &places).await? {
                Some(answer) => Attempt::Answered(answer),
                None => {
                    self.is_not_kept(&entry, &places).await?;
                    *looked = None;
                    Attempt::Again
                }
            },
            Reply::LookAgain => {
                *looked = None;
                Attempt::Again
            }
            Reply::Unusable(key) => {
                *looked = None;
                self.forget(key, &places);
                Attempt::Again
            }
            Reply::Diverged(key, reason) => {
                self.forget(key, &places);
                return Err(RepositoryError::ResidentDiverged { key, reason });
            }
            Reply::Again => Attempt::Again,
            Reply::Full => return Err(RepositoryError::Overloaded),
            Reply::Unsent(error) => return Err(RepositoryError::ResidentUnavailable { source: error.into() }),
            Reply::Lost(error) => Attempt::Lost(error),
        })
    }

    /// Refuses what waits for somebody's decision: an entry of the journal that was set apart.
    async fn is_not_kept(&self, id: &str, places: &[Place]) -> Result<(), RepositoryError> {
        for Place { key, .. } in places {
            let kept = self.link.kept(*key).await.map_err(unavailable)?;
            if kept.iter().any(|(_, entry)| entry.id == id) {
                let reason = format!("entry {id} of the journal has been set apart");
                return Err(RepositoryError::ResidentDiverged { key: *key, reason });
            }
        }
        Ok(())
    }

    fn forget(&self, key: StockKey, places: &[Place]) {
        let of_it = places.iter().filter(|place| place.key == key);
        of_it.for_each(|place| self.residences.forget(key, place.epoch));
    }

    /// For a request that ends a hold, up to which sequence the database has the hold as it was listed, or
    /// less than any if it is no longer so: only the database knows when a hold ends. `None` if the record
    /// has moved.
    async fn ended(&self, request: &Identified, places: &[Place]) -> Result<Option<Option<i64>>, RepositoryError> {
        let ends = |change: &&Change| change.ended_at.is_some();
        let Some(change) = request.changes().iter().find(ends) else { return Ok(Some(None)) };
        self.flusher.settle_record(change.key).await?;
        let Some(place) = places.iter().find(|place| place.key == change.key) else { return Ok(None) };
        let (residence, hold) = self.stored_hold(place, change).await?;
        let Some(sequence) = residence.filter(|(epoch, _)| *epoch == place.epoch).map(|(_, sequence)| sequence) else {
            self.residences.forget(place.key, place.epoch);
            return Ok(None);
        };
        let is_listed = hold.is_some_and(|hold| hold.ends_at() == change.ended_at);
        Ok(Some(Some(if is_listed { i64::try_from(sequence).unwrap_or(i64::MAX) } else { -2 })))
    }

    /// What the database has of the hold that a change is about, and how far it is.
    async fn stored_hold(
        &self,
        place: &Place,
        change: &Change,
    ) -> Result<(Option<(u64, u64)>, Option<Hold>), RepositoryError> {
        let Some(order_id) = change.hold_of() else { return Ok((None, None)) };
        let mut transaction = self.store.begin().await?;
        let row = transaction.claim(&[place.key]).await?.pop();
        let hold = transaction.find_holds(&[(place.id, order_id.clone())]).await?.pop();
        transaction.rollback().await;
        let residence = row.and_then(|row| row.residence).map(|residence| (residence.epoch, residence.sequence));
        Ok((residence, hold))
    }

    /// A refusal in full: of holds of which nothing is left, only the database knows.
    async fn explained(
        &self,
        request: &Identified,
        number: usize,
        refusal: Refusal,
        places: &[Place],
    ) -> Result<Refusal, RepositoryError> {
        let change = &request.changes()[number];
        let place = places.iter().find(|place| place.key == change.key);
        let (Refusal::HoldNotFound { order_id }, Some(place)) = (&refusal, place) else { return Ok(refusal) };
        let (_, hold) = self.stored_hold(place, change).await?;
        let ended = hold.filter(|hold| hold.state != HoldState::Open);
        Ok(ended.and_then(|hold| Hold::after(Some(&hold), place.id, order_id, change).err()).unwrap_or(refusal))
    }
}

/// Whether somebody has looked at the request, its id and the levels, and said no: then it has not been carried out
/// by an earlier try either.
fn is_decided(error: &RepositoryError) -> bool {
    use RepositoryError::{Invalid, Refused, RequestConflict};
    matches!(error, Invalid(_) | Refused(_) | RequestConflict { .. })
}

/// What a try has come to.
enum Attempt {
    Answered(Answer),
    Again,
    Lost(Arc<redis::RedisError>),
}

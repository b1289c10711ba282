//! What a caller asks for: one change or several, all or nothing, under an id that makes asking again
//! harmless.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::hold::Hold;
use crate::operation::{InvalidQuantity, Operation, Quantity, StockKey};
use crate::timestamp::Timestamp;

/// Most changes in one request.
pub const MAX_CHANGES: usize = 1_000;

/// Most characters in a request id and an order id.
pub const MAX_ID: usize = 64;

/// The longest time a hold can be asked for: ten years, in seconds.
pub const MAX_EXPIRES_IN: u64 = 10 * 365 * 24 * 60 * 60;

/// What the ids of requests begin with that unlock an expired hold. Nobody else can take one of them
/// and keep a hold from being swept.
const EXPIRY: &str = "expire:";

/// The name of a request, unique over all records and instances: 1 to 64 letters, digits and signs
/// (ASCII, no spaces).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// An id somebody has chosen.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest::Id`]; also for ids that begin with `expire:`, which are the service's own.
    pub fn new(text: &str) -> Result<Self, InvalidRequest> {
        let id = checked("request id", text)?;
        if text.starts_with(EXPIRY) {
            return Err(InvalidRequest::Id { which: "request id", reason: "begins with `expire:`" });
        }
        Ok(Self(id))
    }

    /// A new id. Ids made one after another are near each other, which indexes like.
    #[must_use]
    pub fn make() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = format!("{:014x}{:018x}", since.as_micros(), rand::random_range(0..1_u128 << 72));
        Self(id.into())
    }

    /// An id as it was written down.
    pub(crate) fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The id under which this hold is unlocked when its time is over: the same for everybody who
    /// comes to do it, another one when the hold has changed.
    fn of_expiry(hold: u64, expires_at: Timestamp, units: u64) -> Self {
        Self(format!("{EXPIRY}{hold}:{}:{units}", expires_at.micros()).into())
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for RequestId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The name of an order: 1 to 64 letters, digits and signs (ASCII, no spaces).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(Arc<str>);

impl OrderId {
    /// The order of that name.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest::Id`].
    pub fn new(text: &str) -> Result<Self, InvalidRequest> {
        Ok(Self(checked("order id", text)?))
    }

    /// An id as it was written down.
    pub(crate) fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Graphic ASCII only: databases then agree on what is equal, whatever their collation makes of
/// case, accents and trailing spaces.
fn checked(which: &'static str, text: &str) -> Result<Arc<str>, InvalidRequest> {
    let reason = match text.len() {
        0 => "is empty",
        1..=MAX_ID if text.bytes().all(|byte| byte.is_ascii_graphic()) => return Ok(text.into()),
        1..=MAX_ID => "has characters other than letters, digits and signs",
        _ => "has more than 64 characters",
    };
    Err(InvalidRequest::Id { which, reason })
}

/// After how many seconds a hold may be ended: 1 to [`MAX_EXPIRES_IN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExpiresIn(u64);

impl ExpiresIn {
    /// So many seconds from when the change is made, by the database's clock.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest::ExpiresIn`] for zero, and above ten years.
    pub fn seconds(seconds: u64) -> Result<Self, InvalidRequest> {
        if (1..=MAX_EXPIRES_IN).contains(&seconds) {
            return Ok(Self(seconds));
        }
        Err(InvalidRequest::ExpiresIn { seconds })
    }

    /// The number of seconds.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

/// One operation on one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which record.
    pub key: StockKey,
    /// What to do.
    pub operation: Operation,
    /// With how many units.
    pub quantity: Quantity,
    /// For which order. On a lock it opens a hold, or adds to one; after that it moves what the order
    /// holds, and no more than that.
    pub order_id: Option<OrderId>,
    /// When the hold may be ended, if it is not paid by then; only with a lock for an order. On an
    /// open hold it takes the place of what was asked before.
    pub expires_in: Option<ExpiresIn>,
    /// Unlocks a hold only if it still ends at this moment.
    pub(crate) ended_at: Option<Timestamp>,
}

impl Change {
    /// An operation for nobody in particular.
    #[must_use]
    pub fn new(key: StockKey, operation: Operation, quantity: Quantity) -> Self {
        Self { key, operation, quantity, order_id: None, expires_in: None, ended_at: None }
    }

    /// For this order.
    #[must_use]
    pub fn order(mut self, order_id: OrderId) -> Self {
        self.order_id = Some(order_id);
        self
    }

    /// Lets the hold end; without it, it does not end by itself.
    #[must_use]
    pub fn expires_in(mut self, expires_in: ExpiresIn) -> Self {
        self.expires_in = Some(expires_in);
        self
    }

    fn check(&self) -> Result<(), InvalidRequest> {
        self.quantity.for_operation(self.operation)?;
        if self.expires_in.is_some() && (self.operation != Operation::Lock || self.order_id.is_none()) {
            return Err(InvalidRequest::NothingExpires);
        }
        Ok(())
    }
}

/// One change or several, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Under this id the request is carried out once, however often it comes: the same changes again
    /// get the first answer again, other changes are a conflict. For as long as the log is kept. One
    /// is made where none is given.
    pub request_id: Option<RequestId>,
    /// 1 to [`MAX_CHANGES`], applied one after another in this order; several may be of one record.
    pub changes: Vec<Change>,
    /// Whether the id was made for it, so that nobody need look for it.
    is_new: bool,
}

impl Request {
    /// A single change.
    #[must_use]
    pub fn one(change: Change) -> Self {
        Self::batch(vec![change])
    }

    /// Several changes, all or nothing.
    #[must_use]
    pub fn batch(changes: Vec<Change>) -> Self {
        Self { request_id: None, changes, is_new: false }
    }

    /// Under this id.
    #[must_use]
    pub fn id(mut self, request_id: RequestId) -> Self {
        (self.request_id, self.is_new) = (Some(request_id), false);
        self
    }

    /// Its id; one is made if it has none, which is then known before the answer.
    pub fn named(&mut self) -> &RequestId {
        self.is_new |= self.request_id.is_none();
        self.request_id.get_or_insert_with(RequestId::make)
    }

    /// Unlocks what a hold still has locked, because its time is over. Carried out once however many
    /// come to do it, and refused with [`Refusal::HoldChanged`](crate::hold::Refusal::HoldChanged) if
    /// the hold is no longer as it was listed; `None` for a hold that does not end.
    #[must_use]
    pub fn expire(hold: &Hold) -> Option<Self> {
        let (id, ended_at) = (hold.id?, hold.ends_at()?);
        let change = Change {
            key: hold.key,
            operation: Operation::Unlock,
            quantity: Quantity::new(hold.held.locked).ok()?,
            order_id: Some(hold.order_id.clone()),
            expires_in: None,
            ended_at: Some(ended_at),
        };
        Some(Self::one(change).id(RequestId::of_expiry(id, ended_at, hold.held.locked)))
    }

    /// The request with an id, and everything checked that can be checked without looking.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`].
    pub fn identify(mut self) -> Result<Identified, InvalidRequest> {
        if !(1..=MAX_CHANGES).contains(&self.changes.len()) {
            return Err(InvalidRequest::Changes { count: self.changes.len() });
        }
        self.changes.iter().try_for_each(Change::check)?;
        let id = self.named().clone();
        Ok(Identified { id, is_new: self.is_new, changes: self.changes })
    }
}

/// A request that has an id and can be carried out.
#[derive(Debug, Clone)]
pub struct Identified {
    id: RequestId,
    is_new: bool,
    changes: Vec<Change>,
}

impl Identified {
    /// Its id, given or made.
    #[must_use]
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// Whether the id was made just now, so that nobody can have used it before.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// What is asked for.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The records it changes: sorted, each once. Everybody who locks several takes them in this
    /// order.
    #[must_use]
    pub fn keys(&self) -> Vec<StockKey> {
        let mut keys: Vec<_> = self.changes.iter().map(|change| change.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// A request that nobody could carry out. No message repeats more than a few characters of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// An id that cannot be one.
    #[error("the {which} {reason}; allowed are 1 to {MAX_ID} letters, digits and signs")]
    Id {
        /// Request or order id.
        which: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// None, or too many at once.
    #[error("{count} changes in one request; allowed are 1 to {MAX_CHANGES}")]
    Changes {
        /// How many there were.
        count: usize,
    },
    /// A hold cannot be asked for that long.
    #[error("a hold cannot expire in {seconds} seconds; allowed are 1 to {MAX_EXPIRES_IN}")]
    ExpiresIn {
        /// What was asked for.
        seconds: u64,
    },
    /// An expiry where no hold is opened.
    #[error("only a lock for an order can expire")]
    NothingExpires,
    /// A quantity the operation cannot take.
    #[error(transparent)]
    Quantity(#[from] InvalidQuantity),
}

impl InvalidRequest {
    /// The stable machine code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Quantity(error) => error.code(),
            _ => "invalid_request",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked_and_not_repeated() {
        let large = "x".repeat(100_000);
        for bad in ["", " ", "a b", "a\n", "ä", large.as_str(), &"x".repeat(65)] {
            for error in [RequestId::new(bad).unwrap_err(), OrderId::new(bad).unwrap_err()] {
                assert_eq!(error.code(), "invalid_request");
                assert!(error.to_string().len() < 200, "{error}");
            }
        }
        for good in ["a", "A-1_\"\\'{}", &"x".repeat(64)] {
            assert_eq!(RequestId::new(good).unwrap().as_str(), good);
            assert_eq!(OrderId::new(good).unwrap().to_string(), good);
        }
        assert!(RequestId::new("expire:1:2:3").is_err(), "it is the sweeper's");
    }

    #[test]
    fn made_ids_are_ids_and_differ() {
        let (first, second) = (RequestId::make(), RequestId::make());
        assert_ne!(first, second);
        assert_eq!(RequestId::new(first.as_str()).unwrap(), first);
    }

    #[test]
    fn only_an_id_that_was_made_for_it_is_new() {
        let change = Change::new(StockKey::new(1, 0).unwrap(), Operation::Add, Quantity::new(1).unwrap());
        let mut request = Request::one(change);
        let id = request.named().clone();
        let identified = request.clone().identify().unwrap();
        assert!(identified.is_new() && *identified.id() == id);
        assert!(!request.id(id).identify().unwrap().is_new(), "somebody has chosen it");
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_before_anybody_looks() {
        let key = StockKey::new(1, 0).unwrap();
        let change = |operation, units| Change::new(key, operation, Quantity::new(units).unwrap());
        let soon = ExpiresIn::seconds(1).unwrap();
        let order = OrderId::new("o").unwrap();
        for (changes, code) in [
            (vec![], "invalid_request"),
            (vec![change(Operation::Add, 1); MAX_CHANGES + 1], "invalid_request"),
            (vec![change(Operation::Lock, 0)], "invalid_quantity"),
            (vec![change(Operation::Lock, 1).expires_in(soon)], "invalid_request"),
            (vec![change(Operation::Unlock, 1).order(order).expires_in(soon)], "invalid_request"),
        ] {
            assert_eq!(Request::batch(changes).identify().unwrap_err().code(), code);
        }
        assert!(ExpiresIn::seconds(0).is_err() && ExpiresIn::seconds(MAX_EXPIRES_IN + 1).is_err());
        assert!(Request::batch(vec![change(Operation::Add, 1); MAX_CHANGES]).identify().is_ok());
    }
}

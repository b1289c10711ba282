//! Fencing tokens out of independent counters: arithmetic and one decision, no I/O.
//!
//! The largest of per-node counters alone is *not* monotonic: the next quorum may miss the node
//! that held it. So the winner of a lock makes sure that a quorum of nodes has recorded its token
//! while they still hold its lock; any later quorum shares a node with that one, and whatever
//! that node grants later is larger.

use std::fmt;

/// Largest token: Lua counts in doubles, which are exact up to here (2^53 − 1).
pub(crate) const MAX_TOKEN: u64 = (1 << 53) - 1;

/// Largest floor that [`fence_floor`](crate::LockRequest::fence_floor) takes: the tokens left above
/// it are enough for centuries of acquisitions, so no floor can use up a resource's tokens.
pub const MAX_FENCE_FLOOR: u64 = MAX_TOKEN - (1 << 40);

/// A number that grows with every acquisition of a resource, whoever makes it, over whichever
/// nodes. The thing being protected stores the largest it has seen and refuses smaller ones;
/// that stops a holder who was paused for longer than its lease.
///
/// It is below 2^53, so it fits a `BIGINT` column and a JSON number.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let redlock = redlock::Redlock::builder().node(redlock::SimNode::new("a")).build()?;
/// let first = redlock.lock("order:42").await?;
/// let token = first.fence();
/// first.release().await?;
///
/// let second = redlock.lock("order:42").await?;
/// assert!(second.fence() > token);
/// let column: i64 = second.fence().into();
/// assert_eq!(column.to_string(), second.fence().to_string());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(u64);

impl FencingToken {
    pub(crate) const ZERO: Self = Self(0);

    /// A token by its number; `None` above 2^53 − 1.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number <= MAX_TOKEN { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// So much larger; for checks on small numbers.
    #[cfg(feature = "sim")]
    pub(crate) const fn raised_by(self, by: u64) -> Self {
        Self(self.0 + by)
    }

    /// The token so much larger, if there is one.
    #[must_use]
    pub(crate) fn above(self, by: u64) -> Option<Self> {
        Self::new(self.0.saturating_add(by))
    }

    /// The token so much smaller, or the smallest.
    #[must_use]
    pub(crate) fn below(self, by: u64) -> Self {
        Self(self.0.saturating_sub(by))
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<FencingToken> for u64 {
    fn from(token: FencingToken) -> Self {
        token.0
    }
}

impl From<FencingToken> for i64 {
    fn from(token: FencingToken) -> Self {
        // Below 2^53 by construction.
        token.0.cast_signed()
    }
}

/// What a granting node answers when its counter stands at `counter`: the top of `span` tokens, all
/// larger than anything it granted before, and at least the proposal. `None` where the counter is
/// used up.
#[must_use]
pub fn granted(counter: Option<FencingToken>, proposal: FencingToken, span: u32) -> Option<FencingToken> {
    match counter {
        Some(counter) => Some(counter.above(span.into())?.max(proposal)),
        None => Some(proposal),
    }
}

/// Where a node's counter stands after `token` has been written back to it.
#[must_use]
pub fn raised(counter: Option<FencingToken>, token: FencingToken) -> FencingToken {
    counter.map_or(token, |counter| counter.max(token))
}

/// What a granting quorum's answers amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The token of the acquisition: the largest that was granted.
    pub token: FencingToken,
    /// How many nodes granted exactly this one, and so have recorded it.
    pub recorded: usize,
}

impl Settlement {
    /// Settles on the largest of the tokens granted; `None` without any.
    pub fn of(granted: impl Iterator<Item = FencingToken> + Clone) -> Option<Self> {
        let token = granted.clone().max()?;
        Some(Self { token, recorded: granted.filter(|other| *other == token).count() })
    }

    /// Whether the token must be written back before it may be used: fewer than a quorum of
    /// nodes have recorded it.
    #[must_use]
    pub fn needs_write_back(&self, quorum: usize) -> bool {
        self.recorded < quorum
    }
}

/// The counter's key of lock key `key`: in the same Redis Cluster slot, where that is possible.
pub(crate) fn counter_key(key: &str) -> String {
    if has_hash_tag(key) { format!("redlock:fence:{key}") } else { format!("redlock:fence:{{{key}}}") }
}

/// Whether Redis Cluster hashes only a part of `key`: what is between its first `{` and the next
/// `}`, unless that is empty (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>).
fn has_hash_tag(key: &str) -> bool {
    let Some((_, rest)) = key.split_once('{') else {
        return false;
    };
    rest.find('}').is_some_and(|end| end > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: u64) -> FencingToken {
        FencingToken::new(number).unwrap()
    }

    #[test]
    fn counters_share_the_slot_of_their_lock() {
        assert_eq!(counter_key("order:42"), "redlock:fence:{order:42}");
        assert_eq!(counter_key("user:{7}"), "redlock:fence:user:{7}");
        assert_eq!(counter_key("{}x"), "redlock:fence:{{}x}");
    }

    #[test]
    fn a_grant_is_above_the_counter_and_at_least_the_proposal() {
        assert_eq!(granted(None, token(7), 1), Some(token(7)));
        assert_eq!(granted(Some(token(3)), token(7), 1), Some(token(7)));
        assert_eq!(granted(Some(token(7)), token(7), 1), Some(token(8)));
        assert_eq!(granted(Some(token(9)), token(7), 1), Some(token(10)));
        assert_eq!(granted(Some(token(MAX_TOKEN)), token(7), 1), None);
    }

    #[test]
    fn a_whole_range_is_above_the_counter() {
        assert_eq!(granted(Some(token(3)), token(7), 4), Some(token(7)));
        assert_eq!(granted(Some(token(4)), token(7), 4), Some(token(8)));
        assert_eq!(granted(Some(token(MAX_TOKEN - 3)), token(7), 4), None);
    }

    #[test]
    fn tokens_end_below_two_to_the_fifty_third() {
        assert_eq!(FencingToken::new(1 << 53), None);
        assert_eq!(i64::from(token(MAX_TOKEN)), (1 << 53) - 1);
    }

    #[test]
    fn a_quorum_that_agrees_needs_no_write_back() {
        let settle = |numbers: &[u64]| Settlement::of(numbers.iter().map(|n| token(*n))).unwrap();
        assert!(!settle(&[5, 5, 5]).needs_write_back(3));
        assert!(settle(&[5, 5, 6]).needs_write_back(3));
        assert_eq!(settle(&[5, 5, 6]).token, token(6));
        assert!(!settle(&[5, 6, 6, 6]).needs_write_back(3));
        assert_eq!(Settlement::of(std::iter::empty()), None);
    }
}

//! The last tokens this process saw: a proposal above them settles in one round trip.
//!
//! Only a shortcut, so it may forget, and keeps a mark of each key instead of the key: where two keys
//! have the same one, proposals are larger than they need be. It is bounded.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, PoisonError};

use foldhash::fast::RandomState;

use crate::fencing::FencingToken;

/// Entries of one generation; at most two generations are kept.
const GENERATION: usize = 4096;

/// Largest token seen by lock key, of the keys used last.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    marks: RandomState,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, FencingToken, RandomState>,
    old: HashMap<u64, FencingToken, RandomState>,
}

impl Memory {
    /// The largest token remembered for any of `keys`.
    pub(crate) fn largest(&self, keys: &[String]) -> Option<FencingToken> {
        let marks = keys.iter().map(|key| self.marks.hash_one(key));
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = |mark| generations.young.get(&mark).or_else(|| generations.old.get(&mark));
        marks.filter_map(seen).max().copied()
    }

    /// Remembers `token` for every one of `keys`.
    pub(crate) fn remember(&self, keys: &[String], token: FencingToken) {
        let marks = keys.iter().map(|key| self.marks.hash_one(key));
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        for mark in marks {
            if let Some(seen) = generations.young.get_mut(&mark) {
                *seen = token.max(*seen);
                continue;
            }
            if generations.young.len() >= GENERATION {
                generations.old = std::mem::take(&mut generations.young);
            }
            generations.young.insert(mark, token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_what_was_used_last_and_stays_bounded() {
        let memory = Memory::default();
        let keys: Vec<_> = (0..100_000).map(|key| [key.to_string()]).collect();
        for (number, key) in keys.iter().enumerate() {
            memory.remember(key, FencingToken::new(number as u64).unwrap());
        }
        assert_eq!(memory.largest(&keys[99_999]).map(FencingToken::get), Some(99_999));
        assert_eq!(memory.largest(&keys[0]), None);
        let generations = memory.generations.into_inner().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
    }
}

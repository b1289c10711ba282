//! Which lines are about several keys, so that a line about one of them knows of those who wait for it
//! there.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Keys;

/// Lines about several keys, by each of them.
#[derive(Default)]
pub(super) struct Overlaps {
    by_key: HashMap<String, Vec<Keys>, RandomState>,
}

impl Overlaps {
    pub(super) fn add(&mut self, keys: &Keys) {
        for key in keys.iter() {
            self.by_key.entry(key.clone()).or_default().push(Arc::clone(keys));
        }
    }

    /// Does nothing for a line about one key.
    pub(super) fn remove(&mut self, keys: &Keys) {
        if keys.len() < 2 {
            return;
        }
        for key in keys.iter() {
            if let Some(lines) = self.by_key.get_mut(key) {
                lines.retain(|line| line != keys);
                if lines.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
    }

    /// The lines about several keys, one of them in `keys`; some more than once.
    pub(super) fn with<'a>(&'a self, keys: &'a Keys) -> impl Iterator<Item = &'a Keys> {
        let keys = if self.by_key.is_empty() { &[][..] } else { &keys[..] };
        keys.iter().filter_map(|key| self.by_key.get(key)).flatten()
    }
}

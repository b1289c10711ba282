//! All lines of a manager, and what is known about those who stand in them. Decides without waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use foldhash::fast::RandomState;

use super::overlaps::Overlaps;
use super::place::Place;
use super::{Keys, YIELD};
use crate::clock::Moment;
use crate::error::LockError;
use crate::hearing::Hearing;
use crate::lease::Core;

/// How many resources that nobody waits for are remembered for the sake of other processes.
pub(super) const REMEMBERED: usize = 1024;

#[derive(Default)]
pub(super) struct State {
    pub(super) lines: HashMap<Keys, Line, RandomState>,
    /// Which lines are about several keys.
    overlaps: Overlaps,
    /// Lines in which nobody stands, oldest first.
    pub(super) remembered: VecDeque<(Keys, Moment)>,
}

/// One resource. Small, because every lease that is held has one.
#[derive(Default)]
pub(super) struct Line {
    /// The lease of this process, as far as is known here.
    pub(super) holder: Option<Weak<Core>>,
    /// `None` where nobody waits and nothing is to be remembered.
    pub(super) crowd: Option<Box<Crowd>>,
}

/// Those who wait, and what they need to know.
#[derive(Default)]
pub(super) struct Crowd {
    pub(super) waiting: VecDeque<Arc<Place>>,
    /// Since when a release is under way whose listeners are not known yet.
    pub(super) leaving: Option<Moment>,
    /// How many releases by others to let pass before the nodes are asked again: so many
    /// waited when this line released last. Each of them does the same, so they take turns.
    pub(super) yielding: usize,
    /// Until when that holds for somebody who comes anew.
    pub(super) yield_until: Option<Moment>,
    /// Whether others were seen to hold the resource, or to wait for it.
    pub(super) others: bool,
    /// Open while somebody waits for another process.
    pub(super) hearing: Option<Hearing>,
    /// Why the last attempt failed.
    pub(super) last: Option<LockError>,
}

impl State {
    pub(super) fn line(&mut self, keys: &Keys) -> &mut Line {
        if keys.len() > 1 && !self.lines.contains_key(keys) {
            self.overlaps.add(keys);
        }
        self.lines.entry(Arc::clone(keys)).or_default()
    }

    fn remove(&mut self, keys: &Keys) -> Option<Line> {
        let line = self.lines.remove(keys)?;
        self.overlaps.remove(keys);
        Some(line)
    }

    /// The lines in which somebody waits for a key of `keys` and others: they cannot have it while this
    /// process hands it on and on.
    pub(super) fn rivals(&self, keys: &Keys) -> Vec<Keys> {
        let waits = |rival: &&Keys| self.lines.get(*rival).is_some_and(|line| !line.nobody_waits());
        let alone = |key: &String| self.lines.get_key_value(std::slice::from_ref(key)).map(|(keys, _)| keys);
        let mut rivals: Vec<&Keys> = self.overlaps.with(keys).collect();
        if keys.len() > 1 {
            rivals.extend(keys.iter().filter_map(alone));
        }
        rivals.retain(|rival| *rival != keys);
        rivals.sort_unstable();
        rivals.dedup();
        rivals.into_iter().filter(waits).cloned().collect()
    }

    /// Somebody else has released `keys`, or may have: who is to ask the nodes now.
    pub(super) fn heard(&mut self, keys: &[String], released: bool, now: Moment) -> Option<Arc<Place>> {
        let line = self.lines.get_mut(keys)?;
        let crowd = line.crowd.as_mut()?;
        if released {
            crowd.others = true;
            crowd.yielding = crowd.yielding.saturating_sub(1);
        }
        if crowd.yielding == 0 { line.first(now).cloned() } else { None }
    }

    /// Forgets the line for `keys` if nobody stands in it; where others wait it is remembered for a
    /// while that they are to go first. Gives back what was forgotten, to be dropped without a lock.
    pub(super) fn tidy(&mut self, keys: &[String], now: Moment) -> Vec<Line> {
        let mut gone = Vec::new();
        let Some((keys, line)) = self.lines.get_key_value(keys) else { return gone };
        if !line.is_empty() {
            return gone;
        }
        let keys = Arc::clone(keys);
        if line.is_yielding(now) {
            self.remembered.push_back((keys, now.after(YIELD)));
        } else {
            gone.extend(self.remove(&keys));
        }
        let over = |(_, until): &(Keys, Moment), count| *until <= now || count > REMEMBERED;
        while self.remembered.front().is_some_and(|oldest| over(oldest, self.remembered.len()))
            && let Some((oldest, _)) = self.remembered.pop_front()
        {
            // Remembered again meanwhile it stays, unless there are too many: nobody would come back to it.
            let are_many = self.remembered.len() >= REMEMBERED;
            if self.lines.get(&oldest).is_some_and(|line| line.is_empty() && (are_many || !line.is_yielding(now))) {
                gone.extend(self.remove(&oldest));
            }
        }
        gone
    }
}

impl Line {
    pub(super) fn nobody_waits(&self) -> bool {
        self.crowd.as_ref().is_none_or(|crowd| crowd.waiting.is_empty())
    }

    fn is_empty(&self) -> bool {
        let is_leaving = self.crowd.as_ref().is_some_and(|crowd| crowd.leaving.is_some());
        self.holder.is_none() && self.nobody_waits() && !is_leaving
    }

    fn is_yielding(&self, now: Moment) -> bool {
        let yields = |crowd: &Crowd| crowd.yielding > 0 && crowd.yield_until.is_some_and(|until| until > now);
        self.crowd.as_ref().is_some_and(|crowd| yields(crowd))
    }

    pub(super) fn crowd(&mut self) -> &mut Crowd {
        self.crowd.get_or_insert_default()
    }

    /// Whoever is to be told first: the first who is still polled, or the first of all, who may be polled
    /// again if it is told.
    pub(super) fn first(&self, now: Moment) -> Option<&Arc<Place>> {
        let waiting = &self.crowd.as_ref()?.waiting;
        waiting.iter().find(|place| place.is_polled(now)).or_else(|| waiting.front())
    }

    pub(super) fn is_held_by(&self, core: &Core) -> bool {
        self.holder.as_ref().is_some_and(|holder| std::ptr::eq(holder.as_ptr(), core))
    }

    /// How long the lease of this process stands, if there is one.
    pub(super) fn held(&self, now: Moment) -> Option<Duration> {
        self.holder.as_ref()?.upgrade()?.remaining(now)
    }

    /// Whether nobody stands before `place` who is still polled.
    pub(super) fn is_first(&self, place: &Arc<Place>, now: Moment) -> bool {
        let waiting = self.crowd.iter().flat_map(|crowd| &crowd.waiting);
        let mut before = waiting.take_while(|other| !Arc::ptr_eq(other, place));
        !before.any(|other| other.is_polled(now))
    }
}

impl Crowd {
    /// Takes `place` out of the line.
    pub(super) fn leave(&mut self, place: &Arc<Place>) {
        self.waiting.retain(|other| !Arc::ptr_eq(other, place));
    }
}

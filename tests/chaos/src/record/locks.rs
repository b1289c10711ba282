//! What lock clients told, put together: for every section what was wanted, what was had, and for how long.

use std::collections::BTreeMap;

use crate::client::Event;
use crate::clock::Nanos;

/// An event, and who told it.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// The client, and which of its lives: a client that was killed and started again counts its sections anew.
    pub(crate) client: String,
    /// Whether it is one of ours, with tokens.
    pub(crate) ours: bool,
    pub(crate) event: Event,
}

impl Heard {
    /// When it came in, if it did.
    pub(crate) fn entered_at(&self) -> Option<Nanos> {
        match self.event {
            Event::Entered { at, .. } => Some(at),
            _ => None,
        }
    }
}

/// A lease, as its holder told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) client: String,
    pub(crate) ours: bool,
    pub(crate) number: u64,
    pub(crate) keys: Vec<String>,
    pub(crate) asked: Nanos,
    pub(crate) entered: Nanos,
    pub(crate) token: Option<u64>,
    /// Until when the lease stood for certain: to what it said last, unless it was given back before.
    pub(crate) until: Nanos,
    /// Whether its holder was still at it when the lease was over.
    pub(crate) overstayed: bool,
    /// Writes that were accepted, and that were refused.
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
}

impl Section {
    /// How it is called in messages.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.client, self.number)
    }
}

/// All sections that were entered, and why others were not.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    pub(crate) sections: Vec<Section>,
    /// How often locks were not had, by reason.
    pub(crate) reasons: BTreeMap<String, u64>,
}

impl Locks {
    pub(super) fn from_heard(heard: Vec<Heard>) -> Self {
        let mut open: BTreeMap<(String, u64), (Nanos, Vec<String>)> = BTreeMap::new();
        let mut inside: BTreeMap<(String, u64), Section> = BTreeMap::new();
        let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
        for Heard { client, ours, event } in heard {
            match event {
                Event::Asked { at, section, keys } => {
                    open.insert((client, section), (at, keys));
                }
                Event::Entered { at, section: number, token, until } => {
                    let Some((asked, keys)) = open.remove(&(client.clone(), number)) else { continue };
                    let name = (client.clone(), number);
                    let (accepted, refused) = (0, 0);
                    let (entered, overstayed) = (at, false);
                    let section = Section {
                        client,
                        ours,
                        number,
                        keys,
                        asked,
                        entered,
                        token,
                        until,
                        overstayed,
                        accepted,
                        refused,
                    };
                    inside.insert(name, section);
                }
                Event::Still { section, until, .. } => {
                    inside.entry((client, section)).and_modify(|section| section.until = section.until.max(until));
                }
                Event::Wrote { section, accepted, .. } => {
                    inside.entry((client, section)).and_modify(|section| {
                        section.accepted += u64::from(accepted);
                        section.refused += u64::from(!accepted);
                    });
                }
                Event::Left { at, section } => {
                    inside.entry((client, section)).and_modify(|section| {
                        section.overstayed = at > section.until;
                        section.until = section.until.min(at);
                    });
                }
                Event::Refused { section, why, .. } => {
                    open.remove(&(client, section));
                    *reasons.entry(why).or_default() += 1;
                }
            }
        }
        let mut sections: Vec<_> = inside.into_values().collect();
        sections.sort_by_key(|section| section.entered);
        Self { sections, reasons }
    }
}

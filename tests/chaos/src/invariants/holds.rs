//! What orders hold is what the log says of them: never less than nothing, in sum what records have locked and reserved,
//! and a hold that ended by itself ended once and not before its time.

use std::collections::BTreeMap;

use super::once::EXPIRY;
use crate::record::{History, Logged};

/// What an order holds of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Holding {
    locked: i64,
    reserved: i64,
    /// When what is locked may be unlocked by itself, by the database's clock.
    ends: Option<i64>,
}

pub(super) fn check(history: &History) -> Vec<String> {
    let mut broken = Vec::new();
    let mut holdings: BTreeMap<(&str, u64), Holding> = BTreeMap::new();
    for entry in &history.logged {
        let Some(order) = &entry.order else { continue };
        let holding = holdings.entry((order, entry.variant)).or_default();
        broken.extend(follow(holding, entry).map(|what| format!("{order} of {}: {what}", entry.variant)));
    }
    broken.extend(other_than_held(history, &holdings));
    broken.extend(other_than_levels(history, &holdings));
    if !history.logged.iter().any(|entry| entry.request_id.starts_with(EXPIRY)) {
        broken.push("no hold ended by itself, so nothing was shown".to_owned());
    }
    broken
}

/// Does what an entry says; what is wrong with that.
fn follow(holding: &mut Holding, entry: &Logged) -> Option<String> {
    let Logged { action, quantity: n, version, at, .. } = entry;
    let ends_by_itself = entry.request_id.starts_with(EXPIRY);
    let (locked, reserved) = match action.as_str() {
        "lock" => (*n, 0),
        "unlock" => (-n, 0),
        "reserve" => (-n, *n),
        _ => (0, -n),
    };
    let too_early = ends_by_itself && holding.ends.is_none_or(|ends| *at < ends);
    let ended = format!("ended by itself at {at}, and had until {:?}", holding.ends);
    holding.locked += locked;
    holding.reserved += reserved;
    if action == "lock" {
        holding.ends = entry.expires_in.map(|seconds| at + seconds * 1_000_000).or(holding.ends);
    }
    if holding.locked < 0 || holding.reserved < 0 {
        return Some(format!(
            "version {version}, {action} {n}, leaves {} locked, {} reserved",
            holding.locked, holding.reserved
        ));
    }
    too_early.then_some(ended)
}

/// Whether the database says something else of a hold.
fn other_than_held(history: &History, holdings: &BTreeMap<(&str, u64), Holding>) -> Vec<String> {
    let is = |holding: &Holding| (holding.locked, holding.reserved);
    let mut held: BTreeMap<(&str, u64), (i64, i64)> =
        history.held.iter().map(|held| ((&*held.order, held.variant), (held.locked, held.reserved))).collect();
    let mut broken = Vec::new();
    for ((order, variant), holding) in holdings {
        let has = held.remove(&(*order, *variant)).unwrap_or_default();
        if has != is(holding) {
            broken.push(format!("{order} of {variant} holds {has:?}, and by the log {:?}", is(holding)));
        }
    }
    broken.extend(held.into_keys().map(|(order, variant)| format!("{order} holds of {variant}, and has no log")));
    broken
}

/// Whether records have locked or reserved something else than orders hold, where nothing is done without an order.
fn other_than_levels(history: &History, holdings: &BTreeMap<(&str, u64), Holding>) -> Vec<String> {
    let of = |variant: u64| holdings.iter().filter(move |((_, of), _)| *of == variant).map(|(_, holding)| holding);
    let wrong = history.stored.iter().filter_map(|stored| {
        let (locked, reserved) =
            (of(stored.variant).map(|it| it.locked).sum(), of(stored.variant).map(|it| it.reserved).sum());
        let [_, has_locked, has_reserved] = stored.levels;
        ((has_locked, has_reserved) != (locked, reserved)).then(|| {
            let variant = stored.variant;
            format!(
                "{variant} has {has_locked} locked and {has_reserved} reserved, orders hold {locked} and {reserved}"
            )
        })
    });
    wrong.collect()
}

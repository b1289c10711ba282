//! What goes to Redis and comes back: requests as the script reads them, and journal entries, which are
//! those same words with what came of them.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::hold::Held;
use crate::levels::StockLevels;
use crate::operation::{Operation, Quantity, StockKey};
use crate::request::{Change, ExpiresIn, Identified, OrderId, Request, RequestId};
use crate::timestamp::Timestamp;

/// `[variant, warehouse, epoch]`; the epoch as text, because Lua compares it as it was stored.
type WireRecord = (u64, u64, String);

/// `[record, operation, quantity, order, expires in, ended sequence, ended at]`
type WireChange<'a> = (usize, usize, u64, Option<Cow<'a, str>>, Option<u64>, Option<i64>, Option<i64>);

/// `[id, generation, changes]`
type WireRequest<'a> = (Cow<'a, str>, u64, Vec<WireChange<'a>>);

/// The hash that a record's levels live in.
pub(super) fn hash_key(key: StockKey) -> String {
    format!("product_stock:resident:{}:{}", key.variant_id, key.warehouse_id)
}

/// The hash that its holds live in.
pub(super) fn holds_key(key: StockKey) -> String {
    hash_key(key) + ":holds"
}

/// The stream of what was done to it and does not follow from the database.
pub(super) fn kept_key(key: StockKey) -> String {
    hash_key(key) + ":kept"
}

/// A record between being loaded into Redis and being loaded again, or released: the record and its epoch.
pub(super) type Life = (StockKey, u64);

/// What a life is called among those that do not follow from the database.
pub(super) fn life_name((key, epoch): Life) -> String {
    format!("{}:{}:{epoch}", key.variant_id, key.warehouse_id)
}

/// The life of this name.
pub(super) fn parse_life(name: &str) -> Option<Life> {
    let numbers: Vec<u64> = name.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [variant, warehouse, epoch] = numbers[..] else { return None };
    Some((StockKey::new(variant, warehouse).ok()?, epoch))
}

/// Requests for one call of the script, with the records they are about.
#[derive(Debug, Default)]
pub(super) struct Packing<'a> {
    records: Vec<Life>,
    numbers: HashMap<Life, usize>,
    requests: Vec<WireRequest<'a>>,
}

impl<'a> Packing<'a> {
    /// Puts a request in: its records with their epochs, the generation of request ids in which it was
    /// looked for in the database, and as of which sequence an expired hold was listed.
    pub(super) fn put(
        &mut self,
        request: &'a Identified,
        epochs: impl Iterator<Item = Life>,
        generation: u64,
        ended: Option<i64>,
    ) {
        let mut numbers = HashMap::new();
        for record in epochs {
            let number = *self.numbers.entry(record).or_insert_with(|| {
                self.records.push(record);
                self.records.len() - 1
            });
            numbers.insert(record.0, number);
        }
        let change = |change: &'a Change| {
            let order = change.order_id.as_ref().map(|order| order.as_str().into());
            let ended_at = change.ended_at.map(Timestamp::micros);
            let record = numbers.get(&change.key).copied().unwrap_or_default();
            let operation = code(change.operation);
            let ended = ended_at.and(ended);
            (record, operation, change.quantity.get(), order, change.expires_in.map(ExpiresIn::get), ended, ended_at)
        };
        let changes = request.changes().iter().map(change).collect();
        self.requests.push((request.id().as_str().into(), generation, changes));
    }

    /// The records, in the order the script knows them by.
    pub(super) fn records(&self) -> &[Life] {
        &self.records
    }

    /// Records and requests as the script reads them.
    pub(super) fn json(&self) -> (String, String) {
        let wire = |&(key, epoch): &Life| (key.variant_id.get(), key.warehouse_id.get(), epoch.to_string());
        let records: Vec<WireRecord> = self.records.iter().map(wire).collect();
        (json(&records), json(&self.requests))
    }
}

/// Numbers, text and lists of them can always be written as JSON.
pub(super) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The number the script knows an operation by.
fn code(operation: Operation) -> usize {
    Operation::ALL.iter().position(|other| *other == operation).unwrap_or_default()
}

/// A resident record's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    /// How many units there are.
    pub(super) levels: StockLevels,
    /// What open holds cover of them.
    pub(super) held: Held,
    /// How many changes there have been.
    pub(super) version: u64,
    /// How many of them in this epoch.
    pub(super) sequence: u64,
}

impl Figures {
    /// Available, locked, reserved, held locked, held reserved, version, sequence.
    pub(super) fn from_numbers(numbers: [u64; 7]) -> Option<Self> {
        let [available, locked, reserved, held_locked, held_reserved, version, sequence] = numbers;
        let levels = StockLevels::new(available, locked, reserved).ok()?;
        let held = Held { locked: held_locked, reserved: held_reserved };
        Some(Self { levels, held, version, sequence })
    }

    /// Those of several records, as the script writes them.
    pub(super) fn parse_all(text: &str) -> Option<Vec<Self>> {
        let numbers: Vec<u64> = text.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let (chunks, rest) = numbers.as_chunks::<7>();
        chunks.iter().map(|chunk| Self::from_numbers(*chunk)).collect::<Option<_>>().filter(|_| rest.is_empty())
    }
}

/// What one call of the script has done.
#[derive(Debug, Clone)]
pub(super) struct JournalEntry {
    /// Its id in the stream.
    pub(super) id: String,
    /// The records it is about, with their epochs.
    pub(super) records: Vec<Life>,
    /// The requests that were carried out, in order.
    pub(super) requests: Vec<Identified>,
    /// The records' numbers before it.
    pub(super) before: Vec<Figures>,
    /// The records' numbers after it.
    pub(super) after: Vec<Figures>,
}

impl JournalEntry {
    /// An entry as it was read from the stream; `None` if it is not one of ours.
    pub(super) fn parse(id: String, fields: &HashMap<String, String>) -> Option<Self> {
        let text = |name: &str| fields.get(name).map(String::as_str);
        let wire: Vec<WireRecord> = serde_json::from_str(text("r")?).ok()?;
        let record = |(variant, warehouse, epoch): WireRecord| {
            Some((StockKey::new(variant, warehouse).ok()?, epoch.parse().ok()?))
        };
        let records = wire.into_iter().map(record).collect::<Option<Vec<_>>>()?;
        let wire: Vec<WireRequest<'_>> = serde_json::from_str(text("q")?).ok()?;
        let verdicts = text("v")?.bytes();
        let done = wire.into_iter().zip(verdicts).filter(|(_, verdict)| *verdict == b'y');
        let requests = done.map(|(request, _)| identified(request, &records)).collect::<Option<_>>()?;
        let (before, after) = (Figures::parse_all(text("b")?)?, Figures::parse_all(text("a")?)?);
        let is_whole = before.len() == records.len() && after.len() == records.len();
        is_whole.then_some(Self { id, records, requests, before, after })
    }

    /// What it says of one life, as if it were about nothing else.
    pub(super) fn of(&self, life: Life) -> Option<Self> {
        self.records.contains(&life).then(|| self.only(|other| *other == life))
    }

    /// What it says of some of the lives, as if it were about nothing else.
    pub(super) fn only(&self, stays: impl Fn(&Life) -> bool) -> Self {
        let mut entry = Self { id: self.id.clone(), records: vec![], requests: vec![], before: vec![], after: vec![] };
        for (life, (before, after)) in self.records.iter().zip(self.before.iter().zip(&self.after)) {
            if stays(life) {
                entry.records.push(*life);
                entry.before.push(*before);
                entry.after.push(*after);
            }
        }
        let is_left = |change: &&Change| entry.records.iter().any(|(key, _)| *key == change.key);
        let rest = |request: &Identified| {
            let changes = request.changes().iter().filter(is_left).cloned().collect();
            Request::batch(changes).id(request.id().clone()).identify().ok()
        };
        entry.requests = self.requests.iter().filter_map(rest).collect();
        entry
    }

    /// The lives that it changes.
    pub(super) fn moved(&self) -> impl Iterator<Item = Life> {
        let figures = self.before.iter().zip(&self.after);
        let both = self.records.iter().zip(figures);
        both.filter(|(_, (before, after))| before.sequence != after.sequence).map(|(life, _)| *life)
    }

    /// How many changes were made.
    pub(super) fn changes(&self) -> usize {
        self.requests.iter().map(|request| request.changes().len()).sum()
    }
}

fn identified((id, _, changes): WireRequest<'_>, records: &[Life]) -> Option<Identified> {
    let change = |(record, operation, quantity, order, expires_in, _, ended_at): WireChange<'_>| {
        let key = records.get(record)?.0;
        let mut change = Change::new(key, *Operation::ALL.get(operation)?, Quantity::new(quantity).ok()?);
        change.order_id = order.map(|order| OrderId::stored(order.into_owned()));
        change.expires_in = expires_in.map(ExpiresIn::seconds).transpose().ok()?;
        change.ended_at = ended_at.map(Timestamp::from_micros);
        Some(change)
    };
    let changes = changes.into_iter().map(change).collect::<Option<Vec<_>>>()?;
    Request::batch(changes).id(RequestId::stored(id.into_owned())).identify().ok()
}

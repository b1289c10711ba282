//! Releases by other processes, as the nodes tell of them: hints, never more.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::line::{Keys, Lines};
use crate::node::{Ear, Hear, Listening};
use crate::quorum::quorum;
use crate::round::Nodes;

/// Listens on every node for releases of some keys, until it is dropped.
pub(crate) struct Hearing {
    _listening: Vec<Listening>,
}

impl Hearing {
    /// Tells `lines` when a quorum of `nodes` has told of a release of `keys` by somebody else than
    /// `own`: before that the resource is not free.
    pub(crate) fn open(nodes: &Nodes, own: &Arc<str>, lines: &Arc<Lines>, keys: &Keys) -> Self {
        let heard = Arc::new(Heard {
            lines: Arc::downgrade(lines),
            keys: Arc::clone(keys),
            own: Arc::clone(own),
            quorum: quorum(nodes.len()),
            told: Mutex::new(Told { by: None, nodes: vec![false; nodes.len()] }),
        });
        let ear = |node| Ear::new(Arc::clone(&heard) as Arc<dyn Hear>, node);
        let listening = nodes.iter().enumerate().map(|(index, node)| node.listen(keys, ear(index))).collect();
        Self { _listening: listening }
    }
}

struct Heard {
    lines: Weak<Lines>,
    keys: Keys,
    own: Arc<str>,
    quorum: usize,
    told: Mutex<Told>,
}

/// Which nodes have told of one release.
struct Told {
    /// Who released; `None` where the nodes only say that they listen from now on.
    by: Option<Vec<u8>>,
    nodes: Vec<bool>,
}

impl Hear for Heard {
    fn hear(&self, node: usize, by: Option<&[u8]>) {
        if by == Some(self.own.as_bytes()) {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // The same node again: this is another release.
        if told.by.as_deref() != by || told.nodes[node] {
            told.by = by.map(<[u8]>::to_vec);
            told.nodes.fill(false);
        }
        told.nodes[node] = true;
        let is_quorum = told.nodes.iter().filter(|told| **told).count() == self.quorum;
        drop(told);
        if is_quorum && let Some(lines) = self.lines.upgrade() {
            lines.heard(&self.keys, by.is_some());
        }
    }
}

//! Which lock nodes the instances on a database use: instances that lock elsewhere would not keep each
//! other out.

use std::time::Duration;

use sha2::{Digest, Sha256};

/// A set of lock nodes and the longest lease taken on them, short enough to compare and to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockNodes {
    pub(super) nodes: String,
    pub(super) max_ttl_ms: u64,
}

impl LockNodes {
    /// These nodes, in whatever order they are listed, and the longest lease any instance takes.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = impl Into<String>>, max_ttl: Duration) -> Self {
        let mut nodes: Vec<String> = nodes.into_iter().map(Into::into).collect();
        nodes.sort_unstable();
        let mut hash = Sha256::new();
        for node in nodes {
            // Lengths first: no two lists are the same text.
            hash.update(node.len().to_be_bytes());
            hash.update(node);
        }
        let nodes = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { nodes, max_ttl_ms: u64::try_from(max_ttl.as_millis()).unwrap_or(u64::MAX) }
    }

    /// The hash of the sorted list of nodes, in hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.nodes
    }

    /// The longest lease any instance takes.
    #[must_use]
    pub fn max_ttl(&self) -> Duration {
        Duration::from_millis(self.max_ttl_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_nodes_does_not_matter_and_everything_else_does() {
        let ttl = Duration::from_secs(10);
        let nodes = LockNodes::new(["a", "b"], ttl);
        assert_eq!(nodes, LockNodes::new(["b", "a"], ttl));
        assert_eq!(nodes.hash().len(), 64);
        for other in [LockNodes::new(["ab"], ttl), LockNodes::new(["a", "b", "b"], ttl)] {
            assert_ne!(nodes, other);
        }
        assert_ne!(nodes, LockNodes::new(["a", "b"], ttl * 2));
    }
}

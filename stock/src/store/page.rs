//! Lists come in pages, so that no answer is larger than somebody asked for.

use crate::operation::{Id, MAX_INTEGER};

/// Most items on a page.
pub const MAX_PAGE: u32 = 1_000;

/// How many items are on a page at most: 1 to [`MAX_PAGE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize(u32);

impl PageSize {
    /// So many items, or the nearest number that is allowed.
    #[must_use]
    pub fn clamped(items: u32) -> Self {
        Self(items.clamp(1, MAX_PAGE))
    }

    /// The number of items.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for PageSize {
    /// A hundred items.
    fn default() -> Self {
        Self(100)
    }
}

/// Some of many items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in the order of the list.
    pub items: Vec<T>,
    /// What to ask for the next page with; `None` where this is the last one.
    pub next: Option<u64>,
}

impl<T> Page<T> {
    /// A page made of what was found when one item more than fits was asked for.
    pub(super) fn new(mut found: Vec<T>, size: PageSize, cursor: impl Fn(&T) -> u64) -> Self {
        let fits = usize::try_from(size.0).unwrap_or(usize::MAX);
        let is_last = found.len() <= fits;
        found.truncate(fits);
        let next = found.last().map(cursor).filter(|_| !is_last);
        Self { items: found, next }
    }
}

/// Where a list that counts down begins.
pub(super) fn below(cursor: Option<u64>) -> u64 {
    cursor.unwrap_or(MAX_INTEGER)
}

/// Which records to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Those of a variant, in all warehouses.
    Variant(Id),
    /// Those of a product, all its variants in all warehouses.
    Product(Id),
    /// Those of these variants in one warehouse.
    Variants {
        /// Which variants.
        variant_ids: Vec<Id>,
        /// In which warehouse.
        warehouse_id: Id,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_has_no_cursor() {
        let size = PageSize::clamped(2);
        let page = |found| Page::new(found, size, |item| *item);
        assert_eq!(page(vec![1, 2, 3]), Page { items: vec![1, 2], next: Some(2) });
        assert_eq!(page(vec![1, 2]), Page { items: vec![1, 2], next: None });
        assert_eq!(page(vec![]), Page { items: vec![], next: None });
    }

    #[test]
    fn sizes_are_moved_to_what_is_allowed() {
        assert_eq!(PageSize::clamped(0).get(), 1);
        assert_eq!(PageSize::clamped(u32::MAX).get(), MAX_PAGE);
    }
}

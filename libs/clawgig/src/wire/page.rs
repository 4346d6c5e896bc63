//! One page of a list, and putting pages together.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::drift::{self, What};
use crate::wire::{Read, envelope};

/// What we ask for per page, and the most the marketplace gives.
pub const PAGE: u64 = 50;
/// The smallest page a server is known to give to who asks for no size.
const SMALLEST_PAGE: u64 = 20;
/// Elements of one answer that are looked at.
const MOST_ITEMS: usize = 1_000;
/// Pages a collector asks for before it gives up.
const MOST_PAGES: u32 = 200;

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// What could be read, each id once.
    pub items: Vec<T>,
    /// How many elements the answer held, readable or not.
    pub raw: u64,
    /// Elements that could not be read. While this is not 0, an absence proves nothing.
    pub skipped: u64,
    /// How many there are in all, if the server said.
    pub total: Option<u64>,
    /// The page size the server used, if it said.
    pub limit: Option<u64>,
    /// The offset the server used, if it said.
    pub offset: Option<u64>,
}

/// Reads a list in any wrapping; `None` when the answer is no list, which must never be taken for an empty
/// one. `of` names what is listed.
#[must_use]
pub fn read<T: Read>(value: &Value, of: &'static str) -> Option<Page<T>> {
    let list = envelope::list(value)?;
    let mut seen = BTreeSet::new();
    let mut items = Vec::with_capacity(list.items.len().min(MOST_ITEMS));
    let mut skipped = list.items.len().saturating_sub(MOST_ITEMS) as u64;
    for element in list.items.iter().take(MOST_ITEMS) {
        match T::read(envelope::single(element, of)) {
            Some(item) if seen.insert(item.id().to_owned()) => items.push(item),
            Some(_) => {}
            None => {
                drift::unknown(What::Item, of, "unreadable");
                skipped += 1;
            }
        }
    }
    Some(Page {
        items,
        raw: list.items.len() as u64,
        skipped,
        total: list.total,
        limit: list.limit,
        offset: list.offset,
    })
}

/// Puts the pages of one list together: `while let Some(offset) = collector.next() { collector.add(…) }`.
#[derive(Debug)]
pub struct Collector<T> {
    items: Vec<T>,
    seen: BTreeSet<String>,
    skipped: u64,
    offset: u64,
    pages: u32,
    total: Option<u64>,
    changed: bool,
    done: bool,
    /// A page brought nothing new though the list may have more: the server may not know paging.
    stuck: bool,
}

impl<T> Default for Collector<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            seen: BTreeSet::new(),
            skipped: 0,
            offset: 0,
            pages: 0,
            total: None,
            changed: false,
            done: false,
            stuck: false,
        }
    }
}

impl<T: Read> Collector<T> {
    /// The offset to ask for next; `None` when the list is whole, or after 200 pages.
    #[must_use]
    pub fn next_offset(&self) -> Option<u64> {
        (!self.done && self.pages < MOST_PAGES).then_some(self.offset)
    }

    /// Adds the page of [`Collector::next_offset`], each id once. Ends when the total is reached, on a short
    /// page when the server told its page size, else on a page without news.
    pub fn add(&mut self, page: Page<T>) {
        let before = self.items.len();
        // A page may leave out what another said.
        let differs = |before| page.total.is_some_and(|now| now != before);
        self.changed |= self.total.is_some_and(differs);
        self.total = page.total.or(self.total);
        for item in page.items {
            if self.seen.insert(item.id().to_owned()) {
                self.items.push(item);
            }
        }
        self.skipped += page.skipped;
        self.offset += page.raw;
        self.pages += 1;
        let news = self.items.len() > before || page.skipped > 0;
        let short = page.limit.is_some_and(|limit| page.raw < limit);
        self.done = page.raw == 0
            || match self.total {
                Some(total) => self.offset >= total,
                None => short || !news,
            };
        self.stuck |= page.raw > 0 && !news && self.total.is_none();
    }

    /// What was collected so far, in the server's order.
    #[must_use]
    pub fn items(&self) -> &[T] {
        &self.items
    }

    /// Everything collected; `Err` holds it too when the list is not whole, changed its total while it was
    /// read, or held parts that could not be read, so an absence proves nothing.
    ///
    /// # Errors
    /// The same items, when the list may have more.
    pub fn finish(self) -> Result<Vec<T>, Vec<T>> {
        let many = self.items.len() as u64;
        let fewer = self.total.is_some_and(|total| many < total);
        // A server that pays no heed to the offset gives all at once, or the same page again: those are round.
        let cut = self.stuck && many >= SMALLEST_PAGE && many.is_multiple_of(10);
        if self.done && self.skipped == 0 && !self.changed && !fewer && !cut {
            Ok(self.items)
        } else {
            Err(self.items)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use serde_json::json;

    use super::*;
    use crate::wire::gig::Proposal;

    fn page(ids: Range<u32>, total: Option<u64>) -> Page<Proposal> {
        let items: Vec<Value> = ids.map(|id| json!({ "id": id.to_string() })).collect();
        read(&json!({ "data": items, "total": total }), "proposal").unwrap()
    }

    fn is_whole(pages: &[Page<Proposal>]) -> bool {
        let mut collector = Collector::default();
        for page in pages {
            assert!(collector.next_offset().is_some(), "it ended early");
            collector.add(page.clone());
        }
        assert_eq!(collector.next_offset(), None);
        collector.finish().is_ok()
    }

    #[test]
    fn an_absence_proves_nothing_while_the_list_may_have_more() {
        assert!(is_whole(&[page(0..50, Some(57)), page(50..57, Some(57))]));
        assert!(is_whole(&[page(0..50, None), page(50..57, None), page(0..0, None)]));
        // All at once, and then again.
        assert!(is_whole(&[page(0..7, None), page(0..7, None)]));
        assert!(is_whole(&[page(0..57, None), page(0..57, None)]));
        // The first page, and then again.
        assert!(!is_whole(&[page(0..20, Some(25)), page(0..20, Some(25))]));
        assert!(!is_whole(&[page(0..20, None), page(0..20, None)]));
        // Only one of them says how many there are.
        assert!(is_whole(&[page(0..50, Some(57)), page(50..57, None)]));
        assert!(is_whole(&[page(0..50, None), page(50..57, Some(57))]));
        // It changed while it was read.
        assert!(!is_whole(&[page(0..50, Some(57)), page(50..58, Some(58))]));
    }
}

//! Many byte strings in one allocation, and an index from a string to its number.

use ahash::RandomState;
use hashbrown::HashTable;

/// A list of byte strings kept in one buffer: 150 thousand tokens cost two allocations, not 150 thousand.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    bytes: Vec<u8>,
    /// Where string `i` ends; it starts where its predecessor ends.
    ends: Vec<usize>,
}

impl Strings {
    /// Appends one string.
    pub fn push(&mut self, string: &[u8]) {
        self.bytes.extend_from_slice(string);
        self.ends.push(self.bytes.len());
    }

    /// Appends what `write` appends to the buffer as one string.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String `i`, or `None` past the end.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        let end = *self.ends.get(i)?;
        let start = i.checked_sub(1).map_or(0, |previous| self.ends[previous]);
        self.bytes.get(start..end)
    }

    /// All strings in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|i| self.get(i))
    }
}

impl<B: AsRef<[u8]>> FromIterator<B> for Strings {
    fn from_iter<I: IntoIterator<Item = B>>(iter: I) -> Self {
        let mut strings = Self::default();
        for string in iter {
            strings.push(string.as_ref());
        }
        strings
    }
}

/// From a string to its number in a [`Strings`]. The hash is keyed at random, so that a hostile file cannot choose
/// tokens that collide.
pub(crate) struct Index {
    table: HashTable<u32>,
    hasher: RandomState,
}

impl Index {
    /// An empty index with room for `n` strings.
    pub(crate) fn with_capacity(n: usize) -> Self {
        Self { table: HashTable::with_capacity(n), hasher: RandomState::new() }
    }

    /// The number of `string`, if it was inserted.
    pub(crate) fn get(&self, strings: &Strings, string: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(string);
        self.table.find(hash, |&id| strings.get(id as usize) == Some(string)).copied()
    }

    /// Inserts `strings[id]`; gives back the number of an equal string that is already there.
    pub(crate) fn insert(&mut self, strings: &Strings, id: u32) -> Result<(), u32> {
        use hashbrown::hash_table::Entry;
        let string = strings.get(id as usize).unwrap_or_default();
        let hash = self.hasher.hash_one(string);
        let hasher = &self.hasher;
        let entry = self.table.entry(
            hash,
            |&other| strings.get(other as usize) == Some(string),
            |&other| hasher.hash_one(strings.get(other as usize).unwrap_or_default()),
        );
        match entry {
            Entry::Occupied(first) => Err(*first.get()),
            Entry::Vacant(slot) => {
                slot.insert(id);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_keep_their_order_and_empty_ones() {
        let strings: Strings = ["a", "", "한"].iter().collect();
        assert_eq!(strings.len(), 3);
        assert_eq!(strings.get(1), Some(&b""[..]));
        assert_eq!(strings.get(2), Some("한".as_bytes()));
        assert_eq!(strings.get(3), None);
        assert_eq!(strings.iter().count(), 3);
    }

    #[test]
    fn the_index_finds_what_was_inserted_and_reports_the_first_of_equals() {
        let strings: Strings = ["a", "b", "a"].iter().collect();
        let mut index = Index::with_capacity(0);
        assert_eq!(index.insert(&strings, 0), Ok(()));
        assert_eq!(index.insert(&strings, 1), Ok(()));
        assert_eq!(index.insert(&strings, 2), Err(0));
        assert_eq!(index.get(&strings, b"b"), Some(1));
        assert_eq!(index.get(&strings, b"c"), None);
    }
}

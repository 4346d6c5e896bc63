//! Secrets that are known by their hashes alone, looked for inside a text.

use super::roll::{Roll, Window};

/// Bits of the table that is asked first.
const TABLE_BITS: u32 = 16;

/// Secrets of others, which can be recognised and not read.
pub trait Known: std::fmt::Debug + Send + Sync {
    /// Where to look closer.
    fn prints(&self) -> &Prints;
    /// Whose secret this is, in words, if it is one.
    fn name(&self, text: &[u8]) -> Option<String>;
}

/// The rolling hashes of known secrets, by their lengths.
#[derive(Debug)]
pub struct Prints {
    roll: Roll,
    lengths: Vec<Length>,
}

#[derive(Debug)]
struct Length {
    bytes: usize,
    /// Which lowest bits there are: most bytes of a text end here.
    table: Vec<bool>,
    /// In order.
    prints: Vec<u32>,
}

impl Prints {
    /// Of these secrets: the length and the hash of each.
    #[must_use]
    pub fn new(roll: Roll, secrets: impl IntoIterator<Item = (usize, u32)>) -> Self {
        let mut lengths: Vec<Length> = Vec::new();
        for (bytes, print) in secrets {
            let at = lengths.iter().position(|length| length.bytes == bytes);
            let at = at.unwrap_or_else(|| {
                lengths.push(Length {
                    bytes,
                    table: vec![false; 1 << TABLE_BITS],
                    prints: Vec::new(),
                });
                lengths.len() - 1
            });
            if let Some(length) = lengths.get_mut(at) {
                if let Some(bit) = length.table.get_mut(low(print)) {
                    *bit = true;
                }
                length.prints.push(print);
            }
        }
        for length in &mut lengths {
            length.prints.sort_unstable();
        }
        Self { roll, lengths }
    }
}

/// Whose secret a text holds, in words.
pub(super) fn find(known: &dyn Known, text: &[u8]) -> Option<String> {
    let prints = known.prints();
    prints.lengths.iter().find_map(|length| {
        let (first, rest) = text.split_at_checked(length.bytes)?;
        let mut window = prints.roll.window(length.bytes);
        first.iter().for_each(|byte| window.take(*byte));
        let is_known = |window: &Window, at: usize| {
            if !length.holds(window.print()) {
                return None;
            }
            known.name(text.get(at..at + length.bytes)?)
        };
        is_known(&window, 0).or_else(|| {
            rest.iter().zip(text).zip(1..).find_map(|((byte, leaves), at)| {
                window.roll(*byte, *leaves);
                is_known(&window, at)
            })
        })
    })
}

impl Length {
    fn holds(&self, print: u32) -> bool {
        self.table.get(low(print)) == Some(&true) && self.prints.binary_search(&print).is_ok()
    }
}

fn low(print: u32) -> usize {
    (print & ((1 << TABLE_BITS) - 1)) as usize
}

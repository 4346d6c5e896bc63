//! A keyed hash that rolls over a text, one byte at a time: it finds the few places where a digest is worth making.
//!
//! It is no secret keeper: what it leaves is shortened to 32 bits, and what it finds is confirmed by a real digest.

/// A prime whose remainder is cheap: 2^61 - 1.
const PRIME: u64 = (1 << 61) - 1;

/// The hash with its key.
#[derive(Debug, Clone, Copy)]
pub struct Roll {
    base: u64,
}

/// A window of one length on its way through a text.
#[derive(Debug, Clone)]
pub(super) struct Window {
    base: u64,
    /// What is added for each byte that leaves.
    gone: Box<[u64; 256]>,
    value: u64,
}

impl Roll {
    /// The hash of this key.
    #[must_use]
    pub fn new(key: u64) -> Self {
        // Neither nothing nor so small that short texts do not wrap around.
        let base = (key % (PRIME - (1 << 32))) + (1 << 32);
        Self { base }
    }

    /// The hash of some bytes.
    #[must_use]
    pub fn print(self, bytes: &[u8]) -> u32 {
        let value = bytes.iter().fold(0, |value, byte| taken(value, self.base, *byte));
        shortened(value)
    }

    pub(super) fn window(self, length: usize) -> Window {
        let top = (0..length).fold(1, |top, _| times(top, self.base));
        let mut gone = Box::new([0; 256]);
        for (byte, gone) in (0_u64..).zip(gone.iter_mut()) {
            *gone = PRIME - times(top, byte + 1);
        }
        Window {
            base: self.base,
            gone,
            value: 0,
        }
    }
}

impl Window {
    /// A byte comes in.
    pub(super) fn take(&mut self, byte: u8) {
        self.value = taken(self.value, self.base, byte);
    }

    /// A byte comes in, and the one that came `length` before it leaves.
    pub(super) fn roll(&mut self, byte: u8, leaves: u8) {
        self.value = plus(taken(self.value, self.base, byte), self.gone[usize::from(leaves)]);
    }

    pub(super) fn print(&self) -> u32 {
        shortened(self.value)
    }
}

fn taken(value: u64, base: u64, byte: u8) -> u64 {
    plus(times(value, base), u64::from(byte) + 1)
}

/// The highest bits, which every byte but the last has moved.
fn shortened(value: u64) -> u32 {
    (value >> 29) as u32
}

fn times(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let low = (product as u64) & PRIME;
    let high = (product >> 61) as u64;
    plus(low, high)
}

fn plus(a: u64, b: u64) -> u64 {
    let sum = a + b;
    if sum >= PRIME { sum - PRIME } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_rolled_there_is_the_hash_of_what_it_shows() {
        let roll = Roll::new(0x1234_5678_9abc_def0);
        let text: Vec<u8> = (0..2000_u32).map(|at| (at * 7 % 251) as u8).collect();
        for length in [12, 33, 512] {
            let mut window = roll.window(length);
            for (at, byte) in text.iter().enumerate() {
                match at.checked_sub(length) {
                    None => window.take(*byte),
                    Some(left) => {
                        window.roll(*byte, text[left]);
                        assert_eq!(window.print(), roll.print(&text[left + 1..=at]), "{length} at {at}");
                    }
                }
            }
        }
        assert_ne!(roll.print(b"one secret text"), Roll::new(1).print(b"one secret text"));
    }
}

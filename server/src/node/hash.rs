//! A hash of the replicated state that costs each write only the bytes it writes (RULES R21).
//!
//! The state's hash is the sum, modulo 2^128, of one digest for each key and each session, so that a change takes one
//! digest out and puts another in. A value's part is a polynomial of its bytes: appending extends it, and however the
//! value came about, equal bytes have equal hashes. It finds replicas that differ by mistake; it does not withstand
//! somebody who wants two states to collide.

/// The hash of a byte string that may grow at its end: a polynomial over the bytes, modulo the prime 2^61 - 1.
///
/// Each byte counts as its value plus one, so that strings which differ in leading or trailing zeros differ here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunningHash(u64);

impl RunningHash {
    /// Of no bytes.
    pub(super) const EMPTY: Self = Self(1);

    /// Of `bytes`.
    #[must_use]
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::EMPTY.extended(bytes)
    }

    /// Of what this is the hash of, followed by `bytes`.
    #[must_use]
    pub(super) fn extended(self, bytes: &[u8]) -> Self {
        let mut hash = self.0;
        let (blocks, rest) = bytes.as_chunks::<8>();
        for block in blocks {
            // The eight products do not depend on each other, so the processor overlaps them; a single chain of
            // multiplications takes four times as long.
            let terms = block
                .iter()
                .zip(&POWERS)
                .map(|(byte, power)| (u128::from(*byte) + 1) * u128::from(*power))
                .sum::<u128>();
            hash = reduce(u128::from(hash) * u128::from(POWER_8) + terms);
        }
        for byte in rest {
            hash = reduce(u128::from(hash) * u128::from(BASE) + u128::from(*byte) + 1);
        }
        Self(hash)
    }
}

/// A digest of a few words, as one term of the state's sum.
#[must_use]
pub(super) fn digest(words: &[u64]) -> u128 {
    let (mut low, mut high) = (0x243f_6a88_85a3_08d3_u64, 0x1319_8a2e_0370_7344_u64);
    for word in words {
        low = mix(low ^ word);
        high = mix(high.rotate_left(23) ^ word ^ 0xa409_3822_299f_31d0);
    }
    (u128::from(mix(high ^ low)) << 64) | u128::from(low)
}

/// The digest of a key with its value's hash and its revision.
#[must_use]
pub(super) fn digest_of_key(key: &[u8], value: RunningHash, length: u64, revision: u64) -> u128 {
    digest(&[
        1,
        RunningHash::of(key).0,
        key.len() as u64,
        value.0,
        length,
        revision,
    ])
}

/// A bijection of 64-bit words in which every input bit moves about half of the output bits.
fn mix(word: u64) -> u64 {
    let mut mixed = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

const PRIME: u64 = (1 << 61) - 1;

/// Any number below the prime would do; this one has no pattern.
const BASE: u64 = 0x0b4e_7d1a_93c6_25f1;

const POWER_8: u64 = power(8);

/// The powers of the base that go with the bytes of a block, first byte first.
const POWERS: [u64; 8] = [
    power(7),
    power(6),
    power(5),
    power(4),
    power(3),
    power(2),
    power(1),
    power(0),
];

const fn power(exponent: u32) -> u64 {
    let mut product = 1;
    let mut step = 0;
    while step < exponent {
        product = reduce(product as u128 * BASE as u128);
        step += 1;
    }
    product
}

/// The remainder by the prime. What is folded away is worth one each, because 2^61 is 1 modulo the prime.
const fn reduce(wide: u128) -> u64 {
    let once = (wide & PRIME as u128) + (wide >> 61);
    let folded = (once & PRIME as u128) as u64 + (once >> 61) as u64;
    if folded >= PRIME {
        folded - PRIME
    } else {
        folded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hash_like_the_whole() {
        let bytes: Vec<u8> = (0..100_u8).map(|byte| byte.wrapping_mul(37)).collect();
        for cut in 0..bytes.len() {
            let pieces = RunningHash::of(&bytes[..cut]).extended(&bytes[cut..]);
            assert_eq!(pieces, RunningHash::of(&bytes), "cut at {cut}");
        }
    }

    #[test]
    fn zeros_count() {
        let hashes = [&b""[..], b"\0", b"\0\0", b"a", b"a\0", b"\0a"].map(RunningHash::of);
        for (place, hash) in hashes.iter().enumerate() {
            assert!(
                !hashes[..place].contains(hash),
                "hash {place} is there twice"
            );
        }
    }

    #[test]
    fn a_digest_depends_on_every_word_and_its_place() {
        let digests = [
            digest(&[1, 2]),
            digest(&[2, 1]),
            digest(&[1, 2, 0]),
            digest(&[1, 3]),
        ];
        for (place, one) in digests.iter().enumerate() {
            assert!(
                !digests[..place].contains(one),
                "digest {place} is there twice"
            );
        }
    }
}

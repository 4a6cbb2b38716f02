//! Values as the judge knows them: by length, hash and end. However long a value has grown, it takes as little room, and
//! the value after an APPEND costs the same to make.

/// A value. Two are equal if their bytes are, but for a chance of about 2^-98 for values of 8 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Content {
    pub(super) length: u64,
    /// The bytes as digits of a number to the base of each lane, modulo [`PRIME`].
    hash: [u64; 2],
    /// The bases to the power of the length: by so much a hash moves when these bytes are put behind it.
    shift: [u64; 2],
    /// The last bytes, at most [`END_BYTES`].
    end: u128,
}

/// How many bytes of the end are known.
const END_BYTES: u64 = 16;

/// 2^61 - 1: what is above it folds down without a division.
const PRIME: u64 = (1 << 61) - 1;

/// Random numbers below the prime, drawn once.
const BASES: [u64; 2] = [0x0b5d_6f2c_91a7_e34d, 0x1c83_5ae9_47d0_2bf1];

impl Content {
    /// The value of no bytes.
    pub(super) const EMPTY: Self = Self {
        length: 0,
        hash: [0; 2],
        shift: [1; 2],
        end: 0,
    };

    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut content = Self::EMPTY;
        for (lane, powers) in POWERS.iter().enumerate() {
            let mut hash = 0;
            let mut shift = 1;
            for chunk in bytes.chunks(CHUNK_BYTES) {
                hash = hash_behind(hash, chunk, powers);
                shift = product(shift, powers[chunk.len()]);
            }
            content.hash[lane] = hash;
            content.shift[lane] = shift;
        }
        content.length = bytes.len() as u64;
        let end = bytes.len().saturating_sub(END_BYTES as usize);
        content.end = bytes[end..]
            .iter()
            .fold(0, |end, &byte| end << 8 | u128::from(byte));
        content
    }

    /// These bytes and then those.
    pub(super) fn then(self, more: Self) -> Self {
        let lanes = [0, 1];
        let end = if more.length >= END_BYTES {
            more.end
        } else {
            self.end << (8 * more.length) | more.end
        };
        Self {
            length: self.length + more.length,
            hash: lanes.map(|lane| {
                let front = product(self.hash[lane], more.shift[lane]);
                reduced(u128::from(front) + u128::from(more.hash[lane]))
            }),
            shift: lanes.map(|lane| product(self.shift[lane], more.shift[lane])),
            end,
        }
    }

    /// Whether it may end with those bytes, as far as the last ones tell.
    pub(super) fn may_end_with(self, other: Self) -> bool {
        self.length >= other.length && self.end(other.length) == other.end(u64::MAX)
    }

    /// The last bytes: at most so many, and how many there are.
    pub(super) fn end(self, bytes_max: u64) -> (u64, u128) {
        let bytes = self.length.min(bytes_max).min(END_BYTES);
        let mask = u32::try_from(8 * bytes)
            .ok()
            .and_then(|bits| u128::MAX.checked_shl(bits))
            .map_or(u128::MAX, |above| !above);
        (bytes, self.end & mask)
    }

    /// A number for tables: differs where the contents do.
    pub(super) fn fingerprint(self) -> u128 {
        u128::from(self.hash[0]) << 64 | u128::from(self.hash[1] ^ self.length.rotate_left(40))
    }
}

/// The hash of some bytes and a few more behind them. Only the sum is reduced, not each of its products.
fn hash_behind(hash: u64, chunk: &[u8], powers: &[u64; CHUNK_BYTES + 1]) -> u64 {
    let front = u128::from(hash) * u128::from(powers[chunk.len()]);
    let digits = chunk.iter().zip(powers[..chunk.len()].iter().rev());
    let products = digits.map(|(&byte, &power)| u128::from(byte) * u128::from(power));
    reduced(front + products.sum::<u128>())
}

/// So many bytes are taken at once.
const CHUNK_BYTES: usize = 16;

/// Per lane the powers of its base, from that of 0.
const POWERS: [[u64; CHUNK_BYTES + 1]; 2] = [powers(BASES[0]), powers(BASES[1])];

const fn powers(base: u64) -> [u64; CHUNK_BYTES + 1] {
    let mut powers = [1; CHUNK_BYTES + 1];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = product(powers[exponent - 1], base);
        exponent += 1;
    }
    powers
}

/// The product of two numbers below the prime.
const fn product(a: u64, b: u64) -> u64 {
    reduced(a as u128 * b as u128)
}

/// A number modulo the prime: 2^61 is 1 there, so the bits above that are added to those below.
const fn reduced(number: u128) -> u64 {
    let prime = PRIME as u128;
    let folded = (number & prime) + (number >> 61);
    let folded = ((folded & prime) + (folded >> 61)) as u64;
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
    fn what_is_put_together_is_what_it_would_be_in_one_piece() {
        let bytes: Vec<u8> = (0..100u8).map(|n| n.wrapping_mul(37)).collect();
        for cut in 0..=bytes.len() {
            let (front, back) = bytes.split_at(cut);
            let joined = Content::of(front).then(Content::of(back));
            assert_eq!(joined, Content::of(&bytes), "cut at {cut}");
            assert!(joined.may_end_with(Content::of(back)));
        }
    }

    #[test]
    fn other_bytes_are_another_content() {
        let all: Vec<Content> = [
            &b""[..],
            b"\0",
            b"\0\0",
            b"a",
            b"a\0",
            b"\0a",
            b"b",
            b"ab",
            b"ba",
        ]
        .map(Content::of)
        .to_vec();
        for (place, one) in all.iter().enumerate() {
            assert!(all[..place].iter().all(|other| other != one), "{place}");
        }
    }

    #[test]
    fn ends_are_compared_as_far_as_they_are_known() {
        let whole = Content::of(b"a rather long value;c3.17;");
        assert!(whole.may_end_with(Content::of(b"c3.17;")));
        assert!(whole.may_end_with(Content::EMPTY));
        assert!(!whole.may_end_with(Content::of(b"c3.18;")));
        assert!(!Content::of(b"7;").may_end_with(Content::of(b"c3.17;")));
        assert!(!whole.may_end_with(Content::of(b"a rather wide value;c4.17;")));
    }
}

//! Cookies: how an address proves that it receives what is sent to it (RULES R25).
//!
//! A cookie is the number of the 30 s in which it was made and a keyed hash of that number, the address, the port and
//! the replica. Nothing is remembered for whom it was made. The key is drawn anew every hour, and at every start; the
//! one before it is good for as long as the last cookies that were made with it. The driver tells the time.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::{COOKIE_BYTES, Cookie};
use siphasher::sip128::{Hasher128, SipHasher24};

/// Makes and checks the cookies of one replica.
#[derive(Debug)]
pub struct Cookies {
    replica: u8,
    draw: fn() -> u128,
    /// The hour, counted from the start, to which `current` belongs.
    hour: u32,
    current: Secret,
    /// The key of the hour before, if there was one.
    previous: Option<Secret>,
}

/// What is to be thought of a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The address has proved itself.
    Proved,
    /// There is no cookie.
    Missing,
    /// It says itself that it is too old.
    Expired,
    /// It was made for another address, by another replica, in another life of this one, or by nobody.
    Foreign,
}

/// A key of the hash. Not to be shown.
#[derive(Clone, Copy)]
struct Secret(u128);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Cookies {
    /// For the given replica. `draw` gives 128 random bits that nobody can guess.
    #[must_use]
    pub fn new(replica: u8, draw: fn() -> u128) -> Self {
        Self {
            replica,
            draw,
            hour: 0,
            current: Secret(draw()),
            previous: None,
        }
    }

    /// A cookie for `remote`, at `now` since the start.
    pub fn make(&mut self, remote: SocketAddr, now: Duration) -> Cookie {
        let bucket = bucket_at(now);
        self.turn_to(bucket / BUCKETS_PER_SECRET);
        self.bake(self.current, bucket, remote)
    }

    /// Whether `cookie` proves that `remote` receives what is sent to it, at `now` since the start.
    pub fn check(&mut self, cookie: Cookie, remote: SocketAddr, now: Duration) -> Proof {
        if cookie.is_none() {
            return Proof::Missing;
        }
        let present = bucket_at(now);
        self.turn_to(present / BUCKETS_PER_SECRET);
        let [first, second, third, fourth, ..] = cookie.0;
        let bucket = u32::from_be_bytes([first, second, third, fourth]);
        let Some(age) = present.checked_sub(bucket) else {
            return Proof::Foreign;
        };
        if age > BUCKETS_GOOD {
            return Proof::Expired;
        }
        let secret = if bucket / BUCKETS_PER_SECRET == self.hour {
            Some(self.current)
        } else {
            self.previous
        };
        let expected = secret.map(|secret| self.bake(secret, bucket, remote));
        if expected.is_some_and(|expected| is_same(&expected, &cookie)) {
            Proof::Proved
        } else {
            Proof::Foreign
        }
    }

    /// Draws a key if this hour has none yet.
    fn turn_to(&mut self, hour: u32) {
        if hour == self.hour {
            return;
        }
        let is_next = hour == self.hour + 1;
        self.previous = is_next.then_some(self.current);
        self.current = Secret((self.draw)());
        self.hour = hour;
    }

    fn bake(&self, secret: Secret, bucket: u32, remote: SocketAddr) -> Cookie {
        let mut hasher = SipHasher24::new_with_key(&secret.0.to_be_bytes());
        hasher.write(&[self.replica]);
        hasher.write(&bucket.to_be_bytes());
        match remote.ip() {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.write(&remote.port().to_be_bytes());
        let hash = hasher.finish128().as_bytes();
        let mut cookie = [0; COOKIE_BYTES];
        cookie[..BUCKET_BYTES].copy_from_slice(&bucket.to_be_bytes());
        cookie[BUCKET_BYTES..].copy_from_slice(&hash[..COOKIE_BYTES - BUCKET_BYTES]);
        Cookie(cookie)
    }
}

/// Compares without stopping at the first difference, whose place a sender could otherwise time.
fn is_same(one: &Cookie, other: &Cookie) -> bool {
    let pairs = one.0.iter().zip(&other.0);
    pairs.fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}

/// Which 30 s this is, counted from the start; 32 bits are enough for 4,000 years.
fn bucket_at(now: Duration) -> u32 {
    u32::try_from(now.as_secs() / BUCKET_S).unwrap_or(u32::MAX)
}

const BUCKET_S: u64 = 30;
const BUCKET_BYTES: usize = 4;
/// A cookie is good for at least two minutes, and for less than two and a half.
const BUCKETS_GOOD: u32 = 4;
/// One hour.
const BUCKETS_PER_SECRET: u32 = 120;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Another one each time, as far as a test must see.
    fn draw() -> u128 {
        static DRAWN: AtomicU64 = AtomicU64::new(1);
        u128::from(DRAWN.fetch_add(1, Ordering::Relaxed)) << 64 | 0x5eed
    }

    fn at(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_cookie_is_good_for_two_minutes_from_any_moment() {
        for made in [0, 29, 30, 3_599, 3_600, 7_190, 86_399] {
            let mut cookies = Cookies::new(1, draw);
            let remote = address("10.0.0.1:99");
            let cookie = cookies.make(remote, at(made));
            assert_eq!(cookies.check(cookie, remote, at(made)), Proof::Proved);
            assert_eq!(cookies.check(cookie, remote, at(made + 120)), Proof::Proved);
            let proof = cookies.check(cookie, remote, at(made + 150));
            assert_eq!(proof, Proof::Expired, "made at {made}");
        }
    }

    #[test]
    fn the_secret_changes_every_hour_and_the_one_before_is_honoured_for_two_minutes() {
        let remote = address("10.0.0.1:99");
        let mut cookies = Cookies::new(1, draw);
        let last = cookies.make(remote, at(3_599));
        let first = cookies.make(remote, at(3_600));
        assert_ne!(last.0[4..], first.0[4..]);
        assert_eq!(cookies.check(last, remote, at(3_719)), Proof::Proved);
        assert_eq!(cookies.check(last, remote, at(3_720)), Proof::Expired);
        assert_eq!(cookies.check(first, remote, at(3_749)), Proof::Proved);
        assert_eq!(cookies.check(first, remote, at(3 * 3_600)), Proof::Expired);
    }

    #[test]
    fn a_cookie_that_claims_another_time_is_foreign() {
        let remote = address("10.0.0.1:99");
        let mut cookies = Cookies::new(1, draw);
        let mut cookie = cookies.make(remote, at(0));
        cookie.0[3] = 20;
        assert_eq!(cookies.check(cookie, remote, at(600)), Proof::Foreign);
        cookie.0[3] = 21;
        assert_eq!(cookies.check(cookie, remote, at(600)), Proof::Foreign);
    }

    #[test]
    fn a_cookie_belongs_to_one_address_one_port_and_one_replica() {
        let remote = address("10.0.0.1:99");
        let mut cookies = Cookies::new(1, || 7);
        let cookie = cookies.make(remote, at(5));
        for other in ["10.0.0.2:99", "10.0.0.1:98", "[::ffff:10.0.0.1]:99"] {
            let proof = cookies.check(cookie, address(other), at(5));
            assert_eq!(proof, Proof::Foreign, "{other}");
        }
        let mut neighbour = Cookies::new(2, || 7);
        assert_eq!(neighbour.check(cookie, remote, at(5)), Proof::Foreign);
        let mut restarted = Cookies::new(1, || 8);
        assert_eq!(restarted.check(cookie, remote, at(5)), Proof::Foreign);
        for bit in 0..128 {
            let mut changed = cookie;
            changed.0[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(cookies.check(changed, remote, at(5)), Proof::Proved);
        }
        assert_eq!(cookies.check(Cookie::NONE, remote, at(5)), Proof::Missing);
    }
}

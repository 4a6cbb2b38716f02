//! Integration tests.

#[cfg(test)]
mod faulty_disk;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod real_disk;

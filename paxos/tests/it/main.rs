//! The core from outside: a cluster of real [`paxos::Replica`]s in one thread, driven as [`paxos::output`] demands.
//!
//! `golden` runs the stories in `tests/golden`, `paper` and `paper_log` have one test for each claim of "Paxos Made
//! Simple", and `random` and `random_sparse` run seeded clusters under faults. All of them share the driver in `cluster`.
//! `bounds`, `giving_way`, `recovery` and `sparse` speak to one replica by hand, where a cluster would hide what it does.
#[cfg(test)]
mod agents;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod by_hand;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod exhaustive;
#[cfg(test)]
mod giving_way;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod model;
#[cfg(test)]
mod paper;
#[cfg(test)]
mod paper_log;
#[cfg(test)]
mod random;
#[cfg(test)]
mod random_sparse;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod script;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod sparse;
#[cfg(test)]
mod telling;

//! Which links between replicas carry.

use std::fmt;

use super::random::Random;

/// What a link does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carriage {
    Carries,
    /// What is sent is lost.
    Cut,
    /// What is sent arrives when the link goes on.
    Stopped,
}

/// All links, each direction by itself.
#[derive(Clone)]
pub(super) struct Links {
    links: Vec<Vec<Carriage>>,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.links.iter().enumerate().flat_map(|(from, row)| {
            row.iter()
                .enumerate()
                .filter(|(_, link)| **link != Carriage::Carries)
                .map(move |(to, link)| format!("r{from} -> r{to} {link:?}"))
        });
        let pairs: Vec<String> = pairs.collect();
        f.write_str(&pairs.join(", "))
    }
}

impl Links {
    pub(super) fn whole(replicas: usize) -> Self {
        Self {
            links: vec![vec![Carriage::Carries; replicas]; replicas],
        }
    }

    /// `listener` hears only `speaker`.
    pub(super) fn listening_to(replicas: usize, listener: usize, speaker: usize) -> Self {
        let mut links = Self::whole(replicas);
        for from in (0..replicas).filter(|from| *from != listener && *from != speaker) {
            links.set(from, listener, Carriage::Cut);
        }
        links
    }

    pub(super) fn at(&self, from: usize, to: usize) -> Carriage {
        self.links[from][to]
    }

    pub(super) fn set(&mut self, from: usize, to: usize, carriage: Carriage) {
        self.links[from][to] = carriage;
    }

    /// Whether both directions carry: so a connection between these two can be there.
    pub(super) fn is_up(&self, one: usize, other: usize) -> bool {
        self.at(one, other) != Carriage::Cut && self.at(other, one) != Carriage::Cut
    }

    /// Every two different replicas, in that order.
    pub(super) fn directions(replicas: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..replicas)
            .flat_map(move |from| (0..replicas).map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
    }

    /// A partition of a drawn shape: groups, single directions, a bridge between two halves, or `lone` by itself.
    pub(super) fn draw(replicas: usize, lone: usize, random: &mut Random) -> Self {
        let mut links = Self::whole(replicas);
        let shape = random.between(0, 4);
        let groups: Vec<u64> = (0..replicas).map(|_| random.between(0, 3)).collect();
        for (from, to) in Self::directions(replicas) {
            let is_cut = match shape {
                0 => groups[from] != groups[to],
                1 => random.chance(300),
                2 => {
                    from != lone
                        && to != lone
                        && groups[from].is_multiple_of(2) != groups[to].is_multiple_of(2)
                }
                _ => from == lone || to == lone,
            };
            if is_cut {
                links.set(from, to, Carriage::Cut);
            }
        }
        links
    }
}

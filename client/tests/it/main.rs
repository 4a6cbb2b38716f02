//! The client library over real sockets, the program as a person or a script meets it, and the scripts: all against
//! replicas that are played here, so that each can be made to answer as the test wants.

#[cfg(test)]
mod bench_ends;
#[cfg(test)]
mod check;
#[cfg(test)]
mod datagrams;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod fake_datagrams;
#[cfg(test)]
mod junk;
#[cfg(test)]
mod library;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod program;
#[cfg(test)]
mod prompt;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod second_opinion;
#[cfg(test)]
mod terminal;
#[cfg(test)]
mod troubles;
#[cfg(test)]
mod usage;

//! Agreement without the store: a program's local peer (SPEC E).
//!
//! A program makes one [`Peer`] of a fixed group, and the peers of the group agree on values, one for each *instance*:
//! a number that the programs choose. [`Peer::start`] begins an agreement, [`Peer::status`] tells its [`Fate`],
//! [`Peer::done`] lets go of what is not needed any more. Instances are independent of each other: many at once, in any
//! order, with holes left open.
//!
//! ```no_run
//! use std::time::Duration;
//! use kvpaxos_server::peer::{Fate, Peer, PeerSettings};
//!
//! let group = ["10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000"].map(String::from);
//! let peer = Peer::make(&group, 0, PeerSettings::durable("/var/lib/example"))?;
//! peer.start(7, b"a value".to_vec())?;
//! if let Fate::Decided(value) = peer.wait(7, Duration::from_secs(10)) {
//!     println!("instance 7 is {value:?}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! Below stands what the store stands on: the same [`paxos::Replica`], in its sparse mode, the same links between
//! replicas, the same journal. A group is founded as a cluster is: nothing is decided before all of its peers have
//! heard of each other once, because only then a peer whose disk was lost can be told from a new one (RULES R11). There
//! is no rejoining: a peer that lost its files is refused, and the others go on as long as they are a majority. The files
//! hold what is not forgotten, whole segments of 16 MiB at a time.
//!
//! `board.rs` is what program and thread share, `member.rs` the peer as a state machine, `driver.rs` its thread.

mod board;
mod driver;
mod member;

use std::fmt;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Poll, Token};
use paxos::{REPLICA_IDS_MAX, Recovered, ReplicaId};
use thiserror::Error;

use self::board::Board;
use self::driver::{Driver, Keeping};
use self::member::{Member, MemberSettings};
use crate::config::Member as GroupMember;
use crate::events::{Durable, Event};
use crate::identity::{ClusterSettings, Identity};
use crate::journal::{
    Disk, FileDisk, FileDiskError, JournalSettings, Storage, StorageError, StorageSettings,
};
use crate::journal_thread::{Fatal, JournalThread};
use crate::mailbox::{Mailbox, mailbox};
use crate::peers::{Links, LinksSettings, PeerMessage};

pub use self::board::StartError;

/// What became of an instance, as far as this peer knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// This value was agreed on. It never changes.
    Decided(Arc<[u8]>),
    /// Not decided, or not heard of yet.
    Pending,
    /// Every program of the group is done with it.
    Forgotten,
}

/// How a peer is made.
#[derive(Debug)]
pub struct PeerSettings {
    /// Where its promises and what it learned are kept. `None` keeps them in memory: such a peer must not be made again
    /// after it ended, and is refused if it is.
    pub directory: Option<PathBuf>,
    /// Listens already at this peer's address; otherwise the peer does.
    pub listener: Option<TcpListener>,
    /// A bad network, for tests.
    pub filter: Option<Arc<dyn LinkFilter>>,
}

impl PeerSettings {
    /// A peer that comes back as it was after a crash. The directory is made if it is missing.
    #[must_use]
    pub fn durable(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: Some(directory.into()),
            ..Self::in_memory()
        }
    }

    /// A peer that lives once.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            directory: None,
            listener: None,
            filter: None,
        }
    }
}

/// Says which messages get through. It is asked for each message as it leaves.
pub trait LinkFilter: Send + Sync + fmt::Debug {
    /// Whether this one does.
    fn passes(&self, from: ReplicaId, to: ReplicaId, message: &PeerMessage) -> bool;
}

/// Why a peer could not be made. Nothing runs then.
#[derive(Debug, Error)]
pub enum MakeError {
    /// It is not one of the group.
    #[error("there is no peer {me} in a group of {count}; a group has at most {REPLICA_IDS_MAX}")]
    NotInGroup {
        /// Which it was to be.
        me: usize,
        /// How many there are.
        count: usize,
    },
    /// Its address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] FileDiskError),
    /// What the directory holds cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What the peer promised is lost or in doubt, so that it may not take part.
    #[error(
        "the files of this peer are damaged, and it may not take part without its promises: {why}"
    )]
    Damaged {
        /// What is damaged.
        why: String,
    },
    /// The system has no thread or descriptor left.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// One peer of a group. It takes part until it is dropped.
#[derive(Debug)]
pub struct Peer {
    board: Arc<Board>,
    mailbox: Mailbox<Event>,
    thread: Option<JoinHandle<()>>,
    journal: Option<JournalThread>,
}

impl Peer {
    /// Makes the peer at place `me` of the group, and begins to take part. All peers must be given the same group, as
    /// `host:port` each, in the same order.
    ///
    /// # Errors
    /// See [`MakeError`].
    pub fn make(peers: &[String], me: usize, settings: PeerSettings) -> Result<Self, MakeError> {
        let members = members(peers);
        let replica = members.get(me).map(|member| member.id);
        let replica = replica.ok_or(MakeError::NotInGroup {
            me,
            count: peers.len(),
        })?;
        let ids: Vec<ReplicaId> = members.iter().map(|member| member.id).collect();
        let PeerSettings {
            directory,
            listener,
            filter,
        } = settings;
        let kept = match directory {
            Some(directory) => Kept::open(&directory, replica, ids.clone())?,
            None => Kept::nothing(replica),
        };
        let listener = match listener {
            None if members.len() > 1 => Some(listen(&members[me].address)?),
            other => other,
        };
        let birth = rand::random();
        let poll = Poll::new()?;
        let (outside, inbox) = mailbox(poll.registry(), BELL)?;
        let links_settings = LinksSettings {
            replica,
            members,
            cluster_settings: group_settings(),
            birth,
            first_token: BELL.0 + 1,
        };
        let listener = listener.map(to_mio).transpose()?;
        let links = Links::new(links_settings, listener, poll.registry().try_clone()?)?;
        let board = Arc::new(Board::new(outside.clone()));
        let member_settings = MemberSettings {
            replica,
            members: ids,
            cluster: group_settings(),
            birth,
        };
        let Kept {
            identity,
            recovered,
            storage,
        } = kept;
        let (journal, keeping) = match storage {
            None => (None, Keeping::memory()),
            Some((storage, disk)) => keep(storage, disk, &board, &outside)?,
        };
        let driver = Driver {
            replica,
            poll,
            inbox,
            links,
            member: Member::new(member_settings, identity, recovered),
            board: Arc::clone(&board),
            keeping,
            filter,
        };
        let thread = thread::Builder::new()
            .name(format!("peer {replica}"))
            .spawn(move || driver.run())?;
        Ok(Self {
            board,
            mailbox: outside,
            thread: Some(thread),
            journal,
        })
    }

    /// Begins agreement on an instance, with a value to be proposed, and returns at once. It goes on until the instance
    /// is decided, for this value or another's, or this peer stops. Where it is decided, forgotten, or begun here
    /// before, nothing happens.
    ///
    /// # Errors
    /// See [`StartError`]; nothing was begun.
    pub fn start(&self, seq: u64, value: impl Into<Arc<[u8]>>) -> Result<(), StartError> {
        self.board.start(seq, value.into())
    }

    /// What became of an instance, from what this peer knows, at once.
    #[must_use]
    pub fn status(&self, seq: u64) -> Fate {
        self.board.status(seq)
    }

    /// Waits until an instance is decided or forgotten, at most so long, and says what became of it.
    #[must_use]
    pub fn wait(&self, seq: u64, timeout: Duration) -> Fate {
        self.board.wait(seq, Instant::now() + timeout)
    }

    /// This program needs no instance up to `seq` any more. May come repeated, out of order, and above instances that
    /// are not decided.
    pub fn done(&self, seq: u64) {
        self.board.done(seq);
    }

    /// The highest instance that this peer has heard of. Forgetting does not lower it.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        self.board.max()
    }

    /// One above the lowest [`Peer::done`] of all peers, as far as this one knows; 0 while one of them has not called it.
    /// What is below is forgotten.
    #[must_use]
    pub fn min(&self) -> u64 {
        self.board.min()
    }

    /// Why this peer has stopped taking part, if it has: its disk failed, or the group was founded with another life of
    /// it. What it knew it still answers.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.board.failure()
    }
}

impl Drop for Peer {
    /// Stops taking part, and waits until what was promised is on disk.
    fn drop(&mut self) {
        self.mailbox.send(Event::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread of a peer panicked");
        }
        if let Some(journal) = self.journal.take() {
            journal.join();
        }
    }
}

/// What a peer has from its earlier lives.
struct Kept {
    identity: Identity,
    recovered: Recovered,
    storage: Option<(Storage, Arc<dyn Disk>)>,
}

impl Kept {
    fn nothing(replica: ReplicaId) -> Self {
        let identity = Identity {
            replica,
            incarnation: paxos::Incarnation(rand::random()),
            founding: None,
        };
        Self {
            identity,
            recovered: Recovered::new(),
            storage: None,
        }
    }

    fn open(
        directory: &std::path::Path,
        replica: ReplicaId,
        members: Vec<ReplicaId>,
    ) -> Result<Self, MakeError> {
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(directory)?);
        let settings = StorageSettings {
            replica,
            members,
            journal: JournalSettings::default(),
        };
        let mut recovered = Recovered::new();
        let mut replay = |state, records| {
            let in_order = recovered.batch(state, records);
            assert!(
                in_order.is_empty(),
                "the journal in {} is that of a log, not of instances",
                directory.display()
            );
        };
        let storage = Storage::open(&disk, &settings, &mut rand::random, &mut replay)?;
        if let Some(why) = storage.blank {
            return Err(MakeError::Damaged { why });
        }
        Ok(Self {
            identity: storage.identity.clone(),
            recovered,
            storage: Some((storage, disk)),
        })
    }
}

/// A group has no sessions. A store has, and the links join only those of the same settings: so neither takes the other
/// for one of its own.
fn group_settings() -> ClusterSettings {
    ClusterSettings {
        sessions_max: 0,
        ..ClusterSettings::default()
    }
}

/// Starts what keeps the promises on disk.
fn keep(
    storage: Storage,
    disk: Arc<dyn Disk>,
    board: &Arc<Board>,
    outside: &Mailbox<Event>,
) -> io::Result<(Option<JournalThread>, Keeping)> {
    let durable = Durable {
        work: 0,
        serial: storage.journal.last_serial(),
        journal_bytes: storage.journal.disk_bytes(),
    };
    let journal = JournalThread::start(storage.journal, disk, outside.clone(), fatal(board))?;
    let work = journal.work();
    Ok((Some(journal), Keeping::journal(work, durable)))
}

/// A disk that fails ends the peer, not the program's process.
fn fatal(board: &Arc<Board>) -> Fatal {
    let board = Arc::clone(board);
    Fatal::new(move |why| board.fail(why))
}

fn members(peers: &[String]) -> Vec<GroupMember> {
    (0..REPLICA_IDS_MAX)
        .map(ReplicaId)
        .zip(peers)
        .map(|(id, address)| GroupMember {
            id,
            address: address.clone(),
        })
        .collect()
}

fn listen(address: &str) -> Result<TcpListener, MakeError> {
    let failed = |source| MakeError::Listen {
        address: address.to_owned(),
        source,
    };
    let addresses: Vec<_> = address.to_socket_addrs().map_err(failed)?.collect();
    TcpListener::bind(addresses.as_slice()).map_err(failed)
}

fn to_mio(listener: TcpListener) -> io::Result<mio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    Ok(mio::net::TcpListener::from_std(listener))
}

const BELL: Token = Token(0);

//! One replica's server: opens what it needs, starts the threads, connects them, and stops them again.
//!
//! It is the only place that knows all parts. The binary starts one of it; a test may start several.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::WireLimits;
use mio::{Poll, Token};
use paxos::{Incarnation, ReplicaId};
use thiserror::Error;

use crate::config::Config;
use crate::diskless::MemoryDisk;
use crate::events::{Durable, Event};
use crate::identity::{ClusterSettings, FoundingRecord, Identity, IdentityError};
use crate::journal::{
    Disk, FileDisk, FileDiskError, Journal, JournalSettings, Storage, StorageError, StorageSettings,
};
use crate::journal_thread::{Fatal, JournalThread};
use crate::mailbox::{Mailbox, mailbox};
use crate::node::{Node, NodeSettings, Recovery};
use crate::peers::{Links, LinksSettings};
use crate::replica_thread::ReplicaThread;
use crate::settings::SettingError;
use crate::snapshot::{self, Kept, Loaded, SnapshotError};
use crate::snapshot_thread::SnapshotThread;
use crate::ticker::TICK;
use crate::udp::{DatagramCounters, DatagramSettings, Datagrams};
use crate::workers::{Workers, WorkersSettings};

/// Sockets that listen already.
#[derive(Debug)]
pub struct Listeners {
    /// For clients.
    pub clients: TcpListener,
    /// For clients that send datagrams; `None` if they are not served.
    pub datagrams: Option<UdpSocket>,
    /// For the other replicas; `None` if there are none.
    pub peers: Option<TcpListener>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    client_address: SocketAddr,
    datagram_address: Option<SocketAddr>,
    peer_address: Option<SocketAddr>,
    mailbox: Mailbox<Event>,
    replica_thread: JoinHandle<()>,
    journal_thread: Option<JournalThread>,
    snapshot_thread: SnapshotThread,
    workers: Workers,
    datagrams: Option<Datagrams>,
}

/// Why a server does not start. Each is a sentence for whoever started it.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The port is taken, or the address is none of this machine's.
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
    #[error("cannot use the files in {}: {source}", path.display())]
    Storage {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: StorageError,
    },
    /// The snapshots cannot be used.
    #[error("cannot use the snapshots in {}: {source}", path.display())]
    Snapshot {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: SnapshotError,
    },
    /// The cluster was founded with other settings.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The system has no thread or descriptor left.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl Listeners {
    /// Listens as the configuration says.
    ///
    /// # Errors
    /// [`ServerError::Listen`].
    pub fn bind(config: &Config) -> Result<Self, ServerError> {
        let peers = config.peer_listen_address();
        Ok(Self {
            clients: listen(&config.client_address)?,
            datagrams: config.datagram_address.as_deref().map(bind).transpose()?,
            peers: peers.map(listen).transpose()?,
        })
    }
}

impl Server {
    /// Opens the directory, replays the journal, and serves. `fatal` ends the process when the disk fails or is another's.
    ///
    /// # Errors
    /// See [`ServerError`]. Nothing runs then.
    pub fn start(config: &Config, listeners: Listeners, fatal: Fatal) -> Result<Self, ServerError> {
        let client_address = listeners.clients.local_addr()?;
        let datagrams = listeners.datagrams.as_ref();
        let datagram_address = datagrams.map(UdpSocket::local_addr).transpose()?;
        let peers = listeners.peers.as_ref();
        let peer_address = peers.map(TcpListener::local_addr).transpose()?;
        let Opened {
            disk,
            identity,
            blank,
            journal,
            recovery,
            cluster,
            kept,
        } = Opened::by(config)?;
        let birth = rand::random();
        let poll = Poll::new()?;
        let (outside, inbox) = mailbox(poll.registry(), BELL)?;
        let links = make_links(config, cluster, birth, listeners.peers, &poll)?;
        let durable = durable_at_start(journal.as_ref());
        let settings = node_settings(config, cluster, birth);
        let mut node = Node::new(settings, identity, recovery, blank);
        match &journal {
            Some(journal) => node.note_journal_bytes(journal.disk_bytes()),
            None => node.run_without_disk(),
        }
        let snapshot_thread =
            SnapshotThread::start(Arc::clone(&disk), kept, outside.clone(), fatal.clone())?;
        let start_journal =
            |journal| JournalThread::start(journal, disk, outside.clone(), fatal.clone());
        let journal_thread = journal.map(start_journal).transpose()?;
        let settings = workers_settings(config, cluster);
        let workers = Workers::start(&settings, to_mio(listeners.clients)?, &outside)?;
        let counters = Arc::<DatagramCounters>::default();
        let start_datagrams = |socket| {
            let counters = Arc::clone(&counters);
            start_datagrams(config, &settings, counters, socket, &outside)
        };
        let datagrams = listeners.datagrams.map(start_datagrams).transpose()?;
        let mut mailboxes = workers.mailboxes();
        mailboxes.extend(datagrams.as_ref().map(Datagrams::mailbox));
        let thread = ReplicaThread {
            replica: config.replica,
            poll,
            inbox,
            node,
            links,
            workers: mailboxes,
            journal: journal_thread.as_ref().map(JournalThread::work),
            snapshots: snapshot_thread.steps(),
            durable,
            load: settings.load,
            signboard: settings.signboard,
            datagrams: counters,
            fatal,
            failing: config.failing.clone(),
        };
        let builder = thread::Builder::new().name("replica".to_owned());
        let replica_thread = builder.spawn(move || thread.run())?;
        Ok(Self {
            client_address,
            datagram_address,
            peer_address,
            mailbox: outside,
            replica_thread,
            journal_thread,
            snapshot_thread,
            workers,
            datagrams,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Where datagrams are taken, if they are.
    #[must_use]
    pub fn datagram_address(&self) -> Option<SocketAddr> {
        self.datagram_address
    }

    /// Where the other replicas connect, if there are any.
    #[must_use]
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.peer_address
    }

    /// Answers what is held, seals the journal, closes all connections, and waits for all threads: within about a
    /// second, unless the disk stands still.
    ///
    /// # Panics
    /// When one of the threads did.
    pub fn stop(self) {
        self.mailbox.send(Event::Stop);
        if let Err(panic) = self.replica_thread.join() {
            std::panic::resume_unwind(panic);
        }
        self.workers.join();
        if let Some(datagrams) = self.datagrams {
            datagrams.join();
        }
        if let Some(journal_thread) = self.journal_thread {
            journal_thread.join();
        }
        self.snapshot_thread.join();
    }
}

/// What the directory held, or what there is without one.
struct Opened {
    disk: Arc<dyn Disk>,
    identity: Identity,
    /// Why the acceptor's memory was lost, if it was.
    blank: Option<String>,
    /// None without a disk.
    journal: Option<Journal>,
    recovery: Recovery,
    cluster: ClusterSettings,
    /// The snapshots, oldest first.
    kept: Vec<Kept>,
}

impl Opened {
    fn by(config: &Config) -> Result<Self, ServerError> {
        match &config.data {
            Some(directory) => open_directory(config, directory),
            None => Ok(Self::without_disk(config)),
        }
    }

    /// A replica without a disk begins a life that no peer knows, in a cluster that may know an earlier one.
    fn without_disk(config: &Config) -> Self {
        let cluster = config.cluster.for_founding();
        Self {
            disk: Arc::new(MemoryDisk::default()),
            identity: Identity {
                replica: config.replica,
                incarnation: Incarnation(rand::random()),
                founding: None,
            },
            blank: None,
            journal: None,
            recovery: Recovery::new(cluster),
            cluster,
            kept: Vec::new(),
        }
    }
}

/// Opens the directory's files and replays them, under the settings of the cluster that they belong to.
fn open_directory(config: &Config, directory: &Path) -> Result<Opened, ServerError> {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(directory)?);
    let failed = |source| ServerError::Storage {
        path: directory.to_owned(),
        source,
    };
    let founding = founding(directory, &disk)?;
    let cluster = cluster_settings(config, founding.as_ref())?;
    let mut loaded = load_snapshot(directory, &disk, founding.as_ref())?;
    let settings = StorageSettings {
        replica: config.replica,
        members: member_ids(config),
        journal: JournalSettings::default(),
    };
    let kept_slots = loaded.kept_slots();
    let mut recovery = Recovery::with_snapshots(cluster, loaded.restored.take(), &kept_slots);
    let base = recovery.applied();
    let mut replay = |state, records| recovery.batch(state, records);
    let storage = Storage::open_above(base, &disk, &settings, &mut rand::random, &mut replay)
        .map_err(failed)?;
    if let Some(torn) = &storage.torn {
        log::info!("the journal ended in the middle of a batch that nobody was told of: {torn:?}");
    }
    if let Some(damage) = &storage.damage {
        log::error!("{damage}");
        // What was read before the damage was found is no part of the journal that begins: this replica learns afresh,
        // from its snapshot on if it has one.
        loaded = load_snapshot(directory, &disk, founding.as_ref())?;
        recovery = Recovery::with_snapshots(cluster, loaded.restored.take(), &kept_slots);
    }
    log::info!("the files are those of {}", storage.identity);
    Ok(Opened {
        disk,
        identity: storage.identity,
        blank: storage.blank,
        journal: Some(storage.journal),
        recovery,
        cluster,
        kept: loaded.kept,
    })
}

/// The newest whole snapshot of the cluster that the files belong to.
fn load_snapshot(
    directory: &Path,
    disk: &Arc<dyn Disk>,
    founding: Option<&FoundingRecord>,
) -> Result<Loaded, ServerError> {
    let Some(founding) = founding else {
        return Ok(Loaded::default());
    };
    let loaded =
        snapshot::load(&**disk, founding.cluster).map_err(|source| ServerError::Snapshot {
            path: directory.to_owned(),
            source,
        })?;
    for damage in &loaded.damage {
        log::error!("{damage}: it is passed over");
    }
    if let Some(restored) = &loaded.restored {
        log::info!("a snapshot of slot {} was read", restored.slot());
    }
    Ok(loaded)
}

/// What the files say of the cluster's founding, if they are those of one.
fn founding(directory: &Path, disk: &Arc<dyn Disk>) -> Result<Option<FoundingRecord>, ServerError> {
    match Identity::load(&**disk) {
        Ok(identity) => Ok(identity.and_then(|identity| identity.founding)),
        // Opening the storage sees the damage too, and knows what to do.
        Err(IdentityError::Damaged { .. }) => Ok(None),
        Err(error) => Err(ServerError::Storage {
            path: directory.to_owned(),
            source: error.into(),
        }),
    }
}

/// A founded cluster's settings are fixed; those of one that is to be founded come from the command line.
fn cluster_settings(
    config: &Config,
    founding: Option<&FoundingRecord>,
) -> Result<ClusterSettings, ServerError> {
    match founding {
        Some(founding) => {
            config.cluster.check(&founding.settings)?;
            Ok(founding.settings)
        }
        None => Ok(config.cluster.for_founding()),
    }
}

fn make_links(
    config: &Config,
    cluster: ClusterSettings,
    birth: u64,
    listener: Option<TcpListener>,
    poll: &Poll,
) -> io::Result<Links> {
    let settings = LinksSettings {
        replica: config.replica,
        members: config.members.clone(),
        cluster_settings: cluster,
        birth,
        first_token: BELL.0 + 1,
    };
    let listener = listener.map(to_mio).transpose()?;
    Links::new(settings, listener, poll.registry().try_clone()?)
}

fn durable_at_start(journal: Option<&Journal>) -> Durable {
    Durable {
        work: 0,
        serial: journal.map(Journal::last_serial).unwrap_or_default(),
        journal_bytes: journal.map(Journal::disk_bytes).unwrap_or_default(),
    }
}

fn workers_settings(config: &Config, cluster: ClusterSettings) -> WorkersSettings {
    WorkersSettings {
        replica: config.replica.0,
        count: config.workers,
        limits: WireLimits::for_value_bytes_max(cluster.value_bytes_max),
        connections_max: config.connections_max,
        load: Arc::default(),
        signboard: Arc::default(),
    }
}

/// To the replica thread it is one more worker, with the number after those of the others.
fn start_datagrams(
    config: &Config,
    workers: &WorkersSettings,
    counters: Arc<DatagramCounters>,
    socket: UdpSocket,
    replica_thread: &Mailbox<Event>,
) -> io::Result<Datagrams> {
    let settings = DatagramSettings {
        replica: workers.replica,
        worker: workers.count,
        limits: workers.limits,
        datagram_bytes_max: config.datagram_bytes_max,
        answer_wait_max: config.no_quorum_after.saturating_add(ANSWER_WAIT_SPARE),
        load: Arc::clone(&workers.load),
        signboard: Arc::clone(&workers.signboard),
        counters,
    };
    socket.set_nonblocking(true)?;
    let socket = mio::net::UdpSocket::from_std(socket);
    Datagrams::start(settings, socket, replica_thread)
}

fn node_settings(config: &Config, cluster: ClusterSettings, birth: u64) -> NodeSettings {
    let ticks = config.no_quorum_after.as_millis() / TICK.as_millis();
    NodeSettings {
        replica: config.replica,
        members: member_ids(config),
        cluster,
        no_quorum_after_ticks: u64::try_from(ticks).unwrap_or(u64::MAX),
        reads_through_log: config.reads_through_log,
        birth,
    }
}

fn member_ids(config: &Config) -> Vec<ReplicaId> {
    config.members.iter().map(|member| member.id).collect()
}

/// Listens at the first address of a name that can be listened at.
fn listen(address: &str) -> Result<TcpListener, ServerError> {
    let listened = addresses_of(address).and_then(|all| TcpListener::bind(all.as_slice()));
    listened.map_err(|source| ServerError::Listen {
        address: address.to_owned(),
        source,
    })
}

/// The same for datagrams.
fn bind(address: &str) -> Result<UdpSocket, ServerError> {
    let bound = addresses_of(address).and_then(|all| UdpSocket::bind(all.as_slice()));
    bound.map_err(|source| ServerError::Listen {
        address: format!("{address} (UDP)"),
        source,
    })
}

fn addresses_of(address: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(address.to_socket_addrs()?.collect())
}

fn to_mio(listener: TcpListener) -> io::Result<mio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    Ok(mio::net::TcpListener::from_std(listener))
}

const BELL: Token = Token(0);
/// How much later than it must a request's answer may come from a replica thread that is held up.
const ANSWER_WAIT_SPARE: Duration = Duration::from_secs(5);

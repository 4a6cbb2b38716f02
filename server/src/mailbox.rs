//! Batches for a thread that waits in a mio poll.
//!
//! Owns a channel and the means to end the receiver's wait. A sender rings only when the receiver sleeps or is about
//! to, because ringing is a system call and the receiver looks into its inbox on every turn anyway. It never blocks a
//! sender. The channel itself has no bound; whoever sends names the bound on what can be under way.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use mio::{Events, Poll, Registry, Token, Waker};

/// The sending side. Clones send to the same inbox.
pub struct Mailbox<T> {
    sender: Sender<T>,
    bell: Arc<Bell>,
}

/// The receiving side, which belongs to one poll.
pub struct Inbox<T> {
    receiver: Receiver<T>,
    bell: Arc<Bell>,
}

struct Bell {
    waker: Waker,
    /// Set by the receiver before it looks into the inbox for the last time and waits; cleared by whoever wakes it.
    asleep: AtomicBool,
}

/// A mailbox whose bell ends a wait in the poll of `registry` with an event of `token`.
///
/// # Errors
/// The system has no descriptor left for the bell.
pub fn mailbox<T>(registry: &Registry, token: Token) -> io::Result<(Mailbox<T>, Inbox<T>)> {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let bell = Arc::new(Bell {
        waker: Waker::new(registry, token)?,
        asleep: AtomicBool::new(false),
    });
    let mailbox = Mailbox {
        sender,
        bell: Arc::clone(&bell),
    };
    Ok((mailbox, Inbox { receiver, bell }))
}

impl<T> Mailbox<T> {
    /// Hands `item` over. If the receiver is gone, so is the item: that happens only while the process stops.
    pub fn send(&self, item: T) {
        if self.sender.send(item).is_err() {
            return;
        }
        if self.bell.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = self.bell.waker.wake()
        {
            log::error!("a thread could not be woken: {error}");
        }
    }

    /// Ends the receiver's wait, or its next one, for something that it is handed in another way.
    pub fn ring(&self) {
        if let Err(error) = self.bell.waker.wake() {
            log::error!("a thread could not be woken: {error}");
        }
    }
}

impl<T> Inbox<T> {
    /// The next item, if one waits.
    pub fn take(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    /// Waits for events of sockets, for an item, or until `timeout`, whichever comes first. With an item already
    /// there it only collects the events that are ready.
    ///
    /// # Errors
    /// What the poll reports, interruption by a signal excepted.
    pub fn wait(
        &self,
        poll: &mut Poll,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        // Whoever does not sleep need not be rung. The second look is for what came between the first and falling asleep.
        let sleeps = timeout != Some(Duration::ZERO) && self.receiver.is_empty();
        self.bell.asleep.store(sleeps, Ordering::SeqCst);
        let timeout = if sleeps && self.receiver.is_empty() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        let result = poll.poll(events, timeout);
        self.bell.asleep.store(false, Ordering::SeqCst);
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            bell: Arc::clone(&self.bell),
        }
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({} waiting)", self.sender.len())
    }
}

impl<T> fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({} waiting)", self.receiver.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn every_item_arrives_although_the_bell_is_rung_rarely() {
        const ITEMS: u64 = 20_000;
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(8);
        let (mailbox, inbox) = mailbox(poll.registry(), Token(0)).unwrap();
        let sender = thread::spawn(move || (0..ITEMS).for_each(|item| mailbox.send(item)));
        let mut expected = 0;
        while expected < ITEMS {
            inbox
                .wait(&mut poll, &mut events, Some(Duration::from_secs(10)))
                .unwrap();
            let before = expected;
            while let Some(item) = inbox.take() {
                assert_eq!(item, expected);
                expected += 1;
            }
            assert!(
                expected > before || !events.is_empty(),
                "waited ten seconds for item {expected}"
            );
        }
        sender.join().unwrap();
    }

    #[test]
    fn an_item_that_waits_ends_the_wait_at_once() {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(8);
        let (mailbox, inbox) = mailbox(poll.registry(), Token(0)).unwrap();
        mailbox.send(1);
        inbox.wait(&mut poll, &mut events, None).unwrap();
        assert_eq!(inbox.take(), Some(1));
        assert_eq!(inbox.take(), None);
    }
}

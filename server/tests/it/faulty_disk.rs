//! A disk in memory that fails as real ones do, from a seed: it loses and tears what was not synced, forgets names that
//! were not made durable, stops at any step, fails any step, is full, flips bits, and drops and truncates files.
//!
//! It is a [`Disk`] like the real one, so that journal and identity run on it unchanged. A [`FaultyDisk`] is one
//! machine's disk: [`FaultyDisk::crash`] takes the machine down, and what the process before still holds of it is dead.

mod content;
mod handles;
mod harm;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use kvpaxos_server::journal::{Disk, DiskFile, GrowingFile};
use parking_lot::Mutex;

use self::content::{FileState, in_blocks, survives};
use self::handles::{FaultyFile, FaultyGrowingFile};

/// Random numbers that are the same for the same seed, everywhere and for ever (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    pub(crate) fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// What happens at a step that was marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The step is not done, and neither is any after it, until [`FaultyDisk::crash`].
    Stop,
    /// The step is not done, with this error. A write may have been done in part.
    Fail(io::ErrorKind),
    /// The step reports success and has done nothing: a lie.
    Lie,
}

/// A disk of one machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    files: BTreeMap<FileId, FileState>,
    next_file: FileId,
    /// What names mean now.
    names: BTreeMap<String, FileId>,
    /// What names mean for sure after a crash, but for `name_changes`.
    durable_names: BTreeMap<String, FileId>,
    /// Since the last sync of the directory.
    name_changes: Vec<NameChange>,
    /// How many crashes there were: a handle of an earlier life is dead.
    life: u64,
    steps: u64,
    fault: Option<(u64, Fault)>,
    is_stopped: bool,
    /// What all files together may take, in whole blocks; no bound if none.
    quota_bytes: Option<u64>,
    /// Syncs of open files report success and do nothing.
    lies: bool,
}

/// What a power cut did to what was not synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Files of which some of the sectors that were not synced are there, and some are not.
    pub(crate) torn: u64,
    /// Files of which none of them is there.
    pub(crate) lost: u64,
}

type FileId = u64;

#[derive(Clone, Debug)]
enum NameChange {
    Give(String, FileId),
    Rename(String, FileId),
    Remove(String, FileId),
}

impl FaultyDisk {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Marks the `after`-th step from now on: 0 is the next one. One mark at a time.
    pub(crate) fn plan(&self, after: u64, fault: Fault) {
        let mut state = self.state.lock();
        state.fault = Some((state.steps + after, fault));
    }

    /// How many steps were taken in all lives.
    pub(crate) fn steps(&self) -> u64 {
        self.state.lock().steps
    }

    /// Whether a [`Fault::Stop`] has come about.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state.lock().is_stopped
    }

    /// From now on all files together may take so many bytes, in whole blocks; `None` for any number. What is there stays,
    /// be it more.
    pub(crate) fn set_quota(&self, bytes: Option<u64>) {
        self.state.lock().quota_bytes = bytes;
    }

    /// From now on no more than so many bytes can be added.
    pub(crate) fn fill(&self, bytes_left: u64) {
        let mut state = self.state.lock();
        state.quota_bytes = Some(state.used_bytes() + bytes_left);
    }

    /// Whether there is a bound.
    pub(crate) fn has_quota(&self) -> bool {
        self.state.lock().quota_bytes.is_some()
    }

    /// What all files together take, in whole blocks.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }

    /// The machine loses power and comes up again: of each sector that was not synced, and of each name that was not
    /// made durable, either the old or the new is there.
    pub(crate) fn crash(&self, rng: &mut Rng) -> Loss {
        let mut state = self.state.lock();
        state.begin_life();
        state.fault = None;
        let changes = std::mem::take(&mut state.name_changes);
        let fate = rng.below(4);
        for change in changes {
            if survives(fate, rng) {
                apply(&mut state.durable_names, change);
            }
        }
        state.names = state.durable_names.clone();
        let mut loss = Loss::default();
        for file in state.files.values_mut() {
            file.lose(rng, &mut loss);
        }
        state.drop_nameless();
        loss
    }

    /// The process is killed, the machine stays up: everything that was written is seen by the next process, and is
    /// not more durable than before. A step that is marked stays so.
    pub(crate) fn kill(&self) {
        self.state.lock().begin_life();
    }

    /// The names of all files.
    pub(crate) fn names(&self) -> Vec<String> {
        self.state.lock().names.keys().cloned().collect()
    }

    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        self.state.lock().file(name).content.clone()
    }

    /// The disk as it might be after a crash now, with another outcome for each seed. The disk itself goes on.
    pub(crate) fn clone_and_crash(&self, seed: u64) -> Self {
        let clone = Self::new();
        *clone.state.lock() = self.state.lock().clone();
        clone.crash(&mut Rng::new(seed));
        clone
    }

    /// A copy that shares nothing, as if taken by hand while everything is at rest.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::new();
        {
            let state = self.state.lock();
            let mut copied = copy.state.lock();
            for (name, id) in &state.names {
                let file = FileState {
                    content: state.files[id].content.clone(),
                    ..FileState::default()
                };
                copied.files.insert(*id, file);
                copied.names.insert(name.clone(), *id);
            }
            copied.next_file = state.next_file;
            copied.quota_bytes = state.quota_bytes;
            copied.durable_names = copied.names.clone();
        }
        copy
    }
}

fn apply(names: &mut BTreeMap<String, FileId>, change: NameChange) {
    match change {
        NameChange::Give(name, file) => {
            names.insert(name, file);
        }
        NameChange::Rename(to, file) => {
            // A file has one name at all times: one that is given a later name lost those before, whatever was lost else.
            names.retain(|_, named| *named != file);
            names.insert(to, file);
        }
        NameChange::Remove(name, file) => {
            if names.get(&name) == Some(&file) {
                names.remove(&name);
            }
        }
    }
}

impl State {
    fn begin_life(&mut self) {
        self.life += 1;
        self.is_stopped = false;
    }

    fn file(&mut self, name: &str) -> &mut FileState {
        let id = self.names[name];
        self.files.get_mut(&id).expect("a name has a file")
    }

    fn drop_nameless(&mut self) {
        let names = &self.names;
        self.files
            .retain(|id, _| names.values().any(|named| named == id));
    }

    /// Takes one step. `Ok(false)`: pretend that it was done.
    fn step(&mut self) -> io::Result<bool> {
        if self.is_stopped {
            return Err(io::Error::other("the machine is down"));
        }
        let step = self.steps;
        self.steps += 1;
        match self.fault {
            Some((at, fault)) if at == step => {
                self.fault = None;
                match fault {
                    Fault::Stop => {
                        self.is_stopped = true;
                        Err(io::Error::other("the machine is down"))
                    }
                    Fault::Fail(kind) => Err(kind.into()),
                    Fault::Lie => Ok(false),
                }
            }
            _ => Ok(true),
        }
    }

    fn look_up(&self, name: &str) -> io::Result<FileId> {
        let found = self.names.get(name).copied();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change_name(&mut self, change: NameChange) {
        apply(&mut self.names, change.clone());
        self.name_changes.push(change);
    }

    fn used_bytes(&self) -> u64 {
        let lengths = self.names.values().map(|id| self.files[id].content.len());
        lengths.map(in_blocks).sum()
    }

    fn free_bytes(&self) -> u64 {
        self.quota_bytes
            .map_or(u64::MAX, |quota| quota.saturating_sub(self.used_bytes()))
    }

    /// As much of `bytes` as a file can have that has `length` now.
    fn possible(&self, length: usize, bytes: usize) -> usize {
        let most = in_blocks(length).saturating_add(self.free_bytes());
        bytes.min(usize::try_from(most).unwrap_or(usize::MAX).max(length))
    }

    /// The file of that name, with so many zeros in it: of a new one neither the name nor the length is durable. Of one
    /// that is too long for the disk a part is made.
    fn overwrite(&mut self, name: &str, bytes: usize) -> io::Result<FileId> {
        let found = self.look_up(name);
        let length = found.as_ref().map_or(0, |id| self.files[id].content.len());
        let possible = self.possible(length, bytes);
        let id = match found {
            Ok(id) => {
                let file = self.files.get_mut(&id).expect("a name has a file");
                file.cut(possible);
                file.grow(0, &vec![0; possible]);
                id
            }
            Err(_) => self.make(name, possible),
        };
        if possible < bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(id)
    }

    /// A new file of zeros, of which neither the name nor the length is durable.
    fn make(&mut self, name: &str, bytes: usize) -> FileId {
        assert!(!name.is_empty(), "no disk has a file without a name");
        let id = self.next_file;
        self.next_file += 1;
        let file = FileState {
            content: vec![0; bytes],
            is_new: true,
            ..FileState::default()
        };
        self.files.insert(id, file);
        self.change_name(NameChange::Give(name.to_owned(), id));
        id
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.step()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn read(&self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut state = self.state.lock();
        state.step()?;
        state.look_up(name)?;
        let file = state.file(name);
        if file.is_unreadable {
            return Err(io::Error::other("input/output error"));
        }
        if file.content.len() as u64 > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(file.content.clone())
    }

    fn read_at(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let content = self.read(name, u64::MAX)?;
        let from = content
            .len()
            .min(usize::try_from(offset).unwrap_or(usize::MAX));
        let to = content.len().min(from.saturating_add(bytes_max));
        Ok(content[from..to].to_vec())
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        let mut state = self.state.lock();
        state.step()?;
        state.look_up(name)?;
        Ok(state.file(name).content.len() as u64)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.state.lock().free_bytes())
    }

    fn open_growing(&self, name: &str, bytes_kept: u64) -> io::Result<Box<dyn GrowingFile>> {
        let mut state = self.state.lock();
        state.step()?;
        let id = match state.look_up(name) {
            Err(_) if bytes_kept == 0 => state.make(name, 0),
            found => found?,
        };
        let kept = usize::try_from(bytes_kept).unwrap();
        let file = state.files.get_mut(&id).unwrap();
        if file.content.len() < kept {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let file = FaultyFile {
            disk: self.clone(),
            id,
            life: state.life,
        };
        Ok(Box::new(FaultyGrowingFile { file, end: kept }))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.step()?;
        let id = state.overwrite(name, usize::try_from(bytes).unwrap())?;
        if state.step()? {
            state.files.get_mut(&id).unwrap().sync();
        }
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            id,
            life: state.life,
        }))
    }

    fn reserve(&self, name: &str, bytes: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        let bytes = usize::try_from(bytes).unwrap();
        let id = match state.look_up(name) {
            Ok(id) => id,
            Err(_) if state.possible(0, bytes) == bytes => state.make(name, 0),
            Err(_) => return Err(io::ErrorKind::StorageFull.into()),
        };
        let length = state.files[&id].content.len();
        if state.possible(length, bytes) < bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = state.files.get_mut(&id).unwrap();
        file.cut(bytes);
        file.extend(bytes);
        Ok(())
    }

    fn write_new(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        let id = state.overwrite(name, content.len())?;
        if state.step()? {
            state.files.get_mut(&id).unwrap().write(0, content);
        }
        if state.step()? {
            state.files.get_mut(&id).unwrap().sync();
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.step()? {
            let file = state.look_up(from)?;
            state.change_name(NameChange::Rename(to.to_owned(), file));
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.step()? {
            let file = state.look_up(name)?;
            state.change_name(NameChange::Remove(name.to_owned(), file));
        }
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.step()? {
            state.durable_names = state.names.clone();
            state.name_changes.clear();
        }
        Ok(())
    }
}

//! What is done to the files of a [`FaultyDisk`] behind the back of whoever uses them.

use kvpaxos_server::journal::BLOCK_BYTES;

use super::FaultyDisk;

impl FaultyDisk {
    /// Replaces the content of a file, durably.
    pub(crate) fn set_content(&self, name: &str, content: Vec<u8>) {
        let mut state = self.state.lock();
        let file = state.file(name);
        file.content = content;
        file.before.clear();
        file.grown_from = None;
    }

    pub(crate) fn flip_bit(&self, name: &str, bit: usize) {
        let mut state = self.state.lock();
        let file = state.file(name);
        file.content[bit / 8] ^= 1 << (bit % 8);
    }

    /// One block of a file is found in the place of another, as after a write that went astray.
    pub(crate) fn misplace_block(&self, name: &str, from: usize, to: usize) {
        let mut state = self.state.lock();
        let content = &mut state.file(name).content;
        let block = content[from * BLOCK_BYTES..][..BLOCK_BYTES].to_vec();
        content[to * BLOCK_BYTES..][..BLOCK_BYTES].copy_from_slice(&block);
    }

    /// From now on syncs of open files lie, or no longer do.
    pub(crate) fn lie(&self, lies: bool) {
        self.state.lock().lies = lies;
    }

    /// Whether a power cut could take what a sync has claimed.
    pub(crate) fn has_lied(&self) -> bool {
        self.state.lock().files.values().any(|file| file.has_lied)
    }

    /// What syncs have claimed is so.
    pub(crate) fn make_good(&self) {
        let mut state = self.state.lock();
        for file in state.files.values_mut().filter(|file| file.has_lied) {
            file.sync();
        }
    }

    /// Makes a file unreadable.
    pub(crate) fn spoil(&self, name: &str) {
        self.state.lock().file(name).is_unreadable = true;
    }

    /// Drops a file, durably.
    pub(crate) fn drop_file(&self, name: &str) {
        let mut state = self.state.lock();
        state.names.remove(name);
        state.durable_names.remove(name);
        state.name_changes.clear();
    }
}

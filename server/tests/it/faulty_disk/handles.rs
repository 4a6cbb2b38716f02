//! Open files of a [`FaultyDisk`].

use std::io;

use kvpaxos_server::journal::{BLOCK_BYTES, DiskFile, GrowingFile};

use super::content::FileState;
use super::{FaultyDisk, FileId};

/// Of fixed length.
#[derive(Debug)]
pub(super) struct FaultyFile {
    pub(super) disk: FaultyDisk,
    pub(super) id: FileId,
    pub(super) life: u64,
}

impl FaultyFile {
    fn with<T>(
        &self,
        act: impl FnOnce(&mut FileState, io::Result<bool>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        if state.life != self.life {
            return Err(io::Error::other("this process is dead"));
        }
        if state.is_stopped {
            return Err(io::Error::other("the machine is down"));
        }
        let step = state.step();
        let file = state.files.get_mut(&self.id).expect("an open file lives");
        act(file, step)
    }

    fn lies(&self) -> bool {
        self.disk.state.lock().lies
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let aligned = [offset, bytes.len() as u64, bytes.as_ptr().addr() as u64];
        for number in aligned {
            assert!(
                number.is_multiple_of(BLOCK_BYTES as u64),
                "{number} is not aligned"
            );
        }
        let offset = usize::try_from(offset).unwrap();
        self.with(|file, step| {
            // A write that was under way when the machine stopped, or that failed, may have reached some sectors.
            if !matches!(step, Ok(false)) {
                file.write(offset, bytes);
            }
            step.map(|_| ())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let lies = self.lies();
        self.with(|file, step| {
            if !step? {
                return Ok(());
            }
            if lies {
                file.has_lied = true;
            } else {
                file.sync();
            }
            Ok(())
        })
    }
}

/// Written from one end to the other.
#[derive(Debug)]
pub(super) struct FaultyGrowingFile {
    pub(super) file: FaultyFile,
    /// Where what was written ends.
    pub(super) end: usize,
}

impl GrowingFile for FaultyGrowingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.end + bytes.len();
        let possible = {
            let state = self.file.disk.state.lock();
            let length = state.files.get(&self.file.id);
            length.map_or(end, |file| state.possible(file.content.len(), end))
        };
        let written = &bytes[..bytes.len().min(possible.saturating_sub(self.end))];
        self.file.with(|file, step| {
            if !matches!(step, Ok(false)) {
                file.grow(self.end, written);
            }
            step.map(|_| ())
        })?;
        self.end += written.len();
        if written.len() < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        DiskFile::sync(&self.file)
    }

    fn finish(&mut self) -> io::Result<()> {
        DiskFile::sync(&self.file)?;
        self.file.with(|file, step| {
            if step? {
                file.cut(self.end);
                file.sync();
            }
            Ok(())
        })
    }
}

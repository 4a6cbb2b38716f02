//! What stands in the place of a directory for a replica that runs without a disk (SPEC D7).
//!
//! Such a replica has no journal: whatever is handed over to be made durable counts as durable at once, because all that
//! it could be lost with is the process, and a process that comes back is blank and has a new incarnation anyway (RULES
//! R1). It keeps no snapshots either. One is taken when a peer that lacks the log asks for it, and dropped when nobody is
//! being sent it any more; [`MemoryDisk`] holds it meanwhile, and what comes from a peer until it is verified.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::journal::{Disk, DiskFile, GrowingFile};

/// A directory in memory. It is gone with the process.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    files: Mutex<BTreeMap<String, Content>>,
}

/// What a file holds, shared with those who have it open: they follow it when it is renamed.
type Content = Arc<Mutex<Vec<u8>>>;

/// An open file.
#[derive(Debug)]
struct MemoryFile(Content);

impl MemoryDisk {
    fn content(&self, name: &str) -> io::Result<Content> {
        let files = self.files.lock();
        files.get(name).map(Arc::clone).ok_or_else(absent)
    }

    fn replace(&self, name: &str, bytes: Vec<u8>) -> Content {
        let content = Arc::new(Mutex::new(bytes));
        self.files
            .lock()
            .insert(name.to_owned(), Arc::clone(&content));
        content
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().keys().cloned().collect())
    }

    fn read(&self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let content = self.content(name)?;
        let content = content.lock();
        if content.len() as u64 > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(content.clone())
    }

    fn read_at(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let content = self.content(name)?;
        let content = content.lock();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = content.get(offset..).unwrap_or_default();
        Ok(rest[..bytes_max.min(rest.len())].to_vec())
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(self.content(name)?.lock().len() as u64)
    }

    /// Nobody has measured: the state itself is bounded elsewhere, and a snapshot of it is as long.
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn open_growing(&self, name: &str, bytes_kept: u64) -> io::Result<Box<dyn GrowingFile>> {
        let content = match self.content(name) {
            Err(_) if bytes_kept == 0 => self.replace(name, Vec::new()),
            found => found?,
        };
        let kept = usize::try_from(bytes_kept).unwrap_or(usize::MAX);
        if content.lock().len() < kept {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.lock().truncate(kept);
        Ok(Box::new(MemoryFile(content)))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(Box::new(MemoryFile(self.replace(name, vec![0; bytes]))))
    }

    /// Memory that nothing is in cannot be kept back: what is there is let go of.
    fn reserve(&self, name: &str, _bytes: u64) -> io::Result<()> {
        self.files.lock().remove(name);
        Ok(())
    }

    fn write_new(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.replace(name, content.to_vec());
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.lock();
        let content = files.remove(from).ok_or_else(absent)?;
        files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.files.lock().remove(name);
        removed.map(drop).ok_or_else(absent)
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.0.lock();
        let place = usize::try_from(offset)
            .ok()
            .and_then(|offset| content.get_mut(offset..)?.get_mut(..bytes.len()));
        let place = place.ok_or(io::ErrorKind::UnexpectedEof)?;
        place.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl GrowingFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn absent() -> io::Error {
    io::ErrorKind::NotFound.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_follows_its_name_and_grows_at_its_end() {
        let disk = MemoryDisk::default();
        let mut file = disk.open_growing("a", 0).unwrap();
        file.append(b"one").unwrap();
        disk.rename("a", "b").unwrap();
        file.append(b"two").unwrap();
        assert_eq!(disk.list().unwrap(), ["b"]);
        assert_eq!(disk.read("b", 6).unwrap(), b"onetwo");
        assert_eq!(disk.read_at("b", 4, 10).unwrap(), b"wo");
        assert_eq!(disk.read_at("b", 7, 10).unwrap(), b"");
        drop(disk.open_growing("b", 3).unwrap());
        assert_eq!(disk.length("b").unwrap(), 3);
        disk.remove("b").unwrap();
        let kind = |result: io::Result<u64>| result.unwrap_err().kind();
        assert_eq!(kind(disk.length("b")), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_a_caller_may_not_do_is_an_error_as_on_a_disk() {
        let disk = MemoryDisk::default();
        disk.write_new("a", b"1234").unwrap();
        let kind = |error: io::Error| error.kind();
        let too_long = disk.read("a", 3).unwrap_err();
        assert_eq!(kind(too_long), io::ErrorKind::FileTooLarge);
        let too_short = disk.open_growing("a", 5).unwrap_err();
        assert_eq!(kind(too_short), io::ErrorKind::UnexpectedEof);
        let absent = disk.open_growing("b", 1).unwrap_err();
        assert_eq!(kind(absent), io::ErrorKind::NotFound);
        let file = disk.create("c", 8).unwrap();
        file.write_at(4, b"5678").unwrap();
        assert_eq!(disk.read("c", 8).unwrap(), b"\0\0\0\x005678");
        let outside = file.write_at(5, b"5678").unwrap_err();
        assert_eq!(kind(outside), io::ErrorKind::UnexpectedEof);
    }
}

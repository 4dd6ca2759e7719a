//! The file of deliveries.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One delivery as the file has it.
#[derive(Clone, Serialize)]
pub(super) struct Line {
    pub delivery_id: Uuid,
    pub answer_id: String,
    pub source_id: String,
    pub channel_kind: String,
    pub reply_to_external_id: String,
    pub text: String,
    pub trace_id: String,
    pub deliver_time: String,
}

/// What must be known of a line when the file is opened again.
#[derive(Deserialize)]
struct Known {
    delivery_id: Uuid,
}

/// An append-only file that holds each delivery once. Clones are handles to the same file.
#[derive(Debug, Clone)]
pub(super) struct DeliveryFile {
    path: Arc<PathBuf>,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug)]
struct Open {
    file: File,
    delivered: HashSet<Uuid>,
    /// Bytes of whole, synced lines.
    length: u64,
}

impl DeliveryFile {
    /// Opens the file, makes it when missing, and learns what it holds. A last line that was cut off (the process died
    /// while writing it) is removed: nobody was told that it was delivered.
    ///
    /// # Errors
    /// The file can't be opened, or a line of it is no delivery; the error names the line.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut delivered = HashSet::new();
        let mut length = 0;
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                if read > 0 {
                    tracing::warn!(file = %path.display(), line = number, "the last line was cut off and is removed");
                }
                break;
            }
            let known: Known = serde_json::from_slice(&line)
                .map_err(|error| anyhow::anyhow!("{}:{number}: is no delivery: {error}", path.display()))?;
            delivered.insert(known.delivery_id);
            length += read as u64;
        }
        let mut open = Open { file, delivered, length };
        open.cut()?;
        Ok(Self { path: Arc::new(path.to_owned()), open: Arc::new(Mutex::new(open)) })
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many deliveries it holds.
    pub(super) fn len(&self) -> usize {
        self.lock().delivered.len()
    }

    /// Appends those deliveries that the file does not hold yet, and syncs. Says of each whether it is new. Blocks.
    ///
    /// # Errors
    /// The file can't be written; then none of them counts as delivered.
    pub(super) fn append(&self, deliveries: Vec<(Uuid, Line)>) -> io::Result<Vec<bool>> {
        let mut open = self.lock();
        let mut bytes = Vec::new();
        let mut fresh = Vec::with_capacity(deliveries.len());
        let mut added = HashSet::new();
        for (id, line) in &deliveries {
            let is_new = !open.delivered.contains(id) && added.insert(*id);
            if is_new {
                serde_json::to_writer(&mut bytes, line)?;
                bytes.push(b'\n');
            }
            fresh.push(is_new);
        }
        if !bytes.is_empty() {
            open.write(&bytes)?;
            open.delivered.extend(added);
        }
        Ok(fresh)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.length += bytes.len() as u64,
            // What was half written (the disk is full) would break the next line.
            Err(_) => self.cut()?,
        }
        written
    }

    /// Removes what follows the last whole line, and goes on from there.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u128) -> (Uuid, Line) {
        let id = Uuid::from_u128(number);
        let line = Line {
            delivery_id: id,
            answer_id: "a".into(),
            source_id: "vk".into(),
            channel_kind: "COMMENT".into(),
            reply_to_external_id: "1".into(),
            text: "Яма\nзасыпана".into(),
            trace_id: String::new(),
            deliver_time: "2020-11-19T00:00:00Z".into(),
        };
        (id, line)
    }

    #[test]
    fn each_delivery_has_one_line_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/deliveries.ndjson");
        let file = DeliveryFile::open(&path).unwrap();
        assert_eq!(file.append(vec![line(1), line(2), line(1)]).unwrap(), [true, true, false]);
        drop(file);
        // A process that died in the middle of a line.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"delivery_id\":\"0000").unwrap();
        let file = DeliveryFile::open(&path).unwrap();
        assert_eq!(file.len(), 2);
        assert_eq!(file.append(vec![line(2), line(3)]).unwrap(), [false, true]);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().all(|line| serde_json::from_str::<Known>(line).is_ok()));
    }

    #[test]
    fn a_file_of_something_else_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "hello\n").unwrap();
        assert!(DeliveryFile::open(&path).unwrap_err().to_string().contains("notes.txt:1"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "hello\n");
    }
}

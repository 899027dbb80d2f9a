//! A site's desk in memory: the twin of the one over the store, with restart points and receipts.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bangpath::base::names::{Grade, SiteName};
use bangpath::base::wishes::{CopyWishes, Reports};
use bangpath::dialogue::Stop;
use bangpath::session::{
    Caller, Deed, Desk, Inbox, Incoming, Reception, Refusal, Rejection, Restart, SettingsByProtocol, Spread, Task,
    TaskId, Wanted, Welcome,
};

/// What a site has: it stays from call to call.
#[derive(Default)]
pub struct Contents {
    /// To be sent, by the number of the task; those confirmed are gone.
    pub outbox: BTreeMap<i64, Vec<u8>>,
    /// What arrived whole, in order: command or name, and bytes.
    pub arrived: Vec<(String, Vec<u8>)>,
    /// By temporary name: what an earlier call left.
    partial: BTreeMap<String, Vec<u8>>,
    /// Confirmed, but the peer may not know.
    in_doubt: Vec<(String, u64)>,
    /// Files that the peer may ask for.
    pub library: BTreeMap<String, Vec<u8>>,
    /// Names we ask for.
    pub wishes: BTreeMap<i64, String>,
    pub refused: Vec<(i64, Refusal)>,
    /// The name of a file that has no place here.
    pub no_place: Option<String>,
    /// Calls so far: from the second on, whatever is offered may have been offered before.
    pub calls: u32,
    /// File bytes that came, also those that had come before.
    pub bytes_in: u64,
    /// What was asked for with X.
    pub spread: Vec<String>,
    pub counted: u32,
    /// How an operator wants the call to end.
    pub stop: Option<Stop>,
    pub longest: Option<Duration>,
}

#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Contents>>);

impl Shelf {
    pub fn open(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("no test panics with it")
    }

    pub fn desk(&self) -> Box<dyn Desk> {
        self.open().calls += 1;
        Box::new(ShelfDesk { shelf: self.clone(), offered: Vec::new(), served: BTreeMap::new() })
    }
}

/// Takes every caller, under the name it gives, and offers these protocols; `None`: those of the link.
pub struct OpenDoor(pub Shelf, pub Option<&'static str>);

impl Reception for OpenDoor {
    fn welcome(&mut self, caller: &Caller) -> Result<Welcome, Rejection> {
        let site = SiteName::parse(&caller.name).map_err(|_| Rejection::Unknown)?;
        let settings = SettingsByProtocol::default();
        let longest = self.0.open().longest;
        Ok(Welcome {
            site,
            desk: self.0.desk(),
            protocols: self.1.map(str::to_owned),
            settings,
            worst: Grade::LEAST,
            longest,
        })
    }
}

struct ShelfDesk {
    shelf: Shelf,
    /// Tasks begun in this call.
    offered: Vec<i64>,
    served: BTreeMap<i64, Vec<u8>>,
}

fn fetch_key(task: i64, version: &str) -> String {
    format!("R.{task}.{version}")
}

impl Desk for ShelfDesk {
    fn next_task(&mut self, _worst: Grade) -> io::Result<Option<Task>> {
        let contents = self.shelf.open();
        let again = contents.calls > 1;
        let task = |id: i64, deed| Task { id: TaskId(id), grade: Grade::MAIL, user: "uucp".to_owned(), again, deed };
        if let Some((id, bytes)) = contents.outbox.iter().find(|(id, _)| !self.offered.contains(id)) {
            self.offered.push(*id);
            let deed = Deed::Execute {
                command: format!("rmail user{id}"),
                requestor: None,
                reports: Reports::default(),
                data_name: format!("D.simC{id:04}"),
                execution_name: format!("X.simC{id:04}"),
                temp: format!("D.{id:04}"),
                execution_temp: format!("D.X{id:03}"),
                file: None,
                system: "sim".to_owned(),
                size: bytes.len() as u64,
            };
            return Ok(Some(task(*id, deed)));
        }
        if let Some((id, from)) = contents.wishes.iter().find(|(id, _)| !self.offered.contains(id)) {
            self.offered.push(*id);
            let restart = contents.partial.iter().find_map(|(key, bytes)| {
                let version = key.strip_prefix(&fetch_key(*id, ""))?.parse().ok()?;
                Some(Restart { position: bytes.len() as u64, version })
            });
            let (from, to, wishes) = (from.clone(), from.clone(), CopyWishes::default());
            return Ok(Some(task(*id, Deed::Fetch { from, to, wishes, size_max: None, restart })));
        }
        Ok(None)
    }

    fn read(&mut self, task: TaskId, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let contents = self.shelf.open();
        let bytes = self.served.get(&task.0).or(contents.outbox.get(&task.0)).ok_or(io::ErrorKind::NotFound)?;
        let rest = bytes.get(offset as usize..).unwrap_or(&[]);
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn serve(&mut self, request: &Wanted) -> Result<Task, Refusal> {
        let bytes = self.shelf.open().library.get(&request.from).cloned().ok_or(Refusal::NotPermitted)?;
        let id = -1 - self.served.len() as i64;
        let version = bytes.iter().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let deed = Deed::Serve { mode: 0o644, size: bytes.len() as u64, version };
        self.served.insert(id, bytes);
        Ok(Task { id: TaskId(id), grade: Grade::FILE, user: request.user.clone(), again: false, deed })
    }

    fn admit(&mut self, request: &Incoming) -> Result<Box<dyn Inbox>, Refusal> {
        let mut contents = self.shelf.open();
        let fetched = request.fetch.zip(request.version).map(|(task, version)| fetch_key(task.0, &version.to_string()));
        let key = fetched.or(request.temp.clone()).unwrap_or_default();
        if contents.in_doubt.contains(&(key.clone(), request.size.unwrap_or(0))) {
            return Err(Refusal::AlreadyHere);
        }
        if let Some(task) = request.fetch {
            contents.partial.retain(|other, _| *other == key || !other.starts_with(&fetch_key(task.0, "")));
        }
        let kept = contents.partial.remove(&key).filter(|_| request.restart).unwrap_or_default();
        let name = request.command.clone().unwrap_or_else(|| request.to.clone());
        let bytes = kept.clone();
        Ok(Box::new(ShelfInbox { shelf: self.shelf.clone(), key, name, kept: kept.len() as u64, bytes, whole: false }))
    }

    fn finished(&mut self, task: TaskId) -> io::Result<()> {
        let mut contents = self.shelf.open();
        contents.outbox.remove(&task.0);
        contents.wishes.remove(&task.0);
        Ok(())
    }

    fn refused(&mut self, task: TaskId, why: Refusal) -> io::Result<()> {
        let mut contents = self.shelf.open();
        contents.outbox.remove(&task.0);
        contents.wishes.remove(&task.0);
        contents.refused.push((task.0, why));
        Ok(())
    }

    fn expand(&mut self, request: &Spread) -> Result<(), Refusal> {
        let mut contents = self.shelf.open();
        contents.spread.push(format!("{} {}", request.from, request.to));
        Ok(())
    }

    fn counted(&mut self) -> io::Result<()> {
        self.shelf.open().counted += 1;
        Ok(())
    }

    fn agreed(&mut self, _protocol: char) {}

    fn stop_wanted(&mut self) -> io::Result<Option<Stop>> {
        Ok(self.shelf.open().stop)
    }

    fn settled(&mut self) -> io::Result<()> {
        self.shelf.open().in_doubt.clear();
        Ok(())
    }
}

struct ShelfInbox {
    shelf: Shelf,
    key: String,
    name: String,
    kept: u64,
    bytes: Vec<u8>,
    whole: bool,
}

impl Inbox for ShelfInbox {
    fn kept(&self) -> u64 {
        self.kept
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = offset as usize;
        assert!(offset <= self.bytes.len(), "a hole in {}", self.name);
        self.bytes.truncate(offset);
        self.bytes.extend_from_slice(bytes);
        self.shelf.open().bytes_in += bytes.len() as u64;
        Ok(())
    }

    fn forget(&mut self) -> io::Result<()> {
        self.bytes.clear();
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> io::Result<()> {
        self.whole = true;
        let (name, bytes) = (std::mem::take(&mut self.name), std::mem::take(&mut self.bytes));
        let mut contents = self.shelf.open();
        if contents.no_place.as_ref() == Some(&name) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if !self.key.is_empty() {
            contents.in_doubt.push((self.key.clone(), bytes.len() as u64));
        }
        contents.arrived.push((name, bytes));
        Ok(())
    }
}

impl Drop for ShelfInbox {
    fn drop(&mut self) {
        if !self.whole && !self.key.is_empty() {
            self.shelf.open().partial.insert(self.key.clone(), std::mem::take(&mut self.bytes));
        }
    }
}

//! A disk as a power cut may leave it: what was synced, and of the rest nothing, all or some.
//!
//! The view is that of POSIX, stricter than that of ext4: a sync of a file keeps its bytes, and not its name; a name is
//! kept by a sync of the folder that it stands in, and goes with a folder above it whose name is not kept; a rename from
//! one folder to another may come about in one of them alone. Only a rename within one folder is one change.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::recorder::{Note, real};
use crate::sim::chance::Chance;

/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;

/// Folders and files by their path; of a folder there are no bytes.
pub type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// What becomes of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// The process is killed, the power stays.
    Kept,
    Lost,
    /// Each change by chance, and of a write perhaps only some sectors.
    Some(u64),
}

#[derive(Clone)]
pub struct Disk<'a> {
    nodes: Vec<Node<'a>>,
    /// The node of each inode's number; numbers come again.
    numbers: HashMap<u64, usize>,
    roots: Vec<(PathBuf, usize)>,
    /// Syncs that have begun, with their thread, and how many notes had been taken by then.
    syncing: HashMap<(u64, u32), usize>,
    taken: usize,
}

#[derive(Clone)]
struct Node<'a> {
    synced: Content,
    now: Content,
    /// With the number of the note that brought it.
    pending: Vec<(usize, Change<'a>)>,
}

#[derive(Clone)]
enum Content {
    File(Vec<u8>),
    Folder(BTreeMap<String, usize>),
}

#[derive(Clone)]
enum Change<'a> {
    Write(u64, &'a [u8]),
    Truncate(u64),
    /// Names that appear or go together.
    Names(Vec<(String, Option<usize>)>),
}

impl Content {
    fn apply(&mut self, change: &Change<'_>) {
        match (self, change) {
            (Self::File(bytes), Change::Write(at, new)) => {
                let (at, end) = (*at as usize, *at as usize + new.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[at..end].copy_from_slice(new);
            }
            (Self::File(bytes), Change::Truncate(len)) => bytes.resize(*len as usize, 0),
            (Self::Folder(names), Change::Names(changes)) => {
                for (name, node) in changes {
                    match node {
                        Some(node) => drop(names.insert(name.clone(), *node)),
                        None => drop(names.remove(name)),
                    }
                }
            }
            (Self::File(_), Change::Names(_)) => panic!("a file holds no names"),
            (Self::Folder(_), Change::Write(..) | Change::Truncate(_)) => panic!("a folder holds no bytes"),
        }
    }
}

impl<'a> Disk<'a> {
    /// As it is now, and synced, below these folders.
    pub fn load(roots: &[&Path]) -> Self {
        let mut disk =
            Self { nodes: Vec::new(), numbers: HashMap::new(), roots: Vec::new(), syncing: HashMap::new(), taken: 0 };
        for root in roots.iter().map(|root| real(root)) {
            let node = disk.load_node(&root).expect("a folder");
            disk.roots.push((root, node));
        }
        disk
    }

    /// A socket is nothing that is kept.
    fn load_node(&mut self, path: &Path) -> Option<usize> {
        let found = fs::symlink_metadata(path).expect("a file");
        let content = if found.is_dir() {
            let names = fs::read_dir(path).expect("a folder").map(|e| e.expect("an entry").file_name());
            let names = names.map(|n| n.into_string().expect("a name in UTF-8")).filter(|n| is_kept(n));
            Content::Folder(names.filter_map(|name| Some((name.clone(), self.load_node(&path.join(name))?))).collect())
        } else if found.is_file() {
            Content::File(fs::read(path).expect("readable"))
        } else {
            return None;
        };
        Some(self.add(found.ino(), content))
    }

    fn add(&mut self, number: u64, content: Content) -> usize {
        self.nodes.push(Node { synced: content.clone(), now: content, pending: Vec::new() });
        self.numbers.insert(number, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    fn change(&mut self, node: usize, change: Change<'a>) {
        let node = &mut self.nodes[node];
        node.now.apply(&change);
        node.pending.push((self.taken, change));
    }

    fn node(&self, number: u64) -> usize {
        *self.numbers.get(&number).unwrap_or_else(|| panic!("the recorder missed how file {number} came to be"))
    }

    /// What stands at a path now.
    fn find(&self, path: &Path) -> Option<usize> {
        let (root, node) = self.roots.iter().find(|(root, _)| path.starts_with(root)).expect("below a root");
        let mut node = *node;
        for part in path.strip_prefix(root).expect("it was looked for") {
            let Content::Folder(names) = &self.nodes[node].now else { return None };
            node = *names.get(part.to_str().expect("a name in UTF-8"))?;
        }
        Some(node)
    }

    /// The folder of a path, and its name there.
    fn place(&self, path: &Path) -> (usize, String) {
        let folder = self.find(path.parent().expect("a folder"));
        let folder = folder.unwrap_or_else(|| panic!("the recorder missed the folder of {}", path.display()));
        (folder, path.file_name().and_then(|n| n.to_str()).expect("a name in UTF-8").to_owned())
    }

    fn name(&mut self, path: &Path, node: Option<usize>) {
        let (folder, name) = self.place(path);
        self.change(folder, Change::Names(vec![(name, node)]));
    }

    /// Takes the next note.
    pub fn take(&mut self, note: &'a Note) {
        self.taken += 1;
        match note {
            Note::NewFile { file, path } => {
                // Of two that opened it at the same time both may think that it was new.
                let known = self.numbers.get(file).copied();
                if known.is_none() || self.find(path) != known {
                    let node = self.add(*file, Content::File(Vec::new()));
                    self.name(path, Some(node));
                }
            }
            Note::NewFolder { file, path } => {
                let node = self.add(*file, Content::Folder(BTreeMap::new()));
                self.name(path, Some(node));
            }
            Note::Write { file, at, bytes } => self.change(self.node(*file), Change::Write(*at, bytes)),
            Note::Truncate { file, len } => self.change(self.node(*file), Change::Truncate(*len)),
            Note::SyncBegins { file, thread } => drop(self.syncing.insert((*file, *thread), self.taken)),
            Note::SyncEnds { file, thread } => {
                let begun = self.syncing.remove(&(*file, *thread)).expect("a sync that began");
                let node = self.node(*file);
                self.nodes[node].sync(begun);
            }
            Note::Rename { from, to } => {
                let node = self.find(from).unwrap_or_else(|| panic!("the recorder missed {}", from.display()));
                let ((from_folder, from_name), (to_folder, to_name)) = (self.place(from), self.place(to));
                if from_folder == to_folder {
                    self.change(from_folder, Change::Names(vec![(from_name, None), (to_name, Some(node))]));
                } else {
                    self.change(to_folder, Change::Names(vec![(to_name, Some(node))]));
                    self.change(from_folder, Change::Names(vec![(from_name, None)]));
                }
            }
            Note::Link { from, to } => {
                let node = self.find(from).unwrap_or_else(|| panic!("the recorder missed {}", from.display()));
                self.name(to, Some(node));
            }
            Note::Unlink { path } => self.name(path, None),
            Note::Say { .. } | Note::Seen(_) => {}
        }
    }

    /// What is there after the power has come back: one tree for each root, with paths below it.
    pub fn survivors(&self, unsynced: &[Unsynced]) -> Vec<Tree> {
        let one = |((_, root), unsynced): (&(PathBuf, usize), &Unsynced)| {
            let mut tree = Tree::new();
            self.survive(*root, Path::new(""), *unsynced, &mut tree);
            tree
        };
        self.roots.iter().zip(unsynced).map(one).collect()
    }

    fn survive(&self, node: usize, path: &Path, unsynced: Unsynced, tree: &mut Tree) {
        match self.nodes[node].survivor(node, unsynced) {
            Content::File(bytes) => drop(tree.insert(path.to_owned(), Some(bytes))),
            Content::Folder(names) => {
                tree.insert(path.to_owned(), None);
                for (name, node) in names {
                    self.survive(node, &path.join(name), unsynced, tree);
                }
            }
        }
    }
}

impl<'a> Node<'a> {
    /// What was brought before that note is on the disk.
    fn sync(&mut self, begun: usize) {
        let synced = self.pending.partition_point(|(at, _)| *at <= begun);
        for (_, change) in self.pending.drain(..synced) {
            self.synced.apply(&change);
        }
    }

    fn survivor(&self, number: usize, unsynced: Unsynced) -> Content {
        let seed = match unsynced {
            Unsynced::Kept => return self.now.clone(),
            Unsynced::Lost => return self.synced.clone(),
            Unsynced::Some(seed) => seed,
        };
        // Each disk has its own share of what it came to write.
        let share = [0.0, 0.1, 0.5, 0.9, 1.0][Chance::new(seed, 0).below(5) as usize];
        let mut chance = Chance::new(seed, 1 + number as u64);
        let mut content = self.synced.clone();
        for (_, change) in &self.pending {
            match (chance.happens(share), change) {
                (true, Change::Write(at, bytes)) if chance.happens(0.3) => {
                    torn(*at, bytes).filter(|_| chance.happens(0.5)).for_each(|sector| content.apply(&sector));
                }
                (true, change) => content.apply(change),
                (false, _) => {}
            }
        }
        content
    }
}

/// The sectors of a write, each a write of its own.
fn torn(at: u64, bytes: &[u8]) -> impl Iterator<Item = Change<'_>> {
    let first = bytes.len().min((SECTOR - at % SECTOR) as usize);
    let (head, rest) = bytes.split_at(first);
    let rest = rest.chunks(SECTOR as usize).enumerate();
    let rest = rest.map(move |(n, sector)| Change::Write(at + first as u64 + n as u64 * SECTOR, sector));
    std::iter::once(Change::Write(at, head)).chain(rest)
}

/// SQLite's shared memory is none of the disk's; the recorder leaves it out.
fn is_kept(name: &str) -> bool {
    !name.ends_with("-shm")
}

/// Puts a tree into a folder that is there.
pub fn store(tree: &Tree, folder: &Path) {
    for (path, bytes) in tree.iter().filter(|(path, _)| !path.as_os_str().is_empty()) {
        match bytes {
            Some(bytes) => fs::write(folder.join(path), bytes).expect("room"),
            None => fs::create_dir(folder.join(path)).expect("a folder"),
        }
    }
}

//! Power cuts as the disk meets them: a killed process leaves all that it wrote, a cut only what was synced.
//!
//! Programs run with a recorder of what they write, rename, sync and say. Then their disks are made as they may be after a
//! cut at each sync, and the real store opens them.

mod disk;
mod recorder;
mod ways;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Pair, article, batch, hub_config, letter, on_all_processors, village_config};
use crate::site::{Client, Site, until};
use disk::{Disk, Tree, Unsynced};
use recorder::{Note, Recorder};

/// What the sites did, from a known state of their disks.
struct Trace {
    start: Disk<'static>,
    notes: Vec<Note>,
}

/// A moment, and what each site's disk keeps of it.
struct Cut {
    taken: usize,
    unsynced: Vec<Unsynced>,
}

/// What is left after a cut.
struct Ruin<'a> {
    trees: Vec<Tree>,
    /// All that happened before.
    notes: &'a [Note],
    /// For messages of failed checks.
    what: String,
}

/// How many disks by chance there are for each sync: a handful, or a quarter of what `BANGPATH_CUT_SEEDS` says.
fn seeds() -> u64 {
    let wanted = std::env::var("BANGPATH_CUT_SEEDS").ok().map(|n| n.parse().expect("BANGPATH_CUT_SEEDS is a number"));
    wanted.map_or(3, |n: u64| n.div_ceil(4))
}

impl Trace {
    /// Records what the sites do. The first is the one that starts all programs.
    fn record(mut sites: Vec<&mut Site>, deed: impl FnOnce(&[&Site], &Recorder)) -> Self {
        let folders: Vec<_> = sites.iter().map(|s| s.folder().to_owned()).collect();
        let folders: Vec<_> = folders.iter().map(|f| f.as_path()).collect();
        let (start, recorder) = (Disk::load(&folders), Recorder::new(&folders));
        for site in &mut sites {
            site.set_environment(recorder.environment());
        }
        let shared: Vec<&Site> = sites.iter().map(|s| &**s).collect();
        deed(&shared, &recorder);
        let trace = Self { start, notes: recorder.notes() };
        trace.check_nothing_escaped(&folders);
        trace
    }

    /// With all of the notes the disks are what they really are: nothing was written past the recorder.
    fn check_nothing_escaped(&self, folders: &[&std::path::Path]) {
        let kept = vec![Unsynced::Kept; folders.len()];
        let (noted, real) = (self.until(self.notes.len()).survivors(&kept), Disk::load(folders).survivors(&kept));
        for (noted, real) in noted.iter().zip(&real) {
            let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(noted), names(real));
            for (path, bytes) in noted {
                assert!(*bytes == real[path], "{} is not what the recorder saw", path.display());
            }
        }
    }

    fn until(&self, taken: usize) -> Disk<'_> {
        let mut disk = self.start.clone();
        self.notes[..taken].iter().for_each(|note| disk.take(note));
        disk
    }

    /// Where each sync has ended, as a number of notes.
    fn syncs(&self) -> Vec<usize> {
        let ended = |(n, note): (usize, &Note)| matches!(note, Note::SyncEnds { .. }).then_some(n + 1);
        self.notes.iter().enumerate().filter_map(ended).collect()
    }

    /// After each sync as it was; then, just before the next one has ended, when most was said that may have been too
    /// early, with nothing but what was synced, and by chance with some of the rest.
    fn cuts(&self, sites: usize) -> Vec<Cut> {
        let syncs = self.syncs();
        let mut cuts = Vec::new();
        for (n, taken) in syncs.iter().enumerate() {
            cuts.push(Cut { taken: *taken, unsynced: vec![Unsynced::Kept; sites] });
            let latest = syncs.get(n + 1).map_or(self.notes.len(), |next| next - 1);
            cuts.push(Cut { taken: latest, unsynced: vec![Unsynced::Lost; sites] });
            for seed in 0..seeds() {
                let seed = n as u64 * 1_000_000 + seed;
                let some = |site| Unsynced::Some(seed * 10 + site as u64);
                cuts.push(Cut { taken: latest, unsynced: (0..sites).map(some).collect() });
            }
        }
        cuts
    }

    /// Has each different ruin checked. Gives how many there were.
    fn check(&self, sites: usize, check: impl Fn(&Ruin<'_>) + Sync) -> usize {
        let (cuts, seen, different) = (self.cuts(sites), Mutex::new(HashSet::new()), AtomicUsize::new(0));
        on_all_processors(&cuts, |cut| {
            let notes = &self.notes[..cut.taken];
            let trees = self.until(cut.taken).survivors(&cut.unsynced);
            let mut hash = DefaultHasher::new();
            (&trees, notes.iter().filter(|n| matches!(n, Note::Say { .. } | Note::Seen(_))).count()).hash(&mut hash);
            if seen.lock().expect("no panic").insert(hash.finish()) {
                let what = format!("after {} of {} notes, unsynced {:?}", cut.taken, self.notes.len(), cut.unsynced);
                check(&Ruin { trees, notes, what });
                different.fetch_add(1, Ordering::Relaxed);
            }
        });
        different.into_inner()
    }
}

impl Ruin<'_> {
    /// A site with one of the disks; its configuration is that of the first life until it gets another.
    fn site(&self, number: usize, name: &str) -> Site {
        let site = Site::empty(name);
        disk::store(&self.trees[number], site.folder());
        site
    }

    /// What the test saw acknowledged.
    fn seen(&self) -> Vec<u64> {
        let seen = |note: &Note| match note {
            Note::Seen(number) => Some(*number),
            _ => None,
        };
        self.notes.iter().filter_map(seen).collect()
    }

    /// Which of the messages that went to the daemon, in this order, it said it took.
    fn said(&self, numbers: &[u64]) -> Vec<u64> {
        let says = self.notes.iter().filter_map(|note| match note {
            Note::Say { bytes } => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        });
        let lines: Vec<String> = says.flat_map(|s| s.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let mut numbers = numbers.iter();
        let (mut said, mut asked) = (Vec::new(), None);
        for line in lines {
            if ["354 ", "340 ", "335 "].iter().any(|go_on| line.starts_with(go_on)) {
                asked = numbers.next();
            } else if line.starts_with('2') {
                said.extend(asked.take());
            }
        }
        said
    }
}

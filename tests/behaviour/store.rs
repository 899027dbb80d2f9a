//! The store under hardship: several processes at once, killed processes, a disk without space.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use bangpath::base::names::{Grade, SiteName, UserName};
use bangpath::base::time::Timestamp;
use bangpath::files::public::PublicDirectory;
use bangpath::store::inbound::{Announced, Purpose};
use bangpath::store::ledger::Fact;
use bangpath::store::{Cargo, Hop, ItemFilter, NewItem, Store, StoreError};

const NOW: Timestamp = Timestamp::from_seconds(1_000_000_000);

/// Set for a process that a test starts: it runs the same test, as the other part of it.
const ROLE: &str = "BANGPATH_TEST_SPOOL";

/// This test once more, in a process of its own, on this spool.
fn other_process(test: &str, spool: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test binary"));
    command.args(["--exact", test, "--nocapture"]).env(ROLE, spool);
    command
}

fn role() -> Option<Store> {
    std::env::var_os(ROLE).map(|spool| Store::open(Path::new(&spool)).expect("a store"))
}

fn site() -> SiteName {
    SiteName::parse("hub").expect("a site name")
}

/// One mail of this size, in the mailbox and in the queue, and a large one in both.
fn accept(store: &Store, sizes: &[usize]) -> Result<(), StoreError> {
    store.write(|change| {
        for size in sizes {
            let body = change.keep_bytes(&vec![b'x'; *size])?;
            change.deliver(&UserName::parse("ann").expect("a user name"), body, "", NOW)?;
            let cargo = Cargo::Article { message_id: "<1@x>".to_owned(), body };
            change.enqueue(NewItem { hop: Hop::Site(site()), cargo, grade: Grade::NEWS, queued: NOW })?;
        }
        Ok(())
    })
}

/// How many there are; all of them whole, in the mailbox as often as in the queue.
fn check_whole(store: &Store) -> usize {
    let looked: Result<usize, StoreError> = store.read(|view| {
        let items = view.items(&ItemFilter::default())?;
        let entries = view.mailbox(&UserName::parse("ann").expect("a user name"))?;
        assert_eq!(items.len(), entries.len());
        for entry in &entries {
            let bytes = view.body(entry.body)?.bytes(entry.size).expect("readable");
            assert!(bytes.iter().all(|b| *b == b'x'));
        }
        Ok(items.len())
    });
    looked.expect("readable")
}

fn files(store: &Store, folder: &str) -> usize {
    std::fs::read_dir(store.spool().join(folder)).expect("a folder").count()
}

#[test]
fn several_processes_write_at_once() {
    if let Some(store) = role() {
        (0..100).for_each(|_| accept(&store, &[1000]).expect("accepted"));
        return;
    }
    let spool = tempfile::tempdir().expect("a temporary folder");
    let others: Vec<_> = (0..3)
        .map(|_| {
            other_process("store::several_processes_write_at_once", spool.path())
                .stdout(Stdio::null())
                .spawn()
                .expect("a process")
        })
        .collect();
    let store = Store::open(spool.path()).expect("a store");
    (0..100).for_each(|_| accept(&store, &[100_000]).expect("accepted"));
    for mut other in others {
        assert!(other.wait().expect("a process").success());
    }
    assert_eq!(check_whole(&store), 400);
    assert_eq!((files(&store, "bodies"), files(&store, "partial")), (100, 0));
}

/// Every commit and rename of this history, cut before and after.
#[test]
fn a_process_that_is_killed_at_any_point_leaves_whole_changes_only() {
    const TEST: &str = "store::a_process_that_is_killed_at_any_point_leaves_whole_changes_only";
    if let Some(store) = role() {
        for _ in 0..2 {
            accept(&store, &[1000, 100_000]).expect("accepted");
            println!("accepted");
        }
        return;
    }
    let mut cuts = 0;
    for point in 1.. {
        let mut finished = false;
        for at in [format!("{point}"), format!("{point}+")] {
            let spool = tempfile::tempdir().expect("a temporary folder");
            let output = other_process(TEST, spool.path()).env("BANGPATH_ABORT_AT", &at).output().expect("a process");
            finished = output.status.success();
            let accepted = String::from_utf8_lossy(&output.stdout).matches("accepted").count();
            let store = Store::open(spool.path()).expect("the store after the cut");
            let found = check_whole(&store);
            // What was acknowledged is there; at most the one change more whose acknowledgement was cut off.
            assert!(found == 2 * accepted || found == 2 * accepted + 2, "{at}: {found} of {accepted}");
            assert_eq!((files(&store, "bodies"), files(&store, "partial")), (found / 2, 0), "{at}");
            cuts += usize::from(!finished);
        }
        if finished {
            break;
        }
    }
    // The schema, and twice a rename and a commit.
    assert_eq!(cuts, 10);
}

#[test]
fn a_received_file_goes_to_the_place_that_the_public_directory_gave() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let public = folder.path().join("public");
    std::fs::create_dir(&public).expect("a folder");
    let store = Store::open(&folder.path().join("spool")).expect("a store");
    let announced = Announced { site: site(), temp: Some("D.1".to_owned()), size: Some(3), to: "~/a/b/".to_owned() };
    let mut receiving = store.receive(&announced, true, NOW).expect("a beginning");
    receiving.write(0, b"abc").expect("room");
    let target = PublicDirectory::new(&public).target("~/a/b/", "/home/ann/letter", true).expect("permitted");
    receiving
        .commit_to_file(&target.path(), 0o644, Fact { at: NOW, ..Fact::default() }, |_| Ok(()))
        .expect("committed");
    assert_eq!(std::fs::read(public.join("a/b/letter")).expect("a file"), b"abc");
    assert_eq!(std::fs::read_dir(public.join("a/b")).expect("a folder").count(), 1);
}

#[test]
fn a_full_disk_is_a_temporary_failure_and_loses_nothing() {
    const TEST: &str = "store::a_full_disk_is_a_temporary_failure_and_loses_nothing";
    if let Some(store) = role() {
        return fill_the_disk(&store);
    }
    let spool = tempfile::tempdir().expect("a temporary folder");
    let exe = other_process(TEST, spool.path());
    // A file system of our own, in a name space of our own: no root needed, and it goes with the process.
    let script = "mount -t tmpfs -o size=6m none \"$BANGPATH_TEST_SPOOL\" && echo mounted && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", script, "sh"]).arg(exe.get_program()).args(exe.get_args());
    let output = command.env(ROLE, spool.path()).output();
    match output {
        Ok(output) if output.stdout.starts_with(b"mounted") => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
        }
        Ok(_) | Err(_) if std::env::var_os("CI").is_some() => panic!("a full disk cannot be tested: no name spaces"),
        Ok(_) | Err(_) => eprintln!("skipped: a full disk (this system gives no name space to mount one in)"),
    }
}

fn fill_the_disk(store: &Store) {
    let reserve = store.spool().join("reserve");
    std::fs::write(&reserve, vec![0; 2 << 20]).expect("room");
    let mut accepted = 0;
    let sizes = [3000, 40_000, 100_000];
    let refused = loop {
        match accept(store, &sizes[..1 + accepted % 3]) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
    let expected: usize = (0..accepted).map(|n| 1 + n % 3).sum();
    assert_eq!(check_whole(store), expected);
    // Everything that needs room says the same, and leaves nothing behind.
    let mut draft = store.draft();
    let error = draft.write_all(&vec![b'x'; 8 << 20]).expect_err("no room");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    drop(draft);
    let announced = Announced { site: site(), temp: Some("D.1".to_owned()), size: Some(8 << 20), to: "D.x".to_owned() };
    let mut receiving = store.receive(&announced, true, NOW).expect("a beginning");
    let pieces = (0..128_u64).map(|n| receiving.write(n << 16, &[b'x'; 1 << 16]));
    let error = pieces.filter_map(Result::err).next().expect("no room");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    drop(receiving);
    for _ in 0..20 {
        assert!(matches!(accept(store, &[100_000; 3]), Err(StoreError::Full(_))));
    }
    assert_eq!(check_whole(store), expected);
    assert!(files(store, "partial") <= 1);
    // Room again: on with the same store.
    std::fs::remove_file(&reserve).expect("a file");
    accept(store, &[3000]).expect("room");
    let mut receiving = store.receive(&announced, true, NOW).expect("a beginning");
    receiving.truncate().expect("forgotten");
    receiving.write(0, b"abc").expect("room");
    receiving.commit(Purpose::Spool { name: "D.x".to_owned() }, NOW).expect("room");
    assert_eq!(check_whole(store), expected + 1);
    let again = Store::open(store.spool()).expect("the same store");
    assert_eq!(check_whole(&again), expected + 1);
    assert_eq!(files(&again, "partial"), 0);
}

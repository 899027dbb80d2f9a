//! A command that came with several files, cut at every point while it is run.

use super::*;
use crate::executions::{HUB, give};

#[test]
fn a_command_with_several_files_that_is_cut_at_any_point_is_run_once() {
    let loaded = Site::in_memory("hub", HUB);
    for (name, text) in [
        ("X.3", "F D.1 one\nF D.2 two\nU ann village\nC uucp -C one two far!~/\n"),
        ("D.1", "first"),
        ("D.2", "second"),
    ] {
        give(&loaded, name, text, 0);
    }
    let cuts = every_point(|at| {
        let hub = loaded.copy(HUB);
        let was_cut = was_cut(&hub.try_run(&["uucico"], b"", Some(at)));
        hub.try_run(&["uucico"], b"", None);
        assert_eq!((hub.queued(), hub.is_unpacked(), hub.dead().len()), (2, true, 0), "{at}");
        was_cut
    });
    assert!(cuts >= 2, "{cuts}");
}

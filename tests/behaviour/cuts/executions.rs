//! A command that came with several files, cut at every point while it is run.

use super::*;
use crate::executions::{HUB, article, give};

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

#[test]
fn several_batches_of_which_one_is_damaged_are_filed_once_wherever_they_are_cut() {
    let loaded = Site::in_memory("hub", HUB);
    let files = "F D.1 one\nF D.2 two\nF D.3 three\n";
    for (name, text) in [
        ("X.4", format!("{files}U ann village\nC rnews one two three\n")),
        ("D.1", article(1)),
        ("D.2", "#! zunbatch\nabc".to_owned()),
        ("D.3", article(2) + "#! rnews 999\n"),
    ] {
        give(&loaded, name, &text, 0);
    }
    let cuts = every_point(|at| {
        let hub = loaded.copy(HUB);
        let was_cut = was_cut(&hub.try_run(&["uucico"], b"", Some(at)));
        hub.try_run(&["uucico"], b"", None);
        assert_eq!((hub.articles().len(), hub.is_unpacked(), hub.dead().len()), (2, true, 2), "{at}");
        assert_eq!(hub.waiting_mail().len(), 1, "{at}: its sender is told once");
        was_cut
    });
    assert!(cuts >= 3, "{cuts}");
}

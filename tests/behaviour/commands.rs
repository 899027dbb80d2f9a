//! Commands as people and programs use them: help, exit statuses, what is said.

use std::fs;

use crate::site::{Site, said};

const LETTER: &[u8] = b"Subject: hi\n\nHello\n";

/// The status, and what was said on standard output and standard error.
fn check(site: &Site, words: &[&str], input: &[u8], status: i32, expected: &str) {
    let output = site.try_run(words, input, None);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(status), "{words:?}: {told}");
    assert!(told.contains(expected), "{words:?}: {told}");
}

#[test]
fn classic_commands_say_what_they_take_and_keep_their_own_options() {
    let site = Site::new("village", "[sites.hub]\n");
    for name in ["uucico", "uux", "uucp", "uuname", "rmail", "rnews", "sendmail"] {
        check(&site, &[name, "--help"], b"", 0, &format!("Usage: {name} "));
        check(&site, &[name, "--version"], b"", 0, "(bangpath) 0.");
    }
    // Letters that are options of bangpath elsewhere.
    let file = site.path("file");
    fs::write(&file, "x").expect("a file");
    site.run(&["uucp", "-c", &file.display().to_string(), "hub!~/"], b"");
    site.run(&["sendmail", "-v", "-oi", "-oem", "-odb", "-N", "never", "-fann@village.example", "alice"], LETTER);
    assert_eq!((site.queued(), site.mail("alice").len()), (1, 1));
    let config = site.config().display().to_string();
    site.run(&["-c", &config, "sendmail", "-t"], b"To: alice\n\nHello\n");
    site.run(&["sendmail", "-I", &config, "--", "alice"], LETTER);
    assert_eq!(site.mail("alice").len(), 3);
}

#[test]
fn an_address_that_cannot_be_one_is_refused_at_once() {
    let site = Site::new("village", "");
    check(&site, &["sendmail", "a@b@c"], LETTER, 65, "a@b@c: bad address: it holds a second @");
    check(&site, &["sendmail", "-t"], b"To: bob@@x\n\nHello\n", 65, "bad address");
    assert_eq!((site.queued(), site.dead().len()), (0, 0));
}

#[test]
fn a_dead_letter_that_is_tried_again_tells_what_became_of_it() {
    let site = Site::new("village", "");
    // From nobody and for nobody: there is nobody to tell.
    site.run(&["sendmail", "-f", "<>", "carol"], LETTER);
    check(&site, &["dead", "retry", "1"], b"", 0, "routed anew: failed again for 1 recipient");
    site.add_user("carol", None);
    check(&site, &["dead", "retry", "2"], b"", 0, "routed anew: delivered to 1 local user");
    assert_eq!((site.mail("carol").len(), site.dead().len()), (1, 0));
    check(&site, &["dead", "retry", "2"], b"", 69, "no dead letter 2");
}

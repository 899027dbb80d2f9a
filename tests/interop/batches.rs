//! Batches of mail with Taylor UUCP between, and with Exim, compress and gzip at their end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ours::{Ours, run, until};
use super::peers;
use super::taylor::Taylor;

fn text(number: usize) -> String {
    format!(
        "From: alice@village.example\nDate: Mon, 5 Jan 2026 10:00:00 +0000\nMessage-ID: <{number}@village.example>\nSubject: s{number}\n\n\
         .\n..\nFrom here on\n\u{e4}\u{f6} {number}\nQUIT\n"
    )
}

fn stuffed(text: &str) -> String {
    text.split_inclusive('\n').map(|l| if l.starts_with('.') { format!(".{l}") } else { l.to_owned() }).collect()
}

fn letter(sender: &str, recipients: &[&str], text: &str) -> String {
    let to: String = recipients.iter().map(|to| format!("RCPT TO:<{to}>\n")).collect();
    format!("MAIL FROM:<{sender}>\n{to}DATA\n{}.\n", stuffed(text))
}

/// A site of ours that calls this one, and packs its mail so.
fn village(hub: &Taylor, mail: &str) -> Ours {
    Ours::new(
        "village",
        &format!(
            "[port.out]\ntype = \"pipe\"\ncommand = {:?}\n\n[sites.hub]\ncall = [{{ port = \"out\" }}]\nmail = {{ {mail} }}\n\
             [sites.oldvax]\n[[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n",
            hub.uucico()
        ),
    )
}

/// A hub whose `rsmtp` and the like keep what they are given.
fn keeping_hub() -> Option<Taylor> {
    let hub = Taylor::new("hub", "village", "type stdin", "")?;
    hub.allow("rmail rsmtp rcsmtp rgsmtp");
    for name in ["rsmtp", "rcsmtp", "rgsmtp"] {
        let keep = format!("#!/bin/sh\nPATH=/usr/bin:/bin\ncat > {}/{name}-kept.$$\n", hub.folder.path().display());
        hub.provide(name, &keep);
    }
    Some(hub)
}

/// The three letters that each test sends: two recipients, none that can answer, addresses of every kind.
fn send(village: &Ours) {
    let batch = [
        letter("alice@village.example", &["bob@hub.example", "hub!x!carl"], &text(1)),
        letter("", &["b\u{fc}b@far.example"], &text(2)),
        letter("oldvax!dave", &["\"a b\"@hub.example"], &text(3)),
    ];
    village.run(&["rsmtp"], batch.concat().as_bytes());
}

#[test]
fn our_batch_is_at_a_taylor_site_byte_for_byte_what_we_mean() {
    let Some(hub) = keeping_hub() else { return };
    for (command, unpack) in [("rsmtp", "cat"), ("rcsmtp", "usr/bin/compress"), ("rgsmtp", "gzip")] {
        let village = village(&hub, &format!("format = \"{command}\""));
        send(&village);
        assert!(village.call("hub").status.success(), "{}", hub.log());
        let kept = hub.execute(&format!("{command}-kept."));
        assert_eq!(kept.len(), 1, "{command}: {}", hub.log());
        let mut program = match unpack {
            "usr/bin/compress" => match peers::command(unpack) {
                Some(program) => program,
                None => return,
            },
            other => Command::new(other),
        };
        if unpack != "cat" {
            program.arg("-dc");
        }
        let unpacked = run(program, &kept[0]);
        assert!(unpacked.status.success(), "{command}: {}", String::from_utf8_lossy(&unpacked.stderr));
        let batch = String::from_utf8(unpacked.stdout).expect("text");
        // The trace is ours and has the time in it.
        let mut rest = batch.as_str();
        let mut without_trace = String::new();
        while let Some((before, behind)) = rest.split_once("Received: by village.example (bangpath, user ") {
            let (_, behind) = behind.split_once("From: ").expect("the header goes on");
            without_trace += before;
            without_trace += "From: ";
            rest = behind;
        }
        without_trace += rest;
        let expected = [
            "HELO village.example\n".to_owned(),
            letter("alice@village.example", &["bob@hub.example", "x!carl"], &text(1)),
            letter("", &["b\u{fc}b@far.example"], &text(2)),
            letter("oldvax!dave@village.example", &["\"a b\"@hub.example"], &text(3)),
            "QUIT\n".to_owned(),
        ];
        assert_eq!(without_trace, expected.concat(), "{command}");
    }
}

#[test]
fn a_batch_that_taylor_queues_for_us_reaches_the_mailbox() {
    let Some(hub) = keeping_hub() else { return };
    let village = village(&hub, "relay = false");
    let mut packed = Vec::new();
    let batch = format!("HELO hub\n{}", letter("ann@hub.example", &["alice@village.example"], &text(2)));
    let gzip = run(Command::new("gzip"), batch.as_bytes());
    packed.extend(gzip.stdout);
    hub.uux(&["-", "village!rsmtp"], letter("bob", &["alice"], &text(1)).as_bytes());
    hub.uux(&["-", "village!rgsmtp"], &packed);
    if let Some(mut compress) = peers::command("usr/bin/compress") {
        compress.arg("-cf");
        let packed = run(compress, batch.replace(&text(2), &text(3)).as_bytes());
        hub.uux(&["-", "village!csmtp"], &[b"#! cunbatch\n", &packed.stdout[..]].concat());
    }
    assert!(village.call("hub").status.success(), "{}", hub.log());
    let list = village.run(&["mailbox", "list", "alice", "--json"], b"");
    assert!(list.contains("\"sender\": \"hub!bob\"") || list.contains("\"sender\":\"hub!bob\""), "{list}");
    for number in 1..=village.mail_count("alice") {
        let mail = village.run(&["mailbox", "show", "alice", &number.to_string()], b"");
        assert!(mail.starts_with("Received: from hub by village.example (bangpath) with BSMTP"), "{mail}");
        assert!((1..=3).any(|n| mail.ends_with(&text(n))), "{mail}");
    }
    assert_eq!(village.mail_count("alice"), 3);
}

/// What Exim has in its queue: of each letter its envelope, header and text.
/// `None`: it is being written.
fn exim_queue(spool: &Path) -> Option<Vec<(String, String)>> {
    let files = fs::read_dir(spool.join("input")).ok()?.map(|entry| entry.expect("an entry").path());
    let heads = files.filter(|path| path.to_string_lossy().ends_with("-H"));
    let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).ok();
    let mut found: Vec<(String, String)> = heads
        .map(|head| {
            let body = PathBuf::from(head.to_string_lossy().replace("-H", "-D"));
            let text = read(&body)?;
            // Its first line is the name of the file.
            Some((read(&head)?, text.split_once('\n').map(|(_, text)| text.to_owned()).unwrap_or_default()))
        })
        .collect::<Option<_>>()?;
    found.sort_by_key(|(head, _)| {
        head.find("Subject: s").map(|at| head[at..].lines().next().unwrap_or_default().to_owned())
    });
    Some(found)
}

#[test]
fn exim_takes_every_letter_of_our_batch_as_it_is() {
    let Some(exim) = peers::find("usr/sbin/exim4") else { return };
    let Some(hub) = keeping_hub() else { return };
    let spool = hub.path("exim-spool");
    fs::create_dir(&spool).expect("a folder");
    let config = format!(
        "spool_directory = {}\nlog_file_path = syslog\nprimary_hostname = hub.example\nkeep_environment =\n\
         begin acl\nbegin routers\nbegin transports\n",
        spool.display()
    );
    fs::write(hub.path("exim.conf"), config).expect("a file");
    let libraries = peers::libraries().to_string_lossy().into_owned();
    let line = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH={libraries} LD_PRELOAD={} exec {} -C {} -odq -bS\n",
        peers::folder().join("exim.so").display(),
        exim.display(),
        hub.path("exim.conf").display()
    );
    hub.provide("rsmtp", &line);
    let village = village(&hub, "format = \"rsmtp\"");
    send(&village);
    assert!(village.call("hub").status.success(), "{}", hub.log());
    hub.run_arrived();
    // Taylor's uucico may have started a uuxqt of its own, which goes on.
    let queue = until("Exim's queue", || exim_queue(&spool).filter(|queue| queue.len() >= 3), || hub.log());
    assert_eq!(queue.len(), 3, "{}", hub.log());
    let envelopes = [
        ("<alice@village.example>", "2\nbob@hub.example\nx!carl@hub.example\n"),
        ("<>", "1\nb\u{fc}b@far.example\n"),
        ("<oldvax!dave@village.example>", "1\n\"a b\"@hub.example\n"),
    ];
    for (number, ((head, body), (sender, recipients))) in (1..).zip(queue.iter().zip(envelopes)) {
        assert!(head.contains(&format!("\n{sender}\n")) && head.contains(&format!("\n{recipients}\n")), "{head}");
        let (header, expected) =
            text(number).split_once("\n\n").map(|(h, b)| (h.to_owned(), b.to_owned())).expect("a text");
        assert!(*body == expected, "{body}");
        assert!(header.lines().all(|field| head.contains(field)), "{head}");
    }
}

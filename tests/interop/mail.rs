//! Mail with programs of others at both ends: from their SMTP clients, through us and Taylor UUCP, to their servers.

use super::ours::{Ours, run, until};
use super::peers;
use super::servers::Sink;
use super::taylor::Taylor;

/// Runs swaks, and wants it to succeed.
fn swaks(server: &str, sender: &str, recipients: &str, mail: &str) -> Option<()> {
    let mut command = peers::command("usr/bin/swaks")?;
    command.args(["--server", server, "--from", sender, "--to", recipients, "--data", "-", "--helo", "phone.example"]);
    // It ends the last line itself.
    let output = run(command, mail.trim_end().as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Some(())
}

/// An `rmail` that hands on by SMTP, as those of mail servers do.
fn rmail_to(server: &str) -> Option<String> {
    let swaks = peers::find("usr/bin/swaks")?.display().to_string();
    Some(format!(
        "#!/bin/sh\nPATH=/usr/bin:/bin\nread -r from sender rest\nto=$(IFS=,; echo \"$*\")\n\
         printf %s \"$(cat)\" | {swaks} --server {server} --helo hub.example --from \"$sender\" --to \"$to\" --data - >/dev/null\n"
    ))
}

const BODY: &str = "Dear Bob,\n\n.\n..\nFrom here on: 8 bits: \u{e4}\u{f6}\u{fc} \u{2713}\n>From there\n\ttab, and trailing space \n\nAlice\n";

#[test]
fn a_letter_from_swaks_goes_through_us_and_taylor_to_a_mail_server_and_the_answer_to_a_mailbox() {
    let Some(sink) = Sink::start() else { return };
    let Some(rmail) = rmail_to(&sink.address) else { return };
    let Some(hub) = Taylor::new("hub", "village", "type stdin", "") else { return };
    hub.provide("rmail", &rmail);
    let village = Ours::new(
        "village",
        &format!(
            "[listen]\nsmtp = \"127.0.0.1:0\"\n\n[port.out]\ntype = \"pipe\"\ncommand = {:?}\n\n\
             [sites.hub]\ncall = [{{ port = \"out\" }}]\nmail = {{ relay = true }}\n\n\
             [mail]\nrelay-from = [\"127.0.0.0/8\"]\n\n[[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n",
            hub.uucico()
        ),
    );
    let _daemon = village.daemon();
    let header = "Date: Mon, 23 Nov 2026 10:00:00 +0000\nMessage-ID: <1@village.example>\nSubject: on its way\nTo: bob@world.example\n";
    let letter = format!("{header}\n{BODY}");
    let to = "bob@world.example,carol@world.example";
    if swaks(&village.address("smtp "), "alice@village.example", to, &letter).is_none() {
        return;
    }
    let arrived = until(
        "the letter reaches the mail server",
        || {
            hub.run_arrived();
            sink.kept().pop()
        },
        || format!("{}\n{}", hub.log(), village.log()),
    );
    let envelope = "MAIL <alice@village.example>\nRCPT <bob@world.example>\nRCPT <carol@world.example>\n";
    let rest = arrived.strip_prefix(envelope).unwrap_or_else(|| panic!("both in one execution: {arrived}"));
    assert!(rest.starts_with("Received: from phone.example"), "{arrived}");
    let (_, unchanged) = rest.split_once(header).unwrap_or_else(|| panic!("the header as it was: {arrived}"));
    assert_eq!(unchanged, format!("\n{BODY}"));
    assert_eq!(sink.kept().len(), 1);

    let answer = "Subject: thanks\nIn-Reply-To: <1@village.example>\nTo: alice@village.example\n\nDear Alice\n";
    let from = "From bob Mon Nov 23 10:00:00 2026 remote from hub\n";
    hub.uux(&["-", "village!rmail", "(alice@village.example)"], format!("{from}{answer}").as_bytes());
    until("the call", || village.call("hub").status.success().then_some(()), || village.log());
    let mail = until("the answer", || Some(village.mail("alice")).filter(|m| m.contains("thanks")), || village.log());
    assert!(mail.starts_with("Received: from hub by village.example") && mail.ends_with(answer), "{mail}");
}

#[test]
fn mail_of_a_taylor_leaf_goes_through_our_hub_to_a_mail_server() {
    let Some(sink) = Sink::start() else { return };
    let hub = Ours::new(
        "hub",
        &format!(
            "[listen]\nuucp = \"127.0.0.1:0\"\nuucp-login = false\n\n[sites.leaf]\nmail = {{ relay = true }}\n\n\
             [[mail.route]]\nto = \"world.example\"\nvia = \"smtp:{}\"\n",
            sink.address
        ),
    );
    let _daemon = hub.daemon();
    let address = hub.address("uucp ");
    let (_, port) = address.rsplit_once(':').expect("a port");
    let Some(leaf) = Taylor::new("leaf", "hub", &format!("type tcp\nservice {port}"), "address 127.0.0.1") else {
        return;
    };
    let letter = format!("Message-ID: <2@leaf.example>\nSubject: from a leaf\n\n{BODY}");
    let from = "From ann Mon Nov 23 10:00:00 2026 remote from leaf\n";
    let mail = format!("{from}{letter}");
    leaf.uux(&["-", "hub!rmail", "(bob@world.example)", "(world.example!carol)"], mail.as_bytes());
    assert!(leaf.call("hub").status.success(), "{}", leaf.log());
    let arrived = until("the letter reaches the mail server", || sink.kept().pop(), || hub.log());
    let (envelope, rest) = arrived.split_once("Received: ").expect("our trace");
    assert_eq!(
        envelope,
        "MAIL <leaf!ann@hub.example> BODY=8BITMIME\nRCPT <bob@world.example>\nRCPT <carol@world.example>\n"
    );
    assert!(rest.starts_with("from leaf by hub.example") && rest.ends_with(&letter), "{arrived}");
}

#[test]
fn a_hundred_letters_over_ten_connections_of_smtp_source_stand_in_the_mailbox_once_each() {
    let Some(mut source) = peers::command("usr/sbin/smtp-source") else { return };
    let ours = Ours::new("village", "[listen]\nsmtp = \"127.0.0.1:0\"\n");
    let _daemon = ours.daemon();
    source.args(["-s", "10", "-m", "100", "-l", "3000", "-f", "a@x.example", "-t", "alice@village.example"]);
    source.arg(ours.address("smtp "));
    let output = run(source, b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list = ours.run(&["mailbox", "list", "alice", "--json"], b"");
    assert_eq!(list.matches("\"number\"").count(), 100, "{list}");
}

#[test]
fn our_sendmail_reaches_a_mail_server_through_the_daemon() {
    let Some(sink) = Sink::start() else { return };
    let route = format!("[[mail.route]]\nto = \"*\"\nvia = \"smtp:{}\"\n", sink.address);
    let ours = Ours::new("hub", &route);
    let _daemon = ours.daemon();
    let long = format!("{}\n", "x".repeat(900)).repeat(2000);
    let letter =
        format!("Subject: long\nMessage-ID: <3@hub.example>\nDate: Mon, 23 Nov 2026 10:00:00 +0000\n\n{BODY}{long}");
    ours.run(&["sendmail", "-i", "-f", "alice@hub.example", "bob@world.example"], letter.as_bytes());
    let arrived = until("the letter reaches the mail server", || sink.kept().pop(), || ours.log());
    assert!(arrived.starts_with("MAIL <alice@hub.example>"), "{}", &arrived[..300]);
    let (_, body) = arrived.split_once("\n\n").expect("a body");
    assert!(body == format!("{BODY}{long}"), "the body has changed");
}

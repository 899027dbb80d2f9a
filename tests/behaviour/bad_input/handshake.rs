//! Callers and answerers that are not what they should be, and lines that die before a protocol runs.

use super::*;

#[test]
fn an_unknown_caller_is_told_so() {
    let hub = hub();
    for name in ["nobody", "hub", "../../etc/passwd", "village2"] {
        let mut peer = Peer::new(&hub, &[]);
        assert_eq!(peer.message(), "Shere=hub");
        peer.say(&format!("S{name} -R -N047"));
        assert_eq!(peer.message(), "RYou are unknown to me", "{name}");
        let (content, said) = peer.hang_up();
        assert!(!content && said.contains("refused caller"), "{name}: {said}");
    }
}

#[test]
fn a_wrong_password_gets_nowhere() {
    let hub = hub();
    hub.run(&["user", "add", "Uvillage", "--password", "right"], b"");
    let mut peer = Peer::new(&hub, &["-l"]);
    for _ in 0..3 {
        peer.hear(b":");
        peer.send(b"Uvillage\n");
        peer.hear(b":");
        peer.send(b"wrong\n");
    }
    let (content, said) = peer.hang_up();
    assert!(!content && said.contains("wrong password for `Uvillage`"), "{said}");
    let mut peer = Peer::new(&hub, &["-l"]);
    peer.hear(b":");
    peer.send(b"Uvillage\n");
    peer.hear(b":");
    peer.send(b"right\n");
    assert_eq!(peer.message(), "Shere=hub");
}

/// Village with a letter for hub, which this shell script answers for.
fn calls(script: &str) -> (Site, std::process::Output) {
    let village = Site::new(
        "village",
        &format!(
            "[port.line]\ntype = \"pipe\"\ncommand = [\"sh\", \"-c\", {script:?}]\n\n\
             [sites.hub]\ncall = [{{ port = \"line\" }}]\n\n[[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n"
        ),
    );
    village.run(&["sendmail", "bob@hub.example"], b"Subject: kept\n\nHi\n");
    let output = village.try_run(&["call", "hub"], b"", None);
    (village, output)
}

/// The call fails in these words, the letter is still there, and the next call is not hindered.
fn check_caller(script: &str, words: &str) {
    let (village, output) = calls(script);
    let text = said(&output);
    assert!(output.status.code() == Some(75) && text.contains(words), "{script}: {text}");
    let queue = village.run(&["queue", "list", "--json"], b"");
    assert_eq!(queue.matches("\"held\"").count(), 1, "{script}: {queue}");
    assert!(village.dead().is_empty());
    let again = said(&village.try_run(&["call", "hub"], b"", None));
    assert!(again.contains(words), "{script}, again: {again}");
}

#[test]
fn a_call_that_dies_in_the_handshake_says_where() {
    check_caller("exit", "the line was lost during Shere");
    check_caller("printf '\\020Shere=hub\\000'", "the line was lost during the answer to our name");
    check_caller("printf '\\020Shere=hub\\000\\020ROK\\000'", "the line was lost during the list of protocols");
    check_caller("printf '\\020Shere=hub\\000\\020ROK\\000\\020Pt\\000'", "lost");
    check_caller("printf '\\020Shere=other\\000'; cat > /dev/null", "it says it is `other`");
    check_caller("printf '\\020Shere=hub\\000\\020RYou are unknown to me\\000'; cat > /dev/null", "refused the call");
    check_caller("printf '\\020Shere=hub\\000\\020ROK\\000\\020Pxwz\\000'; cat > /dev/null", "no protocol in common");
}

#[test]
fn garbage_instead_of_a_greeting_is_listened_to_for_a_while_only() {
    // The script would go on for ever: it is we who hang up.
    check_caller("tr '\\000' x < /dev/zero", "the handshake came to nothing: waiting for Shere");
    check_caller("tr '\\000' '\\020' < /dev/zero", "the handshake came to nothing: waiting for Shere");
    check_caller("head -c 60000 /dev/urandom | tr -d '\\020\\220'", "the line was lost during Shere");
}

#[test]
fn a_caller_whose_line_dies_leaves_us_ready_for_the_next_call() {
    let hub = hub();
    hub.run(&["sendmail", "ann@village.example"], b"Subject: kept\n\nHi\n");
    for stage in 0..4 {
        let mut peer = Peer::new(&hub, &[]);
        peer.message();
        if stage > 0 {
            peer.say("Svillage -R -N047");
            peer.message();
        }
        if stage > 1 {
            peer.message();
        }
        if stage > 2 {
            peer.say("Ut");
        }
        let (content, said) = peer.hang_up();
        assert!(!content && said.contains("lost"), "{stage}: {said}");
    }
    // The letter is offered at last.
    let mut peer = Peer::talking(&hub);
    assert_eq!(peer.ask("H"), "HN");
    assert!(peer.reply().starts_with("E D."));
}

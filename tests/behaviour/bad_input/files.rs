//! Files and commands that a site has no business to send, ask for or have run.

use bangpath::base::limits::VAIN_MAX;

use super::*;

#[test]
fn files_outside_the_public_directory_are_neither_taken_nor_given() {
    let hub = hub();
    std::fs::write(hub.path("secret"), b"secret").expect("a file");
    let secret = hub.path("secret").display().to_string();
    let mut peer = Peer::talking(&hub);
    let targets = [
        "/etc/passwd",
        "../../etc/passwd",
        "~/../../secret",
        "~root/x",
        "C.hubA0001",
        "~/a/../../../x",
        "D.x/../../../secret",
        "X./../../../secret",
        &secret,
    ];
    for target in targets {
        let answer = peer.ask(&format!("S /tmp/x {target} ann - D.0001 0644 \"\" 0x3"));
        assert_eq!(answer, "SN2", "{target}");
    }
    for wanted in ["/etc/passwd", "~/../../etc/passwd", "~root/x", "~/../secret", &secret] {
        let answer = peer.ask(&format!("R {wanted} ~/x ann -d 0666 ann 0x1000"));
        assert_eq!(answer, "RN2", "{wanted}");
    }
    // What is permitted is taken, in the same call. Names that are no places do no harm.
    let taken = peer.give("S /tmp/x ~/x ann - ../../../secret 0644 \"\" 0x3", b"abc");
    assert_eq!(taken, ("SY".to_owned(), "CY".to_owned()));
    let letter = b"Subject: harmless\n\nHi\n";
    let size = letter.len();
    let taken = peer.give(&format!("E D.0 {secret} ann -CR ../../secret 0666 ann 0x{size:x} rmail bob"), letter);
    assert_eq!(taken, ("EY".to_owned(), "CY".to_owned()));
    peer.bye();
    assert_eq!(hub.mail("bob").len(), 1);
    assert_eq!(std::fs::read(hub.spool().join("public/x")).expect("a file"), b"abc");
    assert_eq!(std::fs::read(&secret).expect("a file"), b"secret");
}

#[test]
fn a_command_that_is_not_permitted_is_refused_and_its_sender_told() {
    let hub = hub();
    let canary = hub.path("canary");
    std::fs::write(&canary, b"alive").expect("a file");
    let rm = format!("rm -rf {}", canary.display());
    let mut peer = Peer::talking(&hub);
    // At once, where the command stands in the offer …
    let offered = peer.give(&format!("E D.hubA1 D.hubA1 ann -CR D.0001 0666 ann 0x3 {rm}"), b"abc");
    assert_eq!(offered.0, "EN2");
    // … and by mail, where it stands in a file.
    let execution = format!("U ann village\nF D.villageA2\nI D.villageA2\nR ann\nC {rm}\n");
    let data = peer.give("S D.villageA2 D.villageA2 ann - D.0002 0666 ann 0x3", b"abc");
    assert_eq!(data.1, "CY", "{data:?}");
    let size = execution.len();
    let file = peer.give(&format!("S D.villageA3 X.villageA3 ann - D.0003 0666 ann 0x{size:x}"), execution.as_bytes());
    assert_eq!(file.1, "CY", "{file:?}");
    peer.bye();
    assert_eq!(std::fs::read(&canary).expect("the canary"), b"alive");
    let mut peer = Peer::talking(&hub);
    assert_eq!(peer.ask("H"), "HN");
    let offer = peer.reply();
    assert!(offer.starts_with("E D.") && offer.ends_with("rmail ann"), "{offer}");
    assert!(hub.dead().is_empty());
    assert!(hub.run(&["log"], b"").contains("refused"));
}

#[test]
fn an_address_is_never_a_command() {
    let hub = hub();
    let canary = hub.path("canary");
    std::fs::write(&canary, b"alive").expect("a file");
    let letter = b"From ann Mon Jan  5 10:00:00 2026 remote from village\nSubject: evil;\n\nHi\n";
    let attacks = ["bob;rm -rf CANARY", "bob|rm${IFS}CANARY", "`rm CANARY`", "$(rm CANARY)", "bob; rm -rf CANARY"];
    for (number, attack) in attacks.iter().enumerate() {
        let attack = attack.replace("CANARY", &canary.display().to_string());
        // By hand: taken as addresses, or refused in words.
        let output = hub.try_run(&["rmail", &attack], letter, None);
        assert!(output.status.success() || said(&output).contains("bangpath: "), "{attack}: {}", said(&output));
        // From a site: its sender hears of it, or it is in the dead letters.
        let mut peer = Peer::talking(&hub);
        let size = letter.len();
        let line = format!("E D.x{number} D.x{number} ann -CR D.1{number:03} 0666 ann 0x{size:x} rmail {attack}");
        let taken = peer.give(&line, letter);
        assert_eq!(taken.1, "CY", "{attack}: {taken:?}");
        peer.bye();
        assert!(hub.is_unpacked(), "{attack}: it is dealt with");
        assert_eq!(std::fs::read(&canary).expect("the canary"), b"alive", "{attack}");
    }
    let accounted = hub.dead().len() + hub.queued() + hub.mail("bob").len() + hub.mail("alice").len();
    assert!(accounted >= attacks.len(), "{accounted}");
}

#[test]
fn who_asks_in_vain_for_ever_is_hung_up_on() {
    let hub = hub();
    let mut peer = Peer::talking(&hub);
    let (mut answers, mut ask) = (0, || peer.ask("R /etc/shadow ~/ u -"));
    while ask() == "RN2" {
        answers += 1;
        assert!(answers <= VAIN_MAX + 1, "it is answered for ever");
    }
    assert!(answers >= VAIN_MAX, "{answers}");
    assert!(peer.hang_up().1.contains("too much of what it says leads to nothing"));
}

#[test]
fn who_sends_for_ever_and_never_reads_is_hung_up_on() {
    let hub = hub();
    let mut peer = Peer::talking(&hub);
    let mut block = b"R ~/nothing ~/ u -".to_vec();
    block.resize(512, 0);
    for _ in 0..20_000 {
        peer.send(&block);
    }
    let (content, said) = peer.hang_up();
    assert!(!content && said.contains("it sends and does not read"), "{said}");
}

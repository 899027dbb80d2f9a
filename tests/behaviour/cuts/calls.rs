//! One call with mail and news both ways, cut at every point of either side.

use super::*;

const LARGE: usize = 70_000;

/// Small and large mail and an article at either end.
fn loaded() -> Pair {
    let pair = Pair::new("rmail");
    for (site, to, first) in [(&pair.village, "bob@hub.example", 1), (&pair.hub, "alice@village.example", 11)] {
        site.run(&["sendmail", to], &letter(first, 100));
        site.run(&["sendmail", to], &letter(first + 1, LARGE));
        site.run(&["rnews"], &batch(&[article(first, 100), article(first + 1, LARGE)]));
    }
    pair
}

/// Each exactly once, where it belongs.
fn check(pair: &Pair, what: &str) {
    for (site, user, first) in [(&pair.hub, "bob", 1), (&pair.village, "alice", 11)] {
        let found = [first, first + 1].map(|n| letters(site, user, n));
        assert_eq!((found, site.mail(user).len()), ([1, 1], 2), "{what}: letters for {user}");
        let found = [1, 2, 11, 12].map(|n| articles(site, n));
        assert_eq!((found, site.articles().len()), ([1; 4], 4), "{what}: articles of {user}'s site");
    }
}

fn cut_everywhere(side: Side) {
    let loaded = loaded();
    let cuts = every_point(|at| {
        let what = format!("{side:?} at {at}");
        let pair = loaded.copy();
        let was_cut = pair.call(Some((side, at)));
        pair.call_until_idle(&what);
        check(&pair, &what);
        was_cut
    });
    // The four jobs each way are packed, offered and settled on one side, taken and unpacked on the other.
    assert!(cuts > 30, "{side:?}: {cuts}");
}

#[test]
fn a_caller_that_is_cut_at_any_point_loses_nothing_and_doubles_nothing() {
    cut_everywhere(Side::Caller);
}

#[test]
fn an_answerer_that_is_cut_at_any_point_loses_nothing_and_doubles_nothing() {
    cut_everywhere(Side::Answerer);
}

/// Numbers of letters that go as one batch each way, gzipped up and down.
const IN_BATCH: std::ops::RangeInclusive<u64> = 1..=4;

fn batches_cut_everywhere(side: Side) {
    let loaded = Pair::new("rgsmtp");
    for (site, to) in [(&loaded.village, "bob@hub.example"), (&loaded.hub, "alice@village.example")] {
        for number in IN_BATCH {
            let size = if number == 2 { LARGE } else { 100 };
            site.run(&["sendmail", to], &letter(number, size));
        }
    }
    let cuts = every_point(|at| {
        let what = format!("batches, {side:?} at {at}");
        let pair = loaded.copy();
        let was_cut = pair.call(Some((side, at)));
        pair.call_until_idle(&what);
        for (site, user) in [(&pair.hub, "bob"), (&pair.village, "alice")] {
            let found: Vec<usize> = IN_BATCH.map(|n| letters(site, user, n)).collect();
            assert_eq!((found, site.mail(user).len()), (vec![1; 4], 4), "{what}: letters for {user}");
        }
        was_cut
    });
    // One job each way, and at least a point before and after each letter that is taken.
    assert!(cuts > 15, "{side:?}: {cuts}");
}

#[test]
fn a_caller_that_is_cut_between_the_letters_of_a_batch_takes_and_gives_each_once() {
    batches_cut_everywhere(Side::Caller);
}

#[test]
fn an_answerer_that_is_cut_between_the_letters_of_a_batch_takes_and_gives_each_once() {
    batches_cut_everywhere(Side::Answerer);
}

//! One call with mail and news both ways, cut at every point of either side.

use super::*;

const LARGE: usize = 70_000;

/// Small and large mail and an article at either end.
fn loaded() -> Pair {
    let pair = Pair::new();
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

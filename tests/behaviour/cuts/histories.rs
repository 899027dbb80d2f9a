//! Histories from a seed: mail and news both ways, calls of which some are cut at some point on some side.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::sim::chance::Chance;
use super::*;

/// The seeds to run: a handful, or as many as `BANGPATH_CUT_SEEDS` says.
fn seeds() -> Vec<u64> {
    let wanted = std::env::var("BANGPATH_CUT_SEEDS").ok().map(|n| n.parse().expect("BANGPATH_CUT_SEEDS is a number"));
    (1..=wanted.unwrap_or(6)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Article,
}

/// Something that was handed in.
#[derive(Debug)]
struct Handed {
    number: u64,
    kind: Kind,
    from_village: bool,
    /// The command said that it took it.
    acknowledged: bool,
}

struct History {
    pair: Pair,
    chance: Chance,
    handed: Vec<Handed>,
    /// Processes that were ended at a point.
    cuts: usize,
}

fn point(chance: &mut Chance, end: u64) -> String {
    format!("{}{}", 1 + chance.below(end), if chance.happens(0.5) { "+" } else { "" })
}

impl History {
    fn hand_in(&mut self) {
        let number = self.handed.len() as u64 + 1;
        let size = match self.chance.below(6) {
            0 => 70_000 + self.chance.below(200_000),
            _ => self.chance.below(5_000),
        };
        let from_village = self.chance.happens(0.5);
        let cut = self.chance.happens(0.15).then(|| point(&mut self.chance, 2));
        let (site, to) = match from_village {
            true => (&self.pair.village, "bob@hub.example"),
            false => (&self.pair.hub, "alice@village.example"),
        };
        let (kind, output) = match self.chance.below(3) {
            0 => {
                let input = batch(&[article(number, size as usize)]);
                (Kind::Article, site.try_run(&["rnews"], &input, cut.as_deref()))
            }
            _ => (Kind::Letter, site.try_run(&["sendmail", to], &letter(number, size as usize), cut.as_deref())),
        };
        let acknowledged = output.status.success();
        assert!(acknowledged || was_cut(&output), "{}", said(&output));
        self.cuts += usize::from(!acknowledged);
        self.handed.push(Handed { number, kind, from_village, acknowledged });
    }

    fn run(&mut self) {
        for _ in 0..1 + self.chance.below(5) {
            for _ in 0..1 + self.chance.below(5) {
                self.hand_in();
            }
            let side = if self.chance.happens(0.5) { Side::Caller } else { Side::Answerer };
            // A call with little to do has few points: low numbers more often than high ones.
            let end = 1 + self.chance.below(30);
            let at = point(&mut self.chance, end);
            self.cuts += usize::from(self.pair.call(Some((side, &at))));
        }
    }

    fn check(&self, seed: u64) {
        let Pair { village, hub, .. } = &self.pair;
        for handed in &self.handed {
            let found = match (handed.kind, handed.from_village) {
                (Kind::Letter, true) => vec![letters(hub, "bob", handed.number)],
                (Kind::Letter, false) => vec![letters(village, "alice", handed.number)],
                (Kind::Article, _) => vec![articles(hub, handed.number), articles(village, handed.number)],
            };
            let possible = usize::from(handed.acknowledged)..=1;
            assert!(found.iter().all(|n| possible.contains(n)), "seed {seed}: {handed:?} is there {found:?} times");
            assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "seed {seed}: {handed:?}: {found:?}");
        }
        // Nobody was told of a failure, since there was none.
        let expected = |user_from_village: bool| {
            let letters = self.handed.iter().filter(|h| h.kind == Kind::Letter && h.from_village == user_from_village);
            let known = letters.clone().filter(|h| h.acknowledged).count();
            known..=letters.count()
        };
        for (site, user, from_village) in [(hub, "bob", true), (village, "alice", false)] {
            let found = site.mail(user).len();
            assert!(expected(from_village).contains(&found), "seed {seed}: {user} has {found} letters");
        }
        assert!(
            village.mail("bob").is_empty() && hub.mail("alice").is_empty(),
            "seed {seed}: mail to nobody's knowledge"
        );
    }
}

#[test]
fn histories_with_cuts_lose_nothing_and_double_nothing() {
    let fresh = Pair::new("rmail");
    let cuts = AtomicUsize::new(0);
    let seeds = seeds();
    on_all_processors(&seeds, |seed| {
        let pair = fresh.copy_with(if seed.is_multiple_of(2) { "rgsmtp" } else { "rmail" });
        let mut history = History { pair, chance: Chance::new(*seed, 1), handed: Vec::new(), cuts: 0 };
        history.run();
        history.pair.call_until_idle(&format!("seed {seed}"));
        history.check(*seed);
        cuts.fetch_add(history.cuts, Ordering::Relaxed);
    });
    let cuts = cuts.into_inner();
    assert!(cuts > seeds.len(), "only {cuts} cuts in {} histories", seeds.len());
}

//! The scheduler: whom to call now, when to look again; and the retry rule. Pure.

use std::time::Duration;

use crate::base::names::{Grade, PortName, SiteName};
use crate::base::time::Timestamp;

mod size;
mod window;

pub use size::{SizeLimit, fits_ever, size_limit_now};
pub use window::{BadTime, TimeString, Zone};

/// How long at most before the daemon looks again by itself: a lost nudge costs this much.
pub const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// When a site may be called and with what.
#[derive(Debug, Clone)]
pub struct Window {
    pub when: TimeString,
    /// What may travel: this grade and better.
    pub worst: Grade,
}

/// What waits for a site, of one grade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub grade: Grade,
    pub items: u64,
    /// When the first of them may go.
    pub ready: Timestamp,
}

/// What the scheduler needs to know of a site.
#[derive(Debug, Clone)]
pub struct SiteView {
    pub name: SiteName,
    /// Ways out, best first.
    pub ports: Vec<PortName>,
    pub windows: Vec<Window>,
    pub zone: Zone,
    pub waiting: Vec<Waiting>,
    /// By an operator.
    pub held: bool,
    /// A call with it is going on, whoever placed it.
    pub in_call: bool,
    /// An operator wants a call, whatever waits.
    pub call_wanted: bool,
    /// Call at least so often, to fetch what waits there.
    pub poll_every: Option<Duration>,
    pub last_call: Option<Timestamp>,
    /// Not before this, after failures.
    pub not_before: Option<Timestamp>,
}

/// A port and whether it is taken.
#[derive(Debug, Clone)]
pub struct PortView {
    pub name: PortName,
    pub busy: bool,
    /// How many calls it carries at once: 1 for a line, many for TCP and pipes.
    pub single: bool,
}

/// A call to be placed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedCall {
    pub site: SiteName,
    pub port: PortName,
    /// What may travel in the window that is open.
    pub worst: Grade,
    pub why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Something waits.
    Queue,
    /// It is time to ask.
    Poll,
    /// An operator asked for it.
    Wanted,
}

/// What to do, and when to think again at the latest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub calls: Vec<PlannedCall>,
    pub look_again: Timestamp,
}

/// How often a failure is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// After the first failure.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { first: Duration::from_secs(60), longest: Duration::from_secs(4 * 3600) }
    }
}

impl Retry {
    /// The pause after so many failures in a row: doubled each time. `salt` spreads those that failed together
    /// by up to a tenth.
    pub fn pause(&self, failures: u32, salt: u64) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20));
        let pause = doubled.min(self.longest);
        let tenth = pause / 10;
        pause + tenth.mul_f64((salt % 1000) as f64 / 1000.0)
    }
}

/// Decides. The same input gives the same plan.
pub fn plan(now: Timestamp, sites: &[SiteView], ports: &[PortView]) -> Plan {
    let mut taken: Vec<&PortName> = ports.iter().filter(|p| p.busy && p.single).map(|p| &p.name).collect();
    let mut calls = Vec::new();
    let mut look_again = now + LOOK_AGAIN;
    let mut wanted: Vec<(&SiteView, Grade, Why)> = Vec::new();
    for site in sites.iter().filter(|s| !s.held && !s.in_call && !s.ports.is_empty()) {
        match due(now, site) {
            Due::Now(worst, why) => wanted.push((site, worst, why)),
            Due::Later(at) => look_again = look_again.min(at),
            Due::Never => {}
        }
    }
    // What an operator asked for first, then the most urgent item, then the name.
    wanted.sort_by_key(|(site, _, why)| (*why != Why::Wanted, best_ready(now, site), site.name.clone()));
    for (site, worst, why) in wanted {
        let free = site.ports.iter().find(|name| !taken.contains(name) && ports.iter().any(|p| p.name == **name));
        let Some(port) = free else { continue };
        if ports.iter().any(|p| p.name == *port && p.single) {
            taken.push(port);
        }
        calls.push(PlannedCall { site: site.name.clone(), port: port.clone(), worst, why });
    }
    Plan { calls, look_again: look_again.max(now + Duration::from_millis(50)) }
}

enum Due {
    Now(Grade, Why),
    Later(Timestamp),
    Never,
}

fn due(now: Timestamp, site: &SiteView) -> Due {
    if site.call_wanted {
        return Due::Now(open_grade(now, site).unwrap_or(Grade::LEAST), Why::Wanted);
    }
    let ready = site.waiting.iter().filter(|w| w.items > 0).map(|w| (w.ready, w.grade));
    let poll = site.poll_every.map(|every| match site.last_call {
        Some(last) if last <= now => last + every,
        Some(_) | None => now,
    });
    let Some(first) = ready.clone().map(|(at, _)| at).chain(poll).min() else { return Due::Never };
    let at = pause_until(now, site).map_or(first, |pause| first.max(pause));
    if at > now {
        return Due::Later(at);
    }
    match open_grade(now, site) {
        Some(worst) if ready.clone().any(|(at, grade)| at <= now && grade <= worst) => Due::Now(worst, Why::Queue),
        Some(worst) if poll.is_some_and(|at| at <= now) => Due::Now(worst, Why::Poll),
        Some(_) | None => next_opening(now, site).map_or(Due::Never, Due::Later),
    }
}

/// Until when it is not called after failures. A clock that was set back must not forbid calls for years: what lies further
/// ahead than any pause is not believed.
pub fn pause_until(now: Timestamp, site: &SiteView) -> Option<Timestamp> {
    site.not_before.filter(|at| *at > now && at.since(now) < Duration::from_secs(7 * 24 * 3600))
}

/// The least urgent grade that may travel now; `None`: no window is open.
pub fn open_grade(now: Timestamp, site: &SiteView) -> Option<Grade> {
    site.windows.iter().filter(|w| w.when.contains(now, &site.zone)).map(|w| w.worst).max()
}

fn next_opening(now: Timestamp, site: &SiteView) -> Option<Timestamp> {
    site.windows.iter().filter_map(|w| w.when.next_start(now, &site.zone)).min()
}

fn best_ready(now: Timestamp, site: &SiteView) -> Option<Grade> {
    site.waiting.iter().filter(|w| w.items > 0 && w.ready <= now).map(|w| w.grade).min()
}

/// Whether a site may be called now by itself, in words: for `site show`.
pub fn explain(now: Timestamp, site: &SiteView) -> String {
    if site.in_call {
        return "a call is going on".to_owned();
    }
    if site.held {
        return "held by an operator".to_owned();
    }
    if site.ports.is_empty() {
        return "no port is configured: it must call us".to_owned();
    }
    match due(now, site) {
        Due::Now(worst, _) => format!("due now, grade {worst} and better"),
        Due::Later(at) => format!("next at {at}"),
        Due::Never => "nothing waits".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_795_435_200; // 2026-11-23 12:00 UTC, a Monday

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(NOON + seconds)
    }

    fn port(name: &str) -> PortName {
        PortName::parse(name).expect("a port name")
    }

    fn site(name: &str) -> SiteView {
        SiteView {
            name: SiteName::parse(name).expect("a site name"),
            ports: vec![port("modem")],
            windows: vec![Window { when: TimeString::parse("Any").expect("a time"), worst: Grade::LEAST }],
            zone: Zone::utc(),
            waiting: vec![Waiting { grade: Grade::MAIL, items: 1, ready: at(-1) }],
            held: false,
            in_call: false,
            call_wanted: false,
            poll_every: None,
            last_call: None,
            not_before: None,
        }
    }

    fn ports() -> Vec<PortView> {
        vec![
            PortView { name: port("modem"), busy: false, single: true },
            PortView { name: port("net"), busy: false, single: false },
        ]
    }

    /// `site>port` of each planned call, and the seconds until the next look.
    fn check(sites: &[SiteView], ports: &[PortView], calls: &str, look_again: u64) {
        let plan = plan(at(0), sites, ports);
        let got: Vec<String> = plan.calls.iter().map(|c| format!("{}>{}", c.site, c.port)).collect();
        assert_eq!((got.join(" ").as_str(), plan.look_again.since(at(0)).as_secs()), (calls, look_again));
    }

    #[test]
    fn what_waits_is_called_for_at_once_and_once() {
        check(&[site("hub")], &ports(), "hub>modem", 30);
        check(&[SiteView { in_call: true, ..site("hub") }], &ports(), "", 30);
        check(&[SiteView { held: true, ..site("hub") }], &ports(), "", 30);
        check(&[SiteView { waiting: Vec::new(), ..site("hub") }], &ports(), "", 30);
    }

    #[test]
    fn one_call_a_line_the_most_urgent_first_and_the_second_way_if_the_first_is_taken() {
        let urgent = SiteView {
            waiting: vec![Waiting { grade: Grade::parse('A').expect("a grade"), items: 1, ready: at(0) }],
            ..site("zeta")
        };
        check(&[site("hub"), urgent.clone()], &ports(), "zeta>modem", 30);
        let two_ways = SiteView { ports: vec![port("modem"), port("net")], ..site("hub") };
        check(&[two_ways.clone(), urgent.clone()], &ports(), "zeta>modem hub>net", 30);
        let wanted = SiteView { call_wanted: true, waiting: Vec::new(), ..site("hub") };
        check(&[urgent, wanted], &ports(), "hub>modem", 30);
        let busy = [PortView { name: port("modem"), busy: true, single: true }];
        check(&[two_ways], &busy, "", 30);
    }

    #[test]
    fn calls_at_the_same_time_share_the_ports_of_a_pool() {
        let pool = ["modem1", "modem2", "modem3"].map(port);
        let all = |names: [&str; 3]| names.map(|name| SiteView { ports: pool.to_vec(), ..site(name) });
        let view = |busy: &[&str]| {
            pool.clone().map(|name| PortView { busy: busy.contains(&name.as_str()), name, single: true })
        };
        check(&all(["a", "b", "c"]), &view(&[]), "a>modem1 b>modem2 c>modem3", 30);
        check(&all(["a", "b", "c"]), &view(&["modem2"]), "a>modem1 b>modem3", 30);
        check(&all(["a", "b", "c"]), &view(&["modem1", "modem2", "modem3"]), "", 30);
    }

    #[test]
    fn windows_let_through_what_their_grade_allows() {
        let window = |when: &str, worst| Window { when: TimeString::parse(when).expect(when), worst };
        let news = SiteView { waiting: vec![Waiting { grade: Grade::NEWS, items: 3, ready: at(0) }], ..site("hub") };
        let mail_only = SiteView { windows: vec![window("Any", Grade::MAIL)], ..news.clone() };
        check(&[mail_only], &ports(), "", 30);
        let soon =
            SiteView { windows: vec![window("Any", Grade::MAIL), window("Mo1200-1300", Grade::LEAST)], ..news.clone() };
        check(&[soon], &ports(), "hub>modem", 30);
        let night =
            SiteView { windows: vec![window("Wk1200-1200", Grade::MAIL), window("Mo1210-1300", Grade::LEAST)], ..news };
        check(&[night], &ports(), "", 30);
    }

    #[test]
    fn failures_pause_and_polls_are_due() {
        check(&[SiteView { not_before: Some(at(10)), ..site("hub") }], &ports(), "", 10);
        check(&[SiteView { not_before: Some(at(-10)), ..site("hub") }], &ports(), "hub>modem", 30);
        // A clock that was in 2038 when the call failed, and has been set right since.
        check(&[SiteView { not_before: Some(at(400_000_000)), ..site("hub") }], &ports(), "hub>modem", 30);
        let poll = SiteView {
            waiting: Vec::new(),
            poll_every: Some(Duration::from_secs(3600)),
            last_call: Some(at(-3595)),
            ..site("hub")
        };
        check(std::slice::from_ref(&poll), &ports(), "", 5);
        check(&[SiteView { last_call: Some(at(-3600)), ..poll.clone() }], &ports(), "hub>modem", 30);
        check(&[SiteView { last_call: Some(at(400_000_000)), ..poll }], &ports(), "hub>modem", 30);
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = Retry { first: Duration::from_secs(60), longest: Duration::from_secs(3600) };
        let pauses: Vec<u64> = [1, 2, 3, 7, 26, 4_000_000_000].map(|n| retry.pause(n, 0).as_secs()).into();
        assert_eq!(pauses, [60, 120, 240, 3600, 3600, 3600]);
        assert!(retry.pause(1, 999).as_secs() <= 66);
    }
}
